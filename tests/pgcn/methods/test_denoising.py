"""The denoising energy: the posterior mean of a Gaussian, the energy's definition, phases, restarts, failures."""

import math

import pytest
import torch

import pgcn
from pgcn.method import ChainOptions, DivergenceError
from pgcn.methods import find_method, make_settings
from pgcn.methods.denoising.net import LAYERS, DenoisingEnergy

METHOD = find_method("denoising")
TINY = {"max_size": 20, "min_size": 12, "iterations": 4, "langevin_steps": 2, "draws": 2, "width": 8, "pool_size": 2}
MEAN, STD, SIGMA = 0.2, 0.3, 0.4
SHRINKAGE = -SIGMA / (STD**2 + SIGMA**2)
"""n of the posterior mean is SHRINKAGE·(x - MEAN)."""


def image(seed=0, size=(16, 20)):
    spots = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(spots, size=size, mode="bicubic").clamp(-1, 1)


def net(width=4):
    made = DenoisingEnergy(3, width, torch.Generator().manual_seed(0), sigma=SIGMA, lowest=0.02, highest=0.6)
    return made.double()


def linear(slope, mean):
    """A net with n(x) = slope·(x - mean): silu(x) - silu(-x) is x."""
    made, one = net(6), torch.eye(3).double()
    both, difference = torch.cat([one, -one]), torch.cat([one, -one], 1)
    with torch.no_grad():
        for at, kernel in enumerate(made.kernels):
            kernel.zero_()
            kernel[:, :, 1, 1] = both if at == 0 else both @ difference if at < LAYERS - 1 else slope * difference
        made.biases[-1].fill_(-slope * mean)
    return made


def normal(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def training(**changed):
    return METHOD.trainer([image()], make_settings("draft", {**TINY, **changed}, "denoising"), [3])


def test_the_loss_of_denoising_a_gaussian_is_least_at_its_posterior_mean():
    """r(x̃) = m + τ²/(τ² + σ²)·(x̃ - m), with a loss of τ²/2(τ² + σ²) by channel, where its gradient is zero."""
    clean, noise = MEAN + STD * normal((8, 3, 64, 64), 0), normal((8, 3, 64, 64), 1)
    best, sigma = linear(SHRINKAGE, MEAN), torch.full((8,), SIGMA).double()
    x = clean + SIGMA * noise
    expected = MEAN + STD**2 / (STD**2 + SIGMA**2) * (x - MEAN)
    assert torch.allclose(best.denoised(x, SIGMA), expected)
    loss = best.denoise(clean, sigma, noise)
    assert float(loss) == pytest.approx(3 * STD**2 / (STD**2 + SIGMA**2) / 2, rel=0.02)
    other = linear(0.8 * SHRINKAGE, MEAN)
    assert float(other.denoise(clean, sigma, noise)) > float(loss)
    slopes = [float(each.kernels[-1].grad[:, :, 1, 1].diagonal().abs().sum()) for each in (best, other)]
    assert slopes[0] < 0.2 * slopes[1]


def test_a_net_that_denoises_a_gaussian_learns_its_posterior_mean():
    learner = linear(-0.1, 0.0)
    last = [learner.kernels[-1], learner.biases[-1]]
    optimizer, sigma = torch.optim.Adam(last, lr=0.05), torch.full((4,), SIGMA).double()
    for seed in range(150):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - seed / 150)
        learner.denoise(MEAN + STD * normal((4, 3, 12, 12), seed), sigma, normal((4, 3, 12, 12), 1000 + seed))
        optimizer.step()
    x = MEAN + STD * normal((2, 3, 12, 12), 7)
    expected = MEAN + STD**2 / (STD**2 + SIGMA**2) * (x - MEAN)
    assert float((learner.denoised(x, SIGMA).detach() - expected).square().mean().sqrt()) < 0.1 * STD


def test_the_energy_is_the_error_of_the_denoised_image_in_units_of_the_noise():
    own, x = net(), image(1).double()
    expected = (x - own.denoised(x, SIGMA)).square().sum(1) / (2 * SIGMA**2)
    assert torch.allclose(own.energy(x), expected)
    gaussian = linear(SHRINKAGE, MEAN)
    assert torch.allclose(gaussian.energy(x), SHRINKAGE**2 * (x - MEAN).square().sum(1) / 2)
    assert torch.allclose(gaussian.gradient()(x), -(SHRINKAGE**2) * (x - MEAN))


def test_the_gradients_by_pixels_and_weights_are_those_of_finite_differences():
    own, x, e = net(), image(1).double(), 1e-5
    direction = normal(x.shape, 0)
    with torch.no_grad():
        slope = (own(x + e * direction).sum() - own(x - e * direction).sum()) / (2 * e)
    assert float((own.gradient()(x) * direction).sum()) == pytest.approx(float(slope), rel=1e-6)
    sigma, noise = torch.tensor([0.3]).double(), normal(x.shape, 1)
    for parameter in (own.kernels[1], own.shifts[0], own.biases[-1]):
        own.denoise(x, sigma, noise)
        gradient, change = parameter.grad.clone(), normal(parameter.shape, 2)
        with torch.no_grad():
            parameter.add_(e * change)
            above = own.denoise(x, sigma, noise)
            parameter.sub_(2 * e * change)
            below = own.denoise(x, sigma, noise)
            parameter.add_(e * change)
        assert float((gradient * change).sum()) == pytest.approx(float((above - below) / (2 * e)), rel=1e-5)


def test_unknown_pixels_do_not_teach():
    own, x = net(), image(1).double()
    positions = torch.ones(1, 1, 16, 20).double()
    positions[..., 10:] = 0
    sigma, noise, other = torch.tensor([0.3]).double(), normal(x.shape, 1), x.clone()
    own.denoise(x, sigma, noise, positions)
    before = [parameter.grad.clone() for parameter in own.parameters()]
    other[..., 10 + LAYERS :] = -other[..., 10 + LAYERS :]
    own.denoise(other, sigma, noise, positions)
    assert all(torch.equal(a, parameter.grad) for a, parameter in zip(before, own.parameters(), strict=True))


def test_three_denoising_updates_come_before_each_contrastive_one():
    settings = make_settings("draft", {"denoising_share": 0.5, "denoising_updates": 3}, "denoising")
    assert [at for at in range(20) if settings.contrastive(at, 20)] == [13, 17]
    only = make_settings("draft", {"denoising_share": 1}, "denoising")
    assert not any(only.contrastive(at, 20) for at in range(20))


def test_a_contrastive_update_raises_the_energy_of_synthesized_images():
    own, synthesized, observed = net().float(), image(1), image(2)
    optimizer = torch.optim.SGD(own.parameters(), lr=1e-3)

    def apart():
        return float(own.energy(synthesized).mean() - own.energy(observed).mean())

    before = apart()
    own.learn(torch.cat([synthesized, observed]), torch.tensor([1.0, -1.0]))
    optimizer.step()
    assert apart() > before
    gradients = []
    for own.weight in (1.0, 3.0):
        own.learn(torch.cat([synthesized, observed]), torch.tensor([1.0, -1.0]))
        gradients.append(own.biases[-1].grad.clone())
    assert torch.allclose(gradients[1], 3 * gradients[0])


def test_a_training_with_both_kinds_of_updates_resumes_to_the_bit():
    changed = {"denoising_share": 0.25, "denoising_updates": 1, "semantic_scales": 1, "scales": 2}
    whole = training(**changed)
    states = [whole.state_dict() for _ in whole.iterations()]
    for state in states[1::2]:
        other = training(**changed)
        other.load_state_dicts([state])
        list(other.iterations())
        assert other.model().to_files() == whole.model().to_files()


def test_chains_of_pixels_have_steps_in_units_of_the_noise_level_and_noisy_starts():
    model = pgcn.fit(image(), settings=make_settings("draft", {**TINY, "chain_sigma": 0.1}, "denoising"))
    level = 0.1 * float(image().std())
    assert model.nets[2].level == pytest.approx(level)
    semantic, texture = (model.steps(scale, ChainOptions()) for scale in (1, 2))
    assert [b.size / a.size for a, b in zip(semantic, texture, strict=True)] == pytest.approx([level**2] * 2)
    x = image(1, model.sizes[2])
    assert torch.equal(model.refine(x, 2, ChainOptions(noise_std=0.0, steps=0)), x)
    begun = model.settings.noisy(torch.zeros(1, 3, 64, 64), model.nets[2], lambda like: normal(like.shape, 0).float())
    assert float(begun.std()) == pytest.approx(level * model.settings.start_noise, rel=0.05)


def test_a_fainter_image_has_the_same_energy_in_units_of_its_deviation():
    """n(x, σ) of a net whose first kernel undoes the smaller contrast: noise levels shrink with it."""
    own, faint, x = net(), net(), image(1).double()
    faint.unit.fill_(0.1)
    with torch.no_grad():
        faint.kernels[0].mul_(10)
    assert faint.level == pytest.approx(0.1 * own.level)
    assert torch.allclose(faint.energy(0.1 * x), own.energy(x))


def test_a_trained_net_removes_noise():
    changed = {**TINY, "semantic_scales": 1, "scales": 2, "iterations": 120, "denoising_share": 1, "width": 16}
    model = pgcn.fit(image(), settings=make_settings("draft", {**changed, "iteration_growth": 1}, "denoising"))
    noisy = image() + 0.3 * normal((1, 3, 16, 20), 0).float()
    errors = [float((x - image()).square().mean()) for x in (noisy, model.denoised(noisy, 1, 0.3))]
    assert errors[1] < 0.5 * errors[0]
    with pytest.raises(ValueError, match="scale 0 has no denoising net"):
        model.denoised(noisy, 0, 0.3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_net_of_no_numbers_is_noticed_in_both_phases(share):
    trainer = training(denoising_share=share, denoising_updates=0, semantic_scales=1, scales=2)
    with pytest.raises(DivergenceError, match=r"scale 1, iteration 2"):
        for progress in trainer.iterations():
            if progress.scale == 1:
                with torch.no_grad():
                    trainer.nets[1].kernels[0].fill_(math.nan)


def test_levels_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="sigma_min"):
        make_settings("draft", {"sigma_min": 0.7, "sigma_max": 0.6}, "denoising")
