"""The bound of f's curvature: exact Hessian products, a bound that holds, for each image of a batch."""

import pytest
import torch

import pgcn
from pgcn.patchgencn import curvature
from pgcn.patchgencn.curvature import CurvatureBound, hessian_product
from pgcn.patchgencn.energy import EnergyNet, energy, energy_gradient, pad
from pgcn.patchgencn.trainer import Trainer

QUICK = {"max_size": 16, "min_size": 12, "scales": 1, "iterations": 40, "learning_rate": 2e-3, "warm_up": 0}


def net_of(seeds, sharper=1.0):
    net = EnergyNet(wide=False, generators=[torch.Generator().manual_seed(seed) for seed in seeds])
    with torch.no_grad():
        net.kernels[-1].mul_(sharper)
    return net.double()


def images(count, size=(8, 9)):
    """Random images with a random border: at a border of zeros, units of a new net are at the bend of ELU."""
    generator = torch.Generator().manual_seed(7)
    return torch.rand(1, 3 * count, size[0] + 10, size[1] + 10, generator=generator, dtype=torch.float64) * 2 - 1


def largest_curvature(net, x):
    """The largest magnitude of the eigenvalues of the Hessian of Σf at `x`, by many steps from a random direction."""
    gradient = energy_gradient(net.weights())
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    for _ in range(60):
        direction = hessian_product(gradient, x, direction / direction.norm())
    return float(direction.norm())


def test_hessian_products_are_those_of_autograd(monkeypatch):
    monkeypatch.setattr(curvature, "REACH", 1e-5)
    net, x = net_of([1]), images(1)
    weights, direction = net.weights(), torch.randn_like(x) / 30
    _, expected = torch.autograd.functional.hvp(lambda y: energy(y, weights).sum(), x, direction)
    found = hessian_product(energy_gradient(weights), x, direction)
    assert (found - expected).norm() < 1e-3 * expected.norm()


def test_each_image_of_a_batch_is_bounded_alone():
    net, x, y = net_of([1, 2]), images(2), images(2).roll(3, 3)
    with torch.no_grad():
        net.kernels[-1][1].mul_(300)
    before = net.kernels[-1].detach().clone()

    def alone(image):
        one = net_of([image + 1])
        one.load_state_dict({name: value[image : image + 1] for name, value in net.state_dict().items()})
        return one

    own = [slice(0, 3), slice(3, 6)]
    sharp = [max(largest_curvature(alone(i), z[:, own[i]]) for z in (x, y)) for i in (0, 1)]
    largest = (sharp[0] * sharp[1]) ** 0.5
    assert sharp[0] < largest / 3 < sharp[1] / 9, "one image's net is below the bound"
    bound = CurvatureBound(largest, 2, x)
    for _ in range(12):
        bound.apply(net, x, y)
    assert torch.equal(net.kernels[-1][0], before[0])
    after = max(largest_curvature(alone(1), z[:, own[1]]) for z in (x, y))
    assert after == pytest.approx(largest, rel=0.15)
    ratio = net.kernels[-1][1] / before[1]
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio.mean().detach())), rtol=1e-9, atol=0)


def curvature_after(settings, picture):
    trainer = Trainer([picture], settings, [0])
    for _ in trainer.iterations():
        pass
    return largest_curvature(trainer.nets[0].double(), pad(trainer.observed[0].double()))


def test_a_training_keeps_to_the_bound():
    picture = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(1)) * 2 - 1
    picture = torch.nn.functional.interpolate(picture, size=(12, 15), mode="bilinear")
    free = pgcn.make_settings("small", QUICK)
    bounded = pgcn.make_settings("small", {**QUICK, "max_curvature": 0.001})
    assert bounded.largest_curvature == pytest.approx(0.005)
    sharp, kept = curvature_after(free, picture), curvature_after(bounded, picture)
    print(f"\ncurvature at the image: {sharp:.4f} without the bound, {kept:.4f} with 0.005")
    assert kept < 2 * 0.005 < 3 * 0.005 < sharp, "the bound follows a net that changes quickly, a little behind it"
