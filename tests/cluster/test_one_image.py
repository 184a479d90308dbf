"""Threads and lines of progress of commands on one image."""

import io
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

import pgcn
from pgcn.fit import threads_for
from pgcn.heartbeat import beat
from pgcn.imaging.channels import RGB
from pgcn.method import Progress
from pgcn.methods import untrained_model
from pgcn_cluster.one_image.memory import check_memory, sample_memory
from pgcn_cluster.one_image.progress import Lines, task_progress, training_progress, use_threads
from pgcn_cluster.one_image.sample import _sampled_by
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError


@pytest.fixture(autouse=True)
def threads():
    """Restores the number of threads, and begins with two."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def half_done():
    return Progress(scale=0, scales=2, iteration=5, iterations=10, done=0.5)


def test_a_command_has_one_thread_unless_another_number_is_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    use_threads(None)
    assert torch.get_num_threads() == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    use_threads(None)
    assert torch.get_num_threads() == 1
    use_threads(2)
    assert torch.get_num_threads() == 2


def test_a_small_training_has_one_thread_and_restores_the_number(monkeypatch):
    image = torch.rand(1, 3, 20, 24) * 2 - 1
    settings = pgcn.make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 1, "iterations": 1})
    seen = []

    def fit():
        pgcn.fit(image, settings=settings, on_progress=lambda _: seen.append(torch.get_num_threads()))

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    fit()
    assert set(seen) == {2}
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen.clear()
    fit()
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2
    with threads_for([(12, 12), (256, 256)]):
        assert torch.get_num_threads() == 2, "large nets use all threads"


def test_lines_come_every_ten_seconds():
    now, said = [0.0], []
    lines = Lines(said.append, lambda: now[0])
    for at in (4, 9, 12, 15, 21, 23):
        now[0] = float(at)
        lines.training(half_done())
    assert said == [f"training: 50% after {at} s, about {at} s left" for at in (12, 23)]
    now[0] = 40.0
    lines.task("superres")
    assert said[-1] == "superres: running for 40 s"


def test_a_training_without_a_terminal_says_lines_and_with_one_shows_a_bar(monkeypatch):
    monkeypatch.setattr("pgcn_cluster.one_image.progress.EVERY", 0.0)
    said = []
    with training_progress(Console(file=io.StringIO(), force_terminal=False), said.append) as show:
        show(half_done())
    assert said[0].startswith("training: 50% after 0 s")
    said.clear()
    with training_progress(Console(file=io.StringIO(), force_terminal=True), said.append) as show:
        show(half_done())
    assert said == []


def test_a_task_says_lines_at_its_heartbeats(monkeypatch):
    monkeypatch.setattr("pgcn_cluster.one_image.progress.EVERY", 0.0)
    said = []
    with task_progress("edit", said.append):
        beat()
    beat()
    assert said == ["edit: running for 0 s"]


def test_another_way_of_sampling_is_refused_where_the_pyramid_has_none():
    pyramid = untrained_model(torch.zeros(1, 3, 12, 12), RGB)
    assert _sampled_by(pyramid, "chain") is pyramid
    with pytest.raises(
        ConfigError, match="--sampling generator: this pyramid draws samples by chain, not by"
    ) as caught:
        _sampled_by(pyramid, "generator")
    assert caught.value.code == Code.OPTION_VALUE


def test_a_sample_that_needs_more_memory_than_is_free_is_refused(monkeypatch, tmp_path):
    model = SimpleNamespace(sizes=[(16, 20), (32, 40), (256, 320)], learned=1, channels=RGB)
    size = (4096, 16384)
    need = sample_memory(model, size)
    assert 50 < (need - sample_memory(model, (256, 320))) / (4096 * 16384) < 70, "bytes a pixel"
    limit, taken = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr("pgcn_cluster.one_image.memory.CONTAINERS", ((limit, taken),))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=need))
    check_memory(model, size)
    limit.write_text("max\n")
    check_memory(model, size)
    limit.write_text(f"{2 * need}\n")
    taken.write_text(f"{need}\n")
    check_memory(model, size)
    taken.write_text(f"{need + 2**30}\n")
    said = r"16384x4096 px needs about 4\.\d GiB of memory, and 3\.\d GiB are free"
    with pytest.raises(ConfigError, match=said) as caught:
        check_memory(model, size)
    assert caught.value.code == Code.MEMORY_HOST
