"""Methods other than the first: definitions of their energies, restarts to the bit, divergence, files."""

from itertools import pairwise

import pytest
import torch

import pgcn
from pgcn.method import ChainOptions, DivergenceError
from pgcn.methods import all_methods, find_method, load_model, make_settings
from pgcn.methods.base import Layer, StackEnergy
from pgcn.patchgencn.langevin import langevin
from pgcn.settings import Step

OTHERS = [name for name in all_methods() if name != "patchgencn"]
TINY = {"max_size": 20, "min_size": 12, "iterations": 4, "langevin_steps": 2, "step_size": 0.2}


def image(seed=0, size=(16, 20)):
    spots = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(spots, size=size, mode="bicubic").clamp(-1, 1)


def tiny(method, **changed):
    return make_settings("draft", {**TINY, **changed}, method)


def training(method, **changed):
    return find_method(method).trainer([image()], tiny(method, **changed), [3])


@pytest.mark.parametrize("method", OTHERS)
def test_a_training_resumes_to_the_bit_at_every_iteration(method):
    whole = training(method)
    states = [whole.state_dict()]
    for _ in whole.iterations():
        states.append(whole.state_dict())
    other = training(method)
    for before, (tensors, text) in pairwise(states):
        other = training(method)
        other.load_state_dicts([before])
        next(other.iterations())
        found, said = other.state_dict()
        assert said == text
        assert found.keys() == tensors.keys()
        assert [name for name, value in found.items() if not torch.equal(value, tensors[name])] == []
    assert other.model().to_files() == whole.model().to_files()


@pytest.mark.parametrize("method", OTHERS)
def test_a_state_of_another_training_is_refused(method):
    state = training(method).state_dict()
    chosen, sizes = find_method(method), find_method(method).plan(16, 20, tiny(method)).learned
    chosen.position(state, tiny(method), 3, sizes)
    for settings, seed in ((tiny(method), 4), (tiny(method, iterations=5), 3)):
        with pytest.raises(ValueError, match="belongs to a training with another"):
            chosen.position(state, settings, seed, sizes)


@pytest.mark.parametrize("method", OTHERS)
def test_files_give_the_same_model(method):
    model = pgcn.fit(image(), settings=tiny(method), seed=1)
    files = model.to_files()
    again = load_model(files)
    assert torch.equal(again.sample(2, size=(12, 30), seed=5), model.sample(2, size=(12, 30), seed=5))
    assert again.parameters == model.parameters
    with pytest.raises(ValueError, match="scale-0"):
        load_model({name: data for name, data in files.items() if name != "scale-0.safetensors"})


@pytest.mark.parametrize("method", OTHERS)
def test_tasks_work_with_any_model(method):
    model = pgcn.fit(image(), settings=tiny(method))
    assert [x.shape[-2:] for x in model.reconstruct()] == [torch.Size(size) for size in model.sizes]
    assert [x.shape for x in model.energy(image())] == [torch.Size(size) for size in model.sizes]
    hole = torch.zeros(1, 1, 16, 20)
    hole[..., 4:8, 6:12] = 1
    filled = pgcn.fit(image(), mask=hole, settings=tiny(method)).inpaint(image(), hole)
    assert torch.equal(filled[hole.expand_as(filled) == 0], image()[hole.expand_as(filled) == 0])
    tile = model.refine(image(), model.learned - 1, ChainOptions(wrap=True, noise_std=0.0))
    rolled = model.refine(image().roll((4, 8), (2, 3)), model.learned - 1, ChainOptions(wrap=True, noise_std=0.0))
    assert torch.allclose(tile.roll((4, 8), (2, 3)), rolled, atol=1e-5), "a torus has no border"


@pytest.mark.parametrize("method", OTHERS)
def test_the_gradient_is_that_of_the_energy(method):
    model = pgcn.fit(image(), settings=tiny(method))
    for scale in range(model.learned):
        x = image(2, model.sizes[scale]).mul(0.5)
        gradient, e = model.gradient(scale)(x), 1e-4
        direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            sums = [model.nets[scale].double()(x.double() + sign * e * direction.double()).sum() for sign in (1, -1)]
        model.nets[scale].float()
        assert float(sums[0] - sums[1]) / (2 * e) == pytest.approx(
            float((gradient * direction).sum()), rel=2e-2, abs=1e-5
        )


@pytest.mark.parametrize("method", OTHERS)
def test_divergence_is_noticed(method):
    bounded = "reference" in find_method(method).settings.model_fields
    unbounded = {"reference": 100} if bounded else {}  # a strong reference holds any chain
    trainer = training(method, step_size=10, langevin_steps=30, learning_rate=0.5, iterations=40, **unbounded)
    with pytest.raises(DivergenceError):
        list(trainer.iterations())
    assert 0 in trainer.failed


@pytest.mark.parametrize("method", OTHERS)
def test_the_plan_agrees_with_the_model(method):
    settings = tiny(method)
    plan = find_method(method).plan(16, 20, settings)
    counted = []
    model = pgcn.fit(image(), settings=settings, on_progress=counted.append)
    assert plan.sizes == model.sizes
    assert plan.iterations == len(counted)
    assert counted[-1].done == 1
    assert plan.training > 0


def test_chains_of_a_gaussian_energy_have_its_mean_and_variance():
    """A net of zeros leaves the reference alone: p ∝ exp(-|x|²/2ρ²), ρ = 0.2; the chain's law has this variance."""
    net = StackEnergy(
        3, (Layer(4, 3), Layer(1, 3)), torch.Generator().manual_seed(0), reference=0.2, normalize=False, kernel_std=0.0
    )
    net.requires_grad_(False)
    x, generator = torch.zeros(8, 3, 24, 24), torch.Generator().manual_seed(0)
    steps = [Step(0.004, 0.004**0.5)] * 150
    end = langevin(x, net.gradient(), steps, lambda like: torch.randn(like.shape, generator=generator))
    assert float(end.mean()) == pytest.approx(0, abs=0.005)
    assert float(end.std()) == pytest.approx(0.2, rel=0.05)


def test_a_scale_of_multigrid_that_diverges_goes_back_and_the_training_goes_on():
    trainer = training("multigrid", iterations=12, opening=0.0)
    for progress in trainer.iterations():
        if progress.iteration == 3:
            broken = trainer.nets[1]
            with torch.no_grad():
                next(broken.parameters()).fill_(float("nan"))
            below = [x.clone() for x in trainer.nets[0].state_dict().values()]
    assert trainer.rollbacks == [0, 1, *[0] * (len(trainer.nets) - 2)]
    assert all(bool(x.isfinite().all()) for net in trainer.nets for x in net.state_dict().values())
    assert not all(torch.equal(a, b) for a, b in zip(below, trainer.nets[0].state_dict().values(), strict=True))


def test_all_scales_of_multigrid_are_usable_in_mid_training():
    trainer = training("multigrid", iterations=8, opening=0.0)
    next(trainer.iterations())
    model = trainer.model()
    assert model.learned == len(trainer.sizes) > 1
    assert model.sample(1).shape[-2:] == trainer.sizes[-1]


@pytest.mark.parametrize("start", ["fresh", "persistent", "data"])
def test_the_chains_of_the_convnet_start_where_they_should(start, monkeypatch):
    trainer, starts = training("convnet", start=start, iterations=3), []
    plain = type(trainer).update
    monkeypatch.setattr(
        type(trainer), "update", lambda own, scale, x, *more: (starts.append(x), plain(own, scale, x, *more))[1]
    )
    ends = [trainer.ends]
    for _ in trainer.iterations():
        ends.append(trainer.ends)
    if start == "data":
        assert all(torch.equal(x, trainer.scales[0]) for x in starts)
    else:
        assert [torch.equal(x, end) for x, end in zip(starts, ends[:-1], strict=True)] == [start == "persistent"] * 3


def test_a_chain_of_the_convnet_is_a_map_that_can_be_inverted_and_interpolated():
    model = pgcn.fit(image(), settings=tiny("convnet", langevin_steps=4, step_size=0.5, iterations=8))
    between = model.interpolate(3, 4, 3)
    samples = [next(model.samples(1, seed=seed))[0] for seed in (3, 4)]
    assert torch.allclose(between[0], samples[0][0], atol=1e-5)
    assert torch.allclose(between[2], samples[1][0], atol=1e-5)
    target = model.observed
    errors = [float((model.chain_end(z) - target).square().mean()) for z in (target, model.invert(target))]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("method", OTHERS)
def test_a_gray_image_has_one_channel(method):
    gray = image().mean(1, keepdim=True)
    model = pgcn.fit(gray, settings=tiny(method))
    assert model.channels.count == 1
    assert model.sample(2).shape[1] == 1
    assert torch.equal(load_model(model.to_files()).sample(1), model.sample(1))
