"""Fréchet distances of deep features: against the formula, and on made cases."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pgcn.imaging.scales import resize
from pgcn.metrics.features import random_features, vgg
from pgcn.metrics.frechet import FrechetTo, relative_distance

IMAGES = Path(__file__).parents[2] / "examples" / "images"


def photograph(name, size=(48, 64)):
    rgb = np.array(Image.open(IMAGES / name).convert("RGB"))
    return resize(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 127.5 - 1, size)


def test_distance_of_gaussians_is_the_formula():
    """For commuting covariances, tr(Σa + Σb - 2(ΣaΣb)^½) is Σ(√a - √b)² over their eigenvalues."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    a, b = (torch.rand(6, generator=generator, dtype=torch.float64) for _ in range(2))
    mean = torch.randn(6, generator=generator, dtype=torch.float64)
    found = relative_distance((mean, basis * a @ basis.T), (torch.zeros_like(mean), basis * b @ basis.T))
    expected = (mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum()) / b.sum()
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_distance_where_covariances_do_not_commute():
    generator = torch.Generator().manual_seed(1)
    roots = [torch.randn(5, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    cov_a, cov_b = (root @ root.T for root in roots)
    values = torch.linalg.eigvals(cov_a @ cov_b).real.sqrt().sum()
    zero = torch.zeros(5, dtype=torch.float64)
    expected = (cov_a.trace() + cov_b.trace() - 2 * values) / cov_b.trace()
    assert relative_distance((zero, cov_a), (zero, cov_b)) == pytest.approx(float(expected), rel=1e-6)


def test_features_have_their_layers_sizes_and_are_trained_ones():
    image = photograph("07-coffee.jpg", (30, 41))
    features = vgg(image)
    assert features["vgg22"].shape == (1, 128, 15, 21)
    assert features["vgg33"].shape == (1, 256, 8, 11)
    assert random_features(image)["random"].shape == (1, 128, 8, 11)
    # BGR and its mean matter: a trunk that is fed RGB sees another picture.
    assert not torch.allclose(vgg(image.flip(1))["vgg33"], features["vgg33"], rtol=0.1)


@pytest.mark.parametrize("name", ["frechet_vgg22", "frechet_vgg33", "frechet_random"])
@pytest.mark.parametrize("photo", ["01-bricks.jpg", "02-launch.jpg"])
def test_made_cases_are_ordered(name, photo):
    image = photograph(photo)
    distance = FrechetTo(image, random=True)
    generator = torch.Generator().manual_seed(0)
    mean, std = image.mean((2, 3), keepdim=True), image.std((2, 3), keepdim=True)
    noise = (mean + std * torch.randn(image.shape, generator=generator)).clamp(-1, 1)
    blurred = resize(resize(image, (12, 16)), (48, 64))
    same, shifted, blur, far = (distance(x)[name] for x in (image, image.roll(7, 3), blurred, noise))
    assert same == pytest.approx(0, abs=1e-6)
    assert same < shifted < blur
    assert shifted < far


def test_tiny_images_have_distances():
    distance = FrechetTo(torch.rand(1, 3, 3, 5) * 2 - 1)
    assert all(value >= 0 for value in distance(torch.rand(1, 3, 1, 2) * 2 - 1).values())


def test_an_image_of_one_colour_has_no_unit_of_distance():
    distance = FrechetTo(torch.zeros(1, 3, 20, 20), random=True)
    assert np.isnan(distance(torch.rand(1, 3, 20, 20))["frechet_random"])


def test_other_layers_of_the_trunk():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 24, 24) * 2 - 1
    found = FrechetTo(image, layers=("1_2", "3_3"))(image.flip(2) * 0.5)
    assert set(found) == {"frechet_vgg12", "frechet_vgg33"}
    assert found["frechet_vgg33"] == pytest.approx(FrechetTo(image)(image.flip(2) * 0.5)["frechet_vgg33"])
    shallow = vgg(image, ("1_2",))["vgg12"]
    assert shallow.shape == (1, 64, 24, 24)
    assert shallow.min() == 0
