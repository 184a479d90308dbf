"""Edits: which job each is, what is refused before anything is trained, and what one leaves."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw

from pgcn.heartbeat import heartbeat
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.edit_job import run_edit
from pgcn_jobs.inputs.discover import one_source
from pgcn_jobs.inputs.source import EditSource, name_of, with_edit
from pgcn_jobs.job_context import ExecutionOptions, JobContext, Stopped
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import new_attempt, publish, read_artifact, read_commit
from pgcn_jobs.run_folder.edit_manifest import add_edits, check_edit, plan_edit, read_edits, superseded
from pgcn_jobs.run_folder.manifest import RunDefaults, add_to_manifest
from pgcn_jobs.run_folder.plan_source import plan_source
from pgcn_jobs.run_folder.pyramids import load, pyramids_in
from pgcn_jobs.spec import PyramidRef, SamplePlan, reseeded
from pgcn_jobs.storage.store import Store
from pgcn_jobs.training_job import run_jobs
from tests.cluster.running import TINY, photograph
from tests.sentences import fails_with

ASK = RunDefaults("draft", TINY, 0, SamplePlan(count=1, sizes=("1x1",)), 10_000_000)


@pytest.fixture
def folder(tmp_path):
    image = photograph(0)
    image.save(tmp_path / "a.png")
    photograph(1).save(tmp_path / "b.png")
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rectangle((9, 8, 15, 14), fill=255)
    mask.save(tmp_path / "mask.png")
    Image.new("L", image.size).save(tmp_path / "nothing.png")
    return tmp_path


def source_of(folder, task, **edit):
    pictures = {name: one_source(str(folder / edit.pop(name))) for name in ("target", "mask", "truth") if name in edit}
    source = with_edit(one_source(str(folder / "a.png")), EditSource(task, **pictures, **edit))
    return replace(source, edits=tuple(replace(e, edit_id=e.edit_id or name_of(source, e)) for e in source.edits))


def planned(source, known=None, elsewhere=None):
    (edit,) = source.edits
    entry = plan_source(source, ASK, None)
    return entry, plan_edit(source, edit, entry, (elsewhere or {}).get(entry.pyramid), known, ASK.max_pixels)


def job(folder, task, **edit):
    return planned(source_of(folder, task, **edit))[1].job_id


def test_of_rows_written_within_a_second_the_last_is_right(folder):
    store, (_, entry) = Store(str(folder / "run")), planned(source_of(folder, "superres"))
    for number in range(8):
        add_edits(store, [replace(entry, problem=str(number))], {})
        time.sleep(0.002)
    assert read_edits(store)[entry.edit_id].problem == "7"


def test_an_edit_is_named_by_its_pyramid_its_options_and_the_bytes_of_its_pictures(folder):
    name = job(folder, "superres")
    assert name == job(folder, "superres", options={"factor": "4"}), "said or not, the options are the same"
    assert name != job(folder, "superres", options={"factor": "2"})
    assert name != job(folder, "superres", target="b.png")
    photograph(1).save(folder / "copy.png")
    assert job(folder, "superres", target="copy.png") == job(folder, "superres", target="b.png")
    photograph(2).save(folder / "a.png")
    assert name != job(folder, "superres")


def test_where_the_pyramid_is_makes_no_difference(folder):
    source = source_of(folder, "superres")
    entry, here = planned(source)
    at = PyramidRef(name=entry.pyramid, location="s3://key@other/run", run="s3://other/run", job_id="0123456789")
    _, there = planned(source, elsewhere={entry.pyramid: at})
    assert here.job_id == there.job_id
    assert (there.pyramid_run, there.pyramid_job) == ("s3://other/run", "0123456789")
    assert here.spec(source, source.edits[0], {}).pyramid == PyramidRef(name=entry.pyramid, job_id=entry.job_id)
    assert there.spec(source, source.edits[0], {entry.pyramid: at}).pyramid == at


def test_holes_are_part_of_the_model_and_not_of_the_plain_one(folder):
    plain, _ = planned(source_of(folder, "harmonize", target="b.png", mask="mask.png"))
    with_holes, edit = planned(source_of(folder, "inpaint", mask="mask.png"))
    assert (plain.holes, edit.problem) == (None, None)
    assert with_holes.holes is not None
    assert len({plain.job_id, with_holes.job_id}) == len({plain.pyramid, with_holes.pyramid}) == 2


@pytest.mark.parametrize(
    ("task", "edit", "words"),
    [
        ("inpaint", {"mask": "nothing.png"}, "chooses nothing"),
        ("harmonize", {"target": "a.png"}, "no region differs"),
        ("style", {"target": "gone.png"}, "does not exist"),
        ("superres", {"options": {"factor": "0.5"}}, "makes images larger"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(folder, task, edit, words):
    entry, made = planned(source_of(folder, task, **edit))
    assert words in (made.problem or ""), made
    assert entry.problem is None or task == "inpaint", "the image itself is fine"


@pytest.mark.parametrize(
    ("task", "edit", "words"),
    [
        ("style", {}, "needs a target"),
        ("superres", {"mask": "mask.png"}, "takes no mask"),
        ("superres", {"options": {"factor": "many"}}, "the option factor cannot be 'many'"),
    ],
)
def test_a_task_without_what_it_needs_stops_the_command(folder, task, edit, words):
    source = source_of(folder, task, **edit)
    with pytest.raises(ConfigError) as error:
        check_edit(source, source.edits[0])
    assert words in str(error.value)


def test_pictures_that_are_unchanged_are_not_read_again_and_changed_ones_are(folder, monkeypatch):
    source = source_of(folder, "style", target="b.png")
    _, first = planned(source)
    read = []
    monkeypatch.setattr("pgcn_jobs.run_folder.edit_manifest.load_image", lambda location, *_: read.append(location))
    assert planned(source, known=first)[1] == first
    assert read == []
    monkeypatch.undo()
    photograph(3).save(folder / "b.png")
    _, second = planned(source_of(folder, "style", target="b.png"), known=first)
    assert second.job_id != first.job_id


def test_another_mask_of_the_same_name_and_time_is_another_mask(folder):
    """Unpacked archives have one time for all files."""
    for place, box in (("one", (2, 2, 8, 8)), ("two", (12, 12, 20, 18))):
        (folder / place).mkdir()
        mask = Image.new("L", Image.open(folder / "a.png").size)
        ImageDraw.Draw(mask).rectangle(box, fill=255)
        mask.save(folder / place / "a.png")
        os.utime(folder / place / "a.png", (10**9, 10**9))
    first, edit = planned(source_of(folder, "inpaint", mask="one/a.png"))
    source = source_of(folder, "inpaint", mask="two/a.png")
    second = plan_source(source, ASK, first)
    assert second.holes not in (None, first.holes)
    renamed = replace(edit, edit_id=source.edits[0].edit_id)
    again = plan_edit(source, source.edits[0], second, None, renamed, ASK.max_pixels)
    assert again.sha256[2] != edit.sha256[2]


def test_an_edit_that_was_never_made_is_dropped_where_it_is_asked_for_in_another_way(folder, tmp_path):
    store = Store(str(tmp_path / "run"))
    _, old = planned(source_of(folder, "superres", options={"factor": "4"}))
    _, new = planned(source_of(folder, "superres", options={"factor": "2"}))
    _, mine = planned(source_of(folder, "superres", options={"factor": "3"}, edit_id="mine"))
    known = {each.edit_id: each for each in (old, mine)}
    add_edits(store, known.values(), {})
    assert superseded(known, [new], {old.job_id}) == [], "it was made"
    gone = superseded(known, [new], set())
    assert [each.edit_id for each in gone] == [old.edit_id], "a name that the user gave stays"
    time.sleep(1.1)  # parts are in the order of their seconds
    add_edits(store, [*gone, new], known)
    assert set(read_edits(store)) == {new.edit_id, "mine"}
    assert superseded(read_edits(store), [old], set()) == [replace(new, dropped=True)], "and back again"


def test_the_manifest_of_edits_comes_back_as_it_was_written(folder, tmp_path):
    store = Store(str(tmp_path / "run"))
    _, entry = planned(source_of(folder, "style", target="b.png"))
    add_edits(store, [entry], {})
    assert read_edits(store) == {entry.edit_id: entry}
    add_edits(store, [entry], read_edits(store))
    assert len(store.list("manifest_edits")) == 1


def trained(store, entry, source):
    add_to_manifest(store, [entry], {})
    (end,) = run_jobs([entry.spec(source, ASK)], [new_attempt()], JobContext(store))
    assert not isinstance(end, Exception), end
    return end


def test_an_edit_is_committed_with_its_pictures_and_figures(folder, tmp_path):
    store = Store(str(tmp_path / "run"))
    source = source_of(folder, "inpaint", mask="mask.png", truth="a.png")
    entry, made = planned(source)
    trained(store, entry, source)
    spec = made.spec(source, source.edits[0], {})
    commit = run_edit(spec, new_attempt(), JobContext(store))
    assert read_commit(store, made.job_id) == commit
    files = {a.path.rsplit("/", 1)[-1]: read_artifact(store, a) for a in commit.artifacts}
    assert sorted(files) == ["log.txt", "metrics.parquet", "pictures.parquet"]
    pictures = schemas.read_parquet(files["pictures.parquet"]).to_pylist()
    assert {row["name"] for row in pictures} == {"result", "image", "before", "mask", "truth"}
    metrics = {row["name"]: row["value"] for row in schemas.read_parquet(files["metrics.parquet"]).to_pylist()}
    result = commit.result
    assert result["value"] == metrics[result["metric"]]
    assert result["baseline"] > 0
    assert schemas.kind_of(result) is schemas.EDIT
    schemas.table([result], schemas.EDITS)
    again = run_edit(spec, new_attempt(), JobContext(Store(str(tmp_path / "run"))))
    assert again == commit, "the first commit stands"


def test_a_picture_that_changed_since_is_refused(folder, tmp_path):
    store = Store(str(tmp_path / "run"))
    source = source_of(folder, "style", target="b.png")
    entry, made = planned(source)
    trained(store, entry, source)
    photograph(4).save(folder / "b.png")
    with fails_with("image.changed"):
        run_edit(made.spec(source, source.edits[0], {}), new_attempt(), JobContext(store))


def test_a_pyramid_that_is_not_there_or_damaged_is_said(folder, tmp_path):
    store = Store(str(tmp_path / "run"))
    source = source_of(folder, "energy")
    entry, made = planned(source)
    spec = made.spec(source, source.edits[0], {})
    with fails_with("pyramid.missing"):
        load(spec.pyramid, store)
    commit = trained(store, entry, source)
    at = PyramidRef(name=entry.pyramid, location=store.location, run="run", job_id=entry.job_id)
    assert pyramids_in(store) == {entry.pyramid: at}
    assert len(load(spec.pyramid, store).sizes) == 2
    weights = next(a.path for a in commit.artifacts if a.path.endswith(".safetensors"))
    store.put(weights, b"x" * 100)
    with fails_with("pyramid.damaged") as error:
        load(at, store)
    assert str(tmp_path) not in str(error.value), "where another run lies is nobody's business"


def test_a_folder_with_half_a_pyramid_has_none(tmp_path):
    store = Store(str(tmp_path))
    store.put("pyramids/0123456789abcdef0123/scale-1.safetensors", b"x")
    assert pyramids_in(store) == {}
    store.put("pyramids/0123456789abcdef0123/scale-0.safetensors", b"x")
    assert list(pyramids_in(store)) == ["0123456789abcdef0123"]


def test_a_large_result_has_a_view_for_pages(folder, tmp_path):
    store = Store(str(tmp_path / "run"))
    source = source_of(folder, "superres", options={"width": 1500, "height": 1233, "steps": 0, "consistent": False})
    entry, made = planned(source)
    trained(store, entry, source)
    commit = run_edit(made.spec(source, source.edits[0], {}), new_attempt(), JobContext(store))
    path = next(a for a in commit.artifacts if a.path.endswith("pictures.parquet"))
    rows = {row["name"]: row for row in schemas.read_parquet(read_artifact(store, path)).to_pylist()}
    assert (rows["result"]["width"], rows["view"]["width"], rows["view"]["height"]) == (1500, 1024, 842)


def test_an_edit_that_is_asked_to_stop_stops_within_a_chain(folder, tmp_path):
    store = Store(str(tmp_path / "run"))
    source = source_of(folder, "superres")
    entry, made = planned(source)
    trained(store, entry, source)
    asked_at = iter(range(100))
    alive = []
    with heartbeat(lambda: alive.append(1)), pytest.raises(Stopped):
        run_edit(
            made.spec(source, source.edits[0], {}),
            new_attempt(),
            JobContext(store, should_stop=lambda: next(asked_at) >= 2),
        )
    assert len(alive) == 3
    assert read_commit(store, made.job_id) is None


def test_another_try_has_other_noise(folder):
    source = source_of(folder, "superres")
    spec = planned(source)[1].spec(source, source.edits[0], {})
    again = reseeded(spec)
    assert again.options == {**spec.options, "seed": spec.options["seed"] + 1_000_003}
    assert again.job_id == spec.job_id


def test_a_training_with_holes_goes_on_to_the_bit_from_its_restart_points(folder, tmp_path):
    source = source_of(folder, "inpaint", mask="mask.png")
    ask = replace(ASK, overrides={**TINY, "scales": 3, "min_size": 12, "max_size": 24, "iterations": 6})
    entry = plan_source(source, ask, None)
    spec = entry.spec(source, ask)

    def weights(store, commit):
        return {a.path.rsplit("/", 1)[-1]: a.sha256 for a in commit.artifacts if a.path.endswith(".safetensors")}

    def run(store, should_stop):
        context = JobContext(store, ExecutionOptions(checkpoint_seconds=0.0), should_stop=should_stop)
        (end,) = run_jobs([spec], [new_attempt()], context)
        return end

    whole, broken = Store(str(tmp_path / "whole")), Store(str(tmp_path / "broken"))
    expected = weights(whole, run(whole, lambda: False))
    assert len(expected) == 3
    for updates in (8, 9, 3):
        left = iter(range(updates))
        assert isinstance(run(broken, lambda left=left: next(left, None) is None), Stopped)
    end = run(broken, lambda: False)
    assert end.result["resumes"] == 3
    assert weights(broken, end) == expected


def test_what_lies_in_a_hole_changes_nothing_that_is_learned(folder, tmp_path):
    def learned(name):
        source = source_of(folder, "inpaint", mask="mask.png")
        store = Store(str(tmp_path / name))
        trained(store, plan_source(source, ASK, None), source)
        (at,) = pyramids_in(store).values()
        return load(at, store)

    first = learned("first")
    image = Image.open(folder / "a.png")
    image.paste((255, 0, 255), (9, 8, 16, 15))
    image.save(folder / "a.png")
    second = learned("second")
    for a, b in zip(first.nets, second.nets, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.kernels, b.kernels, strict=True))


def test_a_commit_of_an_edit_says_which_kind_it_is(tmp_path):
    commit = publish(Store(str(tmp_path)), "a" * 20, new_attempt(), {}, {"job_id": "a" * 20, "task": "energy"})
    assert schemas.kind_of(json.loads(commit.model_dump_json())["result"]) is schemas.EDIT
