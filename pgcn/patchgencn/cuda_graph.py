"""Replay of a GPU function as one CUDA graph, so that no Python runs between its kernels."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class CudaGraphed(Generic[Result]):
    """A function of tensors or None: called directly the first time, then captured once and replayed.

    Tensors that it changes and returns keep their addresses, so every call must bring the same function and tensors of
    the same shapes, and a result is valid until the next call. The function is not kept: a reference cycle through it
    would hold the graph, gigabytes of GPU memory, until Python collects its garbage.
    """

    def __init__(self) -> None:
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor | None] | None = None
        self._result: Result

    def __call__(self, function: Callable[..., Result], *inputs: Tensor | None) -> Result:
        """The function's result. The first call runs it directly, which also initializes the libraries that it uses."""
        if self._inputs is None:
            self._inputs = [None if x is None else x.clone() for x in inputs]
            return function(*inputs)
        for kept, given in zip(self._inputs, inputs, strict=True):
            if kept is not None and given is not None:
                kept.copy_(given)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            try:
                with _no_collection(), torch.cuda.graph(self._graph):
                    self._result = function(*self._inputs)
            except Exception as error:
                raise _first_reason(error) from None
        self._graph.replay()
        return self._result


def _first_reason(error: Exception) -> Exception:
    """The cause of a failed capture: running out of memory is hidden behind an error of the capture itself."""
    if isinstance(error.__context__, torch.OutOfMemoryError):
        return error.__context__
    return error


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Disable garbage collection: freeing an older graph would break the capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
