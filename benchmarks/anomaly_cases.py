"""Made anomalies: bundled textures with one defect each at a known place, and an image of five bands.

Bricks and gravel are gray, of one channel; wood has colour. Images are `(1, C, SIDE, SIDE)` in [-1, 1], masks
`(SIDE, SIDE)`. A contrast of 1 is half of the range from black to white; of a foreign piece, its opacity; of a cut, the
distance that one side moves, in units of 8 px.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.pictures import photograph
from pgcn.metrics.pictures import gray

SIDE = 112
TEXTURES = ("01-bricks.jpg", "03-wood.jpg", "04-gravel.jpg")
GOOD = 3
"""Images without a defect of each texture: other crops, mirrored at random."""

CONTRASTS: dict[str, tuple[float, ...]] = {
    "scratch": (0.25, 0.5, 1.0),
    "blob": (0.15, 0.3, 0.6),
    "stain": (0.08, 0.16, 0.32),
}
CONTRASTS |= {"cut": (0.5, 1.0), "foreign": (0.5, 1.0)}
BANDS, BAND_CONTRASTS = 5, (0.1, 0.2)


@dataclass(frozen=True, eq=False)
class Case:
    """One test image with `label` `(H, W)`, which numbers its true regions from 0, -1 elsewhere; "good" has none."""

    kind: str
    contrast: float
    image: Tensor
    label: Tensor


@dataclass(frozen=True, eq=False)
class Category:
    """Images of one texture: `train` ones without a defect, and test cases."""

    name: str
    train: list[Tensor] = field(default_factory=list)
    test: list[Case] = field(default_factory=list)


Defect = Callable[[Tensor, float, torch.Generator], tuple[Tensor, Tensor]]


def categories() -> list[Category]:
    """All cases of the benchmark; the same ones in every call."""
    generator = torch.Generator().manual_seed(1)
    made = [_texture(name, generator) for name in TEXTURES]
    return [*made, _bands(generator)]


def _texture(name: str, generator: torch.Generator) -> Category:
    whole = _native(photograph(name))
    found = Category(name[3:].removesuffix(".jpg"))
    found.train.append(_crop(whole, generator))
    found.test.extend(_good(_crop(whole, generator)) for _ in range(GOOD))
    for kind, contrasts in CONTRASTS.items():
        for contrast in contrasts:
            image, mask = DEFECTS[kind](_crop(whole, generator), contrast, generator)
            found.test.append(Case(kind, contrast, image, mask.long() - 1))
    return found


def _native(image: Tensor) -> Tensor:
    """One channel where all are equal, as in files of gray images."""
    return image[:, :1] if torch.equal(image[:, :1].expand_as(image), image) else image


def _bands(generator: torch.Generator) -> Category:
    """Five bands, smooth mixtures of the colours of a photograph of many materials, each with a little noise."""
    whole = photograph("07-coffee.jpg")
    mixtures = torch.rand(BANDS, 3, generator=generator)
    bands = torch.einsum("bc,nchw->nbhw", mixtures / mixtures.sum(1, keepdim=True), whole)
    bands = (bands + 0.03 * torch.randn(bands.shape, generator=generator)).clamp(-1, 1)
    found = Category("5 bands", [_crop(bands, generator)], [_good(_crop(bands, generator)) for _ in range(GOOD)])
    for contrast in BAND_CONTRASTS:
        for band in (1, 3):
            image, mask = _crop(bands, generator), _disc(0.07, generator)
            image[:, band] = (image[:, band] + 2 * contrast * mask).clamp(-1, 1)
            found.test.append(Case("one band", contrast, image, mask.long() - 1))
    return found


def _good(image: Tensor) -> Case:
    return Case("good", 0.0, image, torch.full((SIDE, SIDE), -1))


def _crop(whole: Tensor, generator: torch.Generator) -> Tensor:
    top, left = (int(torch.randint(side - SIDE + 1, (1,), generator=generator)) for side in whole.shape[-2:])
    crop = whole[..., top : top + SIDE, left : left + SIDE].clone()
    return crop.flip(-1) if bool(torch.rand(1, generator=generator) < 0.5) else crop


def _place(generator: torch.Generator, margin: float = 0.25) -> tuple[Tensor, Tensor]:
    """Rows and columns, in sides of the image, from a random centre."""
    at = (torch.arange(SIDE) + 0.5) / SIDE
    y, x = (torch.rand(2, generator=generator) * (1 - 2 * margin) + margin).tolist()
    return (at - y)[:, None].expand(SIDE, SIDE), (at - x).expand(SIDE, SIDE)


def _disc(radius: float, generator: torch.Generator) -> Tensor:
    y, x = _place(generator)
    return (y.square() + x.square() < radius**2).float()


def _scratch(image: Tensor, contrast: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A bright curve of two pixels."""
    y, x = _place(generator, 0.35)
    angle = float(torch.rand(1, generator=generator)) * math.pi
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    mask = (((across + 0.2 * along.square()).abs() < 1 / SIDE) & (along.abs() < 0.25)).float()
    return (image + 2 * contrast * mask).clamp(-1, 1), mask


def _blob(image: Tensor, contrast: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A dark disc with a hard edge."""
    mask = _disc(0.05, generator)
    return (image - 2 * contrast * mask).clamp(-1, 1), mask


def _stain(image: Tensor, contrast: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A soft tint, at no place stronger than the contrast."""
    y, x = _place(generator)
    strength = (1 - (y.square() + x.square()) / 0.12**2).clamp_min(0).sqrt()
    tint = torch.tensor([0.2, -0.4, -1.0] if image.shape[1] == 3 else [-1.0]).view(1, -1, 1, 1)
    return (image + 2 * contrast * strength * tint).clamp(-1, 1), (strength > 0).float()


def _cut(image: Tensor, contrast: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two sides of a straight cut that have moved along it; the mask is the cut."""
    _, x = _place(generator, 0.35)
    y, _ = _place(generator, 0.5)
    moved = image.roll(round(8 * contrast), 2)
    left, beside = (x < 0) & (y.abs() < 0.25), (x.abs() < 2 / SIDE) & (y.abs() < 0.25)
    return torch.where(left, moved, image), beside.float()


def _foreign(image: Tensor, contrast: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A square of another photograph."""
    y, x = _place(generator)
    mask = ((y.abs() < 0.07) & (x.abs() < 0.07)).float()
    other = _crop(photograph("06-cat.jpg"), generator)
    other = other if image.shape[1] == 3 else gray(other)
    return image + contrast * mask * (other - image), mask


DEFECTS: dict[str, Defect] = {"scratch": _scratch, "blob": _blob, "stain": _stain, "cut": _cut, "foreign": _foreign}
