"""The start scale, chosen by measure where nobody says: try each, and weigh what was made against what was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pgcn.imaging.scales import resize
from pgcn.tasks.chains import check_scale

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid
    from pgcn.tasks.task import Injected


@dataclass(frozen=True)
class Tried:
    """One start scale: what came out, how unlike the image its patches are, how far from what was put in."""

    scale: int
    picture: Tensor
    unlike: float
    astray: float


@dataclass(frozen=True)
class Choice:
    """The start scale that is taken, and all that were tried for it."""

    best: Tried
    tried: list[Tried]

    def sheet(self) -> dict[str, Tensor]:
        """A contact sheet's pictures, one a start scale, coarsest first, by the name `sweep`; none of only one."""
        if len(self.tried) < 2:
            return {}
        shape = self.tried[0].picture.shape
        return {"sweep": torch.cat([resize(tried.picture, (shape[-2], shape[-1])) for tried in self.tried])}


def choose(
    pyramid: Pyramid,
    options: Injected,
    make: Callable[[int], Tensor],
    unlike: Callable[[Tensor], float],
    astray: Callable[[Tensor], float],
    nothing: float,
) -> Choice:
    """Make the picture from the scale that `options` says, or from every one, and take the best.

    The best has the least unlike / nothing + astray. `unlike` is a distance to what was learned, and `nothing` that of
    what was put in; `astray` is how far from what was put in, 0 for the same and about 1 for unrelated: both are
    shares, and neither decides alone. Raises `ValueError` for a start scale that the pyramid does not have.
    """
    scales = list(range(len(pyramid.nets)))
    if options.start_scale is not None:
        check_scale(pyramid, options.start_scale)
        if not options.sweep:
            scales = [options.start_scale]
    tried = []
    for scale in scales:
        picture = make(scale)
        tried.append(Tried(scale, picture, unlike(picture), astray(picture)))
    if options.start_scale is not None:
        return Choice(next(one for one in tried if one.scale == options.start_scale), tried)
    return Choice(min(tried, key=lambda one: one.unlike / max(nothing, 1e-6) + one.astray), tried)
