"""`pgcn cancel`: stops the jobs of a run on a Ray cluster, without loss of their work."""

from __future__ import annotations

from rich.console import Console

from pgcn_cluster.submission.job_server import STOP_WAIT_S, JobServer, ended
from pgcn_cluster.submission.submit import run_prefix
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.storage.urls import public_url

ENDING_S = STOP_WAIT_S + 30


def cancel(out: str, address: str, console: Console) -> None:
    """Stop every job of a run that was sent by `pgcn submit`, and wait until it has ended.

    Its workers write checkpoints first. Raises `ConfigError` where there is no such job, or one does not end.
    """
    server = JobServer(address)
    jobs = [str(job.submission_id) for job in server.find(run_prefix(out)) if not ended(job)]
    if not jobs:
        raise ConfigError(
            f"No job at {server.address} works on {public_url(out)}: `ray job list` lists its jobs.",
            code=Code.SUBMIT_JOB,
        )
    for job in jobs:
        console.print(f"Stopping job {job}; its workers write checkpoints …", highlight=False)
        server.stop(job)
    for job in jobs:
        if not ended(server.wait(job, ENDING_S)):
            raise ConfigError(
                f"Job {job} has not ended after {ENDING_S:.0f} s: look at it with `ray job logs {job}`.",
                code=Code.SUBMIT_JOB,
            )
        console.print(f"Job {job} is stopped. The same `pgcn submit` goes on.", highlight=False)
