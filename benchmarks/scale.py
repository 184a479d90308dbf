"""Cost of a run besides training: the real driver, Ray and storage, with jobs that train nothing.

    python -m benchmarks.scale                      # 1,000 and 10,000 images, in a folder
    python -m benchmarks.scale --images 1000 --s3   # on an S3 server here, its requests counted: needs pgcn[test]

Each number of images is run twice: from nothing, and again with all images done. For each step of a run it prints wall
seconds, CPU seconds of the driver's process, the same in microseconds per image, the driver's peak memory, and the peak
of all processes of the run together, Ray's included. The latter counts shared pages once.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
import psutil

from benchmarks.noop import ROWS
from benchmarks.scale_driver import Taken
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.images.png import encode_png
from pgcn_jobs.storage.store import Store

SAMPLED_S = 0.5
"""Between two looks at the memory of all processes."""

REQUEST = re.compile(r'"(?:\x1b\[\d+m)*(GET|PUT|POST|DELETE|HEAD) (\S+) HTTP')
"""A request in moto's log, which shows some in colours."""


def main() -> None:
    """Print a table for each number of images, and the cost per image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000], metavar="N")
    parser.add_argument("--s3", action="store_true", help="on an S3 server (moto) that is started for this")
    parser.add_argument("--folder", type=Path, help="where images and runs are made, and removed; else a temporary one")
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start; {ROWS} sample rows an image")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder, place(Path(folder), s3=asked.s3) as (url, log):
        runs = {count: twice(f"{url}/{count}", count, log) for count in sorted(asked.images)}
    small, large = min(runs), max(runs)
    if small < large:
        print_growth(small, runs[small], large, runs[large])


@contextmanager
def place(folder: Path, *, s3: bool) -> Iterator[tuple[str, Path | None]]:
    """The place of the runs, and the log of the server's requests."""
    if not s3:
        yield str(folder), None
        return
    from tests.servers import moto_server

    with moto_server(folder) as server:
        os.environ |= server.env
        yield server.url, folder / "moto.log"


Run = dict[str, Taken]
"""The steps of one run, by name."""


def twice(url: str, count: int, log: Path | None) -> tuple[Run, Run]:
    """Run `count` images from nothing, and again."""
    write_images(Store(f"{url}/images"), count)
    runs = []
    for title in ("from nothing", "again, all images done"):
        print(f"\n{count:,} images, {title} (load {os.getloadavg()[0]:.1f})", flush=True)
        runs.append(run(f"{url}/images", f"{url}/run", count, log))
    if log is None:
        shutil.rmtree(url)
    return runs[0], runs[1]


def write_images(store: Store, count: int) -> None:
    """Write `count` different images of 28x24 px."""

    def write(index: int) -> None:
        pixels = np.random.default_rng(index).integers(0, 256, (24, 28, 3), dtype=np.uint8)
        store.put(f"{index // 1000:03d}/{index:07d}.png", encode_png(pixels))

    for _ in concurrent_map(write, range(count)):
        pass


def run(images: str, out: str, count: int, log: Path | None) -> Run:
    """One run to its end; prints its steps as they end. Raises `RuntimeError` for an exit code other than 0."""
    command = [sys.executable, "-m", "benchmarks.scale_driver", images, out]
    found: Run = {}
    with tempfile.TemporaryFile() as said, log.open() if log else open(os.devnull) as requests:
        requests.seek(0, os.SEEK_END)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        assert process.stdout is not None
        print(f"  {'':18}{'wall s':>9}{'driver s':>10}{'µs/image':>10}{'driver MB':>11}{'all MB':>9}")
        for taken, all_mb in steps(process, process.stdout):
            found[taken.step] = taken
            print(
                f"  {taken.step:18}{taken.wall_s:9.2f}{taken.cpu_s:10.2f}{1e6 * taken.cpu_s / count:10.0f}"
                f"{taken.peak_mb:11.0f}{all_mb:9.0f}   {counted(requests, count)}",
                flush=True,
            )
        if process.wait() != 0:
            said.seek(0)
            raise RuntimeError(f"The run ended with {process.returncode}:\n{said.read()[-3000:].decode()}")
    return found


def steps(process: subprocess.Popen[str], said: IO[str]) -> Iterator[tuple[Taken, float]]:
    """Steps as they end, each with the peak memory of all processes, MB."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in said:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    most = 0.0
    while True:
        with suppress(queue.Empty):
            line = lines.get(timeout=SAMPLED_S)
            if line is None:
                return
            yield Taken(**json.loads(line)), most
            most = 0.0
        most = max(most, memory_mb(process.pid))


def memory_mb(pid: int) -> float:
    """Memory of a process and its descendants, MB; shared pages count once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for each in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += getattr(each.memory_full_info(), "pss", 0)
    return total / 1024**2


def counted(log: IO[str], count: int) -> str:
    """New requests in the server's log: the number of each kind, and the number per image."""
    time.sleep(0.2 if log.name != os.devnull else 0)
    kinds = Counter(kind(*match.groups()) for match in map(REQUEST.search, log) if match)
    listed = ", ".join(f"{number} {name}" for name, number in sorted(kinds.items()))
    return f"{sum(kinds.values()) / count:.2f} requests per image: {listed}" if kinds else ""


def kind(method: str, target: str) -> str:
    """PUT, GET, HEAD, DELETE, or LIST, which is a GET of a bucket with a query."""
    return "LIST" if method == "GET" and "list-type" in target else method


def print_growth(small: int, few: tuple[Run, Run], large: int, many: tuple[Run, Run]) -> None:
    """The cost per image, from the smallest to the largest number of images."""
    print(f"\nCost per image, from {small:,} to {large:,}: driver µs, wall µs, driver kB")
    for title, before, after in zip(("from nothing", "again"), few, many, strict=True):
        for step in [name for name in after if name in before and name != "imports"]:
            a, b, more = before[step], after[step], large - small
            print(
                f"  {title:14}{step:18}{1e6 * (b.cpu_s - a.cpu_s) / more:9.0f}{1e6 * (b.wall_s - a.wall_s) / more:9.0f}"
                f"{1024 * (b.peak_mb - a.peak_mb) / more:9.1f}"
            )


if __name__ == "__main__":
    main()
