"""One job, from its specification to its commit: read, train, draw, measure, publish.

A worker that dies anywhere in here leaves restart points at most one interval old, and nothing that a reader
would believe; the next attempt goes on from the last of them.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

from jobs import schemas
from jobs.artifacts import MEASURES, Row, draw, preview, preview_path, warning
from jobs.checkpoints import last_checkpoint, remove_checkpoints, write_checkpoint
from jobs.commit import Commit, now, publish
from jobs.failures import InputError
from jobs.images import Picture, decode, to_tensor
from jobs.privacy import scrub
from jobs.sources import read_source
from jobs.spec import JobSpec
from jobs.store import Store
from pgcn.model import ALGORITHM, Pyramid
from pgcn.restart import restore, state_of
from pgcn.train import Progress, Trainer


class Stopped(Exception):
    """The job was asked to stop; its restart point is written."""


@dataclass(frozen=True)
class Conditions:
    """Where and how a job runs: nothing here changes its result.

    `device` is torch's word; `checkpoint_seconds` the most time between restart points.
    """

    device: str = "cpu"
    checkpoint_seconds: float = 60.0
    max_pixels: int = 64_000_000


class Log:
    """Lines with their time since the attempt began; they become its `log.txt`."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines: list[str] = []

    def __call__(self, line: str) -> None:
        """Add a line."""
        self._lines.append(f"{time.monotonic() - self._began:9.1f}s  {scrub(line)}")

    def bytes(self) -> bytes:
        """The whole log, UTF-8."""
        return ("\n".join(self._lines) + "\n").encode()


@dataclass
class History:
    """What a training has behind it, over all the attempts that its restart points come from."""

    train_s: float
    resumes: int
    curves: list[Row]

    def put_into(self, where: dict[str, str]) -> None:
        """Add itself to a restart point's text."""
        where |= {"train_s": str(self.train_s), "resumes": str(self.resumes), "curves": json.dumps(self.curves)}

    @staticmethod
    def taken_from(where: dict[str, str]) -> History:
        """The history in a restart point, and one resume more."""
        return History(float(where["train_s"]), int(where["resumes"]) + 1, json.loads(where["curves"]))


def run_job(
    spec: JobSpec,
    store: Store,
    attempt: str,
    conditions: Conditions,
    *,
    on_progress: Callable[[Progress], None],
    on_alive: Callable[[], None],
    should_stop: Callable[[], bool],
) -> Commit:
    """Do the job, and return the commit that stands for it.

    `on_progress` is called after every update, `on_alive` within long ones. Raises `Stopped` after
    `should_stop` says so, `InputError` for a bad image, `DivergenceError` where training fails, `StoreError`
    for the storage; anything else is a bug or the machine.
    """
    began = time.monotonic()
    log = Log()
    log(f"job {spec.job_id}, attempt {attempt}, image {spec.uri}")
    log(f"settings {spec.settings.model_dump_json()}, seed {spec.seed}")
    picture = _read(spec, conditions)
    log(f"{picture.format}, {picture.rgb.shape[1]}x{picture.rgb.shape[0]} px; {picture.note or 'plain RGB'}")

    trainer, history = _begin(to_tensor(picture.rgb), store, spec, conditions, log)
    trainer.on_alive = on_alive
    _train(trainer, history, store, spec, conditions, log, on_progress, should_stop)
    pyramid = Pyramid.trained(trainer)

    on_alive()
    rows, figures = draw(pyramid, trainer.observed, spec, attempt, on_alive)
    caution = warning(figures, trainer.observed[-1])
    log(f"drew {sum(row['kind'] == 'sample' for row in rows)} samples; {figures}; warning: {caution}")
    metrics = [{"job_id": spec.job_id, **row} for row in history.curves]
    metrics += [
        {"job_id": spec.job_id, "scale": -1, "iteration": None, "name": name, "value": value}
        for name, value in figures.items()
    ]
    result = {name: figures.get(name) for name in MEASURES} | {
        "uri": spec.uri,
        "job_id": spec.job_id,
        "attempt": attempt,
        "preset": spec.preset,
        "seed": spec.seed,
        "width": pyramid.sizes[-1][1],
        "height": pyramid.sizes[-1][0],
        "scales": len(pyramid.sizes),
        "iterations": sum(spec.settings.iterations_at(s) for s in range(len(pyramid.sizes))),
        "parameters": pyramid.parameters,
        "samples": sum(row["kind"] == "sample" for row in rows),
        "warning": caution,
        "note": picture.note,
        "wall_s": round(time.monotonic() - began, 3),
        "train_s": round(history.train_s, 3),
        "resumes": history.resumes,
        "peak_memory_mb": round(_peak_memory_mb(), 1),
        "device": _device_name(conditions.device),
        "algorithm": ALGORITHM,
        "pgcn_version": version("pgcn"),
        "torch_version": torch.__version__,
        "settings": spec.settings.model_dump_json(),
        "committed_at": now(),
    }
    files = {
        "samples.parquet": schemas.parquet_bytes(schemas.table(rows, schemas.SAMPLES)),
        "metrics.parquet": schemas.parquet_bytes(schemas.table(metrics, schemas.METRICS)),
        **pyramid.to_files(),
        "log.txt": log.bytes(),
    }
    on_alive()
    commit = publish(store, spec.job_id, attempt, files, result)
    clean_up(store, spec.job_id)
    return commit


def clean_up(store: Store, job_id: str) -> None:
    """Remove what a committed job needs no more: restart points and the first look."""
    remove_checkpoints(store, job_id)
    store.delete([preview_path(job_id)])


def _read(spec: JobSpec, conditions: Conditions) -> Picture:
    data = read_source(spec.location, spec.uri)
    if hashlib.sha256(data).hexdigest() != spec.sha256:
        raise InputError(
            f"{spec.uri} changed after the run looked at it. Run the same command again to take it as it is now."
        )
    return decode(data, spec.uri, max_pixels=conditions.max_pixels)


def _begin(image: Tensor, store: Store, spec: JobSpec, conditions: Conditions, log: Log) -> tuple[Trainer, History]:
    """A trainer where the last whole restart point was, if there is one of this very training, or a new one."""
    state = last_checkpoint(store, spec.job_id)
    if state is not None:
        try:
            trainer = Trainer([image], spec.settings, [spec.seed], conditions.device)
            history = History.taken_from(state[1])
            restore(trainer, [state])
        except (ValueError, KeyError):
            log("a restart point of another training is there (an earlier try with another seed): starting anew")
        else:
            log(f"going on from a restart point at scale {trainer.scale}, iteration {trainer.iteration}")
            return trainer, history
    return Trainer([image], spec.settings, [spec.seed], conditions.device), History(train_s=0.0, resumes=0, curves=[])


def _train(
    trainer: Trainer,
    history: History,
    store: Store,
    spec: JobSpec,
    conditions: Conditions,
    log: Log,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> None:
    began, before = time.monotonic(), history.train_s
    saved = began

    def save() -> None:
        nonlocal saved
        tensors, where = state_of(trainer)
        history.put_into(where)
        write_checkpoint(store, spec.job_id, (tensors, where))
        saved = time.monotonic()

    for progress in trainer.updates():
        history.train_s = before + time.monotonic() - began
        history.curves += [
            {"scale": progress.scale, "iteration": progress.iteration, "name": name, "value": value}
            for figures in progress.figures
            for name, value in figures.items()
        ]
        on_progress(progress)
        if should_stop():
            save()
            raise Stopped
        if progress.scale_finished:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in progress.figures[0].items())
            log(f"scale {progress.scale} of {progress.scales} trained, {progress.iterations} updates: {figures}")
            if not trainer.finished:
                store.put(preview_path(spec.job_id), preview(Pyramid.trained(trainer), spec.seed))
        if progress.scale_finished or time.monotonic() - saved > conditions.checkpoint_seconds:
            save()


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
