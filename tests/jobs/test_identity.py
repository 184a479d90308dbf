"""Identity of a run: no other run writes into its folder."""

import pytest

from pgcn.settings import PRESETS, make_settings
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.run_folder.identity import RunIdentity, open_run, read_identity
from pgcn_jobs.spec import SamplePlan
from pgcn_jobs.storage.store import Store
from tests.sentences import fails_with


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "run"))


def begin(preset="draft", seed=0, **overrides):
    return RunIdentity.begin(preset, make_settings(preset, overrides), seed, SamplePlan())


def test_a_run_is_begun_once_and_gone_on_with(store):
    first = open_run(store, begin())
    assert open_run(store, begin()) == first
    assert read_identity(store) == first
    assert first.settings == PRESETS["draft"]


def test_another_run_is_refused_with_the_differences(store):
    open_run(store, begin())
    with pytest.raises(ConfigError) as caught:
        open_run(store, begin(seed=3, iterations=99))
    text = str(caught.value)
    assert f"iterations: {PRESETS['draft'].iterations}, not 99" in text
    assert "seed: 0, not 3" in text
    assert "langevin_steps" not in text
    assert read_identity(store).seed == 0


def test_a_preset_is_only_a_name_for_settings(store):
    open_run(store, begin("draft"))
    same = RunIdentity.begin("small", PRESETS["draft"], 0, SamplePlan())
    assert open_run(store, same).preset == "draft"


@pytest.mark.parametrize("data", [b"{}", b"not json", b'{"preset": "draft"}'])
def test_a_file_of_that_name_from_elsewhere_is_not_touched(store, data):
    store.put("run.json", data)
    with fails_with("run.other"):
        open_run(store, begin())
    assert store.get("run.json") == data
