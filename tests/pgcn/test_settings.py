"""Settings: presets are the documented constants, and mistakes get a sentence."""

import re

import pytest

from pgcn.novelty import NOVELTIES
from pgcn.settings import PRESETS, Settings, SettingsError, identifying, make_settings, override

NEW = NOVELTIES["new"]


def test_paper_is_the_published_constants():
    paper = PRESETS["paper"]
    assert (paper.max_size, paper.min_size, paper.scales, paper.net_width) == (250, 25, 8, "by_size")
    assert (paper.steps_at(0), paper.steps_at(1), paper.recovery_steps) == (60, 30, 30)
    assert (paper.step_size, paper.noise, paper.noise_std, paper.noise_iterations) == (0.01, "annealed", 0.01, 1000)
    assert (paper.recovery_weight, paper.recovery_every, paper.chains, paper.pool_size) == (0.1, 1, 1, 0)
    assert not paper.warm_start
    assert (paper.step_decay, paper.warm_up, paper.iteration_growth) == (0, 0, 1)
    assert [paper.iterations_at(scale) for scale in range(8)] == [4000] * 8


def test_the_learning_rate_falls_linearly_over_four_fifths():
    paper = PRESETS["paper"]
    rates = {0: 4e-4, 1600: 2.25e-4, 3200: 5e-5, 3999: 5e-5}
    assert {it: paper.learning_rate_at(it, 4000) for it in rates} == pytest.approx(rates)


def test_the_learning_rate_warms_up():
    warm, cold = (make_settings("paper", {"warm_up": updates}) for updates in (10, 0))
    factors = [warm.learning_rate_at(it, 4000) / cold.learning_rate_at(it, 4000) for it in range(12)]
    assert factors == pytest.approx([*(n / 10 for n in range(1, 11)), 1, 1])


def test_the_steps_of_a_chain_fall_linearly_around_their_mean():
    settings = make_settings("paper", {"step_size": 0.2, "step_decay": 0.5})
    steps = settings.chain(5, 0.1)
    assert [size for size, _ in steps] == pytest.approx([0.3, 0.25, 0.2, 0.15, 0.1])
    assert [std**2 for _, std in steps] == pytest.approx([0.05 * size for size, _ in steps])
    assert settings.chain(1, 0.1) == [(0.2, 0.1)]
    assert settings.chain(0, 0.1) == []


def test_the_published_steps_are_equal():
    assert PRESETS["paper"].chain(30, 0.004) == [(0.01, 0.004)] * 30


def test_widths_by_size():
    paper = PRESETS["paper"]
    assert [paper.is_wide(side) for side in (63, 64, 250)] == [False, True, True]
    assert not PRESETS["draft"].is_wide(250)


def test_iterations_grow_towards_the_coarse_scales():
    settings = make_settings("draft", {"scales": 4, "iterations": 200, "iteration_growth": 2.5})
    assert [settings.iterations_at(scale) for scale in range(4)] == [3125, 1250, 500, 200]
    assert settings.sigma(3125 // 4, 0) == pytest.approx(0, abs=1e-5)
    assert settings.sigma(0, 0) == settings.noise_std


def test_text_is_read_as_the_settings_own_type():
    settings = make_settings("draft", {"max_size": "48", "step_size": "0.02", "warm_start": "false"})
    assert (settings.max_size, settings.step_size, settings.warm_start) == (48, 0.02, False)


@pytest.mark.parametrize(
    ("preset", "overrides", "words"),
    [
        ("papers", {}, ["papers", "draft, small, best, paper"]),
        ("draft", {"langevin_step": 3}, ["langevin_step", "Did you mean 'langevin_steps'"]),
        ("draft", {"max_size": "large"}, ["max_size", "large", "integer"]),
        ("draft", {"step_size": -1}, ["step_size", "-1", "greater than 0"]),
        ("draft", {"max_size": 20, "min_size": 30}, ["min_size (30)", "max_size (20)"]),
        ("small", {"window": 8}, ["window (8)", "16 px", "0 trains on whole images"]),
    ],
)
def test_mistakes_get_a_sentence(preset, overrides, words):
    with pytest.raises(SettingsError) as caught:
        make_settings(preset, overrides)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert text.endswith((".", "?"))
    assert "\n" not in text


def test_settings_do_not_change():
    with pytest.raises(Exception, match="frozen"):
        PRESETS["draft"].max_size = 3


def test_every_setting_says_what_it_is():
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("preset", ["draft", "best"])
def test_the_balanced_novelty_is_the_preset(preset):
    assert make_settings(preset, {"novelty": "balanced"}) == PRESETS[preset]


@pytest.mark.parametrize("preset", ["draft", "best"])
@pytest.mark.parametrize("name", NOVELTIES)
def test_a_novelty_stands_for_settings_and_is_none_itself(preset, name):
    settings = make_settings(preset, {"novelty": name})
    novelty = NOVELTIES[name]
    assert settings.iterations_at(0) == pytest.approx(novelty.first_iterations, abs=2), "whatever the number of scales"
    drawn = settings.patch, settings.completeness, settings.layout_patch, settings.layouts
    assert drawn == (novelty.patch, novelty.completeness, novelty.layout_patch, novelty.layouts)
    assert "novelty" not in identifying(settings)
    given = {
        field: getattr(settings, field) for field in ("iterations", "patch", "completeness", "layout_patch", "layouts")
    }
    assert make_settings(preset, given) == settings, "the same as its settings given one by one, so the same job"
    assert override(settings, {"novelty": name}) == settings, "again makes no difference"


def test_novelties_are_different():
    assert len({make_settings("draft", {"novelty": name}) for name in NOVELTIES}) == len(NOVELTIES) == 3


def test_a_novelty_beside_other_settings():
    settings = make_settings("draft", {"novelty": "new", "max_size": "300", "scales": "5", "patch": str(NEW.patch)})
    assert (settings.max_size, settings.scales) == (300, 5)
    assert settings.iterations_at(0) == pytest.approx(NEW.first_iterations, abs=2)
    row = override(make_settings("draft", {"novelty": "new"}), {"patch": 21})
    assert row.patch == 21, "a row's own setting replaces the run's"
    assert row.iterations_at(0) == pytest.approx(NEW.first_iterations, abs=2)


@pytest.mark.parametrize(
    ("preset", "given", "message"),
    [
        ("draft", {"novelty": "old"}, "There is no novelty 'old'. Choose one of new, balanced, close."),
        ("small", {"novelty": "new"}, "every scale is learned"),
        ("paper", {"novelty": "balanced"}, "every scale is learned"),
        ("draft", {"novelty": "new", "detail": "learned"}, "every scale is learned"),
        ("draft", {"novelty": "new", "iterations": 500}, "novelty new stands for iterations=86, and iterations=500 is"),
        ("best", {"novelty": "close", "patch": "7"}, "patch=7 is given too: leave one of them out."),
        ("draft", {"novelty": "close", "completeness": "x"}, "completeness=x is given too"),
        ("draft", {"novelty": "new", "scales": "many"}, "The setting scales cannot be 'many'"),
        ("draft", {"novlty": "new"}, "Did you mean 'novelty'?"),
    ],
)
def test_novelties_that_cannot_be(preset, given, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        make_settings(preset, given)
