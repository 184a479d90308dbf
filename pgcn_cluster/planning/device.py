"""The device of a command, and the resources of its jobs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from pgcn_cluster.scheduler.resources import Resources
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError

GPU_PARTS = 10_000
"""Ray counts GPUs in such parts, and rounds: six times 0.16667 would be more than one."""


def choose_device(wanted: str, has_gpu: Callable[[], bool]) -> str:
    """ "cpu" or "cuda"; "auto" takes a GPU where there is one.

    `has_gpu` is called only where the answer decides. Raises `ConfigError` for another word, and for
    "cuda" without a GPU.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"The device {wanted!r} is not one of auto, cpu, cuda.", code=Code.DEVICE)
    if wanted == "cpu":
        return "cpu"
    if has_gpu():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError(
            "There is no GPU here for --device cuda. Use --device cpu, or a machine or cluster with one.",
            code=Code.DEVICE,
        )
    return "cpu"


def has_bfloat16_units() -> bool:
    """True where this machine's CPU multiplies bfloat16 matrices in units of its own (AMX).

    With them chains take half the time of oneDNN's float32; without, up to nine times it. `pgcn.patchgencn.winograd`,
    which takes less than half of it too, was not compared.
    """
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def need_of(device: str, cpus: float, gpus: float) -> Resources:
    """The resources of a job's worker on a device: cores and, on "cuda", a GPU or a share of one."""
    if device == "cpu":
        return Resources(cpus=cpus)
    if not 0 < gpus <= 1 or abs(round(1 / gpus) - 1 / gpus) > 0.01:
        raise ConfigError(
            f"--gpus-per-job is 1, or a share 1/n of one GPU as 0.5 or 0.25, not {gpus:g}.", code=Code.OPTION_VALUE
        )
    return Resources(cpus=cpus, gpus=math.floor(GPU_PARTS / round(1 / gpus)) / GPU_PARTS)
