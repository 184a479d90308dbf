"""The number of threads that PyTorch takes on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def set_threads(count: int) -> Iterator[None]:
    """PyTorch with `count` threads; the number from before is restored."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
