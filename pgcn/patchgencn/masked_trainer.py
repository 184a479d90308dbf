"""Training on an image with holes: unknown pixels are left out of the loss, and filled from scale to scale.

At each scale the hole is filled by a chain of the scale below with its known surroundings clamped (conditional
Langevin dynamics), so that chains and receptive fields that reach into it see likely content; it never counts as data.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.channels import Channels
from pgcn.imaging.holes import clamp_known, filled, hole_at
from pgcn.imaging.masks import check_mask
from pgcn.imaging.normals import applied
from pgcn.imaging.scales import check_image, resize
from pgcn.method import ChainOptions
from pgcn.patchgencn.sampling import refine
from pgcn.patchgencn.trainer import Trainer
from pgcn.patchgencn.weights import PAD
from pgcn.settings import Settings

POWER = 4
"""A position's weight in the loss is the known share of its receptive field to this power: 1/16 for one half."""


def known_share(hole: Tensor) -> Tensor:
    """The share of each position's receptive field, 11 by 11 pixels, that is known; all is known beyond the border."""
    side = 2 * PAD + 1
    return F.avg_pool2d(F.pad(1 - hole, [PAD] * 4, value=1.0), side, stride=1)


class MaskedTrainer(Trainer):
    """Trains on one image `(1, C, H, W)` except for the hole, where `mask` `(1, 1, H, W)` is 1.

    Raises `ValueError` as `Trainer` does, and for a mask of another size than the image's.
    """

    def __init__(
        self,
        image: Tensor,
        mask: Tensor,
        settings: Settings,
        seed: int,
        device: str | torch.device = "cpu",
        channels: Channels | None = None,
    ) -> None:
        image, mask = check_image(image), check_mask(mask)
        if image.shape[-2:] != mask.shape[-2:]:
            raise ValueError(
                f"the mask is {mask.shape[-1]}x{mask.shape[-2]} px and the image {image.shape[-1]}x{image.shape[-2]}"
            )
        self.mask = mask.to(device)
        self._filled = 0
        super().__init__([filled(image, mask)], settings, [seed], device, None if channels is None else [channels])
        self.known = 1 - self.mask

    def begin_scale(self) -> None:
        """As `Trainer`, after the hole is filled by the scale below."""
        self._fill(self.scale)
        weights = known_share(hole_at(self.mask, self.sizes[self.scale])) ** POWER
        # The same weights for synthesized images, or the border of the hole would tell them from the observed one.
        self.positions = weights / weights.mean().clamp_min(1e-6)
        super().begin_scale()

    def observed_of(self, image: int) -> list[Tensor]:
        """As `Trainer`, with the hole filled at every scale above a trained one."""
        self._fill(min(len(self.frozen), len(self.sizes) - 1))
        return super().observed_of(image)

    def _fill(self, finest: int) -> None:
        """Fill the hole at each scale up to `finest` from the one below; also in a trainer that has loaded a state."""
        for at in range(self._filled + 1, finest + 1):
            below, size = at - 1, self.sizes[at]
            known, hole = self.observed[below], hole_at(self.mask, self.sizes[below])

            def clamp(x: Tensor, known: Tensor = known, hole: Tensor = hole) -> Tensor:
                return applied(self.rule, clamp_known(x, known, hole))

            made = refine(known, self.frozen[below], self.settings, below, ChainOptions(after=clamp))
            self.observed[at] = applied(
                self.rule, clamp_known(resize(made, size), self.observed[at], hole_at(self.mask, size))
            )
            self._filled = at
