"""Tables and gallery that tasks of a cluster write are those that one process writes, slice by slice."""

import shutil
from dataclasses import replace
from functools import partial

import pyarrow.parquet as pq
import pytest

import pgcn_cluster.gallery.build
import pgcn_cluster.tables.parquet_writer
import pgcn_cluster.tables.slices
from benchmarks.noop import CURVES, ROWS, run_nothing
from benchmarks.scale import write_images
from pgcn_cluster.gallery import build_gallery
from pgcn_cluster.gallery.publish import publish
from pgcn_cluster.maintenance.verify import verify
from pgcn_cluster.planning.intake import make_plan
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.ray_cluster.parallel_map import map_auto, map_local, map_ray
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.tables.build import build_tables
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.job_context import JobContext
from pgcn_jobs.layout import commit_path
from pgcn_jobs.run_folder.commit import Failure, new_attempt, write_failure
from pgcn_jobs.run_folder.identity import open_run
from pgcn_jobs.run_folder.manifest import add_to_manifest, read_manifest
from pgcn_jobs.storage.store import Store
from tests.cluster.running import request_for
from tests.sentences import fails_with

IMAGES = 11


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Records of a run of jobs that trained nothing, one of them damaged; no tables."""
    folder = tmp_path_factory.mktemp("spread")
    write_images(Store(str(folder / "images")), IMAGES)
    prepared = prepare(request_for(folder / "images", str(folder / "run")), Cluster(None))
    open_run(prepared.store, prepared.identity)
    plan = make_plan(prepared, retry=False)
    add_to_manifest(prepared.store, plan.entries, prepared.known)
    specs = [job.spec for job in plan.jobs.values()]
    commits = run_nothing(specs, [new_attempt() for _ in specs], JobContext(prepared.store))
    prepared.store.delete([next(a.path for a in commits[4].artifacts if a.path.endswith("metrics.parquet"))])
    return folder / "run"


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy of it, for slices of three jobs."""
    monkeypatch.setattr(pgcn_cluster.tables.slices, "ROWS_PER_SLICE", 3)
    monkeypatch.setattr(pgcn_cluster.gallery.build, "PAGES_PER_SLICE", 3)
    return Store(str(shutil.copytree(made, tmp_path / "copy" / "run")))


@pytest.fixture(scope="module")
def ray_here(ray_address):
    """For all of this module: the tasks of one test find the processes of the last."""
    cluster = Cluster(ray_address)
    cluster.join()
    yield
    cluster.leave()


def built(store):
    return {path: store.get(path) for folder in ("tables", "gallery") for path in store.list(folder)}


def test_tasks_of_a_cluster_write_what_one_process_writes(run, ray_here):
    (sentence,) = publish(run, map_local)
    assert "damaged" in sentence
    alone = built(run)
    run.delete(alone)
    assert publish(run, map_ray) == [sentence]
    assert built(run) == alone
    assert len(run.list("tables/samples")) == 4, "eleven jobs in slices of three"
    assert len(run.list("gallery/jobs")) == IMAGES - 1


def test_no_row_is_lost_or_doubled_between_slices(run):
    found = build_tables(run)
    whole = IMAGES - 1
    assert found.rows["samples"] == whole * ROWS and found.rows["metrics"] == whole * CURVES
    for name, rows in found.rows.items():
        assert sum(pq.read_metadata(f"{run.url}/{path}").num_rows for path in run.list(f"tables/{name}")) == rows
    samples = run.parquet("tables/samples").to_table(columns=["image_id", "job_id"]).to_pydict()
    results = run.parquet("tables/results").to_table().to_pydict()
    assert list(dict.fromkeys(samples["job_id"])) == results["job_id"], "in the manifest's order"
    assert list(dict.fromkeys(samples["image_id"])) == results["image_id"] == sorted(results["image_id"])


def test_a_slice_too_large_for_a_part_has_several_in_order(run, monkeypatch):
    once = build_tables(run)
    order = run.parquet("tables/samples").to_table(columns=["job_id", "index"])
    monkeypatch.setattr(pgcn_cluster.tables.parquet_writer, "PART_ROWS", ROWS)
    assert build_tables(run, anew=True) == once
    names = [path.rpartition("/")[2] for path in run.list("tables/samples")]
    assert names[:4] == ["part-00000.parquet", "part-00000_001.parquet", "part-00000_002.parquet", "part-00001.parquet"]
    assert run.parquet("tables/samples").to_table(columns=["job_id", "index"]).equals(order)
    monkeypatch.undo()
    build_tables(run, anew=True)
    assert len(run.list("tables/samples")) == 1, "parts of an older build are gone"


def test_pages_know_their_neighbours_in_other_slices(run):
    build_tables(run)
    build_gallery(run)
    sliced = built(run)
    run.delete(run.list("gallery"))
    pgcn_cluster.gallery.build.SLICE = 100
    build_gallery(run)
    assert built(run) == sliced


def refuse(word, number):
    raise StoreError(f"The bucket {word} is full at {number}.")


def test_what_a_task_cannot_do_is_a_sentence_here(ray_here):
    with fails_with("storage.failed"):
        list(map_ray(partial(refuse, "b"), [1, 2]))


def test_many_pieces_come_back_in_order(ray_here):
    assert list(map_auto(partial(pow, 2), range(40))) == [2**n for n in range(40)]


class Written(Store):
    """A store that lists what is written and removed; `full` refuses all but the first writes."""

    def __init__(self, url, full=None):
        super().__init__(url)
        self.puts, self.gone, self.full = [], [], full

    def put(self, path, data):
        if self.full is not None and len(self.puts) >= self.full:
            raise StoreError("The disk is full.")
        self.puts.append(path)
        super().put(path, data)

    def delete(self, paths):
        paths = list(paths)
        self.gone += paths
        super().delete(paths)


@pytest.fixture
def whole(run):
    """The run without its damaged job, and with tables."""
    (sentence,) = build_tables(run).problems
    run.delete([commit_path(sentence.split()[1])])
    build_tables(run)
    return run


def tables(store):
    return {path: store.get(path) for path in store.list("tables")}


def parts_of(paths):
    return sorted(path.removeprefix("tables/") for path in paths if path.endswith(".parquet"))


def check_as_if_built_from_nothing(store):
    """The tables are those of a build without earlier ones."""
    once = tables(store)
    store.delete(once)
    build_tables(store)
    assert tables(store) == once


def test_an_unchanged_second_build_writes_nothing(whole):
    store = Written(whole.url)
    assert build_tables(store).rows["results"] == IMAGES - 1
    assert store.puts == store.gone == []


def test_a_changed_commit_rewrites_the_parts_of_its_slice_alone(whole):
    job = whole.parquet("tables/results").to_table().to_pydict()["job_id"][-1]
    commit = whole.get(commit_path(job))
    whole.delete([commit_path(job)])
    store = Written(whole.url)
    assert build_tables(store).rows["results"] == IMAGES - 2
    of_last = [f"{name}/part-00003.parquet" for name in ("attempts", "manifest", "metrics", "results", "samples")]
    assert parts_of(store.puts) == of_last and store.gone == []
    check_as_if_built_from_nothing(whole)
    whole.put(commit_path(job), commit)
    store = Written(whole.url)
    assert build_tables(store).rows["results"] == IMAGES - 1
    assert parts_of(store.puts) == of_last
    check_as_if_built_from_nothing(whole)


def test_a_failure_changes_its_slice_and_a_commit_takes_it_away(whole):
    waiting = next(e for e in read_manifest(whole).values() if not whole.exists(commit_path(e.job_id)))
    kept = whole.get(next(iter(whole.list("commits"))))
    failed = Failure(
        job_id=waiting.job_id, attempt=new_attempt(), failure="BUG", final=True, message="it broke", failed_at="now"
    )
    write_failure(whole, failed)
    store = Written(whole.url)
    found = build_tables(store)
    assert (found.rows["failures"], found.rows["attempts"]) == (1, IMAGES)
    assert {path.split("part-")[1] for path in parts_of(store.puts)} == {"00001.parquet"}
    assert store.gone == ["tables/failures/part-00000.parquet"], "the part without rows"
    assert pq.read_table(f"{whole.url}/tables/failures").to_pydict()["image_id"] == [waiting.image_id]
    check_as_if_built_from_nothing(whole)
    whole.put(commit_path(waiting.job_id), kept)  # of another job: damaged, so that the failure stays
    assert len(build_tables(whole).problems) == 1
    assert pq.read_table(f"{whole.url}/tables/failures").num_rows == 1


def test_later_images_make_new_parts_and_later_rows_replace_earlier_ones(whole):
    rows = sorted(read_manifest(whole).values(), key=lambda entry: entry.image_id)
    twin, other = replace(rows[0], image_id="twin.png"), replace(rows[5], seed=9, job_id="0" * 20)
    add_to_manifest(whole, [twin, other, replace(rows[6], image_id="last.png")], {})
    store = Written(whole.url)
    found = build_tables(store)
    # New rows are in slices 3 and 4; the twins' jobs are in slices 0 and 2; row 12 replaces one of slice 1.
    assert {path.split("/part-")[1][:5] for path in parts_of(store.puts)} == {f"0000{n}" for n in range(5)}
    assert (found.rows["manifest"], found.rows["samples"]) == (IMAGES + 2, (IMAGES - 2) * ROWS)
    results = whole.parquet("tables/results").to_table().to_pydict()
    assert results["image_id"].count("twin.png") == results["image_id"].count("last.png") == 1
    assert results["job_id"].count(twin.job_id) == 2 and other.image_id not in results["image_id"]
    assert set(whole.parquet("tables/manifest").to_table().to_pydict()["image_id"]) == set(read_manifest(whole))
    check_as_if_built_from_nothing(whole)
    assert [problem.sentence for problem in verify(whole, quick=False).problems] == ["gallery/index.html is gone."]


@pytest.mark.parametrize("change", [lambda store, path: store.delete([path]), lambda store, path: store.put(path, b"")])
def test_a_part_that_is_gone_or_cut_is_written_again(whole, change):
    before = tables(whole)
    change(whole, "tables/samples/part-00002.parquet")
    build_tables(whole)
    assert tables(whole) == before


def test_an_aborted_build_leaves_no_record_of_parts_that_it_replaced(whole):
    commits = {path: whole.get(path) for path in list(whole.list("commits"))[:8]}
    before = tables(whole)
    whole.delete(commits)
    with pytest.raises(StoreError):
        build_tables(Written(whole.url, full=4))
    for path, data in commits.items():
        whole.put(path, data)
    build_tables(whole)
    assert tables(whole) == before
