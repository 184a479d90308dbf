"""Learning from an image with holes: what is not known is left out of the loss, and filled as the scales go by.

At each scale the hole holds what the scale below made of it, its known surroundings held (conditional Langevin), so
that chains and receptive fields which reach into it see something likely; it is never taken for data.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.holes import filled, hole_at, put_back
from pgcn.imaging.masks import check_mask
from pgcn.imaging.scales import check_image, resize
from pgcn.patchgencn.energy import PAD
from pgcn.patchgencn.trainer import Progress, Trainer
from pgcn.pyramid import Pyramid, train_out
from pgcn.settings import Settings, make_settings
from pgcn.tasks.chains import chain

POWER = 4
"""A position counts in the loss by the known share of its receptive field to this power: half of it counts 1/16."""


def known_share(hole: Tensor) -> Tensor:
    """The share of each position's receptive field, 11 by 11 pixels, that is known; beyond the border all is."""
    side = 2 * PAD + 1
    return F.avg_pool2d(F.pad(1 - hole, [PAD] * 4, value=1.0), side, stride=1)


class MaskedTrainer(Trainer):
    """Trains on one image `(1, 3, H, W)`, but for `mask` `(1, 1, H, W)`, 1 where it is not known.

    Raises `ValueError` as `Trainer` does, and for a mask of another size than the image's.
    """

    def __init__(
        self, image: Tensor, mask: Tensor, settings: Settings, seed: int, device: str | torch.device = "cpu"
    ) -> None:
        image, mask = check_image(image), check_mask(mask)
        if image.shape[-2:] != mask.shape[-2:]:
            raise ValueError(
                f"the mask is {mask.shape[-1]}x{mask.shape[-2]} px and the image {image.shape[-1]}x{image.shape[-2]}"
            )
        self.mask = mask.to(device)
        self._filled = 0
        super().__init__([filled(image, mask)], settings, [seed], device)

    def begin_scale(self) -> None:
        """As `Trainer`, after the hole is filled with what the scale below makes of it."""
        self._fill(self.scale)
        weights = known_share(hole_at(self.mask, self.sizes[self.scale])) ** POWER
        # Of made images too: both see like places, or the border of the hole alone would tell them apart.
        self.positions = weights / weights.mean().clamp_min(1e-6)
        super().begin_scale()

    def observed_of(self, image: int) -> list[Tensor]:
        """As `Trainer`: the holes filled at every scale that a trained one lies below."""
        self._fill(min(len(self.frozen), len(self.sizes) - 1))
        return super().observed_of(image)

    def _fill(self, finest: int) -> None:
        """Fill the hole at each scale up to `finest` from the one below: also of a trainer that was restored."""
        for at in range(self._filled + 1, finest + 1):
            below, size = at - 1, self.sizes[at]
            hold = partial(_held, known=self.observed[below], hole=hole_at(self.mask, self.sizes[below]))
            made = chain(self.observed[below], self.frozen[below], self.settings, below, after=hold)
            self.observed[at] = put_back(resize(made, size), self.observed[at], hole_at(self.mask, size))
            self._filled = at


def _held(x: Tensor, scale: int, *, known: Tensor, hole: Tensor) -> Tensor:
    return put_back(x, known, hole)


def fit_masked(
    image: Tensor,
    mask: Tensor,
    preset: str = "draft",
    seed: int = 0,
    *,
    settings: Settings | None = None,
    device: str | torch.device = "cpu",
    on_progress: Callable[[Progress], None] | None = None,
) -> Pyramid:
    """`pgcn.fit` for an image `(1, 3, H, W)` that is not known where `mask` `(1, 1, H, W)` is 1.

    >>> import torch, pgcn
    >>> image, hole = torch.rand(1, 3, 20, 24) * 2 - 1, torch.zeros(1, 1, 20, 24)
    >>> hole[..., 6:12, 8:16] = 1
    >>> settings = pgcn.make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 2, "iterations": 2})
    >>> pgcn.fit_masked(image, hole, settings=settings).inpaint(image, hole).shape
    torch.Size([1, 3, 20, 24])
    """
    return train_out(MaskedTrainer(image, mask, settings or make_settings(preset), seed, device), on_progress)
