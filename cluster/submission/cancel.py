"""`pgcn cancel`: stop the jobs of a run on a Ray cluster, so that nothing of their work is lost."""

from __future__ import annotations

from rich.console import Console

from cluster.submission.job_server import STOP_WAIT_S, JobServer, ended
from cluster.submission.submit import run_prefix
from jobs.common.failures import ConfigError
from jobs.storage.urls import public_url

ENDING_S = STOP_WAIT_S + 30


def cancel(out: str, address: str, console: Console) -> None:
    """Stop every job that works on a run and was sent by `pgcn submit`, and wait until it has ended.

    Its workers write restart points first. Raises `ConfigError` where there is no such job, or one does not end.
    """
    server = JobServer(address)
    jobs = [str(job.submission_id) for job in server.find(run_prefix(out)) if not ended(job)]
    if not jobs:
        raise ConfigError(f"No job at {server.address} works on {public_url(out)}: `ray job list` says what there is.")
    for job in jobs:
        console.print(f"Stopping job {job}; its workers write restart points …", highlight=False)
        server.stop(job)
    for job in jobs:
        if not ended(server.wait(job, ENDING_S)):
            raise ConfigError(f"Job {job} has not ended after {ENDING_S:.0f} s: look at it with `ray job logs {job}`.")
        console.print(f"Job {job} is stopped. The same `pgcn submit` goes on.", highlight=False)
