"""Cooperative learning: teaching against its definition, evaluations of each way of sampling, states, z*."""

from dataclasses import replace

import pytest
import torch

import pgcn
from pgcn.generator import GeneratorNet
from pgcn.imaging.noise import normal_each, seeded
from pgcn.method import ChainOptions, DivergenceError, LayoutError
from pgcn.methods import find_method, make_settings
from pgcn.methods.base import PatchEnergy
from pgcn.patchgencn.langevin import langevin
from pgcn.settings import Step

METHOD = find_method("cooperative")
TINY = {"max_size": 20, "min_size": 12, "scales": 2, "iterations": 3, "langevin_steps": 4, "revision_steps": 2}


def image(size=(16, 20)):
    spots = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(spots, size=size, mode="bicubic").clamp(-1, 1)


def tiny(**changed):
    return make_settings("draft", {**TINY, "step_size": 0.2, "pool_size": 4, **changed}, "cooperative")


def training(**changed):
    return METHOD.trainer([image()], tiny(**changed), [3])


@pytest.fixture(scope="module")
def model():
    return pgcn.fit(image(), settings=tiny())


def test_the_output_of_a_linear_generator_reaches_the_mean_of_the_chain():
    """f(x) = -|x - m|²/2ρ²: the mean of short chains from g(u, z) lies between g and m, and g follows it to m.

    The spread of the chain is not taught: least squares know the mean alone, and g(u, z) becomes narrow.
    """
    generator = torch.Generator().manual_seed(0)
    mean, rho = 0.3, 0.2
    net = GeneratorNet(1, 1, [generator], layers=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    steps = [Step(0.02, 0.02**0.5)] * 5

    def draw(like):
        return torch.randn(like.shape, generator=generator)

    for _ in range(250):
        u, z = (torch.rand(8, 1, 6, 6, generator=generator) - 0.5 for _ in range(2))
        ends = langevin(net(u, z), lambda x: (mean - x) / rho**2, steps, draw)
        net.teach(u, z, ends)
        optimizer.step()
    made = net(u, z)
    assert float(made.mean()) == pytest.approx(mean, abs=0.03)
    assert float(ends.std()) > 1.5 * float(made.std()), "the chain's spread stays with the chain"


@pytest.mark.parametrize(("sampling", "passes", "steps"), [("generator", 1, 0), ("both", 1, 2), ("chain", 0, 4)])
def test_each_way_of_sampling_has_its_number_of_evaluations(model, monkeypatch, sampling, passes, steps):
    made, gradients = [], []
    forward, gradient = GeneratorNet.forward, PatchEnergy.gradient

    def counted(net):
        own = gradient(net)
        return lambda x: (gradients.append(1), own(x))[1]

    monkeypatch.setattr(GeneratorNet, "forward", lambda *a, **b: (made.append(1), forward(*a, **b))[1])
    monkeypatch.setattr(PatchEnergy, "gradient", counted)
    other = model.with_sampling(sampling)
    sample = other.sample(1, seed=2)
    assert (len(made), len(gradients)) == (passes * model.learned, steps * model.learned)
    assert torch.equal(other.generate(image(), 1, seed=2), sample)
    assert METHOD.plan(16, 20, tiny(sampling=sampling)).sampling > 0


def test_the_ways_of_sampling_cost_more_from_the_generator_to_the_chain():
    costs = [METHOD.plan(16, 20, tiny(sampling=way)).sampling for way in ("generator", "both", "chain")]
    assert costs == sorted(costs)
    assert costs[0] < costs[2] / 3


def test_a_state_has_the_generators_and_their_optimizers():
    trainer = training()
    progress = trainer.iterations()
    for _ in range(2):
        next(progress)
    tensors, text = trainer.state_dict()
    names = [name for name in tensors if name.startswith("more.teacher.0.")]
    assert len(names) == 3 * len(list(trainer.nets[0].fast.parameters()))
    assert any(name.startswith("net.0.fast.kernels") for name in tensors)
    with pytest.raises(LayoutError):
        training().load_state_dicts([({n: x for n, x in tensors.items() if n != "more.starts"}, text)])
    again = training()
    again.load_state_dicts([(tensors, text)])
    for one in (trainer, again):
        for _ in one.iterations():
            pass
    assert trainer.model().to_files() == again.model().to_files()


def test_tasks_have_the_fixed_noise_and_samples_their_own(model):
    generator = model.with_sampling("generator")
    x = image(model.sizes[0])
    draws = [ChainOptions(draw=normal_each(seeded(seed, 1))) for seed in (0, 1)]
    ends = [generator.chain(x, 0, options) for options in draws]
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], model.nets[0].fast(x))
    sampled = [generator.chain(x, 0, replace(options, from_noise=True)) for options in draws]
    assert not torch.equal(sampled[0], sampled[1])
    assert all(torch.equal(a, b) for a, b in zip(model.reconstruct(), model.reconstruct(), strict=True))


def test_the_generator_learns_the_image_at_its_fixed_noise():
    noise = torch.rand(1, 3, 14, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    trainer = METHOD.trainer([noise], tiny(iterations=25, scales=1, learning_rate=1e-6), [0])
    before = float((trainer.nets[0].fast(trainer.recovery_start) - trainer.scales[0]).square().mean())
    for _ in trainer.iterations():
        pass
    after = float((trainer.nets[0].fast(trainer.recovery_start) - trainer.scales[0]).square().mean())
    assert after < 0.7 * before


def test_a_generator_of_no_numbers_fails_the_training():
    trainer = training()
    for progress in trainer.iterations():
        if progress.iteration == 1:
            break
    trainer.nets[0].fast.kernels[0].data.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="no numbers"):
        for _ in trainer.iterations():
            pass
