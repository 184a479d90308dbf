"""Jobs that train nothing: they read their image, and commit small artificial images, curves and metrics.

Everything except the training is the product's own: the worker, its check for a commit, the decoder, the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

import pgcn_cluster.scheduler.worker
from pgcn_cluster.ray_cluster.ray_worker import RayWorker
from pgcn_jobs.images.png import encode_png
from pgcn_jobs.inputs.discover import read_source
from pgcn_jobs.job_context import ExecutionOptions, JobContext
from pgcn_jobs.provenance import provenance
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import Commit, publish
from pgcn_jobs.spec import JobSpec
from pgcn_jobs.storage.store import Store
from pgcn_jobs.training_job import clean_up

ROWS = 10
"""Rows that a job adds to the table of samples: one image, and samples."""

CURVES = 100
"""Rows that it adds to the table of metrics."""

SIDE = 32
"""Pixels of its pictures: 3 kB of PNG each, since they are noise."""

WEIGHTS = 20_000
"""Bytes of its one file of weights."""


class NoOp(RayWorker):
    """The product's worker, with jobs that train nothing."""

    def __init__(self, store: Store, options: ExecutionOptions, threads: int, gpu_share: float) -> None:
        super().__init__(store, options, threads, gpu_share)
        setattr(pgcn_cluster.scheduler.worker, "run_jobs", run_nothing)  # noqa: B010 - a name that the module only imports


def run_nothing(specs: Sequence[JobSpec], attempts: Sequence[str], context: JobContext) -> list[Commit | Exception]:
    """In place of `pgcn_jobs.training_job.run_jobs`."""
    store = context.store
    ends: list[Commit | Exception] = []
    for spec, attempt in zip(specs, attempts, strict=True):
        read_source(spec.location, spec.uri)
        # A training of one scale writes this and removes it again.
        store.list(f"checkpoints/{spec.job_id}")
        ends.append(publish(store, spec.job_id, attempt, _files(spec, attempt), result_row(spec, attempt)))
        clean_up(store, spec.job_id)
    return ends


@cache
def _pictures() -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, SIDE, SIDE, 3), dtype=np.uint8)
    return [encode_png(one) for one in noise]


def _files(spec: JobSpec, attempt: str) -> dict[str, bytes]:
    samples = [
        {
            "job_id": spec.job_id,
            "attempt": attempt,
            "kind": "sample" if index else "observed",
            "index": max(0, index - 1),
            "scale": 0,
            "size": "1x1",
            "width": SIDE,
            "height": SIDE,
            "seed": index,
            "image": {"bytes": png, "path": f"{index}.png"},
        }
        for index, png in enumerate(_pictures())
    ]
    metrics = [
        {"job_id": spec.job_id, "scale": 0, "iteration": index // 2, "name": name, "value": 1 / (index + 1)}
        for index, name in enumerate(("loss", "contrast") * (CURVES // 2))
    ]
    return {
        "samples.parquet": schemas.parquet_bytes(schemas.table(samples, schemas.SAMPLES)),
        "metrics.parquet": schemas.parquet_bytes(schemas.table(metrics, schemas.METRICS)),
        "scale-0.safetensors": bytes(WEIGHTS),
        "log.txt": b"nothing was trained\n",
    }


def result_row(spec: JobSpec, attempt: str) -> dict[str, Any]:
    """The result of a job, as its commit has it."""
    return {
        "uri": spec.uri,
        "job_id": spec.job_id,
        "attempt": attempt,
        "preset": spec.preset,
        "seed": spec.seed,
        "width": SIDE,
        "height": SIDE,
        "scales": 1,
        "iterations": CURVES // 2,
        "parameters": WEIGHTS // 4,
        "samples": ROWS - 1,
        "copy": 0.1,
        "diversity": 0.5,
        "wall_s": 0.0,
        "train_s": 0.0,
        "settings": spec.settings.model_dump_json(),
        **provenance("cpu", spec.method),
    }
