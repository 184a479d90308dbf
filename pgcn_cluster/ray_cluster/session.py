"""The Ray cluster of a command: joined, or started on this machine."""

from __future__ import annotations

import os
import socket
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.job_config import JobConfig

from pgcn_cluster.import_path import worker_environment
from pgcn_cluster.interrupts import INTERRUPTS
from pgcn_cluster.ray_cluster.compat import filter_command_line, own_signal_handlers
from pgcn_cluster.ray_cluster.ray_background import RayBackground
from pgcn_cluster.ray_cluster.ray_meter import RayMeter
from pgcn_cluster.ray_cluster.ray_pool import RayWorkerPool
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.sockets import check_socket_path
from pgcn_cluster.scheduler.worker_pool import first_line
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.redact import redact
from pgcn_jobs.job_context import ExecutionOptions
from pgcn_jobs.storage.store import Store

_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path of a socket of a local Ray, below the folder for temporary files."""


class Cluster:
    """The Ray cluster of a command, joined or started when it is first needed. `worker`: see `RayWorkerPool`."""

    errors: tuple[type[Exception], ...] = (RayError, ConnectionError)

    def __init__(self, address: str | None, worker: type[Any] | None = None) -> None:
        self._worker = worker
        # `ray job submit` sets RAY_ADDRESS for the driver it starts.
        self.address = address or os.environ.get("RAY_ADDRESS") or None

    def join(self) -> None:
        """Connect, or start a local Ray. Raises `ConfigError` where neither works."""
        if ray.is_initialized():
            return
        if self.address is not None:
            _check_address(self.address)
        else:
            check_socket_path(["RAY_TMPDIR", "TMPDIR"], _SOCKET)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        filter_command_line(redact)  # URLs in it may have passwords and signatures
        try:
            local = {} if self.address else {"include_dashboard": False}
            with INTERRUPTS.at_once(), own_signal_handlers():
                ray.init(
                    address=self.address or "local",
                    log_to_driver=False,
                    logging_level="ERROR",
                    job_config=_InstalledCodeOnly(),
                    runtime_env=worker_environment() or None,
                    **local,
                )
        except Exception as error:  # Ray raises `Exception` itself where its processes do not come up
            where = f"Ray at {self.address} does not answer" if self.address else "A local Ray could not be started"
            raise ConfigError(f"{where}: {first_line(error)}", code=Code.RAY_UNREACHABLE) from None

    def background(self) -> RayBackground:
        """Processes on all machines of the cluster, which is joined."""
        self.join()
        return RayBackground()

    def check_room(self, resources: Resources) -> None:
        """Raises `ConfigError` where a Ray of this machine, which will not grow, cannot hold one job."""
        if self.address is not None:
            return
        have = ray.cluster_resources()
        for name, wanted, option in (
            ("CPU", resources.cpus, "--cpus-per-job"),
            ("GPU", resources.gpus, "--gpus-per-job"),
        ):
            if wanted > have.get(name, 0.0):
                raise ConfigError(
                    f"{option} {wanted:g} is more than this machine has: {have.get(name, 0.0):g} {name}s.",
                    code=Code.RESOURCES,
                )

    def has_gpu(self) -> bool:
        """True where jobs can run on a GPU; a local Ray has those of this machine."""
        if self.address is None:
            return torch.cuda.is_available()
        self.join()
        return bool(ray.cluster_resources().get("GPU", 0) >= 1)

    def pool(self, store: Store, options: ExecutionOptions, jobs_per_worker: int) -> RayWorkerPool:
        """A pool without workers yet."""
        grows = self.address is not None
        return RayWorkerPool(store, options, jobs_per_worker=jobs_per_worker, grows=grows, worker=self._worker)

    def meter(self, run: str) -> RayMeter:
        """Ray's metrics."""
        return RayMeter(run)

    def leave(self) -> None:
        """Disconnect, and end a Ray that was started here."""
        if ray.is_initialized():
            with INTERRUPTS.at_once(), own_signal_handlers():
                ray.shutdown()


class _InstalledCodeOnly(JobConfig):  # type: ignore[misc]  # Ray has no types
    """Keeps the driver's current folder off the import path of the workers.

    It is often the folder of the images, and a `torch.py` or `jobs.py` there would be executed. Ray adds it for jobs
    without a working directory of their own, so this one says that it has one.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def _check_address(address: str) -> None:
    """Raises `ConfigError` for an address that cannot work: Ray itself would try it for many minutes."""
    if "://" in address:
        raise ConfigError(
            f"The address {address} is not HOST:PORT of a Ray cluster that this machine is part of. From outside, send "
            f"the command as a job: ray job submit --address http://HOST:8265 -- pgcn run …",
            code=Code.RAY_UNREACHABLE,
        )
    host, colon, port = address.rpartition(":")
    if not colon:
        return  # "auto", "local"
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError):
        raise ConfigError(
            f"No Ray answers at {address}: correct --ray-address or RAY_ADDRESS.", code=Code.RAY_UNREACHABLE
        ) from None
