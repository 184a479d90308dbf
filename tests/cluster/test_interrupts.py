"""SIGINT and SIGTERM while a `pgcn` process starts: one sentence and exit code 130, at any moment."""

import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.cluster.running import at_start, options, start, wait_for, write_photographs

STRIKE = """
import os, signal, subprocess, sys

def send():
    os.kill(os.getpid(), signal.SIGTERM)

def send_soon_after_connect():
    import ray
    connect = ray._private.worker.connect
    def connect_and_send(*arguments, **named):
        subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -TERM {{os.getpid()}}"])  # Ray is in C++ code then
        return connect(*arguments, **named)
    ray._private.worker.connect = connect_and_send

def watch(event, arguments):
    if event == {event!r} and {what!r} in str(arguments[0]):
        {strike}()

sys.addaudithook(watch)
"""

MOMENTS = [
    STRIKE.format(event="import", what="typer", strike="send"),
    STRIKE.format(event="import", what="torch", strike="send"),
    STRIKE.format(event="subprocess.Popen", what="/raylet", strike="send"),
    STRIKE.format(event="subprocess.Popen", what="/raylet", strike="send_soon_after_connect"),
]


def ends_with_a_sentence(process):
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 130, output
    assert output.splitlines()[-1].startswith("Interrupted"), output  # with counts, where it has begun to train
    assert output.count("Interrupted") == 1, output
    assert "***" not in output, "the stack that Ray's C++ part prints"
    assert "Traceback" not in output


def test_sigterm_while_a_run_starts(tmp_path):
    images = write_photographs(tmp_path / "images", 1)
    with ExitStack() as stack:
        runs = []
        for index, code in enumerate(MOMENTS):
            env = at_start(tmp_path / f"plant-{index}", code, "/bin/pgcn")
            runs.append(start("run", images, "--out", tmp_path / f"run-{index}", *options(), env=env))
            stack.callback(runs[-1].kill)
        for process in runs:
            ends_with_a_sentence(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_ray_does_not_answer(tmp_path, number):
    """Ray tries an address for minutes, in C++ code."""
    images = write_photographs(tmp_path / "images", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = start("run", images, "--out", tmp_path / "run", *options(), "--ray-address", address)
        try:
            wait_for(lambda: "gcs_client_io" in threads(process), process=process)
            process.send_signal(number)
            ends_with_a_sentence(process)
        finally:
            process.kill()


def threads(process):
    """Names of its threads; those of Ray begin with "gcs" once it calls the head."""
    with suppress(FileNotFoundError):
        return "".join(path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/comm"))
    return ""
