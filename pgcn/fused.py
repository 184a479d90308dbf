"""The choice between kernels for GPUs and plain PyTorch."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import torch
from torch import Tensor

HAS_TRITON = find_spec("triton") is not None and any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang")))
"""True where Triton and the C compiler that it needs are installed."""


def is_fused(x: Tensor) -> bool:
    """True where kernels in Triton compute for tensors such as `x`.

    That is so for float32 on a GPU, unless `PGCN_PLAIN` is set in the environment.
    """
    return x.is_cuda and x.dtype == torch.float32 and not os.environ.get("PGCN_PLAIN") and HAS_TRITON
