"""CUDA graphs, as far as they can be tested without a GPU; the rest is in test_gpu.py."""

import torch

from pgcn.patchgencn.cuda_graph import _first_reason


def caught(call):
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError


def test_a_capture_that_runs_out_of_memory_says_so():
    def broken_off():
        try:
            raise torch.OutOfMemoryError("no room")
        finally:
            raise RuntimeError("capture failed")

    def another():
        raise RuntimeError("capture failed")

    assert isinstance(_first_reason(caught(broken_off)), torch.OutOfMemoryError)
    assert str(_first_reason(caught(another))) == "capture failed"
