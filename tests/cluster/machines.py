"""A real Ray cluster of several machines on this one: a head, and raylets with their own resources and folders."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.network import Network
from tests.servers import LEASH, S3Server

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 120.0

# A raylet that was killed is missed after some seconds, not half a minute; one on a busy machine is not.
_SYSTEM = {
    "metrics_report_interval_ms": 500,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 8,
    "health_check_initial_delay_ms": 0,
}


class Machine:
    """One `ray start --block` and all that it started."""

    def __init__(self, process: subprocess.Popen, name: str, folder: Path) -> None:
        self.process = process
        self.name = name
        self.folder = folder

    def kill(self) -> None:
        """As when the power goes: every process of it at once."""
        for each in self._below():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # also those whose parent has ended
        self.process.wait()

    def drain(self) -> None:
        """As a spot machine's notice is passed on: SIGTERM to `ray start --block`."""
        self.process.send_signal(signal.SIGTERM)

    def workers(self) -> list[int]:
        """Processes of workers that train here."""
        return self.named("ray::RayWorker")

    def named(self, name: str) -> list[int]:
        """Its processes of this name, or of one that begins so."""
        return [child.pid for child in self._below() if _name(child).startswith(name)]

    def node_id(self) -> str:
        """Ray's name of the node, from the command line of its raylet."""
        (raylet,) = self.named("raylet")
        return next(
            part.partition("=")[2] for part in psutil.Process(raylet).cmdline() if part.startswith("--node_id=")
        )

    def _below(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def gone(self) -> bool:
        return self.process.poll() is not None


class RayCluster:
    """A head, without cores as on Kubernetes if not said otherwise, and machines that come and go."""

    def __init__(self, folder: Path, env: dict[str, str], *, job_server: bool, cpus: int = 0, gpus: int = 0) -> None:
        """`env` is added to the environment of all machines: their storage, and a token."""
        self._folder = folder
        self._ports: set[int] = set()
        self.host = _own_address()
        self.machines: list[Machine] = []
        self.env = {
            **env,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "0",
            "COLUMNS": "200",
            "NO_COLOR": "1",
        }
        gcs, dashboard, client = self._port(), self._port(), self._port()
        self.address = f"{self.host}:{gcs}"
        self.dashboard = f"http://{self.host}:{dashboard}"
        self._start(
            "head",
            "--head",
            f"--port={gcs}",
            f"--include-dashboard={str(job_server).lower()}",
            f"--dashboard-host={self.host}",
            f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}",
            f"--num-cpus={cpus}",
            f"--num-gpus={gpus}",
            f"--system-config={json.dumps(_SYSTEM)}",
            *self._more_of_the_head(),
        )
        port = dashboard if job_server else gcs
        _until(lambda: self._started("head") and _answers(self.host, port), self.machines[0], self._folder)

    def _more_of_the_head(self) -> list[str]:
        """Options of its own."""
        return []

    def jobs(self, path: str = "") -> Any:
        """The JSON answer of the job server to a plain request below /api/jobs/."""
        token = Path(self.env["RAY_AUTH_TOKEN_PATH"]).read_text()
        request = urllib.request.Request(
            f"{self.dashboard}/api/jobs/{path}", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def add(self, name: str, *, cpus: int = 1, gpus: int = 0, network: Network | None = None) -> Machine:
        """A machine that joins, from a network of its own if there is one. Names are for once."""
        options = [f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        return self._start(name, *options, network=network)

    def leave_only(self, *names: str) -> None:
        """End all machines but the head and those of these names."""
        for machine in [m for m in self.machines if m.name not in ("head", *names)]:
            if not machine.gone():
                machine.kill()
            self.machines.remove(machine)

    def _start(self, name: str, *options: str, network: Network | None = None) -> Machine:
        command = [
            *(["ip", "netns", "exec", network.name] if network else []),
            str(Path(sys.executable).parent / "ray"),
            "start",
            *options,
            f"--node-ip-address={network.address if network else self.host}",
            f"--temp-dir={self._folder / name}",
            f"--dashboard-agent-listen-port={self._port()}",
            "--object-store-memory=100000000",
            "--block",
        ]
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["sh", "-c", LEASH, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self.env},
            )
        machine = Machine(process, name, self._folder / name)
        self.machines.append(machine)
        return machine

    def _started(self, name: str) -> bool:
        return "Ray runtime started" in (self._folder / f"{name}.log").read_text()

    def _port(self) -> int:
        """A free port outside those that Ray gives its workers, 10002 to 19999."""
        while True:
            with socket.socket() as probe:
                probe.bind((self.host, 0))
                port = int(probe.getsockname()[1])
            if port > 20000 and port not in self._ports:
                self._ports.add(port)
                return port


@contextmanager
def ray_cluster(server: S3Server, *, job_server: bool) -> Iterator[RayCluster]:
    """A cluster of a head alone behind a token, with Ray's job server or without. All of it sees `server`'s storage."""
    with short_folder() as folder:
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        env = {**server.env, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        with running(RayCluster(folder, env, job_server=job_server)) as cluster:
            yield cluster


@contextmanager
def standing_ray(gpus: int = 0) -> Iterator[str]:
    """Ray with two cores and without a token, for runs that do no harm to it: its address."""
    with (
        short_folder() as folder,
        running(RayCluster(folder, {"RAY_AUTH_MODE": "disabled"}, job_server=False, cpus=2, gpus=gpus)) as cluster,
    ):
        yield cluster.address


@contextmanager
def machines_alone() -> Iterator[RayCluster]:
    """A head without cores, for machines that come and go; storage is the disk, and there is no token."""
    with (
        short_folder() as folder,
        running(RayCluster(folder, {"RAY_AUTH_MODE": "disabled"}, job_server=False)) as cluster,
    ):
        yield cluster


@contextmanager
def short_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pgcn-"))  # short: the names of Ray's sockets have to fit into 107 bytes
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(cluster: RayCluster) -> Iterator[RayCluster]:
    """A cluster of which nothing is left behind."""
    try:
        yield cluster
    finally:
        cluster.leave_only()
        cluster.machines[0].kill()


def _own_address() -> str:
    """This machine's address in its network: raylets cannot join a head at 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _until(condition, machine: Machine, folder: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if machine.gone() or time.monotonic() > until:
            raise AssertionError(
                f"{machine.name} did not start:\n{(folder / f'{machine.name}.log').read_text()[-2000:]}"
            )
        time.sleep(0.1)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""
