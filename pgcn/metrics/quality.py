"""All metrics of samples against their image, by name: fidelity, copying and diversity belong side by side."""

from __future__ import annotations

from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.channels import RGB, Channels
from pgcn.imaging.scales import resize
from pgcn.metrics.coherence import CoherenceTo
from pgcn.metrics.copying import copying
from pgcn.metrics.frechet import FrechetTo
from pgcn.metrics.layout_diversity import layout_diversity
from pgcn.metrics.patch_distribution import known_pixels


def metrics(image: Tensor, samples: Tensor, channels: Channels = RGB, known: Tensor | None = None) -> dict[str, float]:
    """Metrics of `samples` `(n, C, h, w)` against `image` `(1, C, H, W)`, both in [-1, 1]; means over samples.

    - `frechet_vgg22`, `frechet_vgg33`: see `pgcn.metrics.frechet`; 0 is equal;
    - `coherence_<px>`, `completeness_<px>` for 32, 64, 128 and 256 px: see `pgcn.metrics.coherence`; 0 is equal;
    - `detail`: see `detail`; 1 is equal;
    - `largest_piece`, `mean_piece`, `in_place`: see `pgcn.metrics.copying`; shares of the area, 1 for a copy;
    - `layout_diversity`: see `pgcn.metrics.layout_diversity`; 0 where all samples are one picture.

    Patches and pixels are compared in all channels; the networks behind `frechet` see `channels.display`. Pixels of the
    image that are not `known` `(1, 1, H, W)` are left out. NaN where a metric has no value: a single sample has no
    diversity, an image of one colour no pieces.
    """
    distance, coherence = FrechetTo(image, channels=channels, known=known), CoherenceTo(image, known)
    each = []
    for x in samples.split(1):
        beat()
        each.append(distance(x) | coherence(x) | {"detail": detail(x, image, known)} | copying(x, image, known))
    means = {name: sum(values[name] for values in each) / len(each) for name in each[0]}
    return means | {"layout_diversity": layout_diversity(samples, image, known)}


def detail(sample: Tensor, image: Tensor, known: Tensor | None = None) -> float:
    """Strength of the finest detail of `sample` over that of `image`, both `(1, C, H, W)`, at their own size.

    The root mean square of what is lost when a picture is reduced to half its size and enlarged again, sample over
    image. Under 1 the sample is blurred; over 1 it has noise or a grid. NaN for an image without such detail.
    """
    strength = _finest(image, known)
    return _finest(sample) / strength if strength > 1e-6 else float("nan")


def _finest(x: Tensor, known: Tensor | None = None) -> float:
    height, width = x.shape[-2:]
    half = resize(x, (max(1, height // 2), max(1, width // 2)))
    return float(known_pixels(known, x - resize(half, (height, width))).square().mean().sqrt())
