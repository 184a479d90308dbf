"""A trained pyramid: sampling at any size, files, energy."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open

import pgcn
from pgcn.imaging.scales import resize

SETTINGS = pgcn.make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 3, "iterations": 8})


@pytest.fixture(scope="module")
def pyramid():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 6, 8, generator=generator) * 2 - 1
    image = torch.nn.functional.interpolate(coarse, size=(18, 24), mode="bilinear")
    return pgcn.fit(image, settings=SETTINGS)


@pytest.mark.parametrize("size", [None, (18, 48), (40, 20), (7, 9), (1, 1)])
def test_samples_have_the_size_asked_for(pyramid, size):
    samples = pyramid.sample(3, size=size)
    assert samples.shape == (3, 3, *(size or (18, 24)))
    assert float(samples.abs().max()) <= 1


def test_a_sample_is_reproducible_and_its_own(pyramid):
    together = pyramid.sample(20, seed=5)
    assert torch.equal(together, pyramid.sample(20, seed=5))
    torch.testing.assert_close(pyramid.sample(1, seed=12)[0], together[7], atol=1e-3, rtol=0)
    assert len(torch.unique(together.flatten(1), dim=0)) == 20


def test_stages_are_one_a_scale(pyramid):
    (stages,) = pyramid.samples(2)
    assert [tuple(s.shape[-2:]) for s in stages] == pyramid.sizes
    assert torch.equal(stages[-1], pyramid.sample(2))


def test_a_finer_start_is_nearer_to_the_image(pyramid):
    picture = pyramid.reconstruct()[-1]

    def distance(start_scale):
        return float((pyramid.sample(8, start_scale=start_scale) - picture).square().mean())

    assert distance(2) < distance(0)
    assert pyramid.sample(2, start_scale=2).std(0).mean() > 0, "samples from one start differ"


def test_a_sample_can_start_from_a_picture(pyramid):
    dark = pyramid.sample(1, start_scale=2, start=torch.full((1, 3, 10, 10), -1.0))
    light = pyramid.sample(1, start_scale=2, start=torch.full((1, 3, 10, 10), 1.0))
    assert light.mean() > dark.mean()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"n": 0}, "1 or more"), ({"start_scale": 3}, "0 to 2"), ({"size": (0, 5)}, "at least one pixel")],
)
def test_what_cannot_be_sampled_is_said(pyramid, arguments, words):
    with pytest.raises(ValueError, match=words):
        pyramid.sample(**arguments)


def test_energy_and_recovery_are_one_map_a_scale(pyramid):
    maps = pyramid.energy(torch.rand(1, 3, 50, 60))
    assert [tuple(m.shape) for m in maps] == pyramid.sizes
    assert [tuple(r.shape[-2:]) for r in pyramid.reconstruct()] == pyramid.sizes


def test_saved_and_loaded_is_the_same(pyramid, tmp_path):
    pyramid.save(tmp_path / "model")
    loaded = pgcn.Pyramid.load(tmp_path / "model")
    assert loaded.settings == pyramid.settings
    assert (loaded.seed, loaded.sizes, loaded.parameters) == (pyramid.seed, pyramid.sizes, pyramid.parameters)
    assert torch.equal(loaded.sample(2, size=(20, 30)), pyramid.sample(2, size=(20, 30)))
    assert torch.equal(loaded.reconstruct()[-1], pyramid.reconstruct()[-1])


def test_files_are_safetensors_that_say_what_they_are(pyramid, tmp_path):
    pyramid.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"scale-{s}.safetensors" for s in range(3)]
    with safe_open(tmp_path / "scale-1.safetensors", "pt") as file:
        assert json.loads(file.metadata()["pgcn"])["algorithm"] == pgcn.ALGORITHM
        assert set(file.keys()) == {f"{kind}.{i}" for kind in ("kernel", "bias") for i in range(5)}


@pytest.mark.parametrize("damage", ["missing", "truncated", "other", "text"])
def test_damaged_files_are_refused(pyramid, damage):
    files = pyramid.to_files()
    if damage == "missing":
        del files["scale-1.safetensors"]
    elif damage == "truncated":
        files["scale-2.safetensors"] = files["scale-2.safetensors"][:-10]
    elif damage == "other":
        other = pgcn.Pyramid(pyramid.settings, 99, pyramid.sizes, pyramid.nets, pyramid.observed)
        files["scale-1.safetensors"] = other.to_files()["scale-1.safetensors"]
    else:
        files["scale-0.safetensors"] = b"hello"
    with pytest.raises(ValueError, match=r"missing|damaged|another pyramid|not a"):
        pgcn.Pyramid.from_files(files)


@pytest.fixture(scope="module")
def detailed():
    """A pyramid of two learned scales with exact detail above them, hardly trained: its layouts differ much."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 9, 12, generator=generator) * 2 - 1
    image = torch.nn.functional.interpolate(coarse, size=(36, 48), mode="bilinear")
    own = {"max_size": 48, "min_size": 12, "learned_size": 16, "scales": 2, "iterations": 4, "layout_patch": 0}
    return pgcn.fit(image, settings=pgcn.make_settings("draft", own))


def with_layouts(pyramid, count):
    return dataclasses.replace(pyramid, settings=pyramid.settings.model_copy(update={"layouts": count}))


def layout_energy(pyramid, stages):
    at = pyramid.learned - 1
    return pyramid.exact.layout_energies(stages[at], pyramid.sizes[at])


def test_of_several_layouts_the_one_of_least_energy_gets_its_detail(detailed):
    counts = (1, 2, 5)
    stages = [next(with_layouts(detailed, count).samples(4, seed=3)) for count in counts]
    one, two, five = (layout_energy(detailed, found) for found in stages)
    assert bool((two <= one).all() and (five <= two).all())
    assert bool((five < one).any()), "another layout than the first is kept"
    kept = five == one
    assert torch.equal(stages[2][0][kept], stages[0][0][kept]), "the first of five is the one of one"
    for found in stages:
        assert [tuple(stage.shape[-2:]) for stage in found] == detailed.sizes
        layouts = found[detailed.learned - 1]
        below = resize(found[-1], detailed.sizes[detailed.learned - 1])
        own, other = ((below - each).square().mean() for each in (layouts, layouts.roll(1, 0)))
        assert own < 0.9 * other, "the detail belongs to the layout"


def test_a_sample_with_several_layouts_is_its_own(detailed):
    several = with_layouts(detailed, 3)
    together = several.sample(3, seed=5)
    torch.testing.assert_close(several.sample(1, seed=6)[0], together[1], atol=1e-2, rtol=0)
    assert torch.equal(several.reconstruct()[-1], detailed.reconstruct()[-1])
