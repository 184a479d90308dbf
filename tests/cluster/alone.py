"""Runs that Ray has no part in: the command, its driver and its worker in this process. They cost no worker's start."""

import pytest

from tests.cluster.running import ask
from tests.faults.command import one_thread, without_ray


def run_alone(*arguments: object) -> tuple[int, str]:
    """`pgcn run` without Ray: code and output."""
    with pytest.MonkeyPatch.context() as patch, one_thread():
        without_ray(patch)
        return ask("run", *arguments)
