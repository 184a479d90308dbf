"""Metrics of labels in samples: undecided pixels, shares of classes, and patches of each class against the image's.

A label is relaxed one-hot channels, and the category of a pixel is its largest channel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.channels import Channels, Group
from pgcn.imaging.masks import fit
from pgcn.metrics.patch_distribution import PATCH, sliced_wasserstein

MARGIN = 1.0
"""Least difference of a decided pixel's two largest channels: half of that of a pixel that is one category alone."""

CLASSES = 16
"""Categories of a label whose patches are compared, the most frequent ones of the image."""

MOST, LEAST = 2048, 32
"""Patches that a category is compared by, at most, and at least: with fewer it has no value."""


def undecided(label: Tensor, known: Tensor | None = None) -> float:
    """Share of pixels of `label` `(1, K, H, W)` whose two largest channels differ by less than `MARGIN`.

    `known` as for `class_shares`. 0 for a label of one category.
    """
    if label.shape[1] < 2:
        return 0.0
    largest = label.topk(2, dim=1).values
    return float(((largest[:, 0] - largest[:, 1]) < MARGIN)[0][_where(label, known)].float().mean())


def class_shares(label: Tensor, known: Tensor | None = None) -> list[float]:
    """Share of pixels of each of the K categories of `label` `(1, K, H, W)`; of `known` `(1, 1, h, w)` pixels alone."""
    chosen = label.argmax(1)[0][_where(label, known)]
    return (torch.bincount(chosen, minlength=label.shape[1]).double() / max(1, len(chosen))).tolist()


def label_metrics(image: Tensor, samples: Tensor, channels: Channels, known: Tensor | None = None) -> dict[str, float]:
    """Metrics of the labels in `samples` `(n, C, h, w)` against `image` `(1, C, H, W)`, both in [-1, 1].

    - `undecided`: see `undecided`, mean over samples;
    - `class_share_error`: half the sum over categories of |share in the samples - share in the image|, in [0, 1];
    - `class_share_<c>`, `class_share_<c>_image`: share of the category c in the samples and in the image;
    - `class_patches_<c>`: sliced Wasserstein distance of the 7x7 patches around pixels of c, in all channels but
      labels, from those of the image; mean over samples. `class_patches_<c>_image`: that between the two halves of
      the image, in a checkerboard of 4 by 4 or more blocks: the distance to expect of equal patches.

    Names of a second label begin with its own and a dot. A metric without a value is left out; all are without labels.
    """
    found: dict[str, float] = {}
    labels = [(group, where) for group, where in channels.slices() if group.kind == "label"]
    plain = [at for group, where in channels.slices() if group.kind != "label" for at in _range(where)]
    for index, (group, where) in enumerate(labels):
        pixels = None if not plain else (image[:, plain], samples[:, plain])
        own = _metrics_of(group, image[:, where], samples[:, where], pixels, known)
        found |= {f"{group.name}.{name}" if index else name: value for name, value in own.items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def missing_classes(values: dict[str, float] | None, share: float = 0.005) -> list[str]:
    """Categories with at least this `share` of the image, and none of any sample, from `label_metrics`."""
    values = values or {}
    return [
        name.partition("class_share_")[2]
        for name, value in values.items()
        if "class_share_" in name and value == 0 and values.get(f"{name}_image", 0.0) >= share
    ]


def _metrics_of(
    group: Group, image: Tensor, samples: Tensor, pixels: tuple[Tensor, Tensor] | None, known: Tensor | None
) -> dict[str, float]:
    """Metrics of one label; `pixels` are the other channels of image and samples."""
    each = [class_shares(sample) for sample in samples.split(1)]
    own, drawn = class_shares(image, known), [sum(values) / len(each) for values in zip(*each, strict=True)]
    found = {
        "undecided": sum(undecided(sample) for sample in samples.split(1)) / len(samples),
        "class_share_error": sum(abs(a - b) for a, b in zip(own, drawn, strict=True)) / 2,
    }
    for category, share, original in zip(group.classes, drawn, own, strict=True):
        found |= {f"class_share_{category}": share, f"class_share_{category}_image": original}
    if pixels is not None:
        frequent = sorted(range(len(own)), key=lambda k: -own[k])[:CLASSES]
        for k in sorted(frequent):
            beat()
            distances = _class_patches(k, (image, samples), pixels, known)
            name = f"class_patches_{group.classes[k]}"
            found |= {name: distances[0], f"{name}_image": distances[1]}
    return found


def _class_patches(
    k: int, labels: tuple[Tensor, Tensor], pixels: tuple[Tensor, Tensor], known: Tensor | None
) -> tuple[float, float]:
    """Distance of the samples' patches of category k from the image's, and of the image's halves; NaN for too few."""
    where = _centres(labels[0], k, known)
    original = _patches_at(pixels[0], where)
    distances = []
    for label, sample in zip(labels[1].split(1), pixels[1].split(1), strict=True):
        drawn = _patches_at(sample, _centres(label, k, None))
        if min(len(drawn), len(original)) >= LEAST:
            distances.append(sliced_wasserstein(drawn, original))
    block = max(2 * PATCH, min(labels[0].shape[-2:]) // 4)
    odd = (where[:, 0] // block + where[:, 1] // block) % 2 == 1
    halves = [_patches_at(pixels[0], where[half]) for half in (odd, ~odd)]
    floor = sliced_wasserstein(*halves) if min(map(len, halves)) >= LEAST else math.nan
    return (sum(distances) / len(distances) if distances else math.nan), floor


def _centres(label: Tensor, k: int, known: Tensor | None) -> Tensor:
    """Corners `(n, 2)` of the patches whose middle pixel is of category k, and all of whose pixels are known."""
    margin = PATCH // 2
    chosen = label.argmax(1)[0] == k
    inner = chosen[margin : chosen.shape[0] - margin, margin : chosen.shape[1] - margin]
    if known is not None:
        unknown = fit(1 - known, (label.shape[-2], label.shape[-1]))
        inner = inner & (torch.nn.functional.max_pool2d(unknown, PATCH, stride=1)[0, 0] < 0.5)
    return inner.nonzero()


def _patches_at(image: Tensor, corners: Tensor) -> Tensor:
    """The patches `(n, C·49)` of `image` `(1, C, H, W)` at `corners` `(n, 2)`, or `MOST` fixed ones of them."""
    if len(corners) > MOST:
        generator = torch.Generator().manual_seed(0)
        corners = corners[torch.randperm(len(corners), generator=generator)[:MOST].to(corners.device)]
    step = torch.arange(PATCH, device=image.device)
    rows, columns = corners[:, 0, None] + step, corners[:, 1, None] + step
    return image[0][:, rows[:, :, None], columns[:, None, :]].permute(1, 0, 2, 3).flatten(1)


def _where(label: Tensor, known: Tensor | None) -> Tensor:
    size = label.shape[-2], label.shape[-1]
    if known is None:
        return torch.ones(size, dtype=torch.bool, device=label.device)
    return fit(1 - known, size)[0, 0] < 0.5


def _range(where: slice) -> range:
    return range(where.start, where.stop)
