"""Compilation of kernels for a processor, by Numba.

Numba and not a C extension: no compiler is needed where the package is installed. The machine code is kept beside the
kernels, or in the user's cache folder where theirs is read-only (Numba's own choice); where neither can be written,
every process compiles again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def jit(fastmath: set[str]) -> Callable[[Any], Any]:
    """A decorator that compiles a function without the interpreter's lock; `fastmath` has names of LLVM's flags."""

    def compiled(function: Any) -> Any:
        options: dict[str, Any] = {"nogil": True, "fastmath": fastmath, "boundscheck": False, "error_model": "numpy"}
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # "cannot cache function: no locator available"
            return numba.njit(**options)(function)

    return compiled
