"""Which device a command uses."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jobs.common.failures import ConfigError


def choose_device(wanted: str, has_gpu: Callable[[], bool]) -> str:
    """ "cpu" or "cuda" for what was asked, "auto" taking a GPU where there is one.

    `has_gpu` is asked only where it matters. Raises `ConfigError` for another word, and for "cuda" without a GPU.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"The device {wanted!r} is not one of auto, cpu, cuda.")
    if wanted == "cpu":
        return "cpu"
    if has_gpu():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("There is no GPU here for --device cuda. Use --device cpu, or a machine or cluster with one.")
    return "cpu"


def has_bfloat16_units() -> bool:
    """Whether this machine's CPU multiplies bfloat16 matrices in units of its own (AMX).

    With them chains take half the time of float32; without, up to nine times it.
    """
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
