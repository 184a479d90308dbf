"""The columns of every Parquet object that a run writes. A name here is the name everywhere.

Images are `struct<bytes, path>` holding a PNG, which Hugging Face `datasets` and DuckDB read as they are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

MANIFEST = pa.schema(
    [
        ("image_id", pa.string()),  # unique in a run: the path below the folder that was asked for
        ("uri", pa.string()),  # where the image came from; local paths only below the folder's own name
        ("place", pa.string()),  # hash of where it lies, and its mask if it has holes: two images may have one uri
        ("job_id", pa.string()),
        ("sha256", pa.string()),  # of the file's bytes; null where it could not be read
        ("size_bytes", pa.int64()),
        ("version", pa.string()),  # the storage's own word for "unchanged": etag, or time of modification
        ("format", pa.string()),  # PNG, JPEG, …
        ("width", pa.int32()),  # pixels as the picture is seen, after EXIF orientation
        ("height", pa.int32()),
        ("seed", pa.int64()),
        ("settings", pa.string()),  # JSON of every setting of this image's training
        ("holes", pa.string()),  # hash of the pixels that are left out of the loss; null where none are
        ("holes_uri", pa.string()),  # the mask that says so
        ("note", pa.string()),  # how the picture was turned into RGB, where it was not RGB already
        ("problem", pa.string()),  # why the image is refused; null where it is not
        ("problem_code", pa.string()),  # one of `jobs.common.failures.Code`; null in rows of version 0.1
    ]
)

# What was asked of images' models, one row an edit.
MANIFEST_EDITS = pa.schema(
    [
        ("edit_id", pa.string()),  # unique in a run: "cat.jpg:superres"
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("task", pa.string()),
        ("job_id", pa.string()),
        ("pyramid", pa.string()),  # identity of the pyramid that it needs: image, settings, seed, holes
        ("pyramid_job", pa.string()),  # the job that trains it, in this run or in `pyramid_run`; null: kept by `apply`
        ("pyramid_run", pa.string()),  # where the pyramid is, if not in this run
        ("target_uri", pa.string()),
        ("mask_uri", pa.string()),
        ("truth_uri", pa.string()),
        ("sha256", pa.list_(pa.string())),  # of image, target, mask and truth; null where there is none
        ("version", pa.string()),  # the storage's words for "unchanged" for all of them
        ("options", pa.string()),  # JSON of every option of the task
        ("dropped", pa.bool_()),  # a later command asked for this in another way, before it was made
        ("problem", pa.string()),  # why it is refused; null where it is not
        ("problem_code", pa.string()),  # one of `jobs.common.failures.Code`; null in rows of version 0.1
    ]
)

METRICS = pa.schema(
    [
        ("job_id", pa.string()),
        ("scale", pa.int16()),  # 0 is the coarsest; -1 for figures of the whole model
        ("iteration", pa.int32()),
        ("name", pa.string()),
        ("value", pa.float64()),
    ]
)

# kind: "sample" (what the model is asked for, at the finest scale), "stage" (one sample on its way, at each
# scale), "observed" (the image's own pyramid), "recovered" (the recovery chain's end at each scale).
SAMPLES = pa.schema(
    [
        ("job_id", pa.string()),
        ("attempt", pa.string()),
        ("kind", pa.string()),
        ("index", pa.int32()),
        ("scale", pa.int16()),
        ("size", pa.string()),  # as asked for: "1x1", "2x1", "320x200"
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("seed", pa.int64()),
        ("image", IMAGE),
    ]
)

# name: "result" (several of `generate`, the first frame of a clip), "clip" (an animated WebP), "sweep" (every start
# scale), "tiled"; at most 1024 px: "view" (of a larger result), "image", "target", "mask" and "truth" (what was given),
# "before" (what there would be without the pyramid).
PICTURES = pa.schema(
    [
        ("job_id", pa.string()),
        ("attempt", pa.string()),
        ("name", pa.string()),
        ("index", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image", IMAGE),
    ]
)

RESULTS = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("job_id", pa.string()),
        ("attempt", pa.string()),
        ("preset", pa.string()),
        ("seed", pa.int64()),  # of the attempt that succeeded
        ("width", pa.int32()),  # of the finest scale
        ("height", pa.int32()),
        ("scales", pa.int16()),
        ("iterations", pa.int32()),  # over all scales
        ("parameters", pa.int64()),  # over all scales
        ("samples", pa.int32()),
        # Measures, mean over samples, see `pgcn.metrics.frechet`, `.metrics`, `.nearest`: lower is nearer to the image,
        # copy is a share in [0, 1], and diversity the mean pixel std over samples / std of the image.
        ("frechet_vgg22", pa.float64()),
        ("frechet_vgg33", pa.float64()),
        ("frechet_random", pa.float64()),
        ("patch_swd", pa.float64()),
        ("coherence", pa.float64()),
        ("completeness", pa.float64()),
        ("copy", pa.float64()),
        ("diversity", pa.float64()),
        ("recovery_error", pa.float64()),  # squared, summed over channels, mean over pixels, in [-1, 1] units
        ("warning", pa.string()),  # what a person should look at; null where nothing
        ("note", pa.string()),  # how the picture was turned into RGB
        ("wall_s", pa.float64()),  # of the attempt that committed: reading, training, drawing
        ("train_s", pa.float64()),  # seconds of training, its share of a stack, over all that its checkpoints come from
        ("stack", pa.int16()),  # images that were trained side by side with this one, and itself
        ("resumes", pa.int32()),  # how often training went on from a checkpoint
        ("peak_memory_mb", pa.float64()),  # of the worker process, host memory
        ("device", pa.string()),
        ("algorithm", pa.string()),
        ("pgcn_version", pa.string()),
        ("torch_version", pa.string()),
        ("settings", pa.string()),  # JSON of every setting
        ("committed_at", pa.string()),  # ISO 8601, UTC
    ]
)

# One row for each edit that is done, as `RESULTS` has one for each image.
EDITS = pa.schema(
    [
        ("edit_id", pa.string()),
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("task", pa.string()),
        ("job_id", pa.string()),
        ("attempt", pa.string()),
        ("pyramid", pa.string()),
        ("pyramid_job", pa.string()),
        ("pyramid_run", pa.string()),
        ("target_uri", pa.string()),
        ("mask_uri", pa.string()),
        ("options", pa.string()),  # JSON of every option
        ("seed", pa.int64()),  # of the attempt that succeeded
        ("width", pa.int32()),  # of the result
        ("height", pa.int32()),
        ("pictures", pa.int32()),  # in the result
        # The task's own figure, by its name in `metrics`, and that of doing nothing; null where a truth is missing.
        ("figure", pa.string()),
        ("value", pa.float64()),
        ("nothing", pa.float64()),
        ("better", pa.bool_()),  # whether the figure is better than that of doing nothing
        ("note", pa.string()),  # what was done to the inputs
        ("wall_s", pa.float64()),
        ("peak_memory_mb", pa.float64()),
        ("device", pa.string()),
        ("algorithm", pa.string()),
        ("pgcn_version", pa.string()),
        ("torch_version", pa.string()),
        ("committed_at", pa.string()),
    ]
)

FAILURES = pa.schema(
    [
        ("image_id", pa.string()),
        ("edit_id", pa.string()),  # null: the image's own training failed
        ("uri", pa.string()),
        ("job_id", pa.string()),
        ("attempt", pa.string()),
        ("failure", pa.string()),  # a class of `jobs.common.failures.FailureClass`
        ("code", pa.string()),  # one of `jobs.common.failures.Code`; null in records of version 0.1
        ("final", pa.bool_()),  # no further attempt follows, unless asked for with --retry
        ("message", pa.string()),
        ("traceback", pa.string()),
        ("fingerprint", pa.string()),
        ("where", pa.string()),  # node and process
        ("failed_at", pa.string()),
    ]
)

ATTEMPTS = pa.schema(
    [
        ("job_id", pa.string()),
        ("attempt", pa.string()),
        ("state", pa.string()),  # "committed" or "failed"
        ("failure", pa.string()),
        ("message", pa.string()),
        ("wall_s", pa.float64()),
        ("ended_at", pa.string()),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "manifest": MANIFEST,
    "attempts": ATTEMPTS,
    "results": RESULTS,
    # A sample's picture belongs to a job; the table adds the image it was made from.
    "samples": pa.schema([pa.field("image_id", pa.string()), *SAMPLES]),
    "metrics": METRICS,
    "failures": FAILURES,
    "manifest_edits": MANIFEST_EDITS,
    "edits": EDITS,
    "pictures": pa.schema([pa.field("edit_id", pa.string()), pa.field("task", pa.string()), *PICTURES]),
}


class Kind(NamedTuple):
    """A kind of job: the tables that its result and its pictures are rows of. `<pictures>.parquet` is an artifact."""

    results: str
    pictures: str


TRAINING, EDIT = Kind("results", "samples"), Kind("edits", "pictures")


def kind_of(result: Mapping[str, Any]) -> Kind:
    """The kind of job that has this result."""
    return EDIT if "task" in result else TRAINING


def json_text(value: Mapping[str, Any]) -> str:
    """A column's JSON: the same text for the same content."""
    return json.dumps(value, sort_keys=True)


def table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly `schema`: missing keys become null, unknown keys are a mistake (KeyError)."""
    listed = list(rows)
    unknown = {key for row in listed for key in row} - set(schema.names)
    if unknown:
        raise KeyError(f"columns not in the schema: {sorted(unknown)}")
    return pa.Table.from_pydict({name: [row.get(name) for row in listed] for name in schema.names}, schema=schema)


def known(data: pa.Table, schema: pa.Schema) -> pa.Table:
    """Those columns of a table that `schema` has: a later version of the program may write more."""
    return data.select([name for name in data.column_names if name in schema.names])


def known_row(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """Those values of a row that `schema` has a column for."""
    return {name: value for name, value in row.items() if name in schema.names}


def table_of(things: Collection[object], schema: pa.Schema) -> pa.Table:
    """Objects as a table of exactly `schema`, by columns: each has an attribute for every column."""
    return pa.Table.from_pydict(
        {name: [getattr(each, name) for each in things] for name in schema.names}, schema=schema
    )


def rows_of(data: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows one after another: only some hundred of them are ever Python objects at once."""
    for batch in data.to_batches(max_chunksize=512):
        yield from batch.to_pylist()


def parquet_bytes(data: pa.Table) -> bytes:
    """A whole Parquet object, built in memory: storage only ever sees complete ones."""
    sink = io.BytesIO()
    pq.write_table(data, sink, compression="zstd")
    return sink.getvalue()


def read_parquet(data: bytes) -> pa.Table:
    """The table in one Parquet object's bytes."""
    return pq.read_table(io.BytesIO(data))
