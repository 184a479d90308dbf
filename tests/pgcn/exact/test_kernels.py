"""Compiled kernels where their machine code cannot be kept."""

from types import SimpleNamespace

import numba

from pgcn import numba_jit
from pgcn.exact import kernels


def test_kernels_compile_where_nothing_can_be_written(monkeypatch):
    """Numba refuses to keep machine code where neither the package's folder nor the user's can be written."""
    kept = []
    njit = numba.njit

    def refusing(**options):
        kept.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'double': no locator available for file 'kernels.py'")
        return njit(**options)

    # Not in Numba itself, which compiles parts of its own at the first call.
    monkeypatch.setattr(numba_jit, "numba", SimpleNamespace(njit=refusing))
    assert kernels._jit(lambda x: 2 * x)(21) == 42
    assert kept == [True, False]
