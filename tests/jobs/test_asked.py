"""Requests of lists and commands for images: pyramids, edits, or both."""

from __future__ import annotations

import pytest

from pgcn.settings import Settings
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.discover import find_sources, one_source
from pgcn_jobs.inputs.source import EditSource
from tests.cluster.running import photograph


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "mask.png"):
        photograph(0).save(tmp_path / name)
    return tmp_path


def sources(folder, text, **more):
    (folder / "list.csv").write_text(text)
    return find_sources([str(folder / "list.csv")], setting_names=Settings.model_fields, **more)


def test_rows_of_one_image_share_its_model_and_each_edit_has_a_name(folder):
    found = sources(
        folder,
        "uri,task,factor,target_uri,edit_id\n"
        "a.png,superres,2,,\na.png,superres,3,,\na.png,energy,,,\na.png,harmonize,,b.png,mine\nb.png,,,,\n",
    )
    a, b = found
    assert (a.image_id, a.wanted, b.wanted, b.edits) == ("a.png", False, True, ())
    assert [edit.task for edit in a.edits] == ["superres", "superres", "energy", "harmonize"]
    two, three, energy, mine = [edit.edit_id for edit in a.edits]
    assert (energy, mine) == ("a.png:energy", "mine")
    assert two != three
    assert two.startswith("a.png:superres-")
    assert a.edits[3].target.location == str(folder / "b.png")
    assert a.edits[0].options == {"factor": "2"}


def test_the_same_row_twice_is_one_edit(folder):
    (a,) = sources(folder, "uri,task\na.png,energy\na.png,energy\na.png,\n")
    assert [edit.edit_id for edit in a.edits] == ["a.png:energy"]
    assert a.wanted, "one of its rows asks for the model itself"


def test_a_mask_that_is_left_out_of_what_is_learned_makes_another_model(folder):
    found = sources(folder, "uri,task,mask_uri,target_uri\na.png,inpaint,mask.png,\na.png,harmonize,mask.png,b.png\n")
    assert [source.edits[0].task for source in sorted(found, key=lambda source: source.holes is None)] == [
        "inpaint",
        "harmonize",
    ]
    assert {source.holes and source.holes.location for source in found} == {None, str(folder / "mask.png")}
    assert len({source.image_id for source in found}) == 2


def test_a_name_that_is_an_option_and_a_setting_is_the_tasks_where_it_has_it(folder):
    a, b = sources(folder, "uri,task,noise,iterations\na.png,generate,0.1,7\nb.png,energy,langevin,\n")
    assert (a.edits[0].options, a.overrides) == ({"noise": "0.1"}, {"iterations": "7"})
    assert (b.edits[0].options, b.overrides) == ({}, {"noise": "langevin"})


def test_a_seed_is_the_models_and_a_task_seed_the_edits(folder):
    (a,) = sources(folder, "uri,task,seed,task_seed\na.png,generate,5,6\n")
    assert (a.seed, a.edits[0].options) == (5, {"seed": 6})


def test_without_a_column_task_names_of_options_are_the_users_own(folder):
    (a,) = sources(folder, "uri,width,target_uri\na.png,640,shop\n")
    assert (a.edits, a.overrides) == ((), {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uri,task\na.png,superrez\n", "row 1: There is no task 'superrez'. Did you mean 'superres'?"),
        ("uri,task,factor\na.png,energy,2\n", "row 1: the task energy has no option 'factor'"),
        ("uri,task,factor\na.png,,2\n", "row 1 has a 'factor', and no 'task' that it belongs to"),
        ("uri,task,mask_uri\na.png,,mask.png\n", "row 1 has a 'mask_uri', and no 'task'"),
        ("uri,task,mask\na.png,inpaint,mask.png\n", "has a column 'mask': call it 'mask_uri'"),
        ("uri,task,task_seed\na.png,generate,-1\n", "the seed '-1' is not a whole number"),
        ("uri,task,edit_id\na.png,energy,x\nb.png,energy,x\n", "The edit_id 'x' is given to two edits"),
        ("uri,task,image_id\na.png,energy,x\nb.png,energy,x\n", "row 2 has the image_id 'x' of row 1"),
        ("uri,image_id,seed\na.png,x,1\na.png,x,2\n", "row 2 has the image_id 'x' of row 1"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(folder, text, words):
    with pytest.raises(ConfigError) as error:
        sources(folder, text)
    assert words in str(error.value)


def test_one_image_may_have_one_name_for_all_its_tasks(folder):
    (a,) = sources(folder, "uri,task,image_id\na.png,energy,x\na.png,superres,x\n")
    assert (a.image_id, [edit.edit_id for edit in a.edits]) == ("x", ["x:energy", "x:superres"])


def test_what_is_asked_of_all_is_asked_of_those_that_ask_for_nothing(folder):
    mask = one_source(str(folder / "mask.png"))
    found = sources(
        folder, "uri,task\na.png,\nb.png,energy\n", ask=lambda source: [EditSource("inpaint", {}, mask=mask)]
    )
    assert [(source.edits[0].task, source.holes) for source in found] == [("inpaint", mask), ("energy", None)]


def test_names_that_are_alike_in_six_digits_are_told_apart_by_more(folder, monkeypatch):
    monkeypatch.setattr(
        "pgcn_jobs.inputs.unique_names.name_of",
        lambda source, edit, length=6: f"a:{edit.options['seed'] if length > 6 else ''}",
    )
    (a,) = sources(folder, "uri,task,task_seed\na.png,generate,1\na.png,generate,2\na.png,generate,1\n")
    assert [edit.edit_id for edit in a.edits] == ["a:", "a:2"]


def test_a_list_from_elsewhere_names_no_file_of_this_machine_for_a_task_either(tmp_path):
    from pgcn_jobs.inputs.lists.image_list import EditRow
    from pgcn_jobs.inputs.lists.rows import row_edit

    row = EditRow("harmonize", {}, "/etc/passwd", "file:///etc/passwd", "../../other/bucket.png", None)
    edit = row_edit(row, "s3://bucket/lists", allow_local=False)
    assert all(other is not None and other.problem and "cannot be read" in other.problem for other in edit.others)
