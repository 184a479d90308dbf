"""Verifying, mending and sweeping real runs, on a disk and on two S3 servers."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from pgcn_cluster.monitor.snapshot import Snapshot
from pgcn_cluster.planning.intake import make_plan
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.tables.build import is_current, records_now
from pgcn_cluster.tables.query import query
from pgcn_jobs.common.clock import now
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.layout import PROGRESS
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import Failure, committed, read_commit, write_failure
from pgcn_jobs.storage.store import Store
from tests.cluster.running import ask, request_for, run_here, write_bad_pictures, write_photographs
from tests.sentences import check_error

MEASURED_ANEW = ["attempt", "wall_s", "train_s", "peak_memory_mb", "committed_at", "ended_at", "failed_at"]
"""Columns that differ from one run to the next."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two good pictures and four bad ones, and every object of the run over them."""
    root = tmp_path_factory.mktemp("whole")
    images = write_photographs(root / "images", 2)
    write_bad_pictures(images)
    run_here(images, str(root / "run"))
    return images, {p.relative_to(root / "run").as_posix(): p.read_bytes() for p in files(root / "run")}


def files(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


@pytest.fixture
def run(whole, place):
    """A copy of the whole run at each place."""
    store = Store(place)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: store.put(*item), whole[1].items()))
    return store


@pytest.fixture
def local(whole, tmp_path):
    """A copy of the whole run on the disk."""
    shutil.copytree(whole[0].parent / "run", tmp_path / "local")
    return Store(str(tmp_path / "local"))


def contents(store):
    return {path: store.get(path) for path in store.list()}


def rows(store):
    """Every table, without what every run measures anew, in an order that is the rows' own."""
    tables = {name: query(store, f"SELECT * FROM {name}") for name in schemas.TABLES}
    return {
        name: sorted(map(str, table.drop_columns([c for c in MEASURED_ANEW if c in table.column_names]).to_pylist()))
        for name, table in tables.items()
    }


@pytest.fixture(scope="module")
def whole_rows(whole):
    """The tables of the whole run."""
    return rows(Store(str(whole[0].parent / "run")))


def victim(store, index=0):
    """A job's commit and the path of one of its artifacts."""
    job = sorted(committed(store))[index]
    return f"commits/{job}.json", [artifact.path for artifact in read_commit(store, job).artifacts]


def flipped(data):
    """One bit is another one: in the pixels of an image, where there is one, since other bytes may say nothing."""
    image = data.find(b"IDAT")
    at = image + 20 if image >= 0 else len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def edited(data, **changed):
    return json.dumps(json.loads(data) | changed).encode()


def artifact(suffix):
    return lambda store: next(path for path in victim(store)[1] if path.endswith(suffix))


def commit(store):
    return victim(store)[0]


def listed(prefix):
    return lambda store: next(path for path in store.list(prefix) if path.endswith((".parquet", ".json")))


def another(store):
    return store.get(victim(store, 1)[0])


def result(data, **changed):
    return edited(data, result=json.loads(data)["result"] | changed)


def fewer(data):
    table = schemas.read_parquet(data)
    return schemas.parquet_bytes(table.slice(1))


def renumbered(data):
    table = schemas.read_parquet(data)
    attempts = pa.array(["20200101T000000-abcdef"] * table.num_rows, pa.string())
    return schemas.parquet_bytes(table.set_column(table.column_names.index("attempt"), "attempt", attempts))


GONE = object()
DAMAGE = {
    "samples truncated": (artifact("samples.parquet"), lambda s, d: d[:100], "has 100 bytes, and its commit says"),
    "samples flipped": (artifact("samples.parquet"), lambda s, d: flipped(d), "has other bytes than"),
    "metrics gone": (artifact("metrics.parquet"), GONE, "metrics.parquet (photo-0"),
    "weights flipped": (artifact("scale-1.safetensors"), lambda s, d: flipped(d), "has other bytes than"),
    "weights gone": (artifact("scale-0.safetensors"), GONE, "is gone."),
    "log longer": (artifact("log.txt"), lambda s, d: d + b"!", "log.txt"),
    "commit truncated": (commit, lambda s, d: d[:-20], "cannot be read as a commit"),
    "commit empty": (commit, lambda s, d: b"", "cannot be read as a commit"),
    "commit of another": (commit, lambda s, d: another(s), "is the commit of another job"),
    "commit of another attempt": (commit, lambda s, d: edited(d, attempt="20200101T000000-abcdef"), "another attempt"),
    "commit with an odd result": (commit, lambda s, d: result(d, wall_s="long"), "does not fit the results table"),
    "commit of nothing": (commit, lambda s, d: edited(d, artifacts=[]), "names no samples.parquet"),
    "failure truncated": (listed("failures"), lambda s, d: d[:9], "cannot be read as a failure"),
    "failure of another": (listed("failures"), lambda s, d: edited(d, attempt="x"), "the failure of another attempt"),
    "manifest truncated": (listed("manifest"), lambda s, d: d[:99], "is damaged: the images in it"),
    "manifest short": (listed("manifest"), lambda s, d: fewer(d), "is damaged: the images in it"),
    "results gone": (listed("tables/results"), GONE, "tables/results/part-00000.parquet is gone"),
    "results stale": (listed("tables/results"), lambda s, d: renumbered(d), "tables/results/part-00000.parquet does"),
    "samples table short": (listed("tables/samples"), lambda s, d: fewer(d), "tables/samples/part-00000.parquet does"),
    "samples table flipped": (listed("tables/samples"), lambda s, d: flipped(d), "tables/samples/part-00000.parquet d"),
    "metrics table cut": (listed("tables/metrics"), lambda s, d: d[:999], "tables/metrics/part-00000.parquet does"),
    "a part too many": (lambda s: "tables/metrics/part-00009.parquet", lambda s, d: b"", "left from an older build"),
    "built.json of others": (lambda s: "tables/built.json", lambda s, d: b"{}", "tables/built.json does not name"),
    "gallery gone": (lambda s: "gallery/index.html", GONE, "gallery/index.html is gone"),
}
SEEN_QUICKLY = {"samples truncated", "metrics gone", "weights gone", "log longer", "built.json of others"}
SEEN_QUICKLY |= {name for name in DAMAGE if name.startswith(("commit", "failure", "manifest", "gallery"))}


def strike(store, name):
    """Damage a run in one way: the path, and the words that tell."""
    where, change, words = DAMAGE[name]
    path = where(store)
    before = store.get(path) if store.exists(path) else None
    if change is GONE:
        store.delete([path])
    else:
        store.put(path, change(store, before))
    return path, words


def test_a_whole_run_is_sound_and_verifying_writes_nothing(local):
    before = contents(local)
    code, output = ask("verify", local.url)
    assert (code, output.splitlines()[-1]) == (0, "Sound."), output
    assert "6 images, 2 jobs committed, 4 failed for good, 0 left to do" in output
    assert ask("verify", local.url, "--quick")[0] == 0
    code, output = ask("verify", local.url, "--json", "--repair")
    said = json.loads(output)
    assert (code, said["sound"], said["problems"], said["repair"]) == (0, True, [], None)
    assert contents(local) == before


@pytest.mark.parametrize("name", DAMAGE)
def test_every_kind_of_damage_is_named_and_mended(whole, local, name):
    path, words = strike(local, name)
    assert ask("verify", local.url, "--quick")[0] == (3 if name in SEEN_QUICKLY else 0)
    code, output = ask("verify", local.url, "--repair")
    assert code == 0, output
    assert path in output and words in output, output
    assert "Repaired: " in output
    assert len(output.splitlines()) <= 5, output
    code, output = ask("verify", local.url)
    assert code == 0, output
    assert output.splitlines()[-1].startswith("Sound."), output
    if path.startswith(("tables", "gallery")):  # pages name the folder, which is another one here
        after = contents(local)
        assert after.keys() == whole[1].keys()
        assert all(after[p] == whole[1][p] for p in after if not p.startswith("gallery"))


def test_a_run_damaged_in_many_ways_is_whole_again_after_the_same_command(whole, whole_rows, run):
    first, artifacts = victim(run)
    misfiled, no_commit = f"commits/{'0' * 20}.json", f"commits/{'1' * 20}.json"
    run.put(artifacts[0], flipped(run.get(artifacts[0])))
    run.put(artifacts[1], run.get(artifacts[1])[:7])
    run.delete([artifacts[2]])
    run.put(misfiled, run.get(first))
    run.put(no_commit, b"{")
    code, output = ask("verify", run.location, "--repair", "--json")
    said = json.loads(output)
    assert (code, said["repair"]) == (0, {"mended": True, "still_damaged": []})
    assert {problem["drop"] for problem in said["problems"]} == {first, misfiled, no_commit}
    assert all(path in output for path in artifacts[:3])
    assert len(committed(run)) == 1
    assert query(run, "SELECT DISTINCT job_id FROM samples").num_rows == 1
    run_here(whole[0], run.location)
    struck = [strike(run, name)[0] for name in ("results stale", "samples table short", "a part too many")]
    code, output = ask("verify", run.location, "--repair")
    assert code == 0, output
    assert all(f"{path} " in output for path in struck), output
    assert rows(run) == whole_rows
    code, output = ask("verify", run.location)
    assert (code, output.splitlines()[-1]) == (0, "Sound."), output


def test_a_dropped_job_runs_again_also_where_it_had_failed_for_good_before(whole, whole_rows, local):
    job = commit(local).removeprefix("commits/").removesuffix(".json")
    failure = Failure(
        job_id=job, attempt="20200101T000000-abcdef", failure=FailureClass.BUG, final=True, message="", failed_at=now()
    )
    write_failure(local, failure)
    strike(local, "weights flipped")
    code, output = ask("verify", local.url)
    assert (code, output.splitlines()[-1]) == (3, f"Not sound. `pgcn verify {local.url} --repair` repairs it.")
    code, output = ask("verify", local.url, "--repair")
    assert code == 0
    assert f"`pgcn run … --out {local.url}` again" in output
    assert "1 left to do" in ask("verify", local.url)[1]
    run_here(whole[0], local.url)
    assert "2 jobs committed, 4 failed for good, 0 left" in ask("verify", local.url)[1]
    assert rows(local) == whole_rows


def test_a_run_under_way_is_not_mended_and_its_tables_wait(local):
    snapshot = Snapshot(state="running", updated_at=now(), images=7, done=3, failed=4, waiting=0)
    local.put(PROGRESS, snapshot.model_dump_json().encode())
    strike(local, "results gone")
    code, output = ask("verify", local.url)
    assert code == 0
    assert "under way" in output
    path, _ = strike(local, "commit truncated")
    code, output = ask("verify", local.url, "--repair")
    assert code == 2
    assert "stop it" in output
    assert local.exists(path)


def test_a_damaged_manifest_is_a_sentence_for_every_command(local):
    strike(local, "manifest truncated")
    for command in (["status", local.url], ["gather", local.url], ["failures", local.url]):
        code, output = ask(*command)
        assert code == 2, output
        assert "pgcn verify" in output
        assert "Traceback" not in output


def test_a_withdrawn_commit_makes_tables_old_even_where_the_new_one_has_its_size(whole, local):
    """A listing tells sizes alone; here the new commit is the old one."""
    strike(local, "weights gone")
    job = victim(local)[0]
    before = local.get(job)
    prepared = prepare(request_for(whole[0], local.url), Cluster(None))
    assert len(make_plan(prepared, retry=True).jobs) == 1
    assert not local.exists(job)
    local.put(job, before)
    assert not is_current(local, records_now(local))


def test_gc_says_what_goes_and_takes_no_more(local):
    job = sorted(committed(local))[0]
    named = set(local.list())
    extra = {
        f"attempts/{job}/20200101T000000-abcdef/samples.parquet": b"x" * 1500,
        f"attempts/{job}/20200101T000000-abcdef/log.txt": b"x",
        f"checkpoints/{job}/000001-0123456789abcdef.safetensors": b"c" * 10,
        f"previews/{job}.png": b"p",
    }
    kept = {f"attempts/{job}/{now().replace('-', '').replace(':', '')[:15]}-abcdef/log.txt": b"fresh"}
    for path, data in (extra | kept).items():
        local.put(path, data)
    for path in extra:
        os.utime(Path(local.location, path), (0, 0))
    code, output = ask("gc", local.url, "--dry-run")
    assert code == 0, output
    assert "4 objects, 1.51 kB would be removed; nothing was." in output
    assert all(path in output for path in extra)
    assert set(local.list()) == named | extra.keys() | kept.keys()
    output = ask("gc", local.url)[1]
    assert "4 objects, 1.51 kB removed." in output
    assert set(local.list()) == named | kept.keys()
    ask("gc", local.url, "--older-than", "0s")
    assert set(local.list()) == named
    assert ask("verify", local.url)[0] == 0


def test_gc_leaves_a_job_alone_whose_commit_cannot_be_read(local):
    path, _ = strike(local, "commit truncated")
    job = path.split("/")[1].removesuffix(".json")
    before = local.list("attempts")
    output = ask("gc", local.url, "--older-than", "0s")[1]
    assert f"Kept: job {job}" in output
    assert local.list("attempts") == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["verify", "."], "run.missing"),
        (["gc", "."], "run.missing"),
        (["gc", "RUN", "--older-than", "soon"], "option.value"),
        (["doctor", "nonsense://bucket"], "storage.unsupported"),
    ],
)
def test_mistakes_are_sentences(local, tmp_path, monkeypatch, arguments, error):
    monkeypatch.chdir(tmp_path)
    code, output = ask(*[local.url if a == "RUN" else a for a in arguments])
    assert code == 2, output
    check_error(output, error)


@pytest.mark.parametrize(("bucket", "code", "words"), [(None, 0, "A run can"), ("no-such", 2, "does not exist")])
def test_the_doctor_on_the_command_line(moto, reach, bucket, code, words):
    url = reach(moto)
    found, output = ask("doctor", url if bucket is None else f"s3://{bucket}/run")
    assert (found, words in output) == (code, True), output
