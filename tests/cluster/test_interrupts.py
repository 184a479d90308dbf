"""SIGINT and SIGTERM while a `pgcn` process starts: one sentence and exit code 130, at any moment."""


import signal
import socket
from contextlib import ExitStack

import psutil
import pytest

from tests.cluster.running import at_start, options, start, wait_for, write_photographs

SEND = "import os, signal, sys\ndef send():\n    os.kill(os.getpid(), signal.SIGTERM)\n"

AT_IMPORT = SEND + """
def watch(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        send()
sys.addaudithook(watch)
"""

AT_RAYLET = SEND + """
def watch(event, arguments):
    if event == "subprocess.Popen" and "/raylet" in str(arguments[0]):
        send()
sys.addaudithook(watch)
"""

AT_CORE_WORKER = """
import os, subprocess, sys
def watch(event, arguments):
    if event == "subprocess.Popen" and "/raylet" in str(arguments[0]):
        import ray
        join = ray._private.worker.connect
        def connect(*arguments, **named):
            subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -TERM {os.getpid()}"])  # it is in C++ then
            return join(*arguments, **named)
        ray._private.worker.connect = connect
sys.addaudithook(watch)
"""

AT_SHUTDOWN = SEND + """
def watch(event, arguments):
    if event == "subprocess.Popen" and "/raylet" in str(arguments[0]):
        import ray
        ray._private.node.Node.destroy_external_storage = lambda node: send()  # in `ray.shutdown`, its C++ part is gone
sys.addaudithook(watch)
"""

MOMENTS = {
    "imports of the command line": AT_IMPORT.format(module="typer"),
    "imports of a command": AT_IMPORT.format(module="torch"),
    "start of Ray's processes": AT_RAYLET,
    "start of Ray's C++ part": AT_CORE_WORKER,
}


def ends_with_a_sentence(process):
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 130, output
    assert output.endswith("Interrupted.\n"), output
    assert output.count("Interrupted") == 1, output
    assert "***" not in output, "the stack that Ray's C++ part prints"
    assert "Traceback" not in output


def test_sigterm_while_a_run_starts(tmp_path):
    images = write_photographs(tmp_path / "images", 1)
    with ExitStack() as stack:
        runs = []
        for index, code in enumerate(MOMENTS.values()):
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
        address = "127.0.0.1:%d" % silent.getsockname()[1]
        process = start("run", images, "--out", tmp_path / "run", *options(), "--ray-address", address)
        try:
            silent.settimeout(90)
            connections = [silent.accept() for _ in range(2)]  # ours, and Ray's
            process.send_signal(number)
            ends_with_a_sentence(process)
        finally:
            process.kill()
    assert len(connections) == 2
