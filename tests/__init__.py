"""Tests. The environment below is set before any test's file, or what it imports, is imported."""

import os

# One thread for torch and NumPy, here and in what tests start: threads that wait for each other over tensors of some
# hundred numbers make tests take six times as long where anything else runs on this machine. Workers have one anyway.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Ray gives its workers niceness 15: anything else on this machine would go first.
os.environ.setdefault("RAY_worker_niceness", "0")

import torch

# Without a GPU, Triton's kernels run in its interpreter. Triton reads this where it is first imported, and other
# packages import it too.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
