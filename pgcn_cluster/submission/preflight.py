"""Preflight: a check of a cluster before a run is sent there, made on the cluster itself.

It is a short job on the head node, and a task on each machine.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import ray
import torch
from pydantic import BaseModel, ConfigDict
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pgcn.methods import DEFAULT, names_of_settings
from pgcn_cluster.planning.device import choose_device, need_of
from pgcn_cluster.planning.run_options import Request
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.stopping import Limits
from pgcn_jobs.common.failures import InputError, JobError
from pgcn_jobs.common.redact import redact
from pgcn_jobs.images.decoder import shared as decoder
from pgcn_jobs.inputs.discover import Source, find_sources, read_source
from pgcn_jobs.run_folder.identity import require_place
from pgcn_jobs.storage.store import Store

MARK = "pgcn-preflight "
"""Begins the line that holds the report: Ray has its own lines around it."""

ANSWER_S = 300.0
"""Seconds for a machine that is there: it may import torch from a cold disk."""


class Versions(BaseModel):
    """Versions that have to agree between two machines: pgcn's, and the minor versions of Python and Ray.

    Another torch is permitted, with a note.
    """

    model_config = ConfigDict(frozen=True)

    python: str
    ray: str
    torch: str
    pgcn: str

    @staticmethod
    def here() -> Versions:
        """The versions of this process."""
        return Versions(
            python=platform.python_version(), ray=ray.__version__, torch=torch.__version__, pgcn=version("pgcn")
        )


class MachineReport(BaseModel):
    """The findings on one machine. `gpus`: the GPUs that Ray gives out there. A run works in spite of a `note`."""

    host: str
    versions: Versions | None = None
    gpus: float = 0.0
    note: str | None = None
    problem: str | None = None


class PreflightReport(BaseModel):
    """The findings on a cluster. `problem`: the reason why they are not complete."""

    driver: Versions
    machines: list[MachineReport] = []
    problem: str | None = None

    @property
    def versions(self) -> list[Versions]:
        """The different versions of the driver and of every machine that answered."""
        return list(dict.fromkeys([self.driver, *(seen.versions for seen in self.machines if seen.versions)]))

    def summary(self) -> str:
        """One line on the machines that were checked."""
        count, gpus = len(self.machines), sum(seen.gpus for seen in self.machines)
        return (
            f"{count} machine{'s' * (count != 1)} with {gpus:g} GPU{'s' * (gpus != 1)} checked: images can be read "
            "there, and results written."
        )


def examine(request: Request) -> PreflightReport:
    """Check the cluster that this process belongs to. Problems are in the report, never raised."""
    report = PreflightReport(driver=Versions.here())
    cluster = Cluster(None)
    try:
        cluster.join()
        need = need_of(choose_device(request.device, cluster.has_gpu), request.cpus_per_job, request.gpus_per_job)
        names = names_of_settings(request.method or [DEFAULT])
        first = find_sources(request.images, setting_names=names, allow_local=request.allow_local)[0]
        report.machines = _on_each_machine(need, request, first)
    except JobError as error:
        report.problem = redact(str(error))
    finally:
        cluster.leave()
    return report


def _on_each_machine(need: Resources, request: Request, first: Source) -> list[MachineReport]:
    """Reports of all machines with room for a job; without any, of a new one that the cluster starts for this."""
    task = ray.remote(max_retries=1)(examine_machine)
    nodes = [node for node in ray.nodes() if node["Alive"] and _holds(node["Resources"], need)]
    if nodes:
        limit_s = ANSWER_S
        tasks = {
            task.options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(request, first, need.gpus): node
            for node in nodes
        }
    else:
        limit_s = Limits.startup_s
        nowhere = {"NodeManagerHostname": "a new machine", "Resources": {"GPU": need.gpus}}
        tasks = {task.options(num_cpus=need.cpus, num_gpus=need.gpus).remote(request, first, need.gpus): nowhere}
    ready, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=limit_s)
    found = []
    for each, node in tasks.items():
        host, gpus = node["NodeManagerHostname"], node["Resources"].get("GPU", 0.0)
        if each not in ready:
            ray.cancel(each, force=True)
            seen = MachineReport(
                host=host, problem=f"{host} did not answer within {limit_s:.0f} s: check that it has room for a job."
            )
        else:
            seen = _answer(each, host)
        found.append(seen.model_copy(update={"gpus": gpus}))
    return found


def _holds(resources: dict[str, float], need: Resources) -> bool:
    return resources.get("CPU", 0.0) >= need.cpus and resources.get("GPU", 0.0) >= need.gpus


def _answer(task: Any, host: str) -> MachineReport:
    try:
        seen: MachineReport = ray.get(task)
    except RayError as error:
        line = str(error).strip().splitlines()[-1]
        return MachineReport(host=host, problem=f"Tasks fail on {host}: {line}")
    return seen


def examine_machine(request: Request, first: Source, gpus: float) -> MachineReport:
    """The findings on this machine, for a job that holds the share `gpus` of a GPU."""
    seen = MachineReport(host=socket.gethostname(), versions=Versions.here())
    try:
        store = Store(request.out)
        require_place(store)
        store.check()
        decoder.decode(read_source(first.location, first.uri), first.uri, max_pixels=request.max_pixels)
    except InputError as error:
        seen.note = f"The first image will be refused: {error}"
    except JobError as error:
        seen.problem = f"On {seen.host}: {redact(str(error))}"
    if gpus and not torch.cuda.is_available():
        seen.problem = f"Ray gives out GPUs on {seen.host}, but torch can use none: check its driver and torch's build."
    return seen


def judge(report: PreflightReport, expected: Versions) -> tuple[list[str], list[str]]:
    """Sentences on problems, which keep a run from being sent, and notes, which do not."""
    problems = [report.problem] if report.problem else []
    problems += [seen.problem for seen in report.machines if seen.problem]
    notes = [seen.note for seen in report.machines if seen.note]
    for there in report.versions:
        pairs: list[tuple[str, Callable[[Versions], str], list[str], str]] = [
            ("Python", lambda v: _minor(v.python), problems, "use the same minor version"),
            ("Ray", lambda v: _minor(v.ray), problems, "use the same minor version"),
            ("pgcn", lambda v: v.pgcn, problems, "install the same, or send yours with --wheel"),
            ("torch", lambda v: v.torch.partition("+")[0], notes, "results may differ in their last digits"),
        ]
        for name, of, where, advice in pairs:
            if of(there) != of(expected):
                where.append(f"The cluster has {name} {of(there)}, and this machine {of(expected)}: {advice}.")
    return list(dict.fromkeys(problems)), list(dict.fromkeys(notes))


def _minor(text: str) -> str:
    return ".".join(text.split(".")[:2])
