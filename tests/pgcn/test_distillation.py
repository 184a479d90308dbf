"""Generators that are distilled from the chains of a trained pyramid: teaching, states, files, plan, and sampling."""

import pytest
import torch

import pgcn
from pgcn.generator import GeneratorNet
from pgcn.method import ChainOptions, DivergenceError
from pgcn.method_settings import SettingsError, identifying
from pgcn.methods import find_method, load_model, make_settings
from pgcn.patchgencn import distillation
from pgcn.settings import ADDED

TINY = {"max_size": 20, "min_size": 12, "scales": 2, "iterations": 3, "langevin_steps": 2, "recovery_steps": 2}
TINY |= {"langevin_steps_init": 3, "pool_size": 4, "distil": 4}
METHOD = find_method("patchgencn")


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    monkeypatch.setattr(distillation, "pool_of_starts", lambda size: 6)


def image(seed=0, size=(16, 20)):
    spots = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(spots, size=size, mode="bicubic").clamp(-1, 1)


def tiny(**changed):
    return make_settings("draft", {**TINY, **changed})


def training(*seeds, **changed):
    return METHOD.trainer([image(seed) for seed in seeds or (0,)], tiny(**changed), list(seeds) or [0])


def finished(trainer):
    for _ in trainer.iterations():
        pass
    return trainer


def test_a_generator_learns_a_linear_map_by_least_squares():
    """g(u) → a·u + b, inside the bounds: five convolutions can be that map."""
    generator = torch.Generator().manual_seed(0)
    net = GeneratorNet(1, 0, [generator])
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        u = torch.rand(2, 1, 6, 6, generator=generator) - 0.5
        error = net.teach(u, None, 0.5 * u + 0.2)
        optimizer.step()
    assert float(error) < 1e-3
    u = torch.rand(2, 1, 6, 6, generator=generator) - 0.5
    assert float((net(u) - 0.5 * u - 0.2).abs().mean()) < 0.03


def test_a_generator_starts_as_the_identity_and_is_that_of_its_image_alone():
    u, z = torch.rand(2, 6, 7, 9) * 2 - 1, torch.randn(2, 4, 7, 9)
    together = GeneratorNet(3, 2, [torch.Generator().manual_seed(s) for s in (0, 1)])
    assert torch.equal(together(u, z), u)
    ends = u.roll(1, -1)
    together.teach(u, z, ends)
    torch.optim.SGD(together.parameters(), lr=1.0).step()
    alone = GeneratorNet(3, 2, [torch.Generator().manual_seed(1)])
    alone.teach(u[:, 3:], z[:, 2:], ends[:, 3:])
    torch.optim.SGD(alone.parameters(), lr=1.0).step()
    torch.testing.assert_close(together(u, z)[:, 3:], alone(u[:, 3:], z[:, 2:]))
    torch.testing.assert_close(together.of(1)(u[:, 3:], z[:, 2:]), alone(u[:, 3:], z[:, 2:]))
    shifted = alone(u[:, 3:].roll((2, 3), (2, 3)), z[:, 2:].roll((2, 3), (2, 3)), wrap=True)
    torch.testing.assert_close(shifted, alone(u[:, 3:], z[:, 2:], wrap=True).roll((2, 3), (2, 3)))


def test_the_gradient_of_teaching_is_that_of_the_squared_error():
    net = GeneratorNet(1, 1, [torch.Generator().manual_seed(0)]).double()
    torch.nn.init.normal_(net.kernels[-1], std=0.1, generator=torch.Generator().manual_seed(0))
    u, z, ends = (torch.rand(3, 1, 6, 6, dtype=torch.float64) for _ in range(3))
    net.teach(u, z, ends)
    kernel, e = net.kernels[2], 1e-5
    gradient = float(kernel.grad[0, 1, 2, 1, 1])
    errors = []
    for sign in (1, -1):
        with torch.no_grad():
            kernel[0, 1, 2, 1, 1] += sign * e
            errors.append(float(net.teach(u, z, ends)))
            kernel[0, 1, 2, 1, 1] -= sign * e
    assert (errors[0] - errors[1]) / (2 * e) == pytest.approx(gradient, rel=1e-4)


def test_distillation_leaves_the_energies_as_they_are():
    plain, distilled = (finished(training(distil=count)).model() for count in (0, 4))
    assert not plain.generators
    assert len(distilled.generators) == distilled.learned
    for one, other in zip(plain.nets, distilled.nets, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.kernels, other.kernels, strict=True))
    assert torch.equal(plain.sample(2, seed=4), distilled.sample(2, seed=4)), "by chains"


def test_generators_come_nearer_to_the_ends_of_chains():
    model = finished(training(distil=60)).model()
    start = torch.rand(4, 1, *model.sizes[0], generator=torch.Generator().manual_seed(5)).expand(-1, 3, -1, -1) * 2 - 1
    end = model.chain(start, 0, ChainOptions())
    made = model.with_sampling("generator").chain(start, 0, ChainOptions(from_noise=True))
    assert float((made - end).square().mean()) < 0.5 * float((start - end).square().mean())


def test_a_distillation_resumes_to_the_bit_at_every_iteration():
    whole = training(2)
    states = [whole.state_dict()]
    for _ in whole.iterations():
        states.append(whole.state_dict())
    expected = whole.model().to_files()
    positions = [METHOD.position(state, tiny(), 2, METHOD.plan(16, 20, tiny()).learned) for state in states]
    assert sorted(positions) == positions
    assert len(set(positions)) == len(positions)
    for state in states:
        other = training(2)
        other.load_state_dicts([state])
        assert finished(other).model().to_files() == expected


def test_a_batch_distils_as_its_images_alone():
    together = finished(training(0, 1))
    alone = finished(training(1))
    for a, b in zip(together.model(1).generators, alone.model().generators, strict=True):
        for one, other in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-2)


def test_the_plan_counts_the_distillation():
    progress = list(training().iterations())
    plan, without = METHOD.plan(16, 20, tiny()), METHOD.plan(16, 20, tiny(distil=0))
    assert plan.iterations == len(progress) == without.iterations + 4 * len(plan.learned)
    assert plan.training > without.training
    assert METHOD.plan(16, 20, tiny(sampling="generator")).sampling < plan.sampling == without.sampling
    done = [p.done for p in progress]
    assert sorted(done) == done
    assert done[-1] == pytest.approx(1)
    assert {p.scale for p in progress} == set(range(2 * len(plan.learned)))
    assert all(p.metrics for p in progress if p.scale_finished)


def test_samples_by_generators_take_one_pass_a_scale_and_files_hold_them(monkeypatch):
    model = finished(training(sampling="generator")).model()
    passes, chains = [], []
    plain = GeneratorNet.forward
    monkeypatch.setattr(GeneratorNet, "forward", lambda *a, **b: (passes.append(1), plain(*a, **b))[1])
    run = pgcn.pyramid.refine
    monkeypatch.setattr(pgcn.pyramid, "refine", lambda *a: (chains.append(1), run(*a))[1])
    sample = model.sample(1, seed=3)
    assert (len(passes), len(chains)) == (model.learned, 0)
    model.with_sampling("chain").sample(1)
    model.reconstruct()
    model.sample(1, start_scale=1)
    assert len(passes) == model.learned
    assert chains
    again = load_model(model.to_files())
    assert torch.equal(again.sample(1, seed=3), sample)
    assert again.parameters == model.parameters
    assert torch.equal(model.generate(image(), 1, seed=3), sample)
    with pytest.raises(ValueError, match="generator or chain, not by both"):
        model.with_sampling("both")


def test_a_damaged_generator_is_refused():
    files = finished(training()).model().to_files()
    other = finished(training(distil=0)).model().to_files()
    with pytest.raises(ValueError, match="another pyramid"):
        load_model({**files, "scale-1.safetensors": other["scale-1.safetensors"]})
    model = finished(training()).model()
    model.generators[1].kernels[0].data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        load_model(model.to_files())


def test_a_generator_that_diverges_is_noticed(monkeypatch):
    monkeypatch.setattr(distillation, "RATE", 1e30)
    trainer = training()
    with pytest.raises(DivergenceError, match="Distillation diverged"):
        finished(trainer)
    assert 0 in trainer.failed


def test_new_settings_rename_no_job():
    before = identifying(make_settings("draft"))
    assert {"distil", "sampling"}.isdisjoint(before)
    assert {"distil", "sampling"} <= ADDED.keys()
    assert identifying(tiny(sampling="generator"))["distil"] == 4
    with pytest.raises(SettingsError, match="distil"):
        make_settings("draft", {"sampling": "generator"})
