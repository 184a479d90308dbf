"""The setting `novelty` in config files, lists, rows and continued runs: the settings that it stands for are kept."""

import pytest

from pgcn.methods import DEFAULT
from pgcn.settings import SettingsError, make_settings, setting_names
from pgcn_cluster.planning.options import read_config
from pgcn_cluster.planning.settings_choice import Asked, Origin, choose_settings
from pgcn_jobs.inputs.lists.image_list import read_image_list
from pgcn_jobs.inputs.source import Source
from pgcn_jobs.run_folder.identity import RunIdentity
from pgcn_jobs.run_folder.manifest import RunDefaults
from pgcn_jobs.spec import SamplePlan, job_id, known_settings

PLAN = SamplePlan(count=1)
NEW = make_settings("draft", {"novelty": "new"})
SHORT = ("iterations", "patch", "layout_patch", "layouts")


def test_a_config_file_has_it(tmp_path):
    (tmp_path / "run.yaml").write_text("preset: draft\nnovelty: new\n")
    options, settings = read_config(tmp_path / "run.yaml")
    assert (options, settings) == ({"preset": "draft"}, {"novelty": "new"})


def test_a_column_of_a_list_is_for_one_image():
    rows = read_image_list(b"uri,novelty\na.png,close\nb.png,\n", "list.csv", setting_names())
    sources = [Source(row.uri, row.uri, row.uri, overrides=row.overrides) for row in rows]
    ask = RunDefaults("draft", {"novelty": "new"}, 0, PLAN, 10**6)
    assert ask.settings(sources[0]) == make_settings("draft", {"novelty": "close"})
    assert ask.settings(sources[1]) == NEW
    with pytest.raises(SettingsError, match="every scale is learned"):
        RunDefaults("small", {}, 0, PLAN, 10**6).settings(sources[0])


def test_no_record_holds_it():
    assert "novelty" not in NEW.model_dump()
    assert known_settings({"novelty": "new", "patch": 9}) == ({"patch": 9}, ["novelty"]), "a later version's"
    one_by_one = make_settings("draft", {name: getattr(NEW, name) for name in SHORT})
    assert job_id("0" * 64, NEW, 0, PLAN) == job_id("0" * 64, one_by_one, 0, PLAN)


@pytest.mark.parametrize("pairs", [{}, {"novelty": "new"}])
def test_a_run_that_was_begun_with_it_is_continued(pairs):
    origin = Origin(RunIdentity.begin("draft", NEW, 0, PLAN), continued=True)
    choice = choose_settings(Asked("draft", pairs, "cpu", lambda preset: False), DEFAULT, origin, [])
    assert choice.settings == NEW
    again = choose_settings(Asked("draft", {"novelty": "close"}, "cpu", lambda preset: False), DEFAULT, origin, [])
    assert again.settings == make_settings("draft", {"novelty": "close"}), "and the comparison with run.json refuses it"
