"""A function that runs on a GPU, replayed as one CUDA graph: no Python, and no gaps, between its kernels."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class CudaGraphed(Generic[Result]):
    """A function of tensors, which may be None: run plainly at first, then captured once and replayed.

    What it changes in place and what it returns stays where the capture left it, so every call must bring the same
    function and tensors of the same shapes, and a result is good until the next call. The function is not kept: one
    that belongs to what keeps this would hold the graph, gigabytes of the GPU, until Python collects its garbage.
    """

    def __init__(self) -> None:
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor | None] | None = None
        self._result: Result

    def __call__(self, function: Callable[..., Result], *inputs: Tensor | None) -> Result:
        """The function's result. The first call runs it as it is, which also readies the libraries it uses."""
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
    """A capture that breaks off for lack of memory ends in another error, of the capture: the first one tells."""
    if isinstance(error.__context__, torch.OutOfMemoryError):
        return error.__context__
    return error


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """An older graph that Python's collector finds and frees would break the capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
