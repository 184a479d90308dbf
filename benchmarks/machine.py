"""Description and peak speed of this machine: a large matrix product, and a large copy."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

GIGA = 1e9


def describe(device: str) -> str:
    """Device, threads and versions as one sentence."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    threads = "" if device.startswith("cuda") else f", {torch.get_num_threads()} threads"
    return f"{name}{threads}; Python {platform.python_version()}, torch {torch.__version__}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    widest = next((isa for isa in ("amx_bf16", "avx512f", "avx2") if any(isa in line for line in lines)), "")
    return f"{names[0] if names else platform.processor()} {widest.upper()}".strip()


def seconds(call: Callable[[], object], device: str, rounds: int = 5) -> float:
    """Minimum time of one call, over `rounds`, after one that is not counted."""
    call()
    best = float("inf")
    for _ in range(rounds):
        _wait(device)
        began = time.perf_counter()
        call()
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return best


def clock(device: str) -> float:
    """Seconds: wall time for a GPU, after its work is done; CPU time of this process otherwise.

    Others on the machine do not count in the second.
    """
    _wait(device)
    return time.perf_counter() if device.startswith("cuda") else time.process_time()


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def reached_operations(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Operations per second of a product of two large matrices."""
    side = 8192 if device.startswith("cuda") else 1536
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, device)


def reached_bytes(device: str) -> float:
    """Bytes per second, read and written, of a copy of 256 MiB."""
    a = torch.zeros(2**26, device=device)
    b = torch.empty_like(a)
    return 2 * a.nbytes / seconds(lambda: b.copy_(a), device)
