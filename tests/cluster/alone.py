"""Runs without Ray, whose driver and worker are in this process: they cost no worker's start."""

from tests.cluster.running import ask


def run_alone(*arguments: object) -> tuple[int, str]:
    """`pgcn run --local` in this process: code and output."""
    return ask("run", *arguments, "--local", "--workers", "1")
