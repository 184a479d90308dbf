"""Training on real pictures, small: it learns, it stops where it fails, and it goes on to the bit."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pgcn
from pgcn.imaging.scales import resize
from pgcn.method import LayoutError
from pgcn.metrics.patch_distribution import patch_swd
from pgcn.patchgencn.energy import EnergyNet
from pgcn.patchgencn.trainer import DivergenceError, Trainer

PICTURE = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.*g"))[0]
TINY = {
    **{"max_size": 20, "min_size": 12, "scales": 2, "iterations": 6, "iteration_growth": 1.5, "noise_iterations": 4},
    **{"langevin_steps": 6, "langevin_steps_init": 8, "recovery_steps": 4},
}


@pytest.fixture(scope="module")
def photograph():
    rgb = np.array(Image.open(PICTURE).convert("RGB").resize((36, 28), Image.Resampling.BICUBIC))
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 127.5 - 1


def tiny(preset="draft", **more):
    return pgcn.make_settings(preset, {**TINY, **more})


def same_files(a, b):
    return a.to_files() == b.to_files()


def test_a_real_training_halves_the_patch_swd(photograph):
    settings = pgcn.make_settings(
        "draft", {"max_size": 32, "min_size": 16, "scales": 3, "iterations": 40, "noise_iterations": 10}
    )
    trainer = Trainer([photograph], settings, [0])
    target = trainer.observed[-1]
    untrained_nets = [EnergyNet(wide=False, generators=[torch.Generator().manual_seed(s)]) for s in range(3)]
    untrained = pgcn.Pyramid(settings, 0, trainer.sizes, [net.weights() for net in untrained_nets], trainer.observed[0])
    trained = pgcn.fit(photograph, settings=settings)

    def distance(pyramid):
        return float(np.mean([patch_swd(x[None], target) for x in pyramid.sample(4)]))

    before, after = distance(untrained), distance(trained)
    print(f"\npatch-SWD of samples to the photograph: {before:.3f} untrained, {after:.3f} trained")
    assert after < before / 2
    for here, noisy in zip(trained.energy(photograph), trained.energy(torch.rand(1, 3, 28, 36) * 2 - 1), strict=True):
        assert here.mean() < noisy.mean(), "the observed image has a lower energy than noise"


@pytest.mark.parametrize("settings", [tiny(), tiny("paper", recovery_every=2), tiny(pool_size=0, chains=2)])
def test_interrupted_and_resumed_at_any_update_is_the_same_to_the_bit(photograph, settings):
    whole = Trainer([photograph], settings, [3])
    states = [whole.state_dict()]
    for _ in whole.iterations():
        states.append(whole.state_dict())
    expected = pgcn.Pyramid.trained(whole)
    for state in [*states[:: max(1, len(states) // 6)], states[-1]]:
        again = Trainer([photograph], settings, [3])
        again.load_state_dicts([state])
        for _ in again.iterations():
            pass
        resumed = pgcn.Pyramid.trained(again)
        assert same_files(resumed, expected)
        assert torch.equal(resumed.sample(2, seed=1), expected.sample(2, seed=1))


def test_a_taken_state_does_not_move_with_training(photograph):
    trainer = Trainer([photograph], tiny(), [0])
    trainer.iterate()
    tensors, _ = trainer.state_dict()
    before = {name: value.clone() for name, value in tensors.items()}
    for _ in range(5):
        trainer.iterate()
    assert all(torch.equal(before[name], tensors[name]) for name in before)


def test_a_state_of_another_training_is_refused(photograph):
    state = Trainer([photograph], tiny(), [1]).state_dict()
    with pytest.raises(ValueError, match="other settings, seed or sizes"):
        Trainer([photograph], tiny(), [2]).load_state_dicts([state])


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("generator", torch.zeros(16, dtype=torch.uint8)),
        ("net.0.kernels.0", None),
        ("net.0.kernels.0", torch.zeros(1, 3, 3)),
        ("starts", torch.zeros(16, 3, 4, 4)),
        ("starts", "double"),
        ("recovered", None),
        ("adam.0.exp_avg", torch.zeros(1, 2)),
        ("adam.1.exp_avg_sq", None),
    ],
)
def test_a_state_of_another_layout_is_refused(photograph, name, other):
    """Another version of the program may have written it: nothing else would notice before the next iteration."""
    trainer = Trainer([photograph], tiny(), [1])
    trainer.iterate()
    tensors, where = trainer.state_dict()
    name = next(key for key in tensors if key.startswith(name[:5])) if name not in tensors else name
    tensors[name] = tensors[name].double() if other == "double" else other
    with pytest.raises(LayoutError, match="this checkpoint"):
        Trainer([photograph], tiny(), [1]).load_state_dicts(
            [({key: value for key, value in tensors.items() if value is not None}, where)]
        )


def test_seeds_decide(photograph):
    settings = tiny()
    assert same_files(pgcn.fit(photograph, settings=settings, seed=1), pgcn.fit(photograph, settings=settings, seed=1))
    assert not same_files(
        pgcn.fit(photograph, settings=settings, seed=1), pgcn.fit(photograph, settings=settings, seed=2)
    )


def test_progress_counts_every_update_and_ends_at_one(photograph):
    seen = []
    pgcn.fit(photograph, settings=tiny(), on_progress=seen.append)
    assert [(p.scale, p.iteration) for p in seen] == [(0, i) for i in range(1, 10)] + [(1, i) for i in range(1, 7)]
    done = [p.done for p in seen]
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert {"loss", "recovery_error", "energy_observed"} <= seen[-1].metrics[0].keys()


def test_divergence_stops_the_training(photograph):
    with pytest.raises(DivergenceError, match=r"scale 0, iteration \d+"):
        pgcn.fit(photograph, settings=tiny(learning_rate=1.0, step_size=10.0, iterations=60))


def rough(kind):
    """A picture of black and white pixels, `(1, 3, 28, 36)`: its smooth start has a recovery error of 2 to 3."""
    down, across = torch.meshgrid(torch.arange(28), torch.arange(36), indexing="ij")
    if kind == "checkerboard":
        gray = ((down + across) % 2).float()
    else:
        dithered = Image.fromarray((92 + 2 * across).numpy().astype(np.uint8)).convert("1")
        gray = torch.from_numpy(np.array(dithered)).float()
    return (2 * gray - 1).expand(1, 3, 28, 36)


@pytest.mark.parametrize("kind", ["checkerboard", "dithered"])
@pytest.mark.parametrize("scales", [1, 2])
def test_pictures_that_no_smooth_start_comes_near_are_trained(kind, scales):
    settings = tiny(max_size=36, scales=scales, iterations=12)
    trainer = Trainer([rough(kind)], settings, [0])
    errors = [p.metrics[0]["recovery_error"] for p in trainer.iterations() if p.metrics]
    assert trainer.finished
    assert not trainer.failed
    assert max(errors) > 2.0, "above what is taken for divergence elsewhere"


@pytest.mark.parametrize("kind", ["checkerboard", "dithered"])
def test_their_divergence_stops_the_training_too(kind):
    with pytest.raises(DivergenceError, match=r"scale 0, iteration \d+"):
        pgcn.fit(rough(kind), settings=tiny(max_size=36, scales=1, learning_rate=1.0, step_size=10.0, iterations=60))
    trainer = Trainer([rough(kind)], tiny(max_size=36, scales=1), [0])
    with torch.no_grad():
        trainer.net.kernels[1].fill_(float("nan"))
    with pytest.raises(DivergenceError, match="error is nan"):
        list(trainer.iterations())


def test_warm_start_begins_from_the_coarser_net(photograph):
    def first_net_of_scale_1(warm):
        trainer = Trainer([photograph], tiny(warm_start=warm), [0])
        while trainer.scale == 0:
            trainer.iterate()
        return trainer.net.kernels[0], trainer.nets[0].kernels[0]

    new, old = first_net_of_scale_1(True)
    assert torch.equal(new, old)
    new, old = first_net_of_scale_1(False)
    assert not torch.equal(new, old)


def test_starts_are_used_once_without_a_pool_and_kept_with_one(photograph):
    def starts(pool_size):
        trainer = Trainer([photograph], tiny(pool_size=pool_size), [0])
        while trainer.scale == 0:
            trainer.iterate()
        drawn = torch.cat([trainer.starts.draw(1)[0] for _ in range(40)])
        return len(torch.unique(drawn.flatten(1), dim=0))

    assert starts(0) == 40
    assert starts(4) == 4


def test_constant_image_trains():
    pyramid = pgcn.fit(torch.zeros(1, 3, 16, 16), settings=tiny())
    assert torch.isfinite(pyramid.sample(1)).all()


def test_resizes_never_upsample(photograph):
    trainer = Trainer([photograph], pgcn.make_settings("draft", {"max_size": 999}), [0])
    assert trainer.sizes[-1] == (28, 36)
    assert torch.equal(trainer.observed[-1], resize(photograph, (28, 36)))


def test_a_trainer_is_gone_when_nobody_needs_it():
    """On a GPU it holds graphs and their memory, which Python's collector does not see."""
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    trainer = pgcn.Trainer([image], pgcn.make_settings("draft", {"scales": 2, "iterations": 2}), [0])
    for _ in trainer.iterations():
        pass
    seen = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert seen() is None
    finally:
        gc.enable()
