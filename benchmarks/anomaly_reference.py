"""The exact energy of clean images' patches as a detector, for folders that have clean images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.anomaly.crossfit import FLAT, CrossFit, PatchBank, map_sizes, patch_bank, scale_energies
from pgcn.anomaly.tail import Tail
from pgcn.exact.patches import Patches, bordered, patches_of
from pgcn.imaging.scales import Size, resize

JUDGED = 4
"""Clean images whose energies give the tail."""


class Reference:
    """Maps of images by the patches of `clean` ones `(1, C, H, W)`, in decades of the tail of clean energies."""

    def __init__(self, clean: Sequence[Tensor], settings: CrossFit | None = None) -> None:
        self.clean, self.settings = list(clean), settings or CrossFit(keys=16_384)

    @cached_property
    def _scales(self) -> list[tuple[Patches, PatchBank, Tail]]:
        made = []
        for size in self._sizes(self.clean[0]):
            images = [resize(one, size) for one in self.clean]
            patches = patches_of(images[0], self.settings.patch, self.settings.components)
            keys = [_keys(patches, image) for image in images]
            made.append((patches, patch_bank(keys, self.settings), Tail.of(self._usual(images, keys), FLAT)))
        return made

    def _usual(self, images: Sequence[Tensor], keys: Sequence[Tensor]) -> Tensor:
        """Energies of some clean images by the others; of a single one, by its other parts."""
        if len(images) == 1:
            where = torch.ones(images[0].shape[2:], dtype=torch.bool)
            return scale_energies(images[0], where, self.settings).flatten()
        some = range(min(JUDGED, len(images)))
        others = ([key for j, key in enumerate(keys) if j != i] for i in some)
        return torch.cat(
            [patch_bank(rest, self.settings).energy(keys[i]) for i, rest in zip(some, others, strict=True)]
        )

    def _sizes(self, image: Tensor) -> list[Size]:
        return list(map_sizes((image.shape[-2], image.shape[-1]), self.settings))

    def __call__(self, image: Tensor) -> Tensor:
        """The map of `image` `(1, C, H, W)`: `(h, w)`."""
        sizes = self._sizes(image)
        total = torch.zeros(1, 1, *sizes[0])
        for size, (patches, bank, tail) in zip(sizes, self._scales, strict=False):
            decades = tail.decades(bank.energy(_keys(patches, resize(image, size)))).view(1, 1, *size)
            total += F.interpolate(decades, sizes[0], mode="bilinear", align_corners=False) / len(sizes)
        return total[0, 0]


def _keys(patches: Patches, image: Tensor) -> Tensor:
    return patches.queries(bordered(image, patches.patch // 2), 1.0)
