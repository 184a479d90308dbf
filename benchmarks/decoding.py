"""Milliseconds per image: decoding in a child process (`pgcn_jobs.images.decoder`) and in the calling process.

    python -m benchmarks.decoding

The two alternate on the same image; the result is the median of each.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from pgcn_jobs.images.convert import decode
from pgcn_jobs.images.decoder import Decoder

SIZES = ((64, 64, 300), (640, 480, 100), (4000, 3000, 9))
"""Width, height, and how often."""


def photograph(width: int, height: int) -> bytes:
    """A JPEG of this size with some content."""
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(sink, "JPEG", quality=88)
    return sink.getvalue()


def main() -> None:
    """Print one line per size."""
    decoder = Decoder()
    began = time.perf_counter()
    decoder.decode(photograph(64, 64), "first")
    print(f"start of the child, with the first image: {time.perf_counter() - began:.2f} s")
    ways: dict[str, Callable[[bytes, str], object]] = {"here": decode, "look": decoder.look, "decode": decoder.decode}
    for width, height, times in SIZES:
        data = photograph(width, height)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(times):
            for name, way in ways.items():
                began = time.perf_counter()
                way(data, "x")
                taken[name].append(1e3 * (time.perf_counter() - began))
        figures = ", ".join(f"{name} {statistics.median(values):.2f}" for name, values in taken.items())
        print(f"{width}x{height} JPEG, ms: {figures}")
    decoder.close()


if __name__ == "__main__":
    main()
