"""Isolated decoding in a child process, which is replaced after a crash, a timeout or excessive memory use.

One child decodes many images in sequence, so that an image does not cost the start of a Python interpreter. It starts
with the first image, ends with its parent, and receives only the bytes of images.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pgcn.imaging.channels import RGB, Channels, ChannelsError
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import InputError
from pgcn_jobs.images.convert import AS_RGB, DecodedImage, Reading
from pgcn_jobs.images.decode_child import Header, read_frame, write_frame
from pgcn_jobs.images.depth import Values
from pgcn_jobs.images.values import Mask

# Limits for one image: bytes and seconds. The largest accepted image, 89 million pixels of 32 bits, needs 3.4 GiB and
# 13 s.
MEMORY = 4 * 2**30
CPU_S = 60
WALL_S = 180.0

CHILD = ["-P", "-m", "pgcn_jobs.images.decode_child"]  # -P: no imports from the current folder
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG")  # of the environment; these hold no credential
MAX_PIXELS = 2**28


MAX_ANSWER = 2**31
"""Bytes of an answer: those of the largest values that `MEMORY` leaves room for."""


class ImageFacts(BaseModel):
    """The child's description of an image. The child read untrusted bytes, so every field is validated.

    `format`, `mode`, `note` and `turn` are as in `DecodedImage`; `width` and `height` are those of the image as
    displayed. `channels` is the JSON text of the groups of channels, None for RGB of 8 bits; `number` the format of the
    values; `unknown` the SHA-256 of the mask of unknown pixels (a byte each, 1 for unknown), None without one.
    """

    model_config = ConfigDict(strict=True)

    format: str = Field(max_length=40)
    mode: str = Field(max_length=40)
    note: str | None = Field(max_length=2000)
    turn: int = Field(ge=1, le=8)
    width: int = Field(ge=1, le=MAX_PIXELS)
    height: int = Field(ge=1, le=MAX_PIXELS)
    channels: str | None = Field(None, max_length=100_000)
    number: Literal["uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"] = "uint8"
    unknown: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    georeference: str | None = Field(None, max_length=1_000_000)

    @cached_property
    def described(self) -> Channels:
        """The channels. Raises `ChannelsError` for a description that is not valid."""
        return RGB if self.channels is None else Channels.from_json(self.channels)


class Decoder:
    """Decodes in a child process, with limits for each image: `memory` in bytes, `cpu_s` and `wall_s` in seconds.

    Threads share the child and wait for each other. After a fork each process starts a child of its own.
    """

    def __init__(self, *, memory: int = MEMORY, cpu_s: int = CPU_S, wall_s: float = WALL_S) -> None:
        self._arguments = [str(memory), str(cpu_s)]
        self._wall_s = wall_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def decode(
        self,
        data: bytes,
        name: str,
        *,
        min_side: int = 12,
        max_pixels: int = 64_000_000,
        mask: bool = False,
        reading: Reading = AS_RGB,
    ) -> DecodedImage:
        """`pgcn_jobs.images.convert.decode` in the child.

        Raises `InputError` for refused files, and for files whose decoding crashes, takes too long or needs too much
        memory; `RuntimeError` if no child can be started.
        """
        request = {"name": name, "min_side": min_side, "max_pixels": max_pixels, "mask": mask} | asdict(reading)
        seen, values, unknown = self._see(data, pixels=True, **request)
        facts = seen.format, seen.mode, seen.note, seen.turn, seen.channels
        return DecodedImage(values, *facts, unknown, seen.georeference)

    def look(
        self,
        data: bytes,
        name: str,
        *,
        min_side: int = 12,
        max_pixels: int = 64_000_000,
        reading: Reading = AS_RGB,
    ) -> ImageFacts:
        """Decode a whole image, and return its description without the pixels."""
        request = {"name": name, "min_side": min_side, "max_pixels": max_pixels, "mask": False} | asdict(reading)
        return self._see(data, pixels=False, **request)[0]

    def _see(self, data: bytes, **request: Any) -> tuple[ImageFacts, Values, Mask | None]:
        with self._lock:
            child, used = self._ready()
            answer, too_long = self._exchange(child, request, data)
            if answer is None and used and not too_long:
                # The child decoded other images before, and one of them may be the cause of its end: retry.
                child, _ = self._ready()
                answer, too_long = self._exchange(child, request, data)
        if answer is None:
            raise InputError(f"{request['name']} {_why(child.returncode, too_long)}", code=Code.IMAGE_DECODER)
        header, pixels = answer
        if "refused" in header:
            raise InputError(str(header["refused"]), code=Code(header["code"]))
        try:
            seen = ImageFacts.model_validate(header)
            _check_described(seen, request["name"])
            return seen, *_pixels(seen, pixels if request["pixels"] else None)
        except ValueError:  # an invalid answer: the child is in an unknown state
            self.close()
            raise InputError(f"{request['name']} {_why(0, too_long)}", code=Code.IMAGE_DECODER) from None

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None and self._owner == os.getpid():
            _end(self._child)
        self._child = None

    def _ready(self) -> tuple[subprocess.Popen[bytes], bool]:
        """The running child, or a new one; and True if it has decoded before."""
        if self._child is not None and self._owner == os.getpid() and self._child.poll() is None:
            return self._child, True
        self.close()
        self._child, self._owner = _start(self._arguments), os.getpid()
        greeting, _ = self._exchange(self._child)
        if greeting is None:
            raise RuntimeError("the process that decodes images could not be started")
        return self._child, False

    def _exchange(
        self, child: subprocess.Popen[bytes], request: Header | None = None, data: bytes = b""
    ) -> tuple[tuple[Header, bytes] | None, bool]:
        """Send a request, if given, and read the answer.

        The answer is None if the child has ended; the second value is then True if the cause is a time limit.
        """
        overdue = threading.Event()

        def give_up() -> None:
            overdue.set()
            child.kill()

        timer = threading.Timer(self._wall_s, give_up)
        timer.daemon = True
        timer.start()
        answer = None
        try:
            if request is not None:
                write_frame(cast(BinaryIO, child.stdin), request, data)
            answer = read_frame(cast(BinaryIO, child.stdout), MAX_ANSWER)
        except OSError:
            pass  # the child ended before it had read the whole request
        finally:
            timer.cancel()
            if answer is None:
                _end(child)
        return answer, overdue.is_set() or child.returncode == -signal.SIGXCPU


def _check_described(seen: ImageFacts, name: str) -> None:
    """Raises `InputError` where a file describes its own channels, and wrongly."""
    try:
        _ = seen.described
    except ChannelsError as error:
        raise InputError(f"{name} cannot be learned: {error}.", code=Code.CHANNELS_INVALID) from None


def _pixels(seen: ImageFacts, data: bytes | None) -> tuple[Values, Mask | None]:
    """The values `(H, W, S)` and the unknown pixels `(H, W)` in an answer. Raises `ValueError` where it is invalid."""
    stored = sum(group.stored for group in seen.described.groups)
    if data is None:
        return np.zeros((0, 0, stored), seen.number), None
    count = seen.height * seen.width
    own = count * stored * np.dtype(seen.number).itemsize
    values = np.frombuffer(data[:own], seen.number).reshape(seen.height, seen.width, stored)
    if seen.unknown is None:
        if len(data) != own:
            raise ValueError("an answer has more values than its image")
        return values, None
    return values, np.frombuffer(data[own:], np.uint8).reshape(seen.height, seen.width) > 0


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    # The child gets the import path of this process, and no other part of its environment.
    paths = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - our own program, and two numbers
        [sys.executable, *CHILD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libtiff prints there
        env={**kept, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
        pipesize=2**20,
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):  # unsent data
            cast(BinaryIO, pipe).close()


def _why(code: int, too_long: bool) -> str:
    """The predicate of a sentence on the end of a child, behind the name of its image."""
    if too_long:
        return "takes too long to decode: save it again, as PNG or JPEG."
    if code == -signal.SIGKILL:
        return "was being decoded when the machine ran out of memory: make it smaller, or try again with --retry."
    return "crashes the decoder: it is damaged or malicious. Save it again, or remove it."


shared = Decoder()
"""The decoder of this process; its child lives as long as the process."""

atexit.register(shared.close)
