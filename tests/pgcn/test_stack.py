"""Images learned side by side are learned as they would be alone."""

import pytest
import torch

import pgcn
from pgcn.patchgencn.energy import EnergyNet, energy, energy_gradient, pad
from pgcn.patchgencn.trainer import Trainer

TINY = {
    **{"max_size": 20, "min_size": 12, "scales": 2, "iterations": 6, "iteration_growth": 1.5, "noise_iterations": 4},
    **{"langevin_steps": 3, "langevin_steps_init": 4, "recovery_steps": 2},
}


@pytest.fixture
def in_double():
    """Adam makes whole steps of gradients that are but rounding: only float64 tells a wrong one from a rounded one."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def picture(seed, size=(15, 20)):
    coarse = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


IMAGES = [picture(1), picture(2, (30, 40)), picture(3)]
SEEDS = [5, 6, 7]


def trained(images, seeds, settings):
    trainer = Trainer(images, settings, seeds)
    for _ in trainer.iterations():
        pass
    return trainer


@pytest.mark.parametrize("number", [torch.float64, torch.float32])
def test_energy_and_gradient_of_a_stack_are_those_of_its_images(number):
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    weights = EnergyNet(wide=False, generators=generators).weights().to(number)
    x = pad(torch.rand(2, 9, 10, 12, dtype=number) * 2 - 1)
    f, gradient = energy(x, weights), energy_gradient(weights)(x)
    assert f.shape == (2, 3, 10, 12)
    for image in range(3):
        own = x[:, 3 * image : 3 * image + 3]
        torch.testing.assert_close(f[:, image : image + 1], energy(own, weights.of(image)))
        torch.testing.assert_close(gradient[:, 3 * image : 3 * image + 3], energy_gradient(weights.of(image))(own))


@pytest.mark.parametrize("more", [{}, {"pool_size": 0, "chains": 2}, {"noise": "langevin", "warm_start": False}])
def test_a_stack_learns_what_its_images_learn_alone(more, in_double):
    settings = pgcn.make_settings("draft", {**TINY, **more})
    stack = trained(IMAGES, SEEDS, settings)
    for index, (image, seed) in enumerate(zip(IMAGES, SEEDS, strict=True)):
        alone = trained([image], [seed], settings)
        for together, own in zip(stack.frozen, alone.frozen, strict=True):
            for a, b in zip(together.of(index).kernels, own.kernels, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
        samples = [pgcn.Pyramid.trained(t, i).sample(2, seed=1) for t, i in ((stack, index), (alone, 0))]
        torch.testing.assert_close(samples[0], samples[1], rtol=0, atol=1e-7)


def test_a_failure_leaves_the_others_exactly_as_they_were():
    settings = pgcn.make_settings("draft", TINY)
    whole = trained(IMAGES, SEEDS, settings)
    broken = Trainer(IMAGES, settings, SEEDS)
    for progress in broken.iterations():
        if progress.scale == 0 and progress.iteration == 2:
            with torch.no_grad():
                broken.net.kernels[1][1] = float("nan")
    assert list(broken.failed) == [1]
    assert "diverged (scale 0" in str(broken.failed[1])
    for index in (0, 2):
        assert pgcn.Pyramid.trained(broken, index).to_files() == pgcn.Pyramid.trained(whole, index).to_files()


def test_a_net_that_is_dead_is_a_failure():
    trainer = Trainer([IMAGES[0]], pgcn.make_settings("draft", TINY), [0])
    with torch.no_grad():
        trainer.net.kernels[-1].zero_()
    with pytest.raises(pgcn.DivergenceError, match=r"collapsed \(scale 0"):
        while True:
            trainer.net.kernels[-1].data.zero_()
            trainer.iterate()


def test_a_state_out_of_a_stack_goes_on_in_it_to_the_bit_and_alone_up_to_rounding():
    settings = pgcn.make_settings("draft", {**TINY, "precision": "float32"})
    stack = Trainer(IMAGES, settings, SEEDS)
    for _ in range(11):
        stack.iterate()
    states = [stack.state_dict(image) for image in range(3)]
    for _ in stack.iterations():
        pass
    again = Trainer(IMAGES, settings, SEEDS)
    again.load_state_dicts(states)
    alone = Trainer(IMAGES[1:2], settings, SEEDS[1:2])
    alone.load_state_dicts(states[1:2])
    for trainer in (again, alone):
        for _ in trainer.iterations():
            pass
    expected = pgcn.Pyramid.trained(stack, 1)
    assert pgcn.Pyramid.trained(again, 1).to_files() == expected.to_files()
    torch.testing.assert_close(
        pgcn.Pyramid.trained(alone).sample(1, seed=3), expected.sample(1, seed=3), rtol=0, atol=5e-3
    )


def test_images_that_do_not_go_together_are_refused():
    settings = pgcn.make_settings("draft", TINY)
    with pytest.raises(ValueError, match="same sizes"):
        Trainer([picture(1), picture(2, (20, 15))], settings, [1, 2])
    first, second = (Trainer([IMAGES[0]], settings, [seed]) for seed in (1, 2))
    first.iterate()
    with pytest.raises(ValueError, match="same iteration"):
        Trainer(IMAGES[:2], settings, [1, 2]).load_state_dicts([first.state_dict(), second.state_dict()])
