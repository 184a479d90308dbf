"""Estimates of a run's time and its progress: training, and all that follows it."""

from types import SimpleNamespace

import pytest

from pgcn.methods import make_settings
from pgcn.patchgencn.flops import joint_rate
from pgcn_cluster.planning.estimate import Speed, measured_speed
from pgcn_cluster.planning.work import work_of
from pgcn_cluster.scheduler.queue import Job, Queue
from pgcn_cluster.scheduler.tracker import Tracker
from pgcn_jobs.spec import SamplePlan
from pgcn_jobs.storage.store import Store

IMAGE = (300, 450)
DRAFT = make_settings("draft")


def plan(count, *sizes):
    return SamplePlan(count=count, sizes=sizes or ("1x1",))


def test_drawing_is_work_by_its_pixels():
    pixels = IMAGE[0] * IMAGE[1]
    work = work_of(DRAFT, plan(4), IMAGE)
    assert work.exact == 5 * pixels, "four samples and a reconstruction"
    assert work_of(DRAFT, plan(4, "1x1", "2x1"), IMAGE).exact == 13 * pixels
    assert work_of(DRAFT, plan(1, "900x300"), IMAGE).exact == 4 * pixels, "one of the image's size is drawn to measure"
    assert work_of(DRAFT, plan(4), (600, 900)).exact == pytest.approx(5 * 512 * 341)
    assert 0 < work.drawing < work.operations


def test_learned_pyramids_draw_by_chains_alone():
    work = work_of(make_settings("small"), plan(4), IMAGE)
    assert work.exact == 0
    assert 0 < work.chains < 0.1 * work.training
    assert work.drawing == work.chains


def test_every_layout_of_a_sample_is_work():
    four = work_of(make_settings("draft", {"layouts": 4}), plan(4), IMAGE)
    assert four.chains == pytest.approx(4 * work_of(make_settings("draft", {"layouts": 1}), plan(4), IMAGE).chains)
    assert four.exact == work_of(DRAFT, plan(4), IMAGE).exact
    small = make_settings("small")
    assert work_of(small.model_copy(update={"layouts": 4}), plan(4), IMAGE) == work_of(small, plan(4), IMAGE)


def test_a_size_that_the_job_will_refuse_stops_no_planning():
    best, large = make_settings("best"), (2000, 2000)
    assert work_of(best, plan(1, "5x5"), large).exact == work_of(best, plan(1), large).exact, "10,000 px are too many"


def test_an_estimate_adds_up():
    work = work_of(DRAFT, plan(4), IMAGE)
    speed = Speed(rate=work.training / 20, drawing=1e-5, storing=1e-7, measuring=2e-6)
    expected = 20 + 20 * work.chains / work.training + 5 * 1.35 + 8 * 0.0135 + 4.3 * 0.27
    assert speed.seconds(work) == pytest.approx(expected)


def test_a_rate_is_interpolated_between_the_coarsest_and_the_finest_scale():
    """Iterations of 1, 2 and 4 operations that take 3, 4 and 6 seconds: a = 2, b = 1."""
    works = [100.0, 40.0, 60.0]
    seconds = 100 / 1 * 3 + 40 / 2 * 4 + 60 / 4 * 6
    assert joint_rate(works, [1, 2, 4], 1 / 3, 4 / 6) == pytest.approx(200 / seconds)
    assert joint_rate(works, [1, 2, 4], 5.0, 5.0) == pytest.approx(5)
    assert joint_rate([10.0], [3], 5.0, 5.0) == pytest.approx(5), "one scale"
    assert joint_rate(works, [1, 2, 4], 6.0, 5.0) == pytest.approx(5), "no time without operations"


@pytest.mark.parametrize(("preset", "method"), [("draft", "patchgencn"), ("small", "patchgencn"), ("draft", "convnet")])
def test_the_speed_of_this_machine(preset, method):
    settings = make_settings(preset, {"max_size": 64}, method)
    image = (48, 64)
    speed = measured_speed(image, settings, "cpu", 1)
    assert (speed.drawing > 0) == (preset == "draft"), "only exact detail is drawn by pixels"
    assert min(speed.rate, speed.storing, speed.measuring) > 0


def test_progress_counts_drawing_as_work_left(tmp_path):
    shown = []
    display = SimpleNamespace(show=shown.append, line=lambda text: None, close=lambda: None)
    jobs = [Job(None, "a", 100.0, None, drawing=60.0), Job(None, "b", 100.0, None)]
    tracker = Tracker(Store(str(tmp_path)), display, jobs, 0, 0)
    progress = SimpleNamespace(done=1.0, scale=0, scales=4, iteration=1, iterations=1)
    leases = [
        SimpleNamespace(jobs=[job], attempts=[job.label], heartbeat=SimpleNamespace(progress=progress, rate=1.0))
        for job in jobs
    ]
    tracker.tick(leases[:1], Queue([]))
    assert shown[-1].share == pytest.approx(0.2), "trained, and yet to be drawn"
    tracker.tick(leases, Queue([]))
    assert shown[-1].share == pytest.approx(0.7)
