"""Training on windows: cut like the whole image, restarted to the bit, at a cost that does not grow with the image."""

import pytest
import torch

import pgcn
from pgcn.imaging.scales import learned_sizes, resize
from pgcn.patchgencn import curvature
from pgcn.patchgencn.energy import EnergyNet, crop, energy, energy_gradient, pad
from pgcn.patchgencn.flops import training_operations
from pgcn.patchgencn.masked_trainer import MaskedTrainer
from pgcn.patchgencn.starts import ChainStarts
from pgcn.patchgencn.trainer import Trainer
from pgcn.patchgencn.weights import PAD
from pgcn.patchgencn.windows import Windows, cut, enlarge, region_place

TINY = {
    **{"max_size": 60, "min_size": 12, "scales": 3, "iterations": 3, "iteration_growth": 1.2, "window": 16},
    **{"langevin_steps": 2, "langevin_steps_init": 2, "recovery_steps": 2, "pool_size": 8, "noise_iterations": 2},
}


def tiny(**more):
    return pgcn.make_settings("small", {**TINY, **more})


def picture(seed, size=(44, 60)):
    coarse = torch.rand(1, 3, 11, 15, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return resize(coarse, size)


def slow_cut(x, places, size):
    """Windows out of the whole padded batch, image after image."""
    padded = torch.nn.functional.pad(x, [PAD] * 4)
    rows = [
        padded[:, 3 * b : 3 * b + 3, top : top + size[0] + 2 * PAD, left : left + size[1] + 2 * PAD]
        for b, (top, left) in enumerate(places)
    ]
    return torch.cat(rows, dim=1)


@pytest.mark.parametrize("places", [[(0, 0), (24, 38)], [(3, 1), (20, 36)], [(10, 11), (0, 38)]])
def test_windows_are_pieces_of_the_padded_image(places):
    images = torch.cat([picture(1), picture(2)], dim=1)
    assert torch.equal(cut(images, places, (20, 22)), slow_cut(images, places, (20, 22)))
    tall = [(0, column) for _, column in places]
    assert torch.equal(cut(images, tall, (44, 22)), slow_cut(images, tall, (44, 22))), "as high as the image"
    assert torch.equal(cut(images, [(0, 0)] * 2, (44, 60)), pad(images))


@pytest.mark.parametrize("place", [(0, 0), (9, 14), (24, 38)])
def test_energy_and_inner_gradient_of_a_window_are_those_of_the_whole_image(place):
    image, (top, left), size = picture(1).double(), place, (20, 22)
    weights = EnergyNet(wide=False, generators=[torch.Generator().manual_seed(3)]).weights().to(torch.float64)
    window = cut(image, [place], size)
    here = energy(pad(image), weights)[..., top : top + size[0], left : left + size[1]]
    torch.testing.assert_close(energy(window, weights), here)
    whole = crop(energy_gradient(weights)(pad(image)))[..., top : top + size[0], left : left + size[1]]
    inner = crop(energy_gradient(weights)(window))
    torch.testing.assert_close(crop(inner), crop(whole))
    assert not torch.allclose(inner, whole), "nearer to its edge, positions outside the window are missing"


def test_places_are_random_reach_every_edge_and_are_an_images_own():
    settings = tiny()
    windows = Windows(2, (44, 60), settings, [5, 6])
    assert windows.window == (16, 16)
    assert windows.region == (32, 32)
    starts = torch.rand(1, 6, 32, 32)
    seen = []
    for iteration in range(600):
        points = torch.rand(2, 2, generator=torch.Generator().manual_seed(iteration)).tolist()
        at = torch.tensor([[region_place(point, (44, 60), (32, 32)) for point in points]])
        cuts = windows.cut_starts(starts, at, iteration)
        seen.append(windows.places)
        alone = Windows(2, (44, 60), settings, [6])
        assert torch.equal(alone.cut_starts(starts[:, 3:], at[:, 1:], iteration), cuts[:, 3:])
        for (row, column), (top, left) in zip(windows.places, at[0].tolist(), strict=True):
            for first, start, side in ((row, top, 44), (column, left, 60)):
                assert first >= start + PAD or start == 0, "the border is image or zero, never beyond a region"
                assert first + 16 + PAD <= start + 32 or start + 32 == side
    for image in (0, 1):
        rows, columns = zip(*(places[image] for places in seen), strict=True)
        assert (min(rows), max(rows)) == (0, 44 - 16)
        assert (min(columns), max(columns)) == (0, 60 - 16)
        assert len(set(rows)) > 20


def test_a_region_is_enlarged_where_it_stands():
    image, fine = picture(4), (66, 90)
    point = (0.4, 0.7)
    for at in (point, (0.0, 0.0), (0.99, 0.99)):
        place, finer = region_place(at, (44, 60), (32, 32)), region_place(at, fine, (32, 32))
        region = image[..., place[0] : place[0] + 32, place[1] : place[1] + 32]
        found = enlarge(region, torch.tensor([[place]]), (44, 60), fine, (32, 32), torch.tensor([[finer]]))
        whole = resize(image, fine)
        expected = whole[..., finer[0] : finer[0] + 32, finer[1] : finer[1] + 32]
        assert found.shape == expected.shape
        moved = whole[..., 20 : 20 + 32, 40 : 40 + 32]
        assert (found - expected).abs().mean() < 0.25 * (found - moved).abs().mean(), "up to half a pixel"


def test_pools_hold_fewer_larger_starts():
    settings = tiny(pool_size=16)
    image = picture(1)
    trainer = Trainer([image], settings, [0])
    pixels = []
    while not trainer.finished:
        if trainer.iterate().iteration == 1 and trainer.scale:
            pixels.append(trainer.starts.drawn[:, 0].numel())
            assert max(trainer.starts.drawn.shape[-2:]) <= 32
    assert len(pixels) == 2
    assert max(pixels) <= 1.1 * 16 * 16 * 16, "as many pixels as pool_size windows have"


@pytest.mark.parametrize("more", [{}, {"pool_size": 0, "chains": 2}, {"noise": "langevin", "max_curvature": 1e-5}])
def test_interrupted_and_resumed_on_windows_is_the_same_to_the_bit(more, monkeypatch):
    monkeypatch.setattr(curvature, "EVERY", 1)
    settings, images, seeds = tiny(**more), [picture(1), picture(2)], [3, 4]
    whole = Trainer(images, settings, seeds)
    states = []
    for _ in whole.iterations():
        states.append([whole.state_dict(index) for index in range(2)])
    expected = [pgcn.Pyramid.trained(whole, index).to_files() for index in range(2)]
    for state in states[1::3]:
        again = Trainer(images, settings, seeds)
        again.load_state_dicts(state)
        for _ in again.iterations():
            pass
        assert [pgcn.Pyramid.trained(again, index).to_files() for index in range(2)] == expected


def test_a_batch_on_windows_learns_what_its_images_learn_alone():
    torch.set_default_dtype(torch.float64)
    try:
        settings, images, seeds = tiny(), [picture(1).double(), picture(2).double()], [3, 4]
        trainers = [Trainer(images, settings, seeds), Trainer(images[1:], settings, seeds[1:])]
        for trainer in trainers:
            for _ in trainer.iterations():
                pass
        for together, alone in zip(trainers[0].frozen, trainers[1].frozen, strict=True):
            torch.testing.assert_close(together.of(1).kernels, alone.kernels, rtol=1e-8, atol=1e-10)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_window_larger_than_the_image_changes_nothing():
    image = picture(1, (22, 30))
    without, within = (pgcn.fit(image, settings=tiny(window=window)) for window in (0, 64))
    for a, b in zip(without.nets, within.nets, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.kernels, b.kernels, strict=True))


def test_an_image_with_a_hole_is_trained_on_windows():
    mask = torch.zeros(1, 1, 44, 60)
    mask[..., 10:30, 20:44] = 1
    trainer = MaskedTrainer(picture(1), mask, tiny(), 0)
    for _ in trainer.iterations():
        pass
    assert all(torch.isfinite(kernel).all() for kernel in trainer.nets[-1].kernels)


def test_divergence_is_found_on_windows():
    with pytest.raises(pgcn.DivergenceError):
        pgcn.fit(picture(1), settings=tiny(learning_rate=1.0, step_size=10.0, iterations=40))


def counted(monkeypatch, side):
    """Pixels of convolutions of a training of an image of `side`, border included."""
    from pgcn.patchgencn import energy as module

    total, real = 0, module.convolve

    def convolve(h, *rest, **options):
        nonlocal total
        total += h.shape[0] * h.shape[-2] * h.shape[-1]
        return real(h, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setenv("PGCN_PLAIN", "1")
        patched.setattr(module, "convolve", convolve)
        trainer = Trainer([picture(1, (side * 2 // 3, side))], tiny(max_size=side, iterations=10, step_size=0.1), [0])
        for _ in trainer.iterations():
            pass
    return total


def test_the_cost_of_training_does_not_grow_with_the_image(monkeypatch):
    small, large = counted(monkeypatch, 30), counted(monkeypatch, 120)
    assert large < 3 * small, "sixteen times the pixels"


@pytest.mark.parametrize("window", [0, 56])
def test_the_estimate_knows_windows(window):
    def operations(side):
        settings = pgcn.make_settings("small", {"max_size": side, "window": window})
        return training_operations(learned_sizes(1200, 1800, settings), settings)

    growth = operations(1024) / operations(64)
    assert growth <= 3 if window else growth > 30


def test_starts_of_whole_scales_draw_no_places():
    """A training without windows draws the random numbers that it always drew."""
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    for generator, window in zip(generators, (0, 64), strict=True):
        ChainStarts([], [(12, 16)], tiny(window=window), [generator]).draw(1)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_images_of_other_channels_are_trained_on_windows(monkeypatch):
    monkeypatch.setattr(curvature, "EVERY", 1)
    images = [torch.cat([picture(seed), picture(seed + 1)[:, :2]], dim=1) for seed in (1, 2)]
    trainer = Trainer(images, tiny(max_curvature=1e-3), [3, 4])
    for _ in range(7):
        trainer.iterate()
    again = Trainer(images, tiny(max_curvature=1e-3), [3, 4])
    again.load_state_dicts([trainer.state_dict(index) for index in range(2)])
    for one in (trainer, again):
        for _ in one.iterations():
            pass
    assert trainer.frozen[-1].kernels[0].shape[2] == 5
    for a, b in zip(trainer.frozen[-1].kernels, again.frozen[-1].kernels, strict=True):
        assert torch.equal(a, b)
