"""The expanding energy: fading, growth, receptive field, noise over the cascade, sampling by the finest net."""

import pytest
import torch

import pgcn
from pgcn.method import ChainOptions, DivergenceError
from pgcn.methods import find_method, make_settings
from pgcn.methods.expanding.net import ExpandingEnergy, half, spread
from pgcn.settings import Step

METHOD = find_method("expanding")
TINY = {"max_size": 24, "min_size": 8, "iterations": 4, "iteration_growth": 1.0, "langevin_steps": 2, "width": 4}


def image(seed=0, size=(16, 24)):
    spots = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(spots, size=size, mode="bicubic").clamp(-1, 1)


def net(seed, blocks=2):
    made = ExpandingEnergy(3, 4, blocks, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        made.last.mul_(100)
    return made.double()


def training(**changed):
    return METHOD.trainer([image()], make_settings("draft", {**TINY, **changed}, "expanding"), [3])


@pytest.mark.parametrize("size", [(16, 24), (13, 18), (9, 11)])
def test_the_fade_begins_with_the_coarse_energy_and_ends_with_the_new_one(size):
    coarse, fine, x = net(0).requires_grad_(False), net(1).requires_grad_(False), image(2, size).double()
    alone = fine(x).sum()
    fine.fade(coarse, 0.0)
    assert float(fine(x).sum()) == pytest.approx(4 * float(coarse(half(x)).sum()), rel=1e-9)
    fine.fade(coarse, 0.25)
    expected = 0.25 * alone + 0.75 * 4 * coarse(half(x)).sum()
    assert float(fine(x).sum()) == pytest.approx(float(expected), rel=1e-9)
    fine.fade(coarse, 1.0)
    assert fine(x).sum() == alone


def test_the_gradient_of_a_coarse_energy_keeps_its_size_by_a_pixel():
    """Means of 2×2 px carry a quarter of it: the factor 4 gives each fine pixel that of its coarse one."""
    coarse, fine, x = net(0), net(1), image(2).double()
    fine.fade(coarse, 0.0)
    by_pixel = coarse.gradient()(half(x)).repeat_interleave(2, -2).repeat_interleave(2, -1)
    assert torch.allclose(fine.gradient()(x), by_pixel)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_gradient_is_that_of_the_faded_energy(share):
    coarse, fine, x = net(0), net(1), image(2, (13, 18)).double() / 2
    fine.fade(coarse, share)
    direction, e = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype), 1e-5
    with torch.no_grad():
        slope = (fine(x + e * direction).sum() - fine(x - e * direction).sum()) / (2 * e)
    assert float((fine.gradient()(x) * direction).sum()) == pytest.approx(float(slope), rel=1e-6)


def test_the_share_rises_from_zero_to_one_and_is_one_at_the_end():
    settings = make_settings("draft", {"fade": 0.5}, "expanding")
    assert [settings.share(at, 8) for at in range(8)] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert settings.model_copy(update={"fade": 1.0}).share(7, 8) == 1


def test_only_the_new_net_learns_while_it_fades_in():
    coarse, fine = net(0), net(1)
    fine.fade(coarse, 0.5)
    fine.learn(image().double(), torch.ones(1).double())
    assert all(parameter.grad is not None for parameter in fine.parameters())
    assert all(parameter.grad is None for parameter in coarse.parameters())


def test_spread_keeps_the_sum_at_odd_sizes():
    f = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    for size in ((6, 8), (5, 7), (5, 8)):
        assert torch.allclose(spread(f, size).sum((1, 2)), f.sum((1, 2)))


def test_a_pixel_depends_on_no_other_beyond_the_receptive_field():
    own = net(0)
    x = torch.zeros(1, 3, 64, 64, dtype=torch.double, requires_grad=True)
    own.forward(x)[0, 8, 8].backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    rows = seen.any(1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 24
    gradient, y = own.gradient(), image(3, (64, 64)).double()
    other = y.clone()
    other[..., 32, 32] += 0.5
    changed = (gradient(y) - gradient(other)).abs().sum((0, 1)) > 0
    assert int((changed.nonzero() - 32).abs().max()) <= own.halo


@pytest.mark.parametrize(("blocks", "expected"), [(1, [1, 1]), (0, [1, 2])])
def test_a_net_grows_from_the_one_below(blocks, expected):
    trainer = training(blocks=blocks)
    assert [len(own.blocks) for own in trainer.nets] == expected
    steps = trainer.iterations()
    while not next(steps).scale_finished:
        pass
    below, above = trainer.nets
    assert torch.equal(above.head.kernel, below.head.kernel)
    for kept, old in zip(above.blocks, [below.blocks[0], *below.blocks], strict=False):
        assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), old.parameters(), strict=True))


def test_scales_double_and_are_no_more_than_asked_for():
    settings = make_settings("draft", {}, "expanding")
    assert METHOD.plan(200, 300, settings).learned == [(12, 18), (24, 36), (48, 72)]
    assert METHOD.plan(200, 300, settings.model_copy(update={"scales": 2})).learned == [(24, 36), (48, 72)]
    assert METHOD.plan(10, 14, settings).learned == [(10, 14)]


def test_the_noise_falls_to_zero_over_the_whole_cascade():
    settings = make_settings("draft", {"step_decay": 0, "noise_std": 0.1, "langevin_steps": 2}, "expanding")
    stds = [std for at in (0, 1) for _, std in settings.fallen(settings.chain(), at, 2)]
    assert stds == pytest.approx([0.1, 0.075, 0.05, 0.025])
    same = settings.model_copy(update={"noise": "chain"})
    assert same.fallen([Step(1, 0.1)], 1, 2) == [Step(1, 0.1)]


def test_the_finest_net_alone_has_the_steps_of_all_scales():
    model = pgcn.fit(image(), settings=make_settings("draft", {**TINY, "sampling": "finest"}, "expanding"))
    assert model.learned == 2
    assert model.steps(0, ChainOptions()) == []
    assert len(model.steps(1, ChainOptions())) == 4
    x = image(4, model.sizes[0])
    assert torch.equal(model.refine(x, 0), x)


@pytest.mark.parametrize("changed", [{"sampling": "finest"}, {"blocks": 0, "noise_std": 0.05}])
def test_a_training_with_other_settings_resumes_to_the_bit(changed):
    whole = training(**changed)
    states = [whole.state_dict() for _ in whole.iterations()]
    for state in states[2::3]:
        other = training(**changed)
        other.load_state_dicts([state])
        list(other.iterations())
        assert other.model().to_files() == whole.model().to_files()


def test_a_blow_up_at_the_last_stage_is_noticed_and_the_next_attempt_is_slower():
    trainer = training(step_size=1.0)
    with pytest.raises(DivergenceError, match="scale 1"):
        for progress in trainer.iterations():
            if progress.scale == 1:
                with torch.no_grad():
                    trainer.nets[1].last.fill_(1e4)
    slower = METHOD.after_divergence(trainer.settings)
    assert slower.step_size == trainer.settings.step_size / 2
    assert slower.learning_rate == trainer.settings.learning_rate / 2
