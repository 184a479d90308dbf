"""Running `pgcn` as its users do: a process of its own, its own local Ray, its own folder of pictures."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from textwrap import indent

import numpy as np
import psutil
import torch
from PIL import Image

from pgcn_cluster.cli.app import run_command
from pgcn_cluster.gallery.publish import publish
from pgcn_cluster.planning.intake import make_plan
from pgcn_cluster.planning.plan import record_refusals
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.planning.run_options import Request
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_jobs.job_context import JobContext
from pgcn_jobs.run_folder.commit import new_attempt
from pgcn_jobs.run_folder.identity import open_run
from pgcn_jobs.run_folder.manifest import add_to_manifest
from pgcn_jobs.storage.store import Store
from pgcn_jobs.training_job import run_jobs

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.jpg"))

TINY = {
    "precision": "float32",  # on every machine
    "max_size": 20,
    "min_size": 12,
    "scales": 2,
    "iterations": 4,
    "iteration_growth": 1.5,
    "langevin_steps": 2,
    "langevin_steps_init": 3,
    "recovery_steps": 2,
    "noise_iterations": 2,
    "pool_size": 4,
}
"""Settings of a real training that takes a second."""


def options(**changed):
    """`--set` options of a tiny training, and one small sample of each image."""
    pairs = [part for name, value in {**TINY, **changed}.items() for part in ("--set", f"{name}={value}")]
    return ["--preset", "draft", "--device", "cpu", "--samples", "1", "--size", "1x1", *pairs]


def start(*arguments, env=None, cwd=None):
    """A `pgcn` process, its output in one pipe."""
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "pgcn"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **(env or {})},
    )


def at_start(folder, code, *programs):
    """Environment for `start`, in which processes with one of `programs` in their command line begin with `code`.

    An error in `code` ends such a process: Python itself would only print it, and go on without the fault.
    """
    folder.mkdir()
    begin = (
        f"import os, sys, traceback\nif any(each in argument for argument in sys.orig_argv for each in {programs!r}):"
    )
    end = "    except Exception:\n        traceback.print_exc()\n        os._exit(70)\n"
    (folder / "sitecustomize.py").write_text(f"{begin}\n    try:\n{indent(code.strip(), ' ' * 8)}\n{end}")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


def pgcn(*arguments, env=None, cwd=None, timeout=240):
    """Run `pgcn` to its end: exit code and output."""
    process = start(*arguments, env=env, cwd=cwd)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise AssertionError(f"pgcn {' '.join(map(str, arguments))} took longer than {timeout} s:\n{output}") from None
    return process.returncode, output


def ask(*arguments):
    """Run a `pgcn` command that needs no Ray in this process, which has paid for the imports: code and output."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    before, code = sys.argv, 0
    sys.argv = ["pgcn", *map(str, arguments)]
    try:
        with redirect_stdout(output), redirect_stderr(output):
            code = run_command()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = before
    return code, output.buffer.getvalue().decode()


def photograph(index, side=28):
    """JPEG-free bytes of a small crop of a bundled photograph: another one for every index."""
    image = Image.open(EXAMPLES[index % len(EXAMPLES)]).convert("RGB")
    shift = 7 * (index // len(EXAMPLES))
    return image.crop((shift, shift, shift + 120, shift + 100)).resize((side, round(side * 5 / 6)))


def write_photographs(folder, count):
    """Small real photographs as PNG files, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        photograph(index).save(folder / f"photo-{index:02d}.png")
    return folder


def png_bytes(image):
    """A picture as PNG."""
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def write_bad_pictures(folder):
    """Four files that no training can use, each for another reason."""
    whole = png_bytes(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)))
    (folder / "bad-empty.png").write_bytes(b"")
    (folder / "bad-small.png").write_bytes(png_bytes(Image.new("RGB", (8, 8))))
    (folder / "bad-text.jpg").write_bytes(b"this is not a picture\n" * 10)
    (folder / "bad-truncated.png").write_bytes(whole[: len(whole) // 2])


def wait_for(condition, timeout=90, process=None, every=0.05):
    """Wait until `condition` gives something; returns it. Fails when it takes too long, or the process ends."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the process ended with {process.returncode}:\n{process.stdout.read()}")
        time.sleep(every)
    raise AssertionError("waited too long")


def workers():
    """Ray worker processes that train, of any Ray that tests have started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.name().startswith("ray::RayWorker"):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def checkpoints(run):
    """Jobs that have checkpoints now."""
    return {path.split("/")[1] for path in Store(str(run)).list("checkpoints")}


def request_for(images, out):
    """The request of `pgcn run IMAGES --out OUT` with `options()`."""
    return Request(
        images=[str(images)], out=out, preset="draft", overrides=TINY, samples=1, size=("1x1",), device="cpu"
    )


def run_here(images, out):
    """The results of that command, made in this process without Ray, job by job: on one thread, as a worker does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    prepared = prepare(request_for(images, out), Cluster(None))
    store = prepared.store
    open_run(store, prepared.identity)
    plan = make_plan(prepared, retry=False)
    add_to_manifest(store, plan.entries, prepared.known)
    record_refusals(store, plan)
    for job in plan.jobs.values():
        (end,) = run_jobs([job.spec], [new_attempt()], JobContext(store))
        assert not isinstance(end, Exception), end
    torch.set_num_threads(threads)
    assert not publish(store)
