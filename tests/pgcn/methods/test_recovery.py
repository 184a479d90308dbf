"""Diffusion recovery likelihood against its definition: chains of a Gaussian, gradients, steps, independent scales."""

import pytest
import torch

import pgcn
from pgcn.method import ChainOptions, DivergenceError
from pgcn.methods import find_method, make_settings
from pgcn.methods.recovery.energy import LevelEnergy
from pgcn.methods.recovery.ladder import Ladder, conditional_chain, level_steps
from pgcn.methods.recovery.model import RecoveryPyramid
from pgcn.settings import Step

TINY = {"max_size": 20, "min_size": 12, "scales": 2, "iterations": 3, "langevin_steps": 2, "chains": 2}
LADDER = Ladder.of(0.05, 2.0, 5)
MEAN, STD = 0.3, 0.2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(seed=0):
    own = generator(seed)
    return lambda like: torch.randn(like.shape, generator=own)


def image(size=(16, 20)):
    spots = torch.rand(1, 3, 4, 5, generator=generator()) * 2 - 1
    return torch.nn.functional.interpolate(spots, size=size, mode="bicubic").clamp(-1, 1)


def tiny(**changed):
    return make_settings("draft", {**TINY, **changed}, "recovery")


def training(**changed):
    return find_method("recovery").trainer([image()], tiny(**changed), [3])


def gaussian(ladder=LADDER):
    """The energies of independent values N(MEAN, STD²) with the noise of each level: a net whose last layer is zero."""
    net = LevelEnergy(3, ladder, wide=False, generator=generator())
    with torch.no_grad():
        net.kernels[-1].zero_()
        net.get_buffer("mean").fill_(MEAN)
        net.get_buffer("variance").fill_(STD**2)
    return net.requires_grad_(False)


def random_net():
    """A net with another energy at each level."""
    net = LevelEnergy(3, LADDER, wide=False, generator=generator()).double()
    with torch.no_grad():
        for parameter in [*net.factors, *net.biases, net.kernels[-1]]:
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator(1))
    return net


def test_the_noise_of_a_level_and_the_gap_above_it_make_that_of_the_next():
    assert torch.allclose(LADDER.levels[:-1].square() + LADDER.gaps.square(), LADDER.levels[1:].square())
    assert LADDER.levels[[0, -1]].tolist() == pytest.approx([0.05, 2.0])
    assert [LADDER.entry(noise) for noise in (0.0, 0.05, 0.2, 2.0, 5.0)] == [1, 1, 2, 5, 5]


def test_the_conditional_chain_of_a_gaussian_has_the_mean_and_variance_of_the_posterior():
    """y ~ N(m, v) and y' = y + σε: y given y' has precision 1/v + 1/σ² and mean (m/v + y'/σ²) / precision."""
    level, net = 2, gaussian()
    gap = float(LADDER.gaps[level])
    given = torch.full((4, 3, 24, 24), 0.9)
    steps = [Step(0.05, 0.05**0.5)] * 300
    gradient = net.gradient_at(torch.full((4,), level))
    end = conditional_chain(given, gap, gradient, steps, normal())
    v = STD**2 + float(LADDER.levels[level]) ** 2
    precision = 1 / v + 1 / gap**2
    assert float(end.mean()) == pytest.approx((MEAN / v + 0.9 / gap**2) / precision, abs=0.01)
    assert float(end.std()) == pytest.approx(precision**-0.5, rel=0.05)


def test_the_ladder_ends_at_the_mean_and_variance_of_the_data():
    settings = tiny(langevin_steps=25, step_size=0.2, levels=5, cleanest=0.05, noisiest=2.0)
    model = RecoveryPyramid(find_method("recovery"), settings, 0, [(24, 24)], [gaussian()], torch.zeros(1, 3, 24, 24))
    end = model.refine(torch.zeros(2, 3, 24, 24), 0)
    assert float(end.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(end.std()) == pytest.approx(STD, rel=0.08)


@pytest.mark.parametrize("level", [0, 2, 4])
def test_the_gradient_of_each_level_is_that_of_its_energy(level):
    net, x, e = random_net(), image().double().mul(0.5), 1e-5
    at = torch.tensor([level])
    direction = torch.randn(x.shape, generator=generator(2), dtype=x.dtype)
    with torch.no_grad():
        high, low = (net(x + sign * e * direction, at).sum() for sign in (1, -1))
    wanted = float(LADDER.gaps[level]) ** 2 * float(high - low) / (2 * e)
    assert float((net.gradient_at(at)(x) * direction).sum()) == pytest.approx(wanted, rel=1e-4)


def test_images_of_several_levels_in_a_batch_are_as_those_alone():
    net, x = random_net(), image().double()
    together = net(x.expand(5, -1, -1, -1), torch.arange(5))
    alone = torch.cat([net(x, torch.tensor([level])) for level in range(5)])
    assert torch.allclose(together, alone)
    assert not torch.allclose(together[0], together[1])


def test_the_likelihood_learns_the_mean_of_a_gaussian():
    """The step of the loss on chains of N(MEAN, ·) moves its mean to that of the observed images."""
    net = gaussian()
    high = torch.full((1, 3, 8, 8), 0.6)
    given = high
    gap, at = float(LADDER.gaps[1]), torch.tensor([1])
    end = conditional_chain(given, gap, net.gradient_at(at), [Step(0.05, 0.0)] * 200, normal())
    assert float((end - high).mean()) < 0, "a Gaussian of a lower mean pulls it down"
    coefficients = torch.tensor([1.0, -1.0])
    net.requires_grad_(True)
    net.learn_at(at.repeat(2), torch.cat([end, high]), coefficients, None)
    for parameter in net.parameters():
        parameter.data -= 0.05 * parameter.grad
    net.requires_grad_(False)
    after = conditional_chain(given, gap, net.gradient_at(at), [Step(0.05, 0.0)] * 200, normal())
    assert abs(float((after - high).mean())) < abs(float((end - high).mean()))


def test_steps_are_divided_among_levels():
    settings = tiny(langevin_steps=4)
    counts = {
        (options.steps, options.last): [len(steps) for steps in level_steps(settings, 3, options)]
        for options in (ChainOptions(), ChainOptions(steps=8), ChainOptions(steps=2), ChainOptions(last=5))
    }
    assert counts == {(None, None): [4, 4, 4], (8, None): [3, 3, 2], (2, None): [1, 1], (None, 5): [4, 1]}
    x = image()
    model = pgcn.fit(x, settings=tiny())
    assert torch.equal(model.refine(x, 1, ChainOptions(last=0)), x)


def test_known_pixels_are_kept_and_noise_is_in_their_unit():
    model, known = pgcn.fit(image(), settings=tiny()), image()
    mask = torch.zeros(1, 1, 16, 20)
    mask[..., 5:9, 5:9] = 1
    options = ChainOptions(after=lambda x: torch.where(mask == 1, x, known))
    end = model.refine(torch.zeros_like(known), 1, options)
    assert torch.equal(end * (1 - mask), known * (1 - mask))
    assert not torch.allclose(end, known)
    drawn = []

    def draw(like):
        drawn.append(like.shape)
        return torch.zeros_like(like)

    model.refine(known, 1, ChainOptions(noise_std=0.0, draw=draw))
    assert not drawn
    model.refine(known, 1, ChainOptions(noise_std=0.1, draw=draw))
    chains = level_steps(model.settings, model.nets[1].count, ChainOptions())
    assert len(drawn) == 1 + sum(map(len, chains))


def test_a_change_is_applied_to_the_image_without_its_noise():
    settings = tiny(langevin_steps=3, levels=5, cleanest=0.05, noisiest=2.0)
    model = RecoveryPyramid(find_method("recovery"), settings, 0, [(12, 12)], [gaussian()], torch.zeros(1, 3, 12, 12))
    seen = []

    def change(x):
        seen.append(float(x.std()))
        return x

    model.refine(torch.zeros(1, 3, 12, 12), 0, ChainOptions(after=change))
    assert len(seen) == 5 * 3 + 1
    assert max(seen) < 2 * STD, "states have a noise of up to 2"


def test_no_scale_needs_another_one():
    """Nets of other scales are no numbers; the training of the present one is as with them."""
    ends = []
    for broken in (False, True):
        trainer = training(warm_start=False)
        for progress in trainer.iterations():
            if progress.scale == 0 and progress.scale_finished and broken:
                with torch.no_grad():
                    trainer.nets[0].kernels[0].fill_(float("nan"))
        ends.append(trainer.nets[1].state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))


def test_a_net_without_numbers_fails_at_the_next_iteration():
    trainer = training()
    with torch.no_grad():
        trainer.nets[0].kernels[0].fill_(float("nan"))
    with pytest.raises(DivergenceError, match="scale 0, iteration 1"):
        list(trainer.iterations())


def test_a_finer_scale_begins_at_the_noise_of_its_detail():
    trainer = training(entry=1.0)
    residual = trainer.scales[1] - pgcn.imaging.scales.resize(trainer.scales[0], trainer.sizes[1])
    rms, levels = float(residual.square().mean().sqrt()), trainer.ladder.levels
    entry = trainer.nets[1].count
    assert float(levels[entry]) >= rms
    assert entry == 1 or float(levels[entry - 1]) < rms
    assert trainer.nets[0].count == len(levels) - 1
