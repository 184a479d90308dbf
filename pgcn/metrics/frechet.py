"""Fréchet distance of deep features over all positions of two single images.

The idea is that of SIFID (Shaham et al., "SinGAN", ICCV 2019), which takes other features: figures are not comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.channels import RGB, Channels
from pgcn.imaging.scales import resize
from pgcn.metrics.features import LAYERS, random_features, vgg

FEATURE_PIXELS = 320 * 320
"""Larger images are reduced to as many pixels: half a second of one core a sample, whatever the image's size."""


class FrechetTo:
    """Distances of samples to one image `(1, C, H, W)` in [-1, 1], whose statistics are taken once.

    An image of more than 102,400 pixels is reduced to as many, and samples by the same factor: what only the finest
    pixels show does not count then (`pgcn.metrics.quality.detail` measures that). `random` adds `frechet_random`, of
    convolutions that were never trained: a check of the other two, which they agree with. Other `layers` of the trunk,
    such as "1_2", take the place of the two.

    The networks see images of other channels than RGB as `Channels.display` shows them. Positions whose pixels are not
    all `known` `(1, 1, H, W)` count in no statistics of the image, where enough others do.
    """

    def __init__(
        self,
        image: Tensor,
        *,
        random: bool = False,
        channels: Channels = RGB,
        known: Tensor | None = None,
        layers: Sequence[str] = LAYERS,
    ) -> None:
        self._random, self._channels, self._layers = random, channels, layers
        self._factor = min(1.0, (FEATURE_PIXELS / (image.shape[-2] * image.shape[-1])) ** 0.5)
        image = self._reduced(image)
        self._image = {name: _statistics(features, known) for name, features in self._features(image)}
        self._roots = {name: root(covariance) for name, (_, covariance) in self._image.items()}

    def __call__(self, sample: Tensor) -> dict[str, float]:
        """`frechet_vgg22` and `frechet_vgg33` of a sample `(1, C, H, W)`, of any size: 0 is equal."""
        return {
            f"frechet_{name}": relative_distance(_statistics(features), self._image[name], self._roots[name])
            for name, features in self._features(self._reduced(sample))
        }

    def _features(self, image: Tensor) -> Iterable[tuple[str, Tensor]]:
        image = self._channels.display(image)
        return [*vgg(image, self._layers).items(), *(random_features(image).items() if self._random else ())]

    def _reduced(self, x: Tensor) -> Tensor:
        height, width = (max(1, round(side * self._factor)) for side in x.shape[-2:])
        return resize(x, (height, width))


Statistics = tuple[Tensor, Tensor]
"""Mean `(d,)` and covariance `(d, d)`, float64, on the CPU: a GPU takes longer for eigenvalues of so few numbers."""


def root(covariance: Tensor) -> Tensor:
    """Σ^½ of a symmetric Σ `(d, d)` without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(covariance)
    found: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return found


def relative_distance(a: Statistics, b: Statistics, root_b: Tensor | None = None) -> float:
    """d²(a, b) / tr Σ_b: squared Fréchet distance in units of the second's total variance.

    d² = |μ_a - μ_b|² + tr(Σ_a + Σ_b - 2(Σ_aΣ_b)^½) between Gaussians (Dowson and Landau, 1982). The last trace
    is the sum of the roots of the eigenvalues of Σ_b^½ Σ_a Σ_b^½, which is symmetric, and so stable. NaN where
    the second has no variance: an image of one colour. `root_b` is Σ_b^½ where that is known.
    """
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    if root_b is None:
        root_b = root(cov_b)
    cross = torch.linalg.eigvalsh(root_b @ cov_a @ root_b).clamp_min(0).sqrt().sum()
    squared = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return float(squared.clamp_min(0) / cov_b.trace()) if cov_b.trace() > 1e-12 else float("nan")


LEAST_KNOWN = 64
"""Positions of a feature map that are wholly known, from which on the others are left out."""


def _statistics(features: Tensor, known: Tensor | None = None) -> Statistics:
    """Over the positions of one feature map `(1, d, h, w)`, those with known pixels alone where there are enough."""
    rows = features[0].flatten(1).T.double()
    if known is not None:
        whole = -F.adaptive_max_pool2d(-known, (features.shape[-2], features.shape[-1]))
        usable = whole.flatten() > 0.5
        rows = rows[usable] if int(usable.sum()) >= LEAST_KNOWN else rows
    mean = rows.mean(0)
    centred = rows - mean
    return mean.cpu(), (centred.T @ centred / len(rows)).cpu()
