"""Plain detectors that energies are compared with: sorted features of a trained network, and RX.

Each maps an image `(1, C, H, W)` in [-1, 1] to a map `(H, W)`, higher where the image is unlike the rest of itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.channels import of_tensor
from pgcn.metrics.features import vgg

WINDOW = 7
"""Side of the window whose features are sorted, in positions of the feature map."""


def rx(image: Tensor) -> Tensor:
    """Reed and Yu's detector (1990): the squared Mahalanobis distance of each pixel's spectrum from the mean."""
    pixels = image[0].flatten(1).T.double()
    pixels = pixels - pixels.mean(0)
    covariance = pixels.T @ pixels / len(pixels) + 1e-6 * torch.eye(pixels.shape[1], dtype=torch.float64)
    distances: Tensor = (pixels @ torch.linalg.inv(covariance) * pixels).sum(1)
    return distances.float().view(*image.shape[2:])


def sorted_features(image: Tensor) -> Tensor:
    """Features of a window against those of the whole image, each channel sorted, on the bundled VGG16 trunk.

    The distance of two sorted lists is that of Wasserstein in one dimension, as in feature correspondence analysis
    (Ardelean and Weyrich, WACV 2024), whose reference is the image too; without its refinements. Mean over channels,
    each in its standard deviations, of relu2_2 and relu3_3, each map in its own mean.
    """
    shown = of_tensor(image).display(image)
    maps = []
    for features in vgg(shown).values():
        distances = _windows(features / features.std((2, 3), keepdim=True).clamp_min(1e-6))
        distances = distances / distances.mean().clamp_min(1e-9)
        maps.append(F.interpolate(distances[None, None], shown.shape[2:], mode="bilinear", align_corners=False)[0, 0])
    return torch.stack(maps).mean(0)


def _windows(features: Tensor) -> Tensor:
    """The distance of each window of `features` `(1, C, h, w)` from all of them: `(h, w)`."""
    channels, (height, width) = features.shape[1], features.shape[2:]
    values = WINDOW * WINDOW
    every = features[0].flatten(1).sort(1).values
    at = ((torch.arange(values) + 0.5) / values * every.shape[1]).long()
    usual = every[:, at]
    padded = F.pad(features, [WINDOW // 2] * 4, mode="reflect")
    rows = []
    for top in range(height):
        band = F.unfold(padded[:, :, top : top + WINDOW], WINDOW)[0].view(channels, values, width)
        rows.append((band.sort(1).values - usual[:, :, None]).abs().mean((0, 1)))
    return torch.stack(rows)
