"""Training jobs, from specification to commit: read, train, draw samples, measure, publish.

Jobs are trained alone, or as one batch where their pyramids have the same sizes. A worker that dies leaves checkpoints
at most one interval old and no commit; the next attempt goes on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.channels import RGB, Channels
from pgcn.method import DivergenceError, HasHistograms, LayoutError, Model, State, Trainer
from pgcn.methods import method_of
from pgcn_jobs.artifacts import LABEL_METRICS, RESULT_METRICS, Observed, Row, draw, preview, pyramid_metrics, warning
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import InputError
from pgcn_jobs.inputs.loading import Grid, changed, holes_of, load_mask, reading_of
from pgcn_jobs.inputs.parts import read_whole
from pgcn_jobs.job_context import ExecutionOptions, JobContext, Log, Stopped
from pgcn_jobs.layout import preview_path
from pgcn_jobs.provenance import provenance
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.checkpoints import Checkpoints, remove_checkpoints
from pgcn_jobs.run_folder.commit import Commit, publish
from pgcn_jobs.run_folder.histograms import FILE as HISTOGRAMS
from pgcn_jobs.run_folder.histograms import histograms_bytes
from pgcn_jobs.spec import JobSpec, MaskRef, PartRef
from pgcn_jobs.storage.store import Store


@dataclass
class History:
    """Time, resumes and curves of a training, over all attempts that its checkpoints come from."""

    train_s: float
    resumes: int
    curves: list[Row]

    def put_into(self, where: dict[str, str]) -> None:
        """Add itself to a checkpoint's text."""
        where |= {"train_s": str(self.train_s), "resumes": str(self.resumes), "curves": json.dumps(self.curves)}

    @staticmethod
    def taken_from(where: dict[str, str]) -> History:
        """The history in a checkpoint, and one resume more."""
        return History(float(where["train_s"]), int(where["resumes"]) + 1, json.loads(where["curves"]))


@dataclass
class _Job:
    """One job of a batch, under way: `image` is `(1, C, H, W)`, `state` its last checkpoint, if it has one.

    `mask` `(1, 1, H, W)` marks pixels that are left out of the loss; a job that has one is trained alone.
    """

    spec: JobSpec
    attempt: str
    log: Log = field(default_factory=Log)
    began: float = field(default_factory=time.monotonic)
    history: History = field(default_factory=lambda: History(train_s=0.0, resumes=0, curves=[]))
    image: Tensor = field(default_factory=lambda: torch.empty(0))
    mask: Tensor | None = None
    channels: Channels = RGB
    format: str = ""
    note: str | None = None
    checkpoints: Checkpoints = field(init=False)
    state: State | None = None
    ended: Commit | Exception | None = None

    def read(self, store: Store, options: ExecutionOptions) -> Hashable | None:
        """Read the image and the last checkpoint; returns the checkpoint's position, or None for a new training."""
        spec, log = self.spec, self.log
        log(f"job {spec.job_id}, attempt {self.attempt}, image {spec.uri}")
        log(f"method {spec.method}, settings {spec.settings.model_dump_json()}, seed {spec.seed}")
        ref = PartRef("image", spec.location, spec.uri, spec.sha256)
        taken, _ = read_whole(ref, spec.parts, options.max_pixels, reading_of(spec.settings))
        self.image, picture, self.channels = taken.image, taken.picture, taken.channels
        self.note, self.format = picture.note, picture.format
        self.mask = taken.unknown
        method, (height, width) = method_of(spec.settings), self.image.shape[-2:]
        if problem := method.problem(height, width, spec.settings):
            raise InputError(f"{spec.uri} {problem}", code=Code.IMAGE_SMALL)
        if spec.holes is not None:
            self.mask = _holes(spec.holes, Grid.of(taken), options.max_pixels, taken.known)
        sizes = method.plan(height, width, spec.settings).learned
        log(f"{picture.format}, {width}x{height} px; {picture.note or 'plain RGB'}")
        self.checkpoints = Checkpoints(store, spec.job_id)
        try:
            state = self.checkpoints.last()
            if state is None:
                return None
            place = method.position(state, spec.settings, spec.seed, sizes)
            self.history = History.taken_from(state[1])
        except (ValueError, KeyError, TypeError):
            log("the checkpoint is of another training (an earlier try with another seed, or version): starting anew")
            return None
        self.state = state
        log(f"going on from a checkpoint at scale {state[1].get('scale')}, iteration {state[1].get('iteration')}")
        return place

    def begin_anew(self, reason: str) -> None:
        """Leave the checkpoint out."""
        self.log(f"{reason}: starting anew")
        self.state, self.history = None, History(train_s=0.0, resumes=0, curves=[])


def run_jobs(specs: Sequence[JobSpec], attempts: Sequence[str], context: JobContext) -> list[Commit | Exception]:
    """Run some jobs as a batch, and return for each its commit, or the exception that ended it.

    Several jobs have the same settings and pyramids of the same sizes. Those that go on from checkpoints are trained
    with those at the same iteration. A job that fails does not disturb the others.

    Exceptions of a job: `Stopped` after `context.should_stop` says so, `InputError` for a bad image, `DivergenceError`
    where training fails, `StoreError` for the storage; anything else is a bug or the machine.
    """
    jobs = [_Job(spec, attempt) for spec, attempt in zip(specs, attempts, strict=True)]
    batches: dict[Hashable | None, list[_Job]] = {}
    for job in jobs:
        try:
            batches.setdefault(job.read(context.store, context.options), []).append(job)
        except Exception as error:
            job.ended = error
    for batch in batches.values():
        try:
            _run_batch(batch, context)
        except Exception as error:
            for job in batch:
                job.ended = job.ended or error
    ended = [job.ended for job in jobs]
    return [end if end is not None else RuntimeError("a job of a batch was forgotten") for end in ended]


def _run_batch(batch: list[_Job], context: JobContext) -> None:
    """Train jobs that stand at the same iteration, then draw, measure and publish each on its own."""
    trainer = _trainer(batch, context.options.device)
    states = [job.state for job in batch if job.state is not None]
    try:
        if states:
            trainer.load_state_dicts(states)
    except LayoutError as error:
        _run_apart(batch, str(error), context)
        return
    with contextlib.suppress(DivergenceError):  # raised when no image is left: each has its own below
        _train(trainer, batch, context)
    for index, job in enumerate(batch):
        try:
            job.ended = trainer.failed.get(index) or _publish(trainer, index, job, len(batch), context)
        except Exception as error:
            job.ended = error


def _run_apart(batch: list[_Job], reason: str, context: JobContext) -> None:
    """Run each job of a batch alone, since the checkpoint of one cannot be used; a single job starts anew."""
    if len(batch) == 1:
        batch[0].begin_anew(reason)
    for job in batch:
        try:
            _run_batch([job], context)
        except Exception as error:
            job.ended = error


def _trainer(batch: list[_Job], device: str) -> Trainer:
    settings, mask = batch[0].spec.settings, batch[0].mask
    images, seeds, channels = zip(*((job.image, job.spec.seed, job.channels) for job in batch), strict=True)
    return method_of(settings).trainer(images, settings, seeds, mask=mask, device=device, channels=channels)


def _train(trainer: Trainer, batch: list[_Job], context: JobContext) -> None:
    began, before = time.monotonic(), [job.history.train_s for job in batch]
    saved = began

    def going() -> list[tuple[int, _Job]]:
        return [(index, job) for index, job in enumerate(batch) if index not in trainer.failed]

    def save() -> None:
        nonlocal saved
        for index, job in going():
            tensors, where = trainer.state_dict(index)
            job.history.put_into(where)
            job.checkpoints.write((tensors, where))
        saved = time.monotonic()

    for progress in trainer.iterations():
        for job, train_s in zip(batch, before, strict=True):
            job.history.train_s = train_s + (time.monotonic() - began) / len(batch)
        for job, metrics in zip(batch, progress.metrics, strict=False):
            job.history.curves += [
                {"scale": progress.scale, "iteration": progress.iteration, "name": name, "value": value}
                for name, value in metrics.items()
            ]
        context.on_progress(progress)
        if context.should_stop():
            save()
            raise Stopped
        if progress.scale_finished:
            for index, job in going():
                metrics = progress.metrics[index] if progress.metrics else {}
                said = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
                job.log(f"scale {progress.scale} of {progress.scales}, {progress.iterations} iterations: {said}")
                if not trainer.finished:
                    picture = preview(trainer.model(index), job.spec.seed)
                    context.store.put(preview_path(job.spec.job_id), picture)
        if progress.scale_finished or time.monotonic() - saved > context.options.checkpoint_seconds:
            save()


def _publish(trainer: Trainer, index: int, job: _Job, batch: int, context: JobContext) -> Commit:
    """Draw one trained image's samples, take their metrics, and commit them."""
    spec, log = job.spec, job.log
    pyramid, observed = trainer.model(index), trainer.observed(index)
    height, width = job.image.shape[-2:]
    known = None if job.mask is None else 1 - job.mask
    pictures, values = draw(pyramid, Observed(observed, known, job.format), spec, job.attempt)
    rows = pictures.rows
    caution = warning(values, observed[-1])
    log(f"drew {sum(row['kind'] == 'sample' for row in rows)} samples; metrics: {values}; warning: {caution}")
    metrics = [{"job_id": spec.job_id, **row} for row in job.history.curves]
    metrics += pyramid_metrics(spec.job_id, values)
    result = {name: values.get(name) for name in (*RESULT_METRICS, *LABEL_METRICS)} | {
        "uri": spec.uri,
        "job_id": spec.job_id,
        "attempt": job.attempt,
        "preset": spec.preset,
        "seed": spec.seed,
        "width": pyramid.sizes[-1][1],
        "height": pyramid.sizes[-1][0],
        "scales": len(pyramid.sizes),
        "iterations": method_of(spec.settings).plan(height, width, spec.settings).iterations,
        "parameters": pyramid.parameters,
        "samples": sum(row["kind"] == "sample" for row in rows),
        "warning": caution,
        "channels": None if pyramid.channels.is_rgb else pyramid.channels.to_json(),
        "note": job.note,
        "wall_s": round(time.monotonic() - job.began, 3),
        "train_s": round(job.history.train_s, 3),
        "batch": batch,
        "resumes": job.history.resumes,
        "settings": spec.settings.model_dump_json(),
        **provenance(context.options.device, spec.method),
    }
    files = {
        "samples.parquet": schemas.parquet_bytes(schemas.table(rows, schemas.SAMPLES)),
        "metrics.parquet": schemas.parquet_bytes(schemas.table(metrics, schemas.METRICS)),
        **pictures.files,
        **_histograms(pyramid, observed, spec.seed),
        **pyramid.to_files(),
        "log.txt": log.bytes(),
    }
    beat()
    commit = publish(context.store, spec.job_id, job.attempt, files, result)
    clean_up(context.store, spec.job_id)
    return commit


def _histograms(pyramid: Model, observed: Sequence[Tensor], seed: int) -> dict[str, bytes]:
    """The file of a model's histograms, where it has some."""
    if not isinstance(pyramid, HasHistograms):
        return {}
    return {HISTOGRAMS: histograms_bytes(pyramid.histograms(observed[: pyramid.learned], seed))}


def clean_up(store: Store, job_id: str) -> None:
    """Remove the checkpoints and the preview of a committed job."""
    remove_checkpoints(store, job_id)
    store.delete([preview_path(job_id)])


def _holes(holes: MaskRef, grid: Grid, max_pixels: int, known: Tensor | None) -> Tensor:
    """The mask of pixels that are left out of the loss, at the image's own size."""
    mask, digest = holes_of(load_mask(holes.location, holes.uri, grid, max_pixels).mask, grid.size, known)
    if digest != holes.digest:
        raise changed(holes.uri)
    return mask
