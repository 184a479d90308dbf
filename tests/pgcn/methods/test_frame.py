"""FRAME and deep FRAME: filters, potentials and their gradients, histograms that agree after training, charts."""

import math

import pytest
import torch

import pgcn
from pgcn.method import DivergenceError, HasHistograms
from pgcn.methods import find_method, make_settings
from pgcn.methods.deep_frame import DeepFrameEnergy, halo
from pgcn.methods.frame.energy import FrameEnergy
from pgcn.methods.frame.filters import bank, planes
from pgcn.methods.frame.model import histogram_pair
from pgcn.methods.frame.potentials import Potentials, spline, spline_slope
from pgcn.metrics.features import vgg
from pgcn_cluster.gallery.views.histograms import histogram_charts
from pgcn_jobs.run_folder.histograms import histograms_bytes, read_histograms
from pgcn_jobs.storage.store import Store
from tests.pgcn.test_methods import image, training

NAMES = ["frame", "deep-frame"]


def frame(channels=3, **changed):
    return FrameEnergy(channels, **{"longest": 4, "orientations": 2, "bins": 9, "reference": 3.0, **changed})


def random_heights(net, seed=0):
    heights = net.potentials.heights
    with torch.no_grad():
        heights.copy_(torch.randn(heights.shape, generator=torch.Generator().manual_seed(seed)))
    return net


def test_filters_have_sum_zero_norm_one_and_their_frequency_and_direction():
    filters, names = bank(6, 4)
    assert torch.allclose(filters.sum((1, 2)), torch.zeros(len(filters)), atol=1e-5)
    assert torch.allclose(filters.flatten(1).norm(dim=1), torch.ones(len(filters)), atol=1e-5)
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    waves = {90: torch.cos(2 * math.pi * y / 6), 0: torch.cos(2 * math.pi * x / 6)}
    for angle, wave in waves.items():
        responses = torch.nn.functional.conv2d(wave[None, None], filters[:, None]).abs().amax((0, 2, 3))
        assert names[int(responses.argmax())].endswith(f"6 px, {angle}°")


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_planes_are_orthonormal_and_the_first_is_the_mean(channels):
    basis = planes(channels)
    assert torch.allclose(basis @ basis.T, torch.eye(channels), atol=1e-6)
    assert torch.allclose(basis[0], torch.full((channels,), channels**-0.5))


def test_the_splines_are_a_partition_of_unity_with_their_slopes():
    t = torch.linspace(2, 3, 41, dtype=torch.float64)[:, None] - torch.arange(6, dtype=torch.float64)
    assert torch.allclose(spline(t).sum(1), torch.ones(41, dtype=torch.float64))
    e = 1e-6
    assert torch.allclose((spline(t + e) - spline(t - e)) / (2 * e), spline_slope(t), atol=1e-5)


def test_slopes_are_those_of_the_potentials_within_the_bins_and_beyond():
    potentials = Potentials(2, 9).double()
    torch.nn.init.normal_(potentials.heights, generator=torch.Generator().manual_seed(0))
    potentials.deviations.copy_(torch.tensor([0.3, 2.0]))
    r, e = torch.linspace(-12, 12, 97, dtype=torch.float64).expand(1, 2, 1, 97), 1e-6
    with torch.no_grad():
        slopes = (potentials(r + e) - potentials(r - e)) / (2 * e)
    assert torch.allclose(potentials.slopes(r), slopes, atol=1e-5)


def test_the_step_of_the_heights_is_the_difference_of_histograms():
    """∂/∂h of mean f(synthesized) - mean f(observed), by finite differences; the step of filter k is scaled by σ_k²."""
    net = random_heights(frame()).double()
    images = torch.stack([image(seed)[0, :, :10, :10].double() for seed in (0, 1)])
    with torch.no_grad():
        net.fit(images)
        net.learn(images, torch.tensor([1.0, -1.0], dtype=torch.float64))
        heights, e = net.potentials.heights, 1e-4
        for place in ((0, 3), (5, 4), (-1, 6)):
            values = []
            for sign in (1, -1):
                heights[place] += sign * e
                values.append(net(images).mean((1, 2)) @ torch.tensor([1.0, -1.0], dtype=torch.float64))
                heights[place] -= sign * e
            scaled = heights.grad[place] / net.potentials.deviations[place[0]] ** 2
            assert float(values[0] - values[1]) / (2 * e) == pytest.approx(float(scaled), rel=1e-4, abs=1e-9)


def test_unknown_pixels_do_not_count_in_histograms():
    net, x = frame(), image()[..., :14, :12]
    net.fit(x)
    weights = torch.zeros(1, 1, 14, 12)
    weights[..., :6, :] = 2
    other = x.clone()
    other[..., 12:, :] = 1  # farther from the known rows than a filter reaches
    with torch.no_grad():
        own, changed = (net.potentials.histograms(net.responses(each), weights) for each in (x, other))
    assert torch.equal(own, changed)


def test_the_potential_of_gaussian_pixels_is_the_log_ratio():
    """One filter, the pixel itself: p ∝ exp(λ(x) - x²/2ρ²) has the variance s² for λ(x) = x²/2·(1/ρ² - 1/s²).

    The model's law is computed on a grid, without chains, so that only the learning is tested.
    """
    reference, s, grid = 0.5, 0.2, torch.linspace(-1, 1, 201).view(1, 1, 1, -1)
    potentials = Potentials(1, 15)
    potentials.deviations.fill_(s)
    observed = torch.exp(-grid.square() / (2 * s**2))
    positions = observed / observed.mean()
    target = potentials.histograms(grid, positions)[0]
    with torch.no_grad():
        for _ in range(300):
            law = torch.exp(potentials(grid) - grid.square() / (2 * reference**2))
            potentials.heights -= 4.0 * (potentials.histograms(grid, law / law.mean())[0] - target)
        inner = grid[grid.abs() < 2 * s].view(1, 1, 1, -1)
        exact = inner.square() / 2 * (1 / reference**2 - 1 / s**2)
        error = potentials(inner) - exact
    assert float((error - error.mean()).abs().max()) < 0.05 * float(exact.max() - exact.min())


def test_the_histograms_of_samples_agree_with_those_of_the_image_after_training():
    gray = image()[:, :1, :, :16]

    def distance(iterations):
        changed = {"max_size": 16, "min_size": 16, "scales": 1, "detail": "learned", "iterations": iterations}
        model = pgcn.fit(gray, settings=make_settings("draft", changed, "frame"), seed=0)
        net, samples = model.nets[0], model.sample(4)
        with torch.no_grad():
            own, drawn = (net.potentials.histograms(net.responses(x)).mean(0) for x in (gray, samples))
        return float((own - drawn).abs().sum(1).mean())

    assert distance(25) < 0.6 * distance(1)


def test_the_filters_of_deep_frame_are_those_of_the_metrics():
    net, x = DeepFrameEnergy(3, layers=["2_2", "3_3"], reference=1.0), image()
    assert all(torch.equal(a, b) for a, b in zip(net.responses(x), vgg(x).values(), strict=True))
    gray = DeepFrameEnergy(1, layers=["2_2"], reference=1.0).responses(x[:, :1])
    assert torch.equal(gray[0], vgg(x[:, :1].expand(-1, 3, -1, -1))["vgg22"])
    assert DeepFrameEnergy(4, layers=["1_2"], reference=1.0).responses(torch.zeros(2, 4, 8, 8))[0].shape == (
        2,
        128,
        8,
        8,
    )


def test_the_halo_of_deep_frame_covers_what_a_gradient_depends_on():
    """A change of one pixel beyond the halo leaves the gradient at the centre; gray borders do not saturate layers."""
    net = DeepFrameEnergy(1, layers=["2_2"], reference=1.0)
    torch.nn.init.normal_(net.weights[0], generator=torch.Generator().manual_seed(0))
    x = image(size=(40, 40))[:, :1]
    reach, at = halo("2_2"), 20
    changed = x.clone()
    changed[..., at + reach + 1 :, :] = 0.9
    assert torch.allclose(net.gradient()(x)[..., at, at], net.gradient()(changed)[..., at, at], atol=1e-5)


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("start", ["fresh", "persistent"])
def test_chains_start_where_they_should(method, start, monkeypatch):
    trainer, starts = training(method, start=start, iterations=3, scales=1, detail="learned"), []
    plain = type(trainer).update
    monkeypatch.setattr(
        type(trainer), "update", lambda own, scale, x, *more: (starts.append(x), plain(own, scale, x, *more))[1]
    )
    ends = [trainer.ends]
    for _ in trainer.iterations():
        ends.append(trainer.ends)
    assert [torch.equal(x, end) for x, end in zip(starts, ends[:-1], strict=True)] == [start == "persistent"] * 3


def test_persistent_chains_resume_to_the_bit():
    whole = training("frame", start="persistent")
    for progress in whole.iterations():
        if progress.scale == 1 and progress.iteration == 2:
            state = whole.state_dict()
    other = training("frame", start="persistent")
    other.load_state_dicts([state])
    list(other.iterations())
    assert other.model().to_files() == whole.model().to_files()


def test_a_scale_begins_with_the_potentials_of_the_one_below_and_bins_of_its_own():
    trainer = training("frame", scales=2)
    for progress in trainer.iterations():
        if progress.scale_finished and progress.scale == 0:
            below, own = (net.potentials for net in trainer.nets)
            assert torch.equal(below.heights, own.heights)
            assert not torch.equal(below.deviations, own.deviations)


@pytest.mark.parametrize("method", NAMES)
def test_weights_that_are_no_numbers_are_noticed(method):
    trainer = training(method)
    with torch.no_grad():
        next(trainer.nets[0].parameters()).fill_(float("nan"))
    with pytest.raises(DivergenceError, match="no numbers"):
        list(trainer.iterations())


@pytest.mark.parametrize("method", NAMES)
def test_models_have_histograms_that_files_and_charts_show(method, tmp_path):
    trainer = training(method)
    list(trainer.iterations())
    model = trainer.model()
    assert isinstance(model, HasHistograms)
    pairs = model.histograms(trainer.observed()[: model.learned], 0)
    assert {pair.scale for pair in pairs} == set(range(model.learned))
    assert read_histograms(histograms_bytes(pairs)) == pairs
    store, problems = Store(str(tmp_path)), []
    assert histogram_charts(store, "a/", problems) == {}
    store.put("a/histograms.json", histograms_bytes(pairs))
    charts = histogram_charts(store, "a/", problems)
    assert charts[0][0].labels == ["image", "samples"]
    assert "of the values are in other bins" in charts[0][0].svg
    assert problems == []
    store.put("b/histograms.json", b'[{"name": "x"}]')
    assert histogram_charts(store, "b/", problems) == {}
    assert problems == ["b/histograms.json could not be read: it is damaged."]


def test_other_methods_have_no_histograms():
    assert not hasattr(find_method("multigrid").model, "histograms")


def test_values_beyond_the_range_of_the_image_count_in_the_outer_bins():
    pair = histogram_pair("x", 0, torch.tensor([0.0, 1.0]), torch.tensor([-5.0, -4.0, 0.5, 7.0]))
    assert pair.observed[0] == pair.observed[-1] == 0.5
    assert (pair.synthesized[0], pair.synthesized[-1]) == (0.5, 0.25)
