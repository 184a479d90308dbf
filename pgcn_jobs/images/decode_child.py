"""Child process that decodes untrusted image bytes, so that no other process has to.

It has no credentials, writes no files, has limits of memory and time, and ends with its parent. Requests and answers
are frames: the length of a JSON object in four bytes, the object, and as many bytes as its `size`. Only
`pgcn_jobs.images.decoder` starts it, with the limits as arguments. It must start quickly: no slow imports here.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from pgcn_jobs.images.convert import DecodeError, Reading, decode

RETIRE_BYTES = 512 * 2**20
"""Peak memory above which a child ends after its answer, so that a leak does not affect later images."""

MAX_HEADER = 2**20
MAX_REQUEST = 2**31

Header = dict[str, Any]


def read_frame(pipe: BinaryIO, most: int) -> tuple[Header, bytes] | None:
    """The next frame, with at most `most` bytes of data; None at the end of the pipe or for an invalid frame."""
    start = pipe.read(4)
    length = struct.unpack(">I", start)[0] if len(start) == 4 else 0
    if not 0 < length <= MAX_HEADER:
        return None
    try:
        header = json.loads(pipe.read(length))
        size = int(header["size"])
    except (ValueError, KeyError, TypeError):
        return None
    data = pipe.read(size) if 0 <= size <= most else b""
    return (header, data) if len(data) == size else None


def write_frame(pipe: BinaryIO, header: Header, data: bytes | memoryview = b"") -> None:
    """Write one frame; `size` is added to the header."""
    text = json.dumps({**header, "size": len(data)}).encode()
    pipe.write(struct.pack(">I", len(text)) + text)
    pipe.write(data)
    pipe.flush()


def main(memory: int, seconds: int) -> None:
    """Answer requests until the parent closes the pipe; `memory` in bytes, `seconds` of CPU time for each image."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process by its pipe
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # the parent may have blocked it
    Image.init()
    _bound(resource.RLIMIT_AS, memory)
    _bound(resource.RLIMIT_FSIZE, 0)
    _bound(resource.RLIMIT_CORE, 0)
    _prefer_in_oom_kill()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    write_frame(answers, {"ready": True})
    while frame := read_frame(requests, MAX_REQUEST):
        spent = resource.getrusage(resource.RUSAGE_SELF)
        _bound(resource.RLIMIT_CPU, int(spent.ru_utime + spent.ru_stime) + 1 + seconds)
        _answer(answers, *frame)
        if _peak_bytes() > RETIRE_BYTES:
            return


def _answer(answers: BinaryIO, request: Header, data: bytes) -> None:
    try:
        picture = decode(
            data,
            request["name"],
            min_side=request["min_side"],
            max_pixels=request["max_pixels"],
            mask=request["mask"],
            reading=Reading(request["channels"], request["transparency"]),
        )
    except DecodeError as error:
        write_frame(answers, {"refused": str(error), "code": error.code})
        return
    height, width = picture.values.shape[:2]
    header = {"format": picture.format, "mode": picture.mode, "note": picture.note, "turn": picture.turn}
    header |= {"width": width, "height": height, "channels": picture.channels, "number": picture.values.dtype.name}
    header |= {"georeference": picture.georeference}
    unknown = None if picture.unknown is None else picture.unknown.astype(np.uint8).tobytes()
    header |= {"unknown": None if unknown is None else hashlib.sha256(unknown).hexdigest()}
    values = np.ascontiguousarray(picture.values)
    pixels = values.reshape(-1).view(np.uint8).data if unknown is None else values.tobytes() + unknown
    write_frame(answers, header, pixels if request["pixels"] else b"")


def _bound(which: int, limit: int) -> None:
    """Set a resource limit of this process, at most its hard limit."""
    _, most = resource.getrlimit(which)
    resource.setrlimit(which, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _prefer_in_oom_kill() -> None:
    """Let Linux, when it runs out of memory, kill this process before the worker that waits for it."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        return


def _peak_bytes() -> int:
    """The peak memory of this process.

    On Linux `ru_maxrss` begins with the parent's memory at the start of this process, so that the child of a large
    parent would end after each image.
    """
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
    os._exit(0)  # no cleanup: malformed files may have damaged the interpreter's state
