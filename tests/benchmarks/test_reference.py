"""The product's trainer in its exact mode is the published algorithm, written plainly, up to rounding.

Exact: float32, no pool, every start drawn for its update. What differs in the product's favour stays: a written-out
gradient, frozen spectral norms within a chain, starts ahead of their use.
"""

import pytest
import torch

import pgcn
import pgcn.patchgencn.starts
from benchmarks import published, reference

TINY = {"max_size": 22, "min_size": 12, "scales": 3, "iterations": 5, "iteration_growth": 1.4, "noise_iterations": 3}
STEPS = {"langevin_steps": 6, "langevin_steps_init": 8, "recovery_steps": 5}


@pytest.fixture
def image():
    coarse = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(5)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(18, 22), mode="bilinear")


def settings(**more):
    return pgcn.make_settings("paper", TINY | STEPS | more)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"warm_start": True, "recovery_every": 2, "step_size": 0.05},
        {"net_width": "wide", "iterations": 2, "iteration_growth": 1.0},
        {"noise_std": 0.0},
        {"step_decay": 0.9, "recovery_steps": 7},
    ],
)
def test_the_trainer_is_the_published_algorithm(image, more, monkeypatch):
    monkeypatch.setattr(pgcn.patchgencn.starts, "STARTS_AHEAD", 1)
    made = settings(**more)
    plain = reference.train(image, made, seed=3, norms="update")
    trainer = pgcn.Trainer([image], made, [3])
    losses = [progress.metrics[0]["loss"] for progress in trainer.iterations()]
    assert losses == pytest.approx(plain.losses, rel=1e-3, abs=1e-5)
    assert trainer.sizes == plain.sizes
    for fast, slow in zip(trainer.nets, plain.nets, strict=True):
        # Without the last bias, which cancels in the loss: Adam makes steps of its gradient's rounding.
        for a, b in zip(list(fast.parameters())[:-1], list(slow.parameters())[:-1], strict=True):
            # A number moves by 4e-4 an update: one that is missed or turned is far outside of this. Adam divides by the
            # gradient's size, so where that is near 0, its rounding counts.
            torch.testing.assert_close(a[0], b, rtol=1e-3, atol=1e-4)
    theirs = reference.sample(plain, seed=9)
    ours = pgcn.Pyramid.trained(trainer).sample(1, seed=9)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)


def test_norms_in_every_call_stay_near(image):
    """The published code improves its singular vectors with every call; the product, once an update."""
    every, once = (reference.train(image, settings(), seed=3, norms=norms) for norms in ("call", "update"))
    difference = sum(abs(a - b) for a, b in zip(every.losses, once.losses, strict=True))
    assert difference < 0.3 * sum(map(abs, once.losses))


def test_the_expected_time_counts_the_steps_of_a_training(image, monkeypatch):
    """With one second for each Langevin step, the expected seconds are the steps that the plain trainer takes."""
    taken = []

    def counted(x, net, steps, generator):
        taken.extend(steps)
        return x

    monkeypatch.setattr(reference, "langevin", counted)
    monkeypatch.setattr(published, "step_seconds", lambda size, settings, device: 1.0)
    made = settings(recovery_every=1, iterations=4)
    trained = reference.train(image, made)
    # Between scales the plain trainer runs recovery once more.
    between = (len(trained.sizes) - 1) * made.recovery_steps
    found = published.expected(image.shape[2:], made, "cpu")
    in_losses = 3 * len(trained.losses)
    assert found.training == len(taken) - between + in_losses
    taken.clear()
    reference.sample(trained)
    assert found.sample == len(taken)


def test_a_step_takes_time(image):
    assert published.step_seconds((30, 40), settings(), "cpu") > 0
