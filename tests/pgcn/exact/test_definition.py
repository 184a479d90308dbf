"""The exact energy, its posterior mean and its gradient are those of the definition."""

import math

import pytest
import torch

from pgcn.exact.definition import denoised, gradient, log_density, posterior_mean

T = 0.4


def picture(seed, height=9, width=10):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64) * 2 - 1


def mirrored(at, size):
    at = abs(at)
    return at if at < size else 2 * size - 2 - at


def slow_patch(x, y, c, side):
    h, w = x.shape[2:]
    half = side // 2
    steps = range(-half, half + 1)
    return torch.stack(
        [
            torch.stack([x[0, ch, mirrored(y + dy, h), mirrored(c + dx, w)] for dy in steps for dx in steps])
            for ch in range(3)
        ]
    ).flatten()


def slow(y, image, side):
    """f_t and E[p | q] at every position, one pair of patches after the other."""
    keys = [slow_patch(image, i, j, side) for i in range(image.shape[2]) for j in range(image.shape[3])]
    densities, means = [], []
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            q = slow_patch(y, i, j, side)
            logits = [-float((q - (1 - T) * p).square().sum()) / (2 * T * T) for p in keys]
            top = max(logits)
            weights = [math.exp(v - top) for v in logits]
            densities.append(top + math.log(sum(weights)))
            means.append(sum(w * p for w, p in zip(weights, keys, strict=True)) / sum(weights))
    return torch.tensor(densities, dtype=torch.float64).view(y.shape[2:]), torch.stack(means)


def test_density_and_posterior_mean_are_those_of_a_slow_loop():
    y, image = picture(0, 6, 5), picture(1, 7, 6)
    density, mean = slow(y, image, 5)
    torch.testing.assert_close(log_density(y, image, T, 5), density)
    torch.testing.assert_close(posterior_mean(y, image, T, 5), mean)


def test_gradient_is_that_of_finite_differences():
    y, image = picture(2), picture(3)
    found = gradient(y, image, T, 5)
    for at in [(0, 0, 0), (1, 4, 5), (2, 8, 9)]:
        moved = torch.zeros_like(y)
        moved[(0, *at)] = 1e-5
        slope = (log_density(y + moved, image, T, 5) - log_density(y - moved, image, T, 5)).sum() / 2e-5
        assert float(found[(0, *at)]) == pytest.approx(float(slope), rel=1e-4, abs=1e-6)


def test_image_itself_comes_back_from_a_little_noise():
    image = picture(4, 20, 24)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    estimate = denoised(0.9 * image + 0.1 * noise, image, 0.1, 7)
    assert float((estimate - image).abs().max()) < 1e-6
    assert float((denoised(0.9 * image + 0.1 * noise, image, 0.1, 7, spread=0.2) - image).abs().max()) < 1e-6
