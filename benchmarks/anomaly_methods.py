"""The learned energies of a training method as a detector: trained on the clean image of each category.

The task `energy` maps an image, with any method, in decades of the trained image's own distribution: the scores of a
method need no unit of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

import pgcn
from pgcn.methods import make_settings
from pgcn.tasks.decades import map_in_decades

SMALL: Mapping[str, Any] = {"detail": "learned", "max_size": 56, "min_size": 28, "iterations": 40}
"""Settings over the preset `draft`, with all scales learned: exact ones have no part in the map.

Trainings of seconds, which show the unit, and less than what the energies of a long training find.
"""


class MethodEnergy:
    """Maps of images by the learned energies of `method`, trained on one `clean` image `(1, C, H, W)`, in decades."""

    def __init__(self, method: str, clean: Tensor, overrides: Mapping[str, Any] | None = None) -> None:
        settings = make_settings("draft", {**SMALL, **(overrides or {})}, method)
        self.clean, self.model = clean, pgcn.fit(clean, settings=settings)

    def __call__(self, image: Tensor) -> Tensor:
        """The map of `image` `(1, C, h, w)`, at the size of the finest learned scale."""
        return map_in_decades(self.model, image, self.clean)[0][0, 0]
