"""Winograd's convolutions against the plain energy in float64."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import pgcn
from pgcn.patchgencn.energy import EnergyNet, energies, energy_gradient, pad
from pgcn.patchgencn.langevin import langevin
from pgcn.patchgencn.trainer import Trainer
from pgcn.patchgencn.winograd import WinogradGradient
from pgcn.settings import Step

CASES = [(False, 3, 1, (12, 18)), (False, 3, 2, (32, 23)), (True, 4, 2, (9, 14)), (False, 1, 3, (5, 7))]
"""Width of the net, channels of the images, their number and size."""


def weights_of(wide=False, inputs=3):
    net = EnergyNet(wide=wide, generators=[torch.Generator().manual_seed(0)], inputs=inputs)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for bias in net.biases:
            bias.copy_(0.1 * torch.randn(bias.shape, generator=generator))
    return net.weights()


def states(count, inputs, size):
    return pad(torch.rand(count, inputs, *size, generator=torch.Generator().manual_seed(2)) * 2 - 1)


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("wide", "inputs", "count", "size"), CASES)
def test_gradients_are_those_of_float64_to_the_rounding_of_float32(wide, inputs, count, size):
    weights, x = weights_of(wide, inputs), states(count, inputs, size)
    exact, gradient = weights.to(torch.float64), energy_gradient(weights)
    assert isinstance(gradient, WinogradGradient)
    for _ in range(2):  # the second time in the same buffers
        assert error(gradient(x), energy_gradient(exact)(x.double())) < 3e-6
    coefficients = torch.tensor([1.0, -1.5, 0.25])[:count]
    f, by_weights = energies(x, coefficients, weights)
    expected_f, expected = energies(x.double(), coefficients.double(), exact)
    torch.testing.assert_close(f.double(), expected_f, rtol=1e-5, atol=1e-6)
    for found, of in zip(by_weights, expected, strict=True):
        for one, other in zip(found, of, strict=True):
            assert one.shape == other.shape
            assert float((one - other).norm()) < 1e-5 * float(other.norm()) + 1e-6


def test_a_chain_is_that_of_the_plain_gradient_with_its_noise_and_bounds():
    weights, x = weights_of(), states(2, 3, (12, 18))
    steps = [Step(size, 0.1 * size**0.5) for size in (1.5, 0.8, 0.1)]
    noise = torch.randn(3, *x.shape, generator=torch.Generator().manual_seed(3))
    ends = []
    for number in (torch.float32, torch.float64):
        of_step = iter(noise.to(number))
        gradient = energy_gradient(weights.to(number))
        ends.append(langevin(x.to(number), gradient, steps, lambda _, of_step=of_step: next(of_step)))
    torch.testing.assert_close(ends[0].double(), ends[1], rtol=0, atol=2e-6)
    assert float(ends[0].abs().max()) == 1


def test_other_weights_in_the_buffers_of_the_former_ones():
    x, first, second = states(1, 3, (8, 9)), weights_of(), weights_of()
    second.kernels[1].mul_(2)
    second.kernels[4].neg_()
    former = energy_gradient(first)
    former(x)
    gradient = energy_gradient(second, former=former)
    assert gradient is former
    assert torch.equal(gradient(x), energy_gradient(second)(x))


def test_what_is_not_a_number_stays_none():
    weights, x = weights_of(), states(1, 3, (8, 9))
    weights.kernels[2][0, 0] = float("nan")
    assert torch.isnan(langevin(x, energy_gradient(weights), [Step(0.1, 0.0)] * 2, torch.zeros_like)).any()


def test_a_training_is_the_plain_one_to_rounding(monkeypatch):
    settings = {"max_size": 20, "min_size": 12, "scales": 2, "iterations": 4, "warm_up": 4, "learning_rate": 1e-4}
    image = states(1, 3, (5, 10))
    frozen = []
    for plain in ("", "1"):
        monkeypatch.setenv("PGCN_PLAIN", plain)
        trainer = Trainer([image], pgcn.make_settings("draft", settings), [0])
        for _ in trainer.iterations():
            pass
        frozen.append(trainer.frozen)
    for one, other in zip(*frozen, strict=True):
        for a, b in zip(one.kernels, other.kernels, strict=True):
            assert error(a, b) < 1e-3


def test_a_copy_and_a_use_in_inference_mode_change_no_value():
    gradient, x = energy_gradient(weights_of()), states(1, 3, (8, 9))
    expected = energy_gradient(weights_of())(0.3 * x)
    with torch.inference_mode():
        gradient(x)
    assert torch.equal(gradient(0.3 * x), expected)
    assert torch.equal(copy.deepcopy(gradient)(0.3 * x), expected)


def test_threads_take_turns():
    gradient, pictures = energy_gradient(weights_of()), [states(1, 3, (30, 40)) * scale for scale in (1, 0.5)]
    expected = [gradient(x) for x in pictures]

    def equal(which):
        return all(torch.equal(gradient(pictures[which]), expected[which]) for _ in range(50))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(equal, (0, 1)))


@pytest.mark.parametrize(("sizes", "kept"), [([(8, 8 + i) for i in range(20)], 8), ([(250, 260), (260, 250)], 1)])
def test_buffers_of_few_shapes_are_kept(sizes, kept):
    gradient = energy_gradient(weights_of())
    for size in sizes:
        gradient(states(1, 3, size))
    assert len(gradient._chains) + len(gradient._learnings) <= kept
    x = states(1, 3, sizes[0])
    assert torch.equal(gradient(x), energy_gradient(weights_of())(x)), "the same again"
