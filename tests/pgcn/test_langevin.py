"""Langevin dynamics against the law it is made for."""

import math

import pytest
import torch

from pgcn.imaging.noise import normal_batch, normal_each
from pgcn.patchgencn.langevin import langevin
from pgcn.settings import Step, make_settings


def gaussian(mean, std):
    """∇f of f = -(x - mean)² / 2 std²."""
    return lambda x: -(x - mean) / std**2


def test_reaches_the_mean_and_variance_of_a_gaussian_energy():
    """20,000 independent chains of f = -(x - m)² / 2s².

    The discrete chain is an AR(1) process, x' - m = a (x - m) + δε with a = 1 - δ²/2s², whose stationary
    variance is δ² / (1 - a²): s² (1 + O(δ²)). Limits are 4.4 standard errors of mean and of variance: a false
    alarm in 1e-5 runs of either.
    """
    mean, std, step, chains = 0.2, 0.1, 0.001, 20_000
    start = torch.empty(chains, 1).uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    end = langevin(
        start,
        gaussian(mean, std),
        [Step(step, math.sqrt(step))] * 400,
        normal_batch([torch.Generator().manual_seed(2)]),
    )
    a = 1 - step / (2 * std**2)
    variance = step / (1 - a**2)
    assert abs(variance / std**2 - 1) < 0.03
    assert abs(float(end.mean()) - mean) < 4.4 * math.sqrt(variance / chains)
    assert abs(float(end.var()) / variance - 1) < 4.4 * math.sqrt(2 / chains)


def test_one_step_is_the_formula():
    x = torch.tensor([0.1, -0.4, 0.99])
    noise = torch.tensor([0.3, -1.0, 2.0])
    end = langevin(x, gaussian(0.0, 1.0), [Step(0.01, 0.1)], lambda _: noise)
    expected = (x + 0.5 * 0.01 * -x + 0.1 * noise).clamp(-1, 1)
    torch.testing.assert_close(end, expected)
    assert end[2] == 1.0, "states stay in [-1, 1]"


def test_without_noise_nothing_is_drawn_and_the_end_is_a_function_of_the_start():
    def draw(_):
        raise AssertionError("noise was drawn")

    end = langevin(torch.zeros(3), gaussian(0.5, 0.5), [Step(0.1, 0.0)] * 200, draw)
    torch.testing.assert_close(end, torch.full((3,), 0.5), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("fall", "settles"), [(0.0, False), (0.9, True)])
def test_falling_steps_settle_on_a_ridge_that_equal_ones_jump_over(fall, settles):
    """f = -½cx² with ½δ²c = 2.5: equal steps multiply x by -1.5 until it jumps between the bounds."""
    settings = make_settings("paper", {"step_size": 0.3, "step_decay": fall})
    ridge = gaussian(0.0, math.sqrt(0.15 / 2.5))
    end = langevin(torch.tensor([0.3, -0.01]), ridge, settings.chain(10, 0.0), torch.zeros_like)
    assert bool((end.abs() < 0.1).all()) == settles
    assert bool((end.abs() > 0.5).all()) != settles


def test_noise_rules():
    paper = make_settings("paper")
    for iteration, sigma in [(0, 0.01), (500, 0.005), (1000, 0.0), (3999, 0.0)]:
        assert paper.sigma(iteration, scale=3) == pytest.approx(sigma)
    assert paper.frozen_sigma() == 0.0
    equation = make_settings("paper", {"noise": "langevin"})
    assert equation.sigma(0, 0) == equation.sigma(3999, 7) == equation.frozen_sigma() == pytest.approx(0.1)


def test_an_images_noise_does_not_depend_on_its_neighbours():
    def generators(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    alone = normal_each(generators(7))(torch.zeros(1, 3, 4, 4))
    among = normal_each(generators(5, 7))(torch.zeros(2, 3, 4, 4))
    assert torch.equal(alone[0], among[1])
    assert not torch.equal(among[0], among[1])
