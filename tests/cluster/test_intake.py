"""Images that are still being looked at keep none from its training."""

import http.server
import io
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

import pgcn_cluster.planning.intake
import pgcn_jobs.storage.http
from pgcn_cluster import api
from pgcn_cluster.exit import Exit
from pgcn_cluster.launch import run as launch
from pgcn_cluster.monitor.display import LogLines, display_for
from pgcn_cluster.monitor.snapshot import Snapshot, summary
from pgcn_cluster.planning.intake import Intake, make_plan
from pgcn_cluster.planning.plan import total
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.planning.run_options import Request
from pgcn_cluster.scheduler.arrivals import Arrived
from pgcn_cluster.scheduler.driver import Driver
from pgcn_cluster.scheduler.local_machine import LocalMachine
from pgcn_cluster.scheduler.queue import Job, Queue
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.stopping import Limits, StopSignal
from pgcn_cluster.scheduler.tracker import Tracker
from pgcn_jobs.common.background import ThreadBackground
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.run_folder.commit import committed, read_failures
from pgcn_jobs.run_folder.identity import open_run
from pgcn_jobs.run_folder.manifest import read_manifest
from pgcn_jobs.spec import EditSpec
from pgcn_jobs.storage.store import Store
from tests.cluster.running import TINY, photograph, png_bytes, write_photographs
from tests.cluster.test_local import TINY_CALL
from tests.servers import serving


class Held:
    """Calls that are made when the test says so, in the order in which they were begun."""

    def __init__(self):
        self.calls = []
        self.closed = False

    @property
    def open(self):
        return bool(self.calls)

    def begin(self, key, call):
        self.calls.append((key, call))

    def results(self, seconds):
        """The results of the calls that the test let go."""
        key, call = self.calls.pop(0)
        return [(key, call())]

    def close(self):
        self.closed = True


@pytest.fixture
def at_once(monkeypatch):
    """Each image that was looked at is a portion of its own."""
    monkeypatch.setattr(pgcn_cluster.planning.intake, "FIRST_S", -1.0)


def request(images, out, **more):
    return Request(
        images=[str(images)], out=str(out), preset="draft", overrides=TINY, samples=1, size=("1x1",),
        device="cpu", local=True, workers=1, **more,
    )  # fmt: skip


def intake_of(asked, retry=False):
    prepared = prepare(asked, LocalMachine(1))
    open_run(prepared.store, prepared.identity)
    held = Held()
    return Intake(prepared, lambda: held, retry=retry), held, prepared


def labels(arrived):
    return [job.label for job in arrived.jobs]


def test_jobs_and_parts_of_the_manifest_come_image_by_image(tmp_path, at_once):
    images = write_photographs(tmp_path / "images", 3)
    (images / "photo-00-again.png").write_bytes((images / "photo-00.png").read_bytes())
    (images / "empty.png").write_bytes(b"")
    intake, held, prepared = intake_of(request(images, tmp_path / "run"))

    first = intake.begin()
    assert labels(first) == ["photo-00-again.png"], "empty.png gives no job: the first image with one ends the wait"
    assert (first.failed, first.unseen) == (1, 3)
    assert set(read_manifest(prepared.store)) == {"empty.png", "photo-00-again.png"}
    assert len(read_failures(prepared.store)) == 1

    later = []
    while intake.open:
        later.append(intake.take())
    assert [labels(each) for each in later] == [[], ["photo-01.png"], ["photo-02.png"]], "equal bytes are one job"
    assert [each.unseen for each in later] == [2, 1, 0]
    assert [bool(each.said) for each in later] == [False, False, True], "the summary comes when all are looked at"
    assert intake.take() is None
    assert held.closed
    assert len(read_manifest(prepared.store)) == 5

    at_once = make_plan(prepare(request(images, tmp_path / "other"), LocalMachine(1)), retry=False)
    assert intake.totals.summary() == total(at_once).summary()
    assert intake.totals.summary() == "5 images, 1 the same as another, 3 to train, 1 refused (--retry looks again)."


def test_the_next_command_reads_only_what_was_not_looked_at(tmp_path, at_once):
    images = write_photographs(tmp_path / "images", 3)
    intake, _, _ = intake_of(request(images, tmp_path / "run"))
    intake.begin()
    intake.close()
    again, held, _ = intake_of(request(images, tmp_path / "run"))
    assert labels(again.begin()) == ["photo-00.png", "photo-01.png"]
    assert len(held.calls) == 1, "photo-00.png was not read again"


def test_an_edit_comes_after_the_image_it_waits_for_whichever_portion_has_it(tmp_path, at_once):
    images = write_photographs(tmp_path / "images", 1)
    (images / "same.png").write_bytes((images / "photo-00.png").read_bytes())
    intake, _, _ = intake_of(request(images, tmp_path / "run", task="energy"))
    arrived = [intake.begin()]
    while intake.open:
        arrived.append(intake.take())
    jobs = [job for each in arrived for job in each.jobs]
    training = [job.spec.job_id for job in jobs if not isinstance(job.spec, EditSpec)]
    assert len(training) == 1
    assert {job.after for job in jobs if isinstance(job.spec, EditSpec)} == set(training)


@pytest.mark.parametrize("sound", [0, 1])
def test_storage_that_fails_for_one_file_refuses_that_file_and_for_all_ends_the_run(
    tmp_path, monkeypatch, at_once, sound
):
    images = write_photographs(tmp_path / "images", 2)
    whole = pgcn_cluster.planning.looking.plan_source

    def failing(source, ask, known):
        if sound and source.image_id == "photo-01.png":
            return whole(source, ask, known)
        entry = whole(source, ask, known)
        problem = f"Cannot use {source.uri}: no answer."
        return replace(entry, job_id="0" * 20, problem=problem, problem_code="storage.unreachable")

    monkeypatch.setattr(pgcn_cluster.planning.looking, "plan_source", failing)
    intake, _, prepared = intake_of(request(images, tmp_path / "run"))
    if not sound:
        with pytest.raises(StoreError, match=r"Cannot use .*photo-00.png"):
            intake.begin()
        return
    first = intake.begin()
    assert labels(first) == ["photo-01.png"]
    assert [sentence.partition(": ")[2] for sentence in first.said] == ["no answer."], "the file is named at once"
    (failures,) = read_failures(prepared.store).values()
    assert [str(failure.failure) for failure in failures] == ["STORE"]
    monkeypatch.setattr(pgcn_cluster.planning.looking, "plan_source", whole)
    again = intake_of(request(images, tmp_path / "run"))[0]
    assert set(labels(again.begin())) == {"photo-00.png", "photo-01.png"}, "the same command reads it again"
    assert not read_failures(prepared.store), "its refusal is gone"


def test_a_background_call_that_hangs_delays_no_other(tmp_path):
    go, background = threading.Event(), ThreadBackground()
    background.begin("slow", go.wait)
    for index in range(40):
        background.begin(index, lambda index=index: index)
    found = {}
    while len(found) < 40:
        found |= dict(background.results(5.0))
    assert found == {index: index for index in range(40)}
    assert background.open
    go.set()
    assert background.results(5.0) == [("slow", True)]
    assert not background.open
    background.begin("bad", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        background.results(5.0)
    background.close()


class Site(http.server.BaseHTTPRequestHandler):
    """Two images: the first half of `slow.png` comes a byte at a time, until the run at `store` has a commit."""

    store = None
    waited_in_vain = False
    left = threading.Event()

    def do_GET(self):
        slow = self.path.startswith("/slow")
        data = png_bytes(photograph(int(slow)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        sent = 0
        while slow and not committed(self.store) and not self.left.wait(0.2):
            type(self).waited_in_vain = sent == len(data) // 2
            if self.waited_in_vain:
                break
            self.wfile.write(data[sent : sent + 1])
            sent += 1
        self.wfile.write(data[sent:])

    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path):
    Site.store, Site.waited_in_vain = Store(str(tmp_path / "run")), False
    Site.left.clear()
    with serving(Site) as address:
        (tmp_path / "list.csv").write_text(f"uri\nhttp://{address}/slow.png\nhttp://{address}/quick.png\n")
        yield tmp_path / "list.csv"


def test_a_slow_server_keeps_no_other_image_waiting(tmp_path, monkeypatch, site):
    monkeypatch.setattr(pgcn_cluster.planning.intake, "FIRST_S", 0.0)
    monkeypatch.setattr(pgcn_jobs.storage.http, "SLOW_S", 300.0)
    said = io.StringIO()
    call = {**TINY_CALL, "console": Console(file=said, width=200)}
    done = api.run(site, tmp_path / "run", **call)
    assert not Site.waited_in_vain, "quick.png was trained before slow.png was read"
    assert done.code is Exit.DONE, said.getvalue()
    assert "Training begins; 1 of 2 images are still to be looked at." in said.getvalue()
    assert "All images are looked at: 2 images, 2 to train." in said.getvalue()
    assert [row["image_id"] for row in done.results()] == ["quick.png", "slow.png"]


def test_a_run_can_be_stopped_while_images_are_looked_at(tmp_path, monkeypatch, site):
    monkeypatch.setattr(pgcn_cluster.planning.intake, "FIRST_S", 0.0)
    stop = StopSignal()
    monkeypatch.setattr(Tracker, "began", lambda *_: stop.set())
    said = io.StringIO()
    code = launch(request(site, tmp_path / "run"), Console(file=said, width=200), stop)
    Site.left.set()
    assert code is Exit.INTERRUPTED
    assert "0 done, 0 failed, 2 left. The same command goes on." in said.getvalue()
    assert set(read_manifest(Site.store)) == {"quick.png"}


class Pool:
    """Two workers that finish a lease at the next wait; `leases` has the labels of each."""

    def __init__(self):
        self.workers = [SimpleNamespace(lease=None, resources=None) for _ in range(2)]
        self.leases, self.problem = [], None

    def idle(self, resources):
        return next((worker for worker in self.workers if worker.lease is None), None)

    def capacity(self, resources):
        return 2

    def lease(self, worker, jobs):
        worker.lease = SimpleNamespace(jobs=jobs)
        self.leases.append([job.label for job in jobs])

    def wait(self, seconds):
        return [worker for worker in self.workers if worker.lease]

    def collect(self, worker):
        jobs, worker.lease = worker.lease.jobs, None
        outcome = SimpleNamespace(state="committed", anothers=False, wall_s=0.1, metrics={})
        return [outcome for _ in jobs]

    def grow(self, *arguments):
        """There are two."""

    release = show_demand = watch = stop_all = grow

    def end(self, worker):
        self.workers.remove(worker)


class Portions:
    """Arrivals, one portion at each call."""

    def __init__(self, *portions):
        self.portions = list(portions)

    @property
    def open(self):
        return bool(self.portions)

    def take(self):
        jobs = self.portions.pop(0)
        return Arrived([shaped(name) for name in jobs], 0, 0, sum(map(len, self.portions)))


def shaped(name):
    return Job(SimpleNamespace(job_id=name), name, 1.0, Resources(cpus=1), shape="x")


@pytest.mark.parametrize(
    ("batch", "leases"),
    [(1, ["a", "b", "c", "d", "e", "f"]), (3, ["abc", "de", "f"]), (1000, ["abc", "de", "f"])],
)
def test_a_driver_takes_jobs_as_they_come_and_waits_for_full_batches(tmp_path, batch, leases):
    store = Store(str(tmp_path))
    tracker = Tracker(store, LogLines(Console(quiet=True)), [], 0, 0, unseen=6)
    assert tracker.counts == (0, 0, 6)
    pool = Pool()
    Driver(Queue([]), pool, store, tracker, Limits(), batch, Portions("a", "b", "cd", "ef")).drive(StopSignal())
    assert ["".join(lease) for lease in pool.leases] == leases
    assert tracker.counts == (6, 0, 0)


def test_progress_says_that_more_images_come(tmp_path):
    tracker = Tracker(Store(str(tmp_path)), display_for(Console(quiet=True)), [shaped("a")], 0, 0, unseen=5)
    tracker.end()
    kept = Snapshot.model_validate_json(Store(str(tmp_path)).get("progress.json"))
    assert summary(kept) == "0 of at least 1 done, 1 waiting, 5 images to be looked at"
