"""Transfer of colours from one image to another: palettes, means and covariances."""

from __future__ import annotations

import torch
from torch import Tensor


def palette(image: Tensor, count: int, seed: int = 0, rounds: int = 20) -> Tensor:
    """`count` representative colours of an image, `(count, C)`: k-means, started with k-means++ (Arthur, 2007)."""
    pixels = image[0].flatten(1).T
    generator = torch.Generator().manual_seed(seed)
    centres = pixels[torch.randint(len(pixels), (1,), generator=generator)]
    while len(centres) < count:
        nearest = torch.cdist(pixels, centres).amin(1).square().cpu() + 1e-12
        centres = torch.cat([centres, pixels[torch.multinomial(nearest, 1, generator=generator)]])
    for _ in range(rounds):
        own = torch.cdist(pixels, centres).argmin(1)
        centres = torch.stack(
            [pixels[own == k].mean(0) if bool((own == k).any()) else centres[k] for k in range(len(centres))]
        )
    return centres


def in_palette(image: Tensor, colours: Tensor) -> Tensor:
    """`image` `(1, C, H, W)` with each pixel replaced by the nearest of `colours` `(k, C)`."""
    pixels = image[0].flatten(1).T
    nearest = colours[torch.cdist(pixels, colours).argmin(1)]
    return nearest.T.view(image.shape)


def with_moments(image: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """`image` with the mean and covariance of `reference`'s colours: the Monge map between Gaussians (Pitié, 2007).

    The map is computed from the image's colours on `mask` `(1, 1, H, W)`, if one is given.
    """
    every = image[0].flatten(1).double()
    x = every if mask is None else every[:, mask.flatten() > 0]
    y = reference[0].flatten(1).double()
    mean_x, mean_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    eye = 1e-6 * torch.eye(len(x), dtype=x.dtype, device=x.device)
    root = _power((x - mean_x) @ (x - mean_x).T / x.shape[1] + eye, 0.5)
    back = _power((x - mean_x) @ (x - mean_x).T / x.shape[1] + eye, -0.5)
    cov_y = (y - mean_y) @ (y - mean_y).T / y.shape[1] + eye
    transport = back @ _power(root @ cov_y @ root, 0.5) @ back
    return (transport @ (every - mean_x) + mean_y).clamp(-1, 1).view(image.shape).to(image)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    power: Tensor = (vectors * values.clamp_min(1e-12) ** exponent) @ vectors.T
    return power
