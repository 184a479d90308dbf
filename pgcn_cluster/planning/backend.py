"""The backend of a request: a Ray cluster, or this machine without Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgcn_cluster.scheduler.local_machine import LocalMachine
from pgcn_cluster.scheduler.worker_pool import Backend
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError

if TYPE_CHECKING:
    from pgcn_cluster.planning.run_options import Request


def backend_for(request: Request) -> Backend:
    """The backend, not joined yet. Raises `ConfigError` for options that exclude each other."""
    if request.local:
        if request.ray_address is not None:
            raise ConfigError("--local runs without Ray: leave out --ray-address.", code=Code.OPTION_VALUE)
        return LocalMachine(request.workers)
    if request.workers is not None:
        raise ConfigError(
            "--workers belongs to --local: on Ray, the cluster decides how many workers there are.",
            code=Code.OPTION_VALUE,
        )
    # A run without Ray needs no Ray at all.
    from pgcn_cluster.ray_cluster.session import Cluster

    return Cluster(request.ray_address)
