"""Do sampled pairs help? A small segmentation net learns from one annotated piece of a photograph, with and without.

`python -m benchmarks.labels` prints a table; `--picture FILE` also draws the pieces, labels and samples. Two minutes of
a core.

The label is made: the fifth of all pixels that is brightest (mortar between bricks) or darkest (vessels) beside its
surroundings, 41 by 41 pixels. A piece of 64 px of the photograph at 192 px is the one annotated image; the rest, under
noise, is the test. Both nets have the same iterations on random crops of 32 px, mirrored and under noise; the second
one takes half of them from samples of the pyramid of the piece with its label.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pgcn
from benchmarks.pictures import photograph, strip
from benchmarks.trained import markdown
from pgcn.imaging.channels import RGB, Channels, Group, Image
from pgcn.imaging.masks import blur
from pgcn.metrics.labels import label_metrics

SIDE, PIECE, CROP = 192, 64, 32
"""Longest side of the photograph, sides of the annotated piece and of training crops, px."""

NOISE = 0.2
"""Std of the noise on all inputs of the nets, in [-1, 1]."""

SAMPLES, ITERATIONS, BATCH, SEEDS = 8, 150, 8, 6

SHARES = {"01-bricks.jpg": -0.2, "08-vessels.jpg": 0.2}
"""Share of pixels of class 1: the darkest ones beside their surroundings, or (negative) the brightest."""

LABEL = Group("label", "label", "uint8", 0, 1, None, (0, 1))
CHANNELS = Channels((*RGB.groups, LABEL))


class Annotated(NamedTuple):
    """An image `(1, 3, H, W)` in [-1, 1] and its label `(1, 1, H, W)` of 0 and 1."""

    image: Tensor
    label: Tensor

    def piece(self, left: int, right: int | None = None) -> Annotated:
        """The columns from `left` to `right`, the rows up to `PIECE`."""
        return Annotated(self.image[..., :PIECE, left:right], self.label[..., :PIECE, left:right])


def annotated(name: str) -> Annotated:
    """A bundled photograph with its made label."""
    image, share = photograph(name, SIDE), SHARES[name]
    gray = image.mean(1, keepdim=True)
    level = (blur(gray, 1) - blur(gray, 10)) * (1 if share > 0 else -1)
    return Annotated(image, (level < level.flatten().quantile(abs(share))).float())


def sampled(piece: Annotated) -> tuple[list[Annotated], dict[str, float]]:
    """Pairs from the pyramid of an annotated piece, and the metrics of their labels."""
    whole = torch.cat([piece.image, LABEL.encode(piece.label)], dim=1)
    pyramid = pgcn.fit(Image(whole, CHANNELS), settings=pgcn.make_settings("draft", {"novelty": "new"}))
    samples = pyramid.sample(SAMPLES)
    values = LABEL.decode(samples[:, 3:]).float()
    pairs = [Annotated(x[None, :3], y[None]) for x, y in zip(samples, values, strict=True)]
    return pairs, label_metrics(whole, samples, CHANNELS)


def net() -> nn.Module:
    """Four convolutions that see 17 by 17 pixels, 7,442 parameters."""
    layers: list[nn.Module] = []
    for channels, reach in ((3, 1), (16, 2), (16, 4), (16, 1)):
        layers += [nn.Conv2d(channels, 16, 3, padding=reach, dilation=reach), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(16, 2, 1))


def crop(pair: Annotated, generator: torch.Generator) -> Tensor:
    """A random crop, mirrored at random: `(4, CROP, CROP)`, the label last."""
    whole = torch.cat([pair.image, pair.label], dim=1)[0]
    top, left = (int(torch.randint(side - CROP + 1, (1,), generator=generator)) for side in whole.shape[-2:])
    part = whole[:, top : top + CROP, left : left + CROP]
    for axis in (-1, -2):
        part = part.flip(axis) if float(torch.rand((), generator=generator)) < 0.5 else part
    return part


def trained(piece: Annotated, pairs: Sequence[Annotated], seed: int) -> nn.Module:
    """A net after `ITERATIONS` on crops of the piece; of the pairs every second one, where there are some."""
    torch.manual_seed(seed)
    generator, model = torch.Generator().manual_seed(seed), net()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(ITERATIONS):
        drawn = [
            pairs[int(torch.randint(len(pairs), (1,), generator=generator))] if pairs and index % 2 else piece
            for index in range(BATCH)
        ]
        crops = torch.stack([crop(pair, generator) for pair in drawn])
        noisy = crops[:, :3] + NOISE * torch.randn(crops[:, :3].shape, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(noisy), crops[:, 3].long()).backward()
        optimizer.step()
    return model


def overlap(model: nn.Module, test: Annotated) -> float:
    """Intersection over union of class 1 on the test image, under noise: 1 is perfect."""
    noise = NOISE * torch.randn(test.image.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = model(test.image + noise).argmax(1, keepdim=True) == 1
    given = test.label == 1
    return float((found & given).sum() / (found | given).sum())


class Result(NamedTuple):
    """Of one photograph: a row of the table, the gain in IoU, and the pairs to look at, the annotated piece first."""

    cells: list[str]
    gain: float
    pairs: list[Annotated]


def compared(name: str) -> Result:
    """Both nets on one photograph, over all seeds."""
    whole = annotated(name)
    piece, test = whole.piece(0, PIECE), Annotated(whole.image[..., PIECE:], whole.label[..., PIECE:])
    pairs, metrics = sampled(piece)
    scores = [
        torch.tensor([overlap(trained(piece, given, seed), test) for seed in range(SEEDS)]) for given in ([], pairs)
    ]
    values = [f"{score.mean():.3f} ± {score.std():.3f}" for score in scores]
    facts = [f"{metrics[key]:.3f}" for key in ("undecided", "class_share_1_image", "class_share_1")]
    return Result([name, *values, *facts], float(scores[1].mean() - scores[0].mean()), [piece, *pairs[:4]])


def table(picture: Path | None = None) -> tuple[str, dict[str, float]]:
    """Markdown with a row for each photograph, and the mean gain in IoU."""
    results = [compared(name) for name in SHARES]
    if picture is not None:
        draw([result.pairs for result in results], picture)
    columns = ["image", "IoU, piece alone", "IoU, with samples", "undecided", "share, image", "share, samples"]
    gain = sum(result.gain for result in results) / len(results)
    return markdown(columns, [result.cells for result in results]), {"gain": gain}


def draw(rows: Sequence[Sequence[Annotated]], picture: Path) -> None:
    """A row of pairs for each photograph as one image file, at twice their size."""
    strips = [
        strip([x for pair in pairs for x in (pair.image, (pair.label * 2 - 1).expand(-1, 3, -1, -1))], 2 * PIECE)
        for pairs in rows
    ]
    sheet = PIL.Image.new("RGB", (strips[0].width, sum(one.height + 4 for one in strips) - 4), "white")
    top = 0
    for one in strips:
        sheet.paste(one, (0, top))
        top += one.height + 4
    sheet.save(picture, quality=70)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, help="an image file with the pieces and samples")
    torch.set_num_threads(1)
    print(table(parser.parse_args().picture)[0])
