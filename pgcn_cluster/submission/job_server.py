"""Client of Ray's job server, which accepts commands for a cluster over HTTP, from inside and outside the cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from pgcn_cluster.ray_cluster.compat import use_token
from pgcn_cluster.scheduler.stopping import Limits
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.storage.urls import public_url

STOP_WAIT_S = Limits.grace_s + 30
"""Seconds that Ray gives a stopped job before it kills it: its own 3 are too few to write checkpoints."""

POLL_S = 0.5

logging.getLogger("ray.dashboard").setLevel(logging.WARNING)  # its errors are reported by our own sentences


class JobServer:
    """The jobs of one cluster. Every method raises `ConfigError` where the server refuses or fails."""

    def __init__(self, address: str) -> None:
        """`address` is the dashboard's, http://HOST:8265."""
        self.address = public_url(address)
        self._check(address)
        # Ray prefers these to the address of the command line.
        for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
            os.environ.pop(name, None)
        use_token()
        with self._sentences():
            self._client = JobSubmissionClient(address)

    def find(self, prefix: str) -> list[JobDetails]:
        """Jobs whose submission id begins with `prefix`, the oldest first."""
        with self._sentences():
            jobs = [job for job in self._client.list_jobs() if (job.submission_id or "").startswith(prefix)]
        return sorted(jobs, key=lambda job: job.start_time or 0)

    def start(self, entrypoint: str, submission_id: str, code: Path | None) -> None:
        """Send a command. The folder `code` becomes its working folder, and the first on every worker's path."""
        environment = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": f"{STOP_WAIT_S:.0f}"}}
        files = {"working_dir": str(code)} if code is not None else {}
        with self._sentences():
            self._client.submit_job(
                entrypoint=entrypoint, submission_id=submission_id, runtime_env={**environment, **files}
            )

    def details(self, submission_id: str) -> JobDetails:
        """The state of a job."""
        with self._sentences():
            return self._client.get_job_info(submission_id)

    def logs(self, submission_id: str) -> str:
        """The whole output of a job."""
        with self._sentences():
            return str(self._client.get_job_logs(submission_id))

    def stop(self, submission_id: str) -> None:
        """Ask a job to end: SIGTERM now, SIGKILL after `STOP_WAIT_S`."""
        with self._sentences():
            self._client.stop_job(submission_id)

    def wait(self, submission_id: str, seconds: float) -> JobDetails:
        """The state of a job when it has ended, or after `seconds`."""
        until = time.monotonic() + seconds
        while not ended(details := self.details(submission_id)) and time.monotonic() < until:
            time.sleep(POLL_S)
        return details

    def follow(self, submission_id: str, say: Callable[[str], None]) -> JobDetails:
        """Pass on a job's whole output, until it has ended."""

        async def pass_on(lines: AsyncIterator[str]) -> None:
            async for text in lines:
                say(text)

        with self._sentences():
            asyncio.run(pass_on(self._client.tail_job_logs(submission_id)))
        details = self.wait(submission_id, STOP_WAIT_S)
        if not ended(details):
            raise ConfigError(
                f"The connection to {self.address} was lost. Job {submission_id} is still active.",
                code=Code.RAY_UNREACHABLE,
            )
        return details

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Ray's errors in a sentence each."""
        try:
            yield
        except AuthenticationError:
            raise ConfigError(
                f"Ray at {self.address} requires its token, and the one of this machine is not it, or there is none: "
                "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's own "
                "(`ray get-auth-token` prints it on the head node).",
                code=Code.RAY_TOKEN,
            ) from None
        except (OSError, RuntimeError, ValueError, aiohttp.ClientError) as error:
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise ConfigError(f"Ray at {self.address} failed: {text[0]}", code=Code.RAY_FAILED) from None

    def _check(self, address: str) -> None:
        """Raises `ConfigError` for an address without an answer: Ray itself waits for minutes."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"--address is the address of the cluster's dashboard, as http://HOST:8265, not {self.address}.",
                code=Code.OPTION_VALUE,
            )
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname, port), timeout=5).close()
        except (OSError, ValueError):
            raise ConfigError(
                f"Nothing answers at {self.address}: correct --address; from outside the cluster's network, open a "
                "tunnel to the head node's port 8265 first.",
                code=Code.RAY_UNREACHABLE,
            ) from None


def ended(job: JobDetails) -> bool:
    """True for a job that has ended, in any way."""
    return bool(job.status.is_terminal())
