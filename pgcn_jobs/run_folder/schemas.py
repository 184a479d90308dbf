"""Schemas of the Parquet objects of a run, and conversion of rows to and from tables.

Images are `struct<bytes, path>` holding a PNG, which Hugging Face `datasets` and DuckDB read directly.
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
        ("image_id", pa.string()),  # unique in a run: the path below the requested folder
        ("uri", pa.string()),  # public location of the image; local paths begin at the folder's own name
        ("place", pa.string()),  # hash of the locations of image and mask: two images may have one uri
        ("job_id", pa.string()),
        ("sha256", pa.string()),  # of the file's bytes; null for unreadable files
        ("size_bytes", pa.int64()),
        ("version", pa.string()),  # the storage's version token: etag, or time of modification
        ("format", pa.string()),  # PNG, JPEG, …
        ("width", pa.int32()),  # pixels of the image as displayed, after EXIF orientation
        ("height", pa.int32()),
        ("seed", pa.int64()),
        ("settings", pa.string()),  # JSON of every setting of this image's training
        ("method", pa.string()),  # name of the training method; null in rows of version 0.1, which had one method
        ("holes", pa.string()),  # hash of the mask of pixels that the loss leaves out; null without one
        ("holes_uri", pa.string()),  # public location of that mask
        ("channels", pa.string()),  # JSON of the channels; null for RGB of 8 bits
        ("parts", pa.string()),  # JSON: hashes of the files of further channels, by name; null without some
        ("part_uris", pa.string()),  # JSON: public locations of those files
        ("note", pa.string()),  # conversion; null for images stored as RGB
        ("problem", pa.string()),  # reason of a refusal; null for accepted images
        ("problem_code", pa.string()),  # one of `pgcn_jobs.common.failures.Code`; null in rows of version 0.1
    ]
)

# Requested edits, one row each.
MANIFEST_EDITS = pa.schema(
    [
        ("edit_id", pa.string()),  # unique in a run: "cat.jpg:superres"
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("task", pa.string()),
        ("job_id", pa.string()),
        ("method", pa.string()),  # of the pyramid's training; null in rows of version 0.1
        ("pyramid", pa.string()),  # identity of the pyramid that it needs: image, settings, seed, holes
        ("pyramid_job", pa.string()),  # the job that trains it, in this run or in `pyramid_run`; null: kept by `apply`
        ("pyramid_run", pa.string()),  # run or folder of the pyramid; null for this run
        ("target_uri", pa.string()),
        ("mask_uri", pa.string()),
        ("truth_uri", pa.string()),
        ("sha256", pa.list_(pa.string())),  # of image, target, mask and truth; null for absent ones
        ("version", pa.string()),  # version tokens of all of them, as JSON
        ("options", pa.string()),  # JSON of every option of the task
        ("parts", pa.string()),  # as in the manifest, of the image
        ("channels", pa.string()),  # JSON: what target and truth were read as; null for RGB of 8 bits, known everywhere
        ("dropped", pa.bool_()),  # a later command replaced this edit before it had a result
        ("problem", pa.string()),  # reason of a refusal; null for accepted edits
        ("problem_code", pa.string()),  # one of `pgcn_jobs.common.failures.Code`; null in rows of version 0.1
    ]
)

METRICS = pa.schema(
    [
        ("job_id", pa.string()),
        ("scale", pa.int16()),  # 0 is the coarsest; -1 for metrics of the whole pyramid
        ("iteration", pa.int32()),
        ("name", pa.string()),
        ("value", pa.float64()),
    ]
)

# kind: "sample" (a requested sample, at the finest scale), "stage" (one sample at each scale), "observed" (the image
# at each scale), "recovered" (the end of the recovery chain at each scale).
SAMPLES = pa.schema(
    [
        ("job_id", pa.string()),
        ("attempt", pa.string()),
        ("kind", pa.string()),
        ("index", pa.int32()),
        ("scale", pa.int16()),
        ("size", pa.string()),  # as requested: "1x1", "2x1", "320x200"
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("seed", pa.int64()),
        ("image", IMAGE),
        ("label", IMAGE),  # the image's label: categories with the values of its file; null without one
        ("values", pa.string()),  # path in the run of the file with all channels and bits; null where `image` has them
    ]
)

# name: "result" (several of `generate`, the first frame of a clip), "clip" (an animated WebP), "sweep" (every start
# scale), "tiled", "saliency" and "decades" (maps of numbers, as colours); at most 1024 px: "view" (of a larger result),
# "image", "target", "mask" and "truth" (the inputs), "before" (the baseline without the pyramid).
PICTURES = pa.schema(
    [
        ("job_id", pa.string()),
        ("attempt", pa.string()),
        ("name", pa.string()),
        ("index", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image", IMAGE),
        ("values", pa.string()),  # as in `SAMPLES`, of results and maps
    ]
)

# Regions of a map of numbers, of an edit that finds some; lengths in px of the result, from its upper left pixel, 0.
REGIONS = pa.schema(
    [
        ("job_id", pa.string()),
        ("attempt", pa.string()),
        ("index", pa.int32()),  # 0 has the highest peak
        ("area", pa.int64()),  # pixels
        ("y", pa.float64()),  # the mean of its pixels' positions
        ("x", pa.float64()),
        ("box_y", pa.int32()),  # first row and column of its box
        ("box_x", pa.int32()),
        ("box_height", pa.int32()),
        ("box_width", pa.int32()),
        ("peak", pa.float64()),  # its highest value, in the unit of the map
        ("peak_y", pa.int32()),
        ("peak_x", pa.int32()),
        ("mean", pa.float64()),
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
        # Metrics that have a meaning for a person, means over samples: docs/quality.md; others are in `metrics`.
        ("frechet_vgg22", pa.float64()),  # distance of small textures from the image's; 0 is equal
        ("frechet_vgg33", pa.float64()),  # the same of larger structures
        ("coherence_256", pa.float64()),  # distance of the samples' patches from the image's; null before 0.2, as below
        ("detail", pa.float64()),  # strength of the finest detail over the image's; 1 is equal
        ("largest_piece", pa.float64()),  # share of the area that is the largest copied piece
        ("mean_piece", pa.float64()),  # size of the piece that a random position belongs to, as a share of the area
        ("in_place", pa.float64()),  # share of the area that is copied from the same place
        ("layout_diversity", pa.float64()),  # spread of samples at 32 px, 0 where all have one layout
        ("copy", pa.float64()),  # share of a sample that continues shifted pieces of the image, at 64 px
        ("diversity", pa.float64()),  # mean pixel std over samples / std of the image
        # Of version 0.1: later ones have better metrics in their place, and leave these null.
        ("frechet_random", pa.float64()),
        ("patch_swd", pa.float64()),
        ("coherence", pa.float64()),
        ("completeness", pa.float64()),
        ("undecided", pa.float64()),  # of a label: share of pixels between two categories; null without a label
        ("class_share_error", pa.float64()),  # of a label: half the sum of differences of the shares of categories
        ("recovery_error", pa.float64()),  # squared, summed over channels, mean over pixels, in [-1, 1] units
        ("warning", pa.string()),  # a finding that a person should check; null without one
        ("channels", pa.string()),  # JSON of the channels; null for RGB of 8 bits, and before 0.2
        ("note", pa.string()),  # conversion
        ("wall_s", pa.float64()),  # of the attempt that committed: reading, training, drawing
        ("train_s", pa.float64()),  # seconds of training, its share of a batch, over all attempts of its checkpoints
        ("batch", pa.int16()),  # size of the batch of images that were trained together
        ("resumes", pa.int32()),  # times that training continued from a checkpoint
        ("peak_memory_mb", pa.float64()),  # of the worker process, host memory
        ("device", pa.string()),
        ("method", pa.string()),  # name of the training method; null in results of version 0.1
        ("algorithm", pa.string()),  # the method and its version
        ("pgcn_version", pa.string()),
        ("torch_version", pa.string()),
        ("settings", pa.string()),  # JSON of every setting
        ("committed_at", pa.string()),  # ISO 8601, UTC
    ]
)

# Results of edits, one row each.
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
        # The task's criterion, by its name in `metrics`, its value, and the value of the baseline; null without truth.
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("baseline", pa.float64()),
        ("better", pa.bool_()),  # true if the value is better than that of the baseline
        ("channels", pa.string()),  # of the result: JSON; null for RGB of 8 bits, and before 0.2
        ("note", pa.string()),  # conversion of the inputs
        ("wall_s", pa.float64()),
        ("peak_memory_mb", pa.float64()),
        ("device", pa.string()),
        ("method", pa.string()),  # name of the training method; null in results of version 0.1
        ("algorithm", pa.string()),  # the method and its version
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
        ("failure", pa.string()),  # a class of `pgcn_jobs.common.failures.FailureClass`
        ("code", pa.string()),  # one of `pgcn_jobs.common.failures.Code`; null in records of version 0.1
        ("final", pa.bool_()),  # no further attempt follows without --retry
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
    # A sample belongs to a job; the table adds the job's image.
    "samples": pa.schema([pa.field("image_id", pa.string()), *SAMPLES]),
    "metrics": METRICS,
    "failures": FAILURES,
    "manifest_edits": MANIFEST_EDITS,
    "edits": EDITS,
    "pictures": pa.schema([pa.field("edit_id", pa.string()), pa.field("task", pa.string()), *PICTURES]),
    "regions": pa.schema([pa.field("edit_id", pa.string()), pa.field("image_id", pa.string()), *REGIONS]),
}

LATER = frozenset({"regions"})
"""Tables that version 0.1 did not have: a run whose tables it built lacks them."""


class Kind(NamedTuple):
    """A kind of job: the tables of its requests, its result and its images.

    The manifest is also the folder of the requests; `<pictures>.parquet` is an artifact of the job. So is
    `<name>.parquet` for each of `more`, where the job has such rows.
    """

    manifest: str
    results: str
    pictures: str
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The column that names a request, unique in a run."""
        name: str = TABLES[self.manifest].names[0]
        return name


TRAINING = Kind("manifest", "results", "samples")
EDIT = Kind("manifest_edits", "edits", "pictures", ("regions",))


def kind_of(result: Mapping[str, Any]) -> Kind:
    """The kind of job that has this result."""
    return EDIT if "task" in result else TRAINING


def json_text(value: Mapping[str, Any]) -> str:
    """JSON text for a column: equal content gives equal text."""
    return json.dumps(value, sort_keys=True)


def table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of exactly `schema` from rows: missing keys become null. Raises `KeyError` for unknown keys."""
    listed = list(rows)
    unknown = {key for row in listed for key in row} - set(schema.names)
    if unknown:
        raise KeyError(f"columns not in the schema: {sorted(unknown)}")
    return pa.Table.from_pydict({name: [row.get(name) for row in listed] for name in schema.names}, schema=schema)


def known(data: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a table that `schema` has: a later version of the program may write more."""
    return data.select([name for name in data.column_names if name in schema.names])


def known_row(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """The values of a row that `schema` has columns for."""
    return {name: value for name, value in row.items() if name in schema.names}


def table_of(things: Collection[object], schema: pa.Schema) -> pa.Table:
    """A table of exactly `schema` from objects with an attribute for every column."""
    return pa.Table.from_pydict(
        {name: [getattr(each, name) for each in things] for name in schema.names}, schema=schema
    )


def rows_of(data: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table in order, converted to Python objects in batches of 512 to bound memory."""
    for batch in data.to_batches(max_chunksize=512):
        yield from batch.to_pylist()


def parquet_bytes(data: pa.Table) -> bytes:
    """The bytes of a Parquet object. It is built in memory, so that storage never has an incomplete one."""
    sink = io.BytesIO()
    pq.write_table(data, sink, compression="zstd")
    return sink.getvalue()


def batches_bytes(batches: Iterable[pa.Table], schema: pa.Schema) -> bytes:
    """The bytes of a Parquet object with the rows of all `batches`, of which one is in memory."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(batch)
    return sink.getvalue()


def read_parquet(data: bytes) -> pa.Table:
    """The table in one Parquet object's bytes."""
    return pq.read_table(io.BytesIO(data))
