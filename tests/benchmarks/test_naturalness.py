"""NIQE against the distributions it fits, and pictures that are worse by sight."""

import numpy as np
import pytest
import torch

from benchmarks.naturalness import asymmetric_gaussian, naturalness
from benchmarks.superres import truth_of
from pgcn.imaging.scales import resize


def test_the_fit_finds_shape_and_widths():
    draws = np.random.default_rng(0)
    shape, left, right = asymmetric_gaussian(draws.normal(0, 3, 200_000))
    assert shape == pytest.approx(2, abs=0.03)
    assert (left, right) == pytest.approx((3 * 2**0.5, 3 * 2**0.5), rel=0.02)
    shape, left, right = asymmetric_gaussian(draws.laplace(0, 3, 200_000))
    assert shape == pytest.approx(1, abs=0.03)
    halves = np.abs(draws.normal(0, 1, 200_000))
    # Mass goes with the width on each side: a third is left of zero where the right is twice as wide.
    shape, left, right = asymmetric_gaussian(np.where(draws.random(200_000) < 1 / 3, -halves, 2 * halves))
    assert shape == pytest.approx(2, abs=0.05)
    assert right / left == pytest.approx(2, rel=0.03)


def test_a_photograph_is_more_natural_than_what_was_done_to_it():
    truth = truth_of("fur")
    size = truth.shape[-2], truth.shape[-1]
    natural = naturalness(truth, "06-cat.jpg")
    small = resize(truth, (size[0] // 4, size[1] // 4))
    noise = 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    assert natural < 0.7 * naturalness(resize(small, size), "06-cat.jpg")
    assert natural < 0.7 * naturalness((truth + noise).clamp(-1, 1), "06-cat.jpg")
