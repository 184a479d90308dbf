"""Provenance of a result: the memory, device and versions of the process that made it."""

from __future__ import annotations

import resource
import sys
from importlib.metadata import version
from typing import Any

import torch

from pgcn.methods import algorithm, find_method
from pgcn_jobs.common.clock import now


def provenance(device: str, method: str) -> dict[str, Any]:
    """Columns of a result: the method, peak memory (MB) and device of this process, versions, and the time."""
    return {
        "peak_memory_mb": round(_peak_memory_mb(), 1),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "method": method,
        "algorithm": algorithm(find_method(method)),
        "pgcn_version": version("pgcn"),
        "torch_version": torch.__version__,
        "committed_at": now(),
    }


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
