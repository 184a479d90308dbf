"""`pgcn submit`: a run as a job of a Ray cluster, sent from any machine that reaches its dashboard."""

from __future__ import annotations

import hashlib
import json
import shlex
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path

from ray.job_submission import JobDetails, JobStatus
from rich.console import Console

from cluster.planning.request import Request
from cluster.scheduler.stopping import Limits
from cluster.submission.job_server import JobServer, ended
from cluster.submission.preflight import MARK, Report, Versions, Wanted, judge
from cluster.submission.wheel import Code, unpacked
from jobs.common.failures import ConfigError
from jobs.common.redact import holds_secret
from jobs.storage.urls import has_credentials, is_local, local_path, public_url

COMMAND = ["python", "-m", "cluster"]
"""What `pgcn` is where its code came with the job, and as good where it is installed."""

LOOK_S = Limits.startup_s + 120
"""Seconds for the look at the cluster: it may have to grow first."""


def submit(request: Request, address: str, wheel: Path | None, console: Console, *, follow: bool) -> int:
    """Look at the cluster, then send the run there; the same run again is found. Returns the exit code.

    `wheel` is a wheel of pgcn, or a checkout to build one from, for a cluster whose image has not this pgcn. With
    `follow`, what the run says is passed on, and its exit code is this one's. Raises `JobError`.
    """
    _check_travels(request)
    server = JobServer(address)
    base = submission_id(request)
    earlier = server.find(base)
    going = [job.submission_id for job in earlier if not ended(job)]
    if going:
        job = str(going[-1])
        console.print(f"This run is going on already, as job {job}.", highlight=False)
    else:
        if earlier:
            last = earlier[-1]
            console.print(f"This run ended before ({last.status}, job {last.submission_id}).", highlight=False)
        job = _next_id(base, earlier)
        with unpacked(wheel) if wheel else nullcontext() as code:
            _look_first(request, server, code, console)
            server.start(shlex.join([*COMMAND, "run", *run_arguments(request)]), job, code.folder if code else None)
        console.print(f"Sent to {server.address} as job {job}.", highlight=False)
    out = shlex.quote(request.out)
    if not follow:
        console.print(
            f"Next:\n  pgcn status {out} --watch\n  pgcn submit … --follow   # the same command: what the run says\n"
            f"  pgcn cancel {out} --address {server.address}",
            highlight=False,
            markup=False,
        )
        return 0
    try:
        details = server.follow(job, lambda text: console.print(text, end="", highlight=False, markup=False))
    except KeyboardInterrupt:
        console.print(f"Job {job} goes on. To stop it: pgcn cancel {out} --address {server.address}", highlight=False)
        raise
    return _exit_code(details, console)


def run_prefix(out: str) -> str:
    """How the submission ids of all jobs on one run begin."""
    return f"pgcn-{_hash(public_url(out).rstrip('/'))}-"


def submission_id(request: Request) -> str:
    """The submission id of a request: the same for the same run with the same options."""
    return run_prefix(request.out) + _hash(json.dumps(run_arguments(request)))


def run_arguments(request: Request) -> list[str]:
    """The arguments of `pgcn run` that ask for just this request, whatever way it was written."""
    arguments = [*request.images, "--out", request.out]
    for name, value in sorted(request.overrides.items()):
        arguments += ["--set", f"{name}={value}"]
    plain = Request(images=[], out="")
    for field in fields(Request):
        value = getattr(request, field.name)
        if field.name not in ("images", "out", "overrides", "limits") and value != getattr(plain, field.name):
            arguments += _option(field.name, value)
    limits, default = request.limits, Limits()
    if limits.job_s != default.job_s:
        arguments += ["--job-timeout", str(limits.job_s)]
    if limits.silence_s != default.silence_s:
        arguments += ["--silence-timeout", str(limits.silence_s)]
    return arguments


def _option(name: str, value: object) -> list[str]:
    if name == "sizes":
        assert isinstance(value, tuple)
        return [part for size in value for part in ("--size", size)]
    flag = f"--{name.replace('_', '-')}"
    return [flag] if value is True else [flag, str(value)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _next_id(base: str, earlier: list[JobDetails]) -> str:
    """`base`, or with the number that follows those that are taken."""
    taken = [int((job.submission_id or "").removeprefix(base).lstrip("-") or 1) for job in earlier]
    return f"{base}-{max(taken) + 1}" if taken else base


def _check_travels(request: Request) -> None:
    """Raises `ConfigError` for what means another thing on the cluster, or must not be seen in its list of jobs."""
    if request.ray_address is not None:
        raise ConfigError("A run is submitted with --address alone: take out --ray-address.")
    others = (request.target, request.mask, request.truth, request.pyramids)
    for url in [*request.images, request.out, *(url for url in others if url is not None)]:
        if has_credentials(url):
            raise ConfigError(
                f"The URL of {public_url(url)} has a key, a password or a query in it, which the cluster's list of "
                "jobs would show: give credentials in the environment of the cluster's machines."
            )
        if is_local(url) and str(local_path(url)) != url:
            raise ConfigError(
                f"The cluster does not see {url}: put it into a bucket, or give the absolute path of a folder that "
                "all its machines share."
            )
    if any(holds_secret(argument) for argument in run_arguments(request)):
        raise ConfigError("An option holds the value of a secret of this machine's environment: take it out.")


def _look_first(request: Request, server: JobServer, code: Code | None, console: Console) -> None:
    """Look at the cluster from inside. Raises `ConfigError` with all that keeps the run from being sent."""
    console.print(f"Looking at the cluster of {server.address} …", highlight=False)
    report = _report(Wanted.of(request), server, code)
    here = Versions.here()
    problems, notes = judge(report, here.model_copy(update={"pgcn": code.version}) if code else here)
    if problems:
        raise ConfigError("\n".join(problems))
    for sentence in [report.summary(), *notes]:
        console.print(sentence, highlight=False, markup=False)


def _report(wanted: Wanted, server: JobServer, code: Code | None) -> Report:
    """What a short job on the cluster says of it."""
    job = f"pgcn-look-{uuid.uuid4().hex[:10]}"
    entrypoint = shlex.join([*COMMAND, "preflight", wanted.model_dump_json()])
    server.start(entrypoint, job, code.folder if code else None)
    try:
        details = server.wait(job, LOOK_S)
    except KeyboardInterrupt:
        server.stop(job)
        raise
    if not ended(details):
        server.stop(job)
        raise ConfigError(f"The look at the cluster has not ended after {LOOK_S:.0f} s; its job is {job}.")
    lines = server.logs(job).splitlines()
    found = next(_reports(lines), None)
    if found is not None:
        return found
    if any("No module named cluster" in line for line in lines):
        raise ConfigError("pgcn is not installed on the cluster's head: send it with --wheel, or use an image with it.")
    said = next((line for line in reversed(lines) if line.strip()), details.message or "it said nothing")
    raise ConfigError(f"The look at the cluster failed; its job is {job}, and its last word: {said.strip()}")


def _reports(lines: list[str]) -> Iterator[Report]:
    for line in lines:
        if line.startswith(MARK):
            yield Report.model_validate_json(line.removeprefix(MARK))


def _exit_code(details: JobDetails, console: Console) -> int:
    """That of the run; 130 where it was stopped, 4 where Ray could not run it."""
    if details.status == JobStatus.STOPPED:
        console.print(f"Job {details.submission_id} was stopped. The same command goes on.", highlight=False)
        return 130
    if details.driver_exit_code is None:
        console.print(f"Ray could not run the job: {details.message}", highlight=False, markup=False)
        return 4
    return int(details.driver_exit_code)
