"""The kernels for GPUs give what the plain arithmetic gives: in Triton's interpreter where there is no GPU."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed: the kernels for GPUs are not tested here")

from pgcn.patchgencn import kernels as fused
from pgcn.patchgencn import spectral
from pgcn.patchgencn import spectral_kernels as fused_spectral
from pgcn.patchgencn.energy import EnergyNet, energies, energy_gradient, pad
from pgcn.patchgencn.kernels import FusedGradient, channels_first, channels_last
from pgcn.patchgencn.langevin import langevin
from pgcn.settings import Step

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {"rtol": 2e-2, "atol": 2e-3} if torch.cuda.is_available() else {"rtol": 1e-4, "atol": 1e-5}
"""TF32 has a mantissa of 10 bits; the interpreter is exact."""


@pytest.fixture(params=[(1, False), (2, False), (2, True)], ids=["alone", "stack", "wide"])
def net(request):
    images, wide = request.param
    generators = [torch.Generator().manual_seed(seed) for seed in range(images)]
    net = EnergyNet(wide=wide, generators=generators)
    with torch.no_grad():
        for bias in net.biases:
            bias.normal_(0, 0.3)
        net.kernels[-1].mul_(20)
    return net.to(DEVICE)


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """The interpreter runs programs one after the other, in Python."""
    if DEVICE == "cpu":
        monkeypatch.setattr(fused, "_shape", lambda *_: (128, 4, 1))


def states(net, chains, size=(4, 7)):
    return pad(torch.rand(chains, 3 * len(net.kernels[0]), *size, device=DEVICE) * 2 - 1)


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setenv("PGCN_PLAIN", "1")


def test_layouts_are_each_others_inverse():
    x = torch.rand(2, 9, 4, 5)
    last = channels_last(x, 3)
    assert torch.equal(last[1 * 3 + 2], x[1, 6:9].permute(1, 2, 0))
    assert torch.equal(channels_first(last, 3), x)


def test_the_gradient_is_the_plain_one(net, plain):
    weights, x = net.weights(), states(net, 2)
    torch.testing.assert_close(FusedGradient(weights, "float32")(x), energy_gradient(weights)(x), **TOLERANCE)


@pytest.mark.parametrize("noise_std", [0.0, 0.2])
def test_a_chain_is_the_plain_one(net, plain, noise_std):
    weights, x = net.weights(), states(net, 2)
    noise = [torch.randn_like(x) for _ in range(3)]

    def chain(gradient):
        of_step = iter(noise)
        return langevin(x, gradient, [Step(size, noise_std) for size in (0.6, 0.5, 0.4)], lambda _: next(of_step))

    ours, theirs = chain(FusedGradient(weights, "float32")), chain(energy_gradient(weights))
    assert (ours - x).abs().max() > 0.05
    torch.testing.assert_close(ours, theirs, **TOLERANCE)


def test_mean_energies_and_their_gradient_are_the_plain_ones(net, plain):
    weights, x = net.weights(), states(net, 3)
    coefficients = torch.tensor([1.0, -0.7, 0.1], device=DEVICE)
    f, gradients = FusedGradient(weights, "float32").energies(x, coefficients)
    expected, by_weights = energies(x, coefficients, weights)
    torch.testing.assert_close(f, expected, **TOLERANCE)
    for ours, theirs in zip(
        [*gradients.kernels, *gradients.biases], [*by_weights.kernels, *by_weights.biases], strict=True
    ):
        torch.testing.assert_close(
            ours, theirs, rtol=TOLERANCE["rtol"], atol=TOLERANCE["atol"] * theirs.abs().max().item()
        )


def test_spectral_norms_are_the_plain_ones(net, plain):
    kernels, us = net._layers()
    us = [torch.nn.functional.normalize(torch.rand_like(u), dim=-1) for u in us]
    again = [u.clone() for u in us]
    spectral.iterate(kernels, us)
    fused_spectral.iterate(kernels, again)
    gradients = [torch.randn_like(kernel) for kernel in kernels]
    for ours, theirs in (
        (again, us),
        (fused_spectral.normalized(kernels, us), spectral.normalized(kernels, us)),
        (fused_spectral.projected(kernels, us, gradients), spectral.projected(kernels, us, gradients)),
    ):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())


def test_what_is_not_a_number_stays_with_its_image(plain):
    net = EnergyNet(wide=False, generators=[torch.Generator().manual_seed(seed) for seed in range(2)]).to(DEVICE)
    weights, x = net.weights(), states(net, 1)
    weights.kernels[1][0] = float("nan")
    climbed = FusedGradient(weights, "float32").run(x, [Step(0.1, 0.0)] * 2, torch.zeros_like)
    assert climbed[:, :3].isnan().any()
    assert not climbed[:, 3:].isnan().any()
