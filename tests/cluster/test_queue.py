"""Consequences of failures: the policy, as arithmetic."""

import gc

import pytest
from rich.console import Console

import pgcn_cluster.scheduler.queue
from pgcn.method import Progress
from pgcn.settings import PRESETS
from pgcn_cluster.monitor.display import display_for
from pgcn_cluster.scheduler.lease import Lease
from pgcn_cluster.scheduler.queue import BREAKER, DOUBLED_FROM, Job, Queue
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.tracker import Tracker
from pgcn_cluster.scheduler.worker import Heartbeat, Outcome
from pgcn_jobs.common.failures import POLICY, FailureClass
from pgcn_jobs.spec import JobSpec, SamplePlan
from pgcn_jobs.storage.store import Store

NEED = Resources(cpus=1)


def job(name="a", need=NEED):
    spec = JobSpec(
        job_id=name,
        sha256="0" * 64,
        location=name,
        uri=name,
        preset="draft",
        settings=PRESETS["draft"],
        seed=1,
        plan=SamplePlan(),
    )
    return Job(spec, name, 1.0, need)


def take(queue, now=0.0):
    """The next job that may start, or None."""
    needs = queue.needs(now)
    return queue.next(needs[0])[0] if needs else None


def fail(queue, one, failure, reason="", now=0.0):
    return queue.failed(one, failure, reason, "it broke", now)


@pytest.mark.parametrize("failure", [c for c in FailureClass if c is not FailureClass.CONFIG])
def test_each_class_is_tried_again_as_often_as_its_policy_says(failure):
    queue = Queue([job()])
    retries = POLICY[failure].retries
    for attempt in range(20 if retries is None else retries):
        one = take(queue, 1e9)
        assert not fail(queue, one, failure), attempt
    one = take(queue, 1e9)
    assert fail(queue, one, failure) == (retries is not None)
    assert len(queue) == (1 if retries is None else 0)


def test_the_table_of_the_design():
    counts = {str(c): POLICY[c].retries for c in FailureClass}
    assert counts == {
        "INPUT": 0, "CONFIG": 0, "NUMERIC": 1, "GPU_OOM": 1, "HOST_OOM": 1, "PREEMPTED": None,
        "WORKER_LOST": 3, "TIMEOUT": 1, "STORE": 5, "PYRAMID": 0, "BUG": 1,
    }  # fmt: skip


def test_a_numeric_failure_comes_back_with_a_new_seed_and_half_the_step_and_the_same_name():
    queue = Queue([job()])
    one = take(queue, 0)
    before = one.spec
    fail(queue, one, FailureClass.NUMERIC)
    after = take(queue, 0).spec
    assert after.settings.step_size == before.settings.step_size / 2
    assert after.seed != before.seed
    assert after.job_id == before.job_id


def test_memory_failures_come_back_with_more():
    queue = Queue([job("a", Resources(cpus=1, gpus=0.25)), job("b")])
    fail(queue, *queue.next(Resources(cpus=1, gpus=0.25)), FailureClass.GPU_OOM)
    fail(queue, take(queue, 0), FailureClass.HOST_OOM)
    assert set(queue.needs(0)) == {Resources(cpus=1, gpus=1.0), Resources(cpus=1, memory=2 * DOUBLED_FROM)}


def test_store_failures_wait_longer_each_time():
    queue = Queue([job()])
    fail(queue, take(queue, 0), FailureClass.STORE, now=100)
    assert take(queue, 101) is None
    assert not queue.needs(101)
    again = take(queue, 102)
    fail(queue, again, FailureClass.STORE, now=102)
    assert take(queue, 105) is None
    assert take(queue, 106) is again


def test_the_same_bug_on_the_first_images_stops_the_run():
    queue = Queue([job(str(i)) for i in range(10)])
    for i in range(BREAKER):
        assert queue.stopped is None, i
        fail(queue, take(queue, 0), FailureClass.BUG, reason="abc")
    assert "same reason" in queue.stopped
    assert "it broke" in queue.stopped


def test_different_bugs_do_not_stop_it():
    queue = Queue([job(str(i)) for i in range(20)])
    for i in range(6):
        fail(queue, take(queue), FailureClass.BUG, reason=f"bug {i}")
    assert queue.stopped is None


def test_once_an_image_is_done_the_same_bug_on_others_is_theirs():
    queue = Queue([job(str(i)) for i in range(20)])
    queue.succeeded(take(queue))
    for _ in range(6):
        fail(queue, take(queue), FailureClass.BUG, reason="abc")
    assert queue.stopped is None


def test_storage_stops_the_run_when_it_has_failed_images_for_good_not_before():
    queue = Queue([job(str(i)) for i in range(BREAKER)])
    ended, now = 0, 0.0
    while queue.stopped is None:
        now += 1e4
        ended += fail(queue, take(queue, now), FailureClass.STORE, reason="down", now=now)
    assert ended == BREAKER


def test_one_image_that_fails_twice_is_one_image():
    queue = Queue([job()])
    for _ in range(2):
        fail(queue, take(queue, 0), FailureClass.BUG, reason="abc")
    assert queue.stopped is None


def test_bad_settings_stop_the_run_at_once():
    queue = Queue([job("a"), job("b")])
    fail(queue, take(queue, 0), FailureClass.CONFIG)
    assert queue.stopped == "it broke"
    assert queue.stopped_by_settings


def test_bad_images_never_stop_a_run():
    queue = Queue([job(str(i)) for i in range(50)])
    for _ in range(50):
        assert fail(queue, take(queue, 0), FailureClass.INPUT, reason="same")
    assert queue.stopped is None


def test_a_job_that_was_handed_back_is_next():
    queue = Queue([job("a"), job("b")])
    one = take(queue, 0)
    queue.put_back(one)
    assert take(queue, 0) is one


def test_a_job_whose_machine_was_taken_back_is_next_and_as_if_never_tried():
    queue = Queue([job("a"), job("b")])
    one = take(queue)
    assert not fail(queue, one, FailureClass.PREEMPTED)
    assert not one.tries, "so it may be stacked again"
    assert take(queue) is one


def test_what_others_have_done_is_taken_out():
    queue = Queue([job("a"), job("b"), job("c")])
    failed = take(queue)
    fail(queue, failed, FailureClass.STORE)
    assert {one.spec.job_id for one in queue.take_out({"a", "c", "z"})} == {"a", "c"}
    assert len(queue) == 1
    assert take(queue, 1e9).spec.job_id == "b"
    assert not queue.needs(1e9)


def test_a_stack_is_of_one_shape_and_of_jobs_that_never_failed():
    def shaped(name, shape):
        one = job(name)
        one.shape = shape
        return one

    queue = Queue([shaped("a", "x"), shaped("b", "y"), shaped("c", "x"), shaped("d", "x"), shaped("e", "x")])
    (failed,) = queue.next(NEED)
    fail(queue, failed, FailureClass.WORKER_LOST)
    assert [one.spec.job_id for one in queue.next(NEED, 4)] == ["b"]
    assert [one.spec.job_id for one in queue.next(NEED, 2)] == ["c", "d"]
    queue.needs(0.0)  # those that came back are ready again
    assert [one.spec.job_id for one in queue.next(NEED, 4)] == ["e"], "a job that failed is trained alone"
    assert queue.waiting(NEED) == 1
    assert [one.spec.job_id for one in queue.next(NEED, 4)] == ["a"]


def edit_of(name, pyramid):
    """An edit that waits for the job that trains its pyramid."""
    one = job(name)
    one.after = job(pyramid).spec.job_id
    return one


def test_an_edit_waits_for_its_pyramid_and_is_next_then():
    queue = Queue([job("a"), job("b"), edit_of("edit of a", "a"), edit_of("another of a", "a")])
    assert len(queue) == 4
    a, b = take(queue), take(queue)
    assert take(queue) is None, "both edits wait"
    queue.succeeded(a)
    queue.put_back(b)
    assert [take(queue).label for _ in range(3)] == ["b", "edit of a", "another of a"]
    assert len(queue) == 0


def test_what_another_command_did_is_taken_out_and_its_edits_are_next():
    queue = Queue([job("a"), job("b"), edit_of("edit of a", "a"), edit_of("another of a", "a")])
    others = {each.spec.job_id for each in (job("a"), job("another of a"))}
    assert sorted(each.label for each in queue.take_out(others)) == ["a", "another of a"]
    assert [take(queue).label for _ in range(2)] == ["edit of a", "b"]
    assert len(queue) == 0


def test_a_pyramid_that_is_tried_again_keeps_its_edits_waiting_and_one_that_failed_gives_them_up():
    queue = Queue([job("a"), edit_of("edit of a", "a")])
    a = take(queue)
    assert not fail(queue, a, FailureClass.NUMERIC)
    assert take(queue) is a
    assert fail(queue, a, FailureClass.NUMERIC)
    assert [orphan.label for orphan in queue.orphans(a)] == ["edit of a"]
    assert queue.orphans(a) == []
    assert len(queue) == 0


def test_jobs_that_come_later_go_before_late_ones_and_wait_for_a_pyramid_only_while_it_is_pending():
    late = job("late")
    late.late = True
    queue = Queue([job("a"), late])
    queue.add([job("b"), edit_of("edit of a", "a")])
    a, b = take(queue), take(queue)
    assert (a.label, b.label) == ("a", "b")
    queue.succeeded(a)
    queue.add([edit_of("another of a", "a")])
    assert [take(queue).label for _ in range(3)] == ["edit of a", "another of a", "late"]
    assert fail(queue, b, FailureClass.INPUT)
    queue.orphans(b)
    queue.add([edit_of("edit of b", "b")])
    assert take(queue).label == "edit of b", "its own attempt says that there is no pyramid"


def test_elsewhere_is_another_place_of_the_same_order_and_late_jobs_stay_last(monkeypatch):
    monkeypatch.setattr(pgcn_cluster.scheduler.queue.secrets, "randbelow", lambda count: count // 2)
    jobs = [job(name) for name in "abcde"]
    jobs[4].late = True
    queue = Queue(jobs)
    queue.rotate()
    assert [take(queue).label for _ in jobs] == ["c", "d", "a", "b", "e"]
    queue.rotate()  # nothing is left, or only what is late
    queue.put_back(jobs[4])
    queue.rotate()
    assert take(queue) is jobs[4]


def test_a_job_that_has_ended_is_in_memory_no_longer(tmp_path):
    queue = Queue(job(f"{n}") for n in range(9))
    tracker = Tracker(Store(str(tmp_path)), display_for(Console(quiet=True)), [job(f"{n}") for n in range(9)], 0, 0)
    for _ in range(6):
        lease = Lease.begin([take(queue)])
        lease.hear(Heartbeat(1, lease.attempts[0], 0.0, Progress(0, 1, 1, 2, 0.2), 1.0))
        tracker.tick([lease], queue)
        (ended,) = lease.jobs
        queue.succeeded(ended)
        tracker.committed(ended, Outcome(lease.attempts[0], "committed", 0.1, ""))
    tracker.tick([], queue)
    del lease, ended
    gc.collect()
    jobs = [one for one in gc.get_objects() if type(one) is Job]
    assert len(queue) == len(jobs) == 3
    assert not tracker._seen, "attempts that have ended"
