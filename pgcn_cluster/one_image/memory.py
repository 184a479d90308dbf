"""Memory of a sample, estimated before it is drawn: a process that takes more than there is would be killed."""

from __future__ import annotations

from pathlib import Path

import psutil

from pgcn.imaging.channels import unit_rule
from pgcn.imaging.scales import Size, sizes_for
from pgcn.method import Model
from pgcn.settings import Settings
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError

BASE = 2**29
"""Bytes beside the pictures, beyond what the process has taken when it asks: kernels, and bands of an exact scale."""

PATCHES = 140
"""Bytes a pixel of the image for its patches at the exact scales."""

LEARNED, LEARNED_WIDE = 1700, 3000
"""Bytes a pixel of a chain at a learned scale, of narrow and wide nets; 1640 and 2940 were measured."""

CONTAINERS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Files with the limit of a container and what it has taken, of control groups of versions 2 and 1."""


def sample_memory(model: Model, size: Size) -> int:
    """Bytes of host memory that one sample of `size` (height, width), px, takes at its peak, on a CPU.

    An exact scale has the noisy picture, the estimate, two matches a pixel, all coarser scales, and one channel that is
    resized.
    """
    sizes, channels = sizes_for(size, model.sizes), model.channels.count
    learned = _chain_bytes(model, sizes[model.learned - 1]) * _pixels(sizes[model.learned - 1])
    if model.learned == len(sizes):
        return BASE + learned
    picture, matches = 4 * channels, 16
    normals = 3 * picture if unit_rule([model.channels]) else 0
    pixel = 2 * picture + matches + (picture + matches) / 3 + 8 + normals
    patches = PATCHES * sum(_pixels(trained) for trained in model.sizes[model.learned :])
    return BASE + patches + max(learned, round(pixel * _pixels(size)))


def check_memory(model: Model, size: Size) -> None:
    """Raises `ConfigError` where this machine has less memory left than a sample of `size` takes."""
    need, free = sample_memory(model, size), free_memory()
    if need > free:
        raise ConfigError(
            f"A sample of {size[1]}x{size[0]} px needs about {need / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} "
            f"GiB are free here. Choose a smaller size, or a machine with more memory.",
            code=Code.MEMORY_HOST,
        )


def free_memory() -> int:
    """Bytes that this process may still take: those available on the machine, at most those left in its container."""
    free = psutil.virtual_memory().available
    for limit, taken in CONTAINERS:
        try:
            free = min(free, max(0, int(limit.read_text()) - int(taken.read_text())))
        except (OSError, ValueError):  # no container of this version, or "max"
            continue
    return free


def _chain_bytes(model: Model, size: Size) -> int:
    settings = getattr(model, "settings", None)
    wide = isinstance(settings, Settings) and settings.is_wide(max(size))
    return LEARNED_WIDE if wide else LEARNED


def _pixels(size: Size) -> int:
    return size[0] * size[1]
