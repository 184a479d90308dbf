"""Failure classes and codes: the ways in which one image can fail, and the policy for each.

A failure has a sentence for a person and a class that decides on a retry. It never costs another image its result.
"""

from __future__ import annotations

import hashlib
import traceback as tb
from dataclasses import dataclass
from enum import StrEnum

import torch

from pgcn.method import DivergenceError
from pgcn.settings import SettingsError
from pgcn_jobs.common.codes import Code


class FailureClass(StrEnum):
    """The reason for which an attempt failed; `POLICY` has the consequence of each."""

    INPUT = "INPUT"
    CONFIG = "CONFIG"
    NUMERIC = "NUMERIC"
    GPU_OOM = "GPU_OOM"
    HOST_OOM = "HOST_OOM"
    PREEMPTED = "PREEMPTED"
    WORKER_LOST = "WORKER_LOST"
    TIMEOUT = "TIMEOUT"
    STORE = "STORE"
    PYRAMID = "PYRAMID"
    BUG = "BUG"


@dataclass(frozen=True)
class Policy:
    """The consequence of a failure of one class.

    `retries` is the number of retries (None: without limit). `remedy` is the change that the next attempt makes:
    "reseed" (new seed, half the step size), "whole_gpu", "double_memory", "backoff", or "" for none. `again`: the
    same command tries the job again, also after the last retry, since nothing is wrong with its image.
    """

    retries: int | None
    remedy: str = ""
    again: bool = False


POLICY: dict[FailureClass, Policy] = {
    FailureClass.INPUT: Policy(0),
    FailureClass.CONFIG: Policy(0),
    FailureClass.NUMERIC: Policy(1, "reseed"),
    FailureClass.GPU_OOM: Policy(1, "whole_gpu"),
    FailureClass.HOST_OOM: Policy(1, "double_memory"),
    FailureClass.PREEMPTED: Policy(None),
    FailureClass.WORKER_LOST: Policy(3),
    FailureClass.TIMEOUT: Policy(1),
    FailureClass.STORE: Policy(5, "backoff", again=True),
    FailureClass.PYRAMID: Policy(0, again=True),
    FailureClass.BUG: Policy(1),
}


def class_called(name: str) -> FailureClass | str:
    """The class of this name; the name itself if this version of the program has no such class."""
    try:
        return FailureClass(name)
    except ValueError:
        return name


def policy_of(failure: FailureClass | str) -> Policy:
    """The policy for a failure; no retry for a class that this version does not know."""
    return POLICY[failure] if isinstance(failure, FailureClass) else Policy(0)


class JobError(Exception):
    """An expected failure: its text is one sentence for a person, naming the file and what to do.

    `code` is its stable name; where none is given, it is the general one of its class.
    """

    failure = FailureClass.BUG
    default_code = Code.BUG

    def __init__(self, message: str, *, code: Code | None = None) -> None:
        super().__init__(message)
        self.code = self.default_code if code is None else code


class InputError(JobError):
    """An image is unusable, now and later."""

    failure = FailureClass.INPUT
    default_code = Code.IMAGE_UNREADABLE


class ConfigError(JobError):
    """The command or its settings are wrong; nothing can run."""

    failure = FailureClass.CONFIG
    default_code = Code.USAGE


class StoreError(JobError):
    """The storage failed, after its own retries."""

    failure = FailureClass.STORE
    default_code = Code.STORAGE_FAILED


class PyramidError(JobError):
    """The pyramid of an edit is missing: its training failed, or it was damaged since."""

    failure = FailureClass.PYRAMID
    default_code = Code.PYRAMID_MISSING


CODE_OF_CLASS: dict[FailureClass, Code] = {
    FailureClass.INPUT: Code.IMAGE_UNREADABLE,
    FailureClass.CONFIG: Code.SETTING,
    FailureClass.NUMERIC: Code.TRAINING_DIVERGED,
    FailureClass.GPU_OOM: Code.MEMORY_GPU,
    FailureClass.HOST_OOM: Code.MEMORY_HOST,
    FailureClass.PREEMPTED: Code.WORKER_PREEMPTED,
    FailureClass.WORKER_LOST: Code.WORKER_LOST,
    FailureClass.TIMEOUT: Code.WORKER_TIMEOUT,
    FailureClass.STORE: Code.STORAGE_FAILED,
    FailureClass.PYRAMID: Code.PYRAMID_FAILED,
    FailureClass.BUG: Code.BUG,
}
"""The code of a failure of each class that has none of its own: an exception of torch, a worker's end."""


def code_of(error: BaseException) -> Code:
    """The code of any exception that one job's code raised."""
    return error.code if isinstance(error, JobError) else CODE_OF_CLASS[classify(error)]


def classify(error: BaseException) -> FailureClass:
    """The class of any exception that one job's code raised."""
    match error:
        case JobError():
            return error.failure
        case SettingsError():
            return FailureClass.CONFIG
        case DivergenceError():
            return FailureClass.NUMERIC
        case torch.OutOfMemoryError():
            return FailureClass.GPU_OOM
        case MemoryError():
            return FailureClass.HOST_OOM
        case RuntimeError() if "DefaultCPUAllocator" in str(error):
            return FailureClass.HOST_OOM  # torch's form of MemoryError
        case torch.AcceleratorError():
            # The process has lost its CUDA context: another worker may succeed.
            return FailureClass.WORKER_LOST
        case _:
            return FailureClass.BUG


def fingerprint(error: BaseException) -> str:
    """A hash that is equal for the same bug on many images, as 12 hex digits.

    It covers the innermost frame's file name, function and line, and the exception's type. It does not cover the
    message, which may name the image.
    """
    frames = tb.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    return hashlib.sha256(f"{type(error).__name__}@{place}".encode()).hexdigest()[:12]
