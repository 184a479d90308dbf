"""The energy network against its definition."""

import pytest
import torch

from pgcn.patchgencn.energy import PAD, EnergyNet, crop, energies, energy, energy_gradient, pad
from pgcn.patchgencn.spectral import power_iteration


def net(wide=False, seed=0):
    return EnergyNet(wide=wide, generators=[torch.Generator().manual_seed(seed)])


def in_float64(weights):
    return weights.to(torch.float64)


@pytest.mark.parametrize(("wide", "count"), [(False, 39_041), (True, 151_809)])
def test_parameter_counts_are_the_published_ones(wide, count):
    assert sum(p.numel() for p in net(wide).parameters()) == count


def test_initial_kernels_are_normal_with_std_0_005_and_biases_zero():
    drawn = torch.cat([k.detach().flatten() for k in net(wide=True).kernels])
    assert abs(float(drawn.std()) / 0.005 - 1) < 0.01
    assert all(not b.any() for b in net().biases)


def test_spectral_norm_is_the_largest_singular_value():
    matrix = torch.randn(32, 288, generator=torch.Generator().manual_seed(3))
    u = power_iteration(matrix, torch.ones(32) / 32**0.5, steps=500)
    left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
    assert float(u @ left[:, 0]) ** 2 == pytest.approx(1, rel=1e-5)
    trained = net()
    with torch.no_grad():
        trained.kernels[1].view(32, 576)[:, :288].copy_(matrix)
        trained.kernels[1].view(32, 576)[:, 288:].zero_()
    trained.u1.copy_(u[None])
    torch.testing.assert_close(trained.weights().kernels[1], trained.kernels[1].detach() / values[0])


def test_normalized_layers_have_norm_one_and_the_last_is_plain():
    trained = net()
    with torch.no_grad():
        for kernel in trained.kernels:
            kernel.mul_(torch.linspace(1, 3, kernel.shape[1]).view(-1, 1, 1, 1))
    for _ in range(200):
        trained.update_norms()
    kernels = trained.weights().kernels
    for kernel in kernels[:-1]:
        assert float(torch.linalg.svdvals(kernel[0].flatten(1).detach())[0]) == pytest.approx(1, rel=1e-3)
    assert torch.equal(kernels[-1], trained.kernels[-1])


def test_one_update_is_one_power_iteration():
    trained = net()
    matrix = trained.kernels[1].detach().flatten(2)
    trained.u1.copy_(torch.ones(1, 32) / 32**0.5)
    expected = power_iteration(matrix, trained.u1.clone(), steps=1)
    trained.update_norms()
    torch.testing.assert_close(trained.u1, expected)


def test_the_map_has_the_images_size_and_padding_goes_on_and_off():
    x = torch.rand(2, 3, 9, 14)
    assert net()(pad(x)).shape == (2, 1, 9, 14)
    assert torch.equal(crop(pad(x)), x)
    assert PAD == 5


def test_receptive_field_is_11_by_perturbing_one_pixel():
    weights = in_float64(net().weights())
    x = torch.zeros(1, 3, 31, 31, dtype=torch.float64)
    moved = x.clone()
    moved[0, 0, 15, 15] = 1.0
    changed = (energy(pad(x), weights) - energy(pad(moved), weights))[0, 0].abs() > 0
    rows, columns = changed.nonzero(as_tuple=True)
    assert (int(rows.min()), int(rows.max())) == (10, 20)
    assert (int(columns.min()), int(columns.max())) == (10, 20)
    assert changed[10:21, 10:21].all()


def test_gradient_of_the_energy_to_the_image_against_finite_differences():
    weights = in_float64(net().weights())
    x = (torch.rand(1, 3, 17, 17, dtype=torch.float64) * 2 - 1).requires_grad_()
    (gradient,) = torch.autograd.grad(energy(x, weights).sum(), x)
    for index in [(0, 0, 8, 8), (0, 2, 0, 0), (0, 1, 16, 5)]:
        step = torch.zeros_like(x)
        step[index] = 1e-5
        with torch.no_grad():
            slope = (energy(x + step, weights).sum() - energy(x - step, weights).sum()) / 2e-5
        assert float(gradient[index]) == pytest.approx(float(slope), rel=1e-5)


def test_gradient_of_the_loss_to_the_weights_against_finite_differences():
    """Through the spectral norm too, whose singular vectors are constants to the gradient when converged."""
    trained = net().double()
    for _ in range(500):
        trained.update_norms()
    synthesized, observed = (torch.rand(1, 3, 16, 16, dtype=torch.float64) * 2 - 1 for _ in range(2))

    def loss():
        return (trained(synthesized).mean() - 2 * trained(observed).mean()).double()

    both, coefficients = torch.cat([synthesized, observed]), torch.tensor([1.0, -2.0], dtype=torch.float64)
    f, by_weights = energies(both, coefficients, trained.weights())
    torch.testing.assert_close(f, torch.stack([trained(x[None]).mean()[None] for x in both]))
    trained.set_gradients(by_weights)
    for parameter in (trained.kernels[0], trained.kernels[3], trained.kernels[4], trained.biases[2]):
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        index = int(gradient.abs().argmax())
        at = float(flat[index])
        sides = []
        for change in (1e-7, -1e-7):
            flat[index] = at + change
            sides.append(float(loss()))
        flat[index] = at
        assert float(gradient[index]) == pytest.approx((sides[0] - sides[1]) / 2e-7, rel=1e-3)


@pytest.mark.parametrize("wide", [False, True])
def test_the_written_out_gradient_is_autograds(wide):
    weights = in_float64(net(wide).weights())
    gradient = energy_gradient(weights)
    for images, height, width in [(1, 9, 14), (3, 9, 14), (2, 20, 5)]:
        x = pad(torch.rand(images, 3, height, width, dtype=torch.float64) * 2 - 1).requires_grad_()
        (expected,) = torch.autograd.grad(energy(x, weights).sum(), x)
        for _ in range(2):
            torch.testing.assert_close(gradient(x.detach()), expected, rtol=1e-9, atol=1e-12)


def test_the_bfloat16_gradient_agrees_to_its_own_rounding():
    x = pad(torch.rand(1, 3, 20, 20) * 2 - 1)
    weights = net().weights()
    full, half = energy_gradient(weights)(x), energy_gradient(weights, "bfloat16")(x)
    assert half.dtype == torch.float32
    assert 0 < float((full - half).norm() / full.norm()) < 0.03
