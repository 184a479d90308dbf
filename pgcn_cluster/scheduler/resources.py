"""Resources of one worker: CPU cores, GPUs and memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """CPU cores, GPUs (a share 1/n, or 1) and bytes of memory (None: not known) that a job's worker holds."""

    cpus: float
    gpus: float = 0.0
    memory: int | None = None
