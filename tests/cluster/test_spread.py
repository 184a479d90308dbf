"""Tables and gallery that tasks of a cluster write are those that one process writes, slice by slice."""

import shutil
from functools import partial

import pyarrow.parquet as pq
import pytest

import pgcn_cluster.gallery.build
import pgcn_cluster.tables.build
import pgcn_cluster.tables.parquet_writer
from benchmarks.noop import CURVES, ROWS, run_nothing
from benchmarks.scale import write_images
from pgcn_cluster.gallery import build_gallery
from pgcn_cluster.gallery.publish import publish
from pgcn_cluster.planning.intake import make_plan
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.ray_cluster.parallel_map import map_auto, map_local, map_ray
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.tables.build import build_tables
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.job_context import JobContext
from pgcn_jobs.run_folder.commit import new_attempt
from pgcn_jobs.run_folder.identity import open_run
from pgcn_jobs.run_folder.manifest import add_to_manifest
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
    monkeypatch.setattr(pgcn_cluster.tables.build, "JOBS_PER_SLICE", 3)
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
    assert build_tables(run) == once
    names = [path.rpartition("/")[2] for path in run.list("tables/samples")]
    assert names[:4] == ["part-00000.parquet", "part-00000_001.parquet", "part-00000_002.parquet", "part-00001.parquet"]
    assert run.parquet("tables/samples").to_table(columns=["job_id", "index"]).equals(order)
    monkeypatch.undo()
    build_tables(run)
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
