"""A Ray cluster that tests share: those that strike at Ray itself, or need an environment, start their own."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers import HOST, free_port


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory):
    """HOST:PORT of a head of two CPUs, which ends with the session."""
    port = free_port()
    log = tmp_path_factory.mktemp("ray") / "head.log"
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
    command += ["--num-cpus=2", f"--node-ip-address={HOST}", "--include-dashboard=false", "--disable-usage-stats"]
    with log.open("wb") as output:
        head = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + 60
            while b"Ray runtime started" not in log.read_bytes():
                assert head.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            yield f"{HOST}:{port}"
        finally:
            head.terminate()
            head.wait(timeout=60)
