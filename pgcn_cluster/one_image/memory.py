"""Memory of a sample, estimated before it is drawn: a process that takes more than there is would be killed."""

from __future__ import annotations

from pathlib import Path

import psutil

from pgcn.imaging.channels import unit_rule
from pgcn.imaging.scales import Size, sizes_for
from pgcn.method import Model
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError

BASE = 2**30
"""Bytes of the process without a picture: programs, and the bands that an exact scale works on."""

PATCHES = 140
"""Bytes a pixel of the image for its patches at the exact scales."""

LEARNED = 1500
"""Bytes a pixel of a chain at a learned scale; 1370 were measured with `draft` at 0.8 megapixels."""

LIMIT = Path("/sys/fs/cgroup/memory.max")
"""File with the limit of a container, where there is one."""


def sample_memory(model: Model, size: Size) -> int:
    """Bytes of host memory that one sample of `size` (height, width), px, takes at its peak, on a CPU.

    An exact scale has the noisy picture, the estimate, two matches a pixel, all coarser scales, and one channel that is
    resized.
    """
    sizes, channels = sizes_for(size, model.sizes), model.channels.count
    learned = LEARNED * _pixels(sizes[model.learned - 1])
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
    """Bytes that this process may still take: those available on the machine, at most the limit of its container."""
    free = psutil.virtual_memory().available
    try:
        return min(free, int(LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return free


def _pixels(size: Size) -> int:
    return size[0] * size[1]
