"""`pgcn submit`: sends a run to a Ray cluster as a job, from any machine that reaches its dashboard."""

from __future__ import annotations

import hashlib
import json
import shlex
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from ray.job_submission import JobDetails, JobStatus
from rich.console import Console

from pgcn_cluster.exit import Exit
from pgcn_cluster.planning.run_options import Request, declarations
from pgcn_cluster.planning.task_request import parse_channels
from pgcn_cluster.scheduler.stopping import Limits
from pgcn_cluster.submission.job_server import JobServer, ended
from pgcn_cluster.submission.preflight import MARK, PreflightReport, Versions, judge
from pgcn_cluster.submission.wheel import PackagedCode, unpacked
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.redact import holds_secret
from pgcn_jobs.storage.urls import has_credentials, is_local, local_path, public_url

COMMAND = ["python", "-P", "-m", "pgcn_cluster"]
"""The `pgcn` command of a cluster. It works with installed code, and with code that came along with the job.

Ray puts the folder of that code into PYTHONPATH. Without -P Python would add the current folder of the cluster's head,
whatever is in it.
"""

PREFLIGHT_S = Limits.startup_s + 120
"""Seconds for the preflight: the cluster may have to grow first."""


def submit(request: Request, address: str, wheel: Path | None, console: Console, *, follow: bool) -> int:
    """Check the cluster, then send the run there, unless it is there already. Returns the exit code.

    `wheel` is a wheel of pgcn, or a checkout to build one from, for a cluster without this version. With `follow`,
    the run's output is passed on, and the exit code is the run's. Raises `JobError`.
    """
    _check_travels(request)
    server = JobServer(address)
    base = submission_id(request)
    earlier = server.find(base)
    going = [job.submission_id for job in earlier if not ended(job)]
    if going:
        job = str(going[-1])
        console.print(f"This run is active already, as job {job}.", highlight=False)
    else:
        if earlier:
            last = earlier[-1]
            console.print(f"This run ended before ({last.status}, job {last.submission_id}).", highlight=False)
        job = _next_id(base, earlier)
        with unpacked(wheel) if wheel else nullcontext() as code:
            _run_preflight(request, server, code, console)
            server.start(shlex.join([*COMMAND, "run", *run_arguments(request)]), job, code.folder if code else None)
        console.print(f"Sent to {server.address} as job {job}.", highlight=False)
    out = shlex.quote(request.out)
    if not follow:
        console.print(
            f"Next:\n  pgcn status {out} --watch\n  pgcn submit … --follow   # the same command: the run's output\n"
            f"  pgcn cancel {out} --address {server.address}",
            highlight=False,
            markup=False,
        )
        return Exit.DONE
    try:
        details = server.follow(job, lambda text: console.print(text, end="", highlight=False, markup=False))
    except KeyboardInterrupt:
        console.print(
            f"Job {job} is still active. To stop it: pgcn cancel {out} --address {server.address}", highlight=False
        )
        raise
    return _exit_code(details, console)


def run_prefix(out: str) -> str:
    """The prefix of the submission ids of all jobs on one run."""
    return f"pgcn-{_hash(public_url(out).rstrip('/'))}-"


def submission_id(request: Request) -> str:
    """The submission id of a request: the same for the same run with the same options."""
    return run_prefix(request.out) + _hash(json.dumps(run_arguments(request)))


def run_arguments(request: Request) -> list[str]:
    """The arguments of `pgcn run` for exactly this request, however it was written."""
    arguments = [*request.images, "--out", request.out]
    for name, value in sorted(request.overrides.items()):
        arguments += ["--set", f"{name}={value}"]
    for option in declarations():
        value = getattr(request, option.name)
        if option.name != "out" and value != option.default:
            arguments += option.arguments(value)
    return arguments


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _next_id(base: str, earlier: list[JobDetails]) -> str:
    """`base`, or `base` with the next free number."""
    taken = [int((job.submission_id or "").removeprefix(base).lstrip("-") or 1) for job in earlier]
    return f"{base}-{max(taken) + 1}" if taken else base


def _check_travels(request: Request) -> None:
    """Raises `ConfigError` for options that mean something else on the cluster, and for secrets, which it lists."""
    if request.ray_address is not None:
        raise ConfigError("--ray-address does not go with --address: take it out.", code=Code.OPTION_VALUE)
    parts = parse_channels(request.channel or ()).values()
    others = (request.target, request.mask, request.truth, request.pyramids, *parts)
    for url in [*request.images, request.out, *(url for url in others if url is not None)]:
        if has_credentials(url):
            raise ConfigError(
                f"The URL of {public_url(url)} has a key, a password or a query in it, which the cluster's list of "
                "jobs would show: give credentials in the environment of the cluster's machines.",
                code=Code.SUBMIT_SECRET,
            )
        if is_local(url) and str(local_path(url)) != url:
            raise ConfigError(
                f"The cluster does not see {url}: put it into a bucket, or give the absolute path of a folder that "
                "all its machines share.",
                code=Code.SUBMIT_NOT_SHARED,
            )
    if any(holds_secret(argument) for argument in run_arguments(request)):
        raise ConfigError(
            "An option holds the value of a secret of this machine's environment: take it out.", code=Code.SUBMIT_SECRET
        )


def _run_preflight(request: Request, server: JobServer, code: PackagedCode | None, console: Console) -> None:
    """Check the cluster from inside. Raises `ConfigError` with all problems."""
    console.print(f"Checking the cluster of {server.address} …", highlight=False)
    report = _report(request, server, code)
    here = Versions.here()
    problems, notes = judge(report, here.model_copy(update={"pgcn": code.version}) if code else here)
    if problems:
        raise ConfigError("\n".join(problems), code=Code.SUBMIT_PREFLIGHT)
    for sentence in [report.summary(), *notes]:
        console.print(sentence, highlight=False, markup=False)


def _report(request: Request, server: JobServer, code: PackagedCode | None) -> PreflightReport:
    """The report of a short job on the cluster."""
    job = f"pgcn-preflight-{uuid.uuid4().hex[:10]}"
    entrypoint = shlex.join([*COMMAND, "preflight", request.model_dump_json()])
    server.start(entrypoint, job, code.folder if code else None)
    try:
        details = server.wait(job, PREFLIGHT_S)
    except KeyboardInterrupt:
        server.stop(job)
        raise
    if not ended(details):
        server.stop(job)
        raise ConfigError(
            f"The check of the cluster has not ended after {PREFLIGHT_S:.0f} s; its job is {job}.",
            code=Code.SUBMIT_PREFLIGHT,
        )
    lines = server.logs(job).splitlines()
    found = next(_reports(lines), None)
    if found is not None:
        return found
    if any("No module named pgcn" in line for line in lines):
        raise ConfigError(
            "pgcn is not installed on the cluster's head node: send it with --wheel, or use an image with it.",
            code=Code.SUBMIT_PREFLIGHT,
        )
    said = next((line for line in reversed(lines) if line.strip()), details.message or "it said nothing")
    raise ConfigError(
        f"The check of the cluster failed; the last line of its job {job}: {said.strip()}", code=Code.SUBMIT_PREFLIGHT
    )


def _reports(lines: list[str]) -> Iterator[PreflightReport]:
    for line in lines:
        if line.startswith(MARK):
            yield PreflightReport.model_validate_json(line.removeprefix(MARK))


def _exit_code(details: JobDetails, console: Console) -> int:
    """The run's exit code; INTERRUPTED where it was stopped, ABORTED where Ray could not run it."""
    if details.status == JobStatus.STOPPED:
        console.print(f"Job {details.submission_id} was stopped. The same command goes on.", highlight=False)
        return Exit.INTERRUPTED
    if details.driver_exit_code is None:
        console.print(f"Ray could not run the job: {details.message}", highlight=False, markup=False)
        return Exit.ABORTED
    return int(details.driver_exit_code)
