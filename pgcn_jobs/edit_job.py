"""One edit, from specification to commit: load the pyramid and the images, run the task, publish its results.

An edit takes seconds, so it has no checkpoints: after a worker's death it begins again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from torch import Tensor

from pgcn.heartbeat import beat, heartbeat
from pgcn.imaging.channels import Channels
from pgcn.imaging.scales import resize
from pgcn.tasks.region import mask_image
from pgcn.tasks.task import Inputs, Task, TaskError, TaskResult, find_task
from pgcn_jobs.artifacts import Row, pyramid_metrics
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import InputError
from pgcn_jobs.images.clips import encode_clip
from pgcn_jobs.images.contact_sheets import sheets_of
from pgcn_jobs.images.convert import Reading
from pgcn_jobs.images.png import encode_png, to_rgb
from pgcn_jobs.images.value_files import Frame, encode_map, encode_values
from pgcn_jobs.inputs.loading import reading_of
from pgcn_jobs.job_context import ExecutionOptions, JobContext, Log, Stopped
from pgcn_jobs.layout import artifact_path
from pgcn_jobs.provenance import provenance
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import Commit, publish
from pgcn_jobs.run_folder.pyramids import load
from pgcn_jobs.run_folder.regions import region_rows
from pgcn_jobs.spec import EditSpec, ImageRef
from pgcn_jobs.task_inputs import InputRef, InputRefs, LoadedInputs, load_inputs

VIEW_SIDE = 1024
"""Longest side, px, of the images that are kept beside a result to look at."""


def run_edit(spec: EditSpec, attempt: str, context: JobContext) -> Commit:
    """Run an edit, and return its commit.

    Every chain sends a heartbeat. Raises `Stopped` after `context.should_stop` says so, `InputError` for images that do
    not fit the task, `PyramidError` for a pyramid that is not there, `StoreError` for the storage.
    """
    store, options = context.store, context.options
    began, log = time.monotonic(), Log()
    log(f"edit {spec.edit_id}, job {spec.job_id}, attempt {attempt}: {spec.task} {spec.options}")

    def check_stop() -> None:
        if context.should_stop():
            raise Stopped

    pyramid = load(spec.pyramid, store).to(options.device)
    log(f"pyramid {spec.pyramid.name} of {spec.image_id}: {len(pyramid.sizes)} scales")
    loaded = read(spec, options, reading_of(pyramid.settings))
    inputs, notes = loaded.inputs, loaded.notes
    task = find_task(spec.task)
    try:
        with heartbeat(check_stop):
            beat()
            made = task(pyramid, inputs, **spec.options)
    except TaskError as error:
        raise InputError(str(error), code=Code.TASK_INVALID) from None
    notes += made.notes
    for line in [*(f"note: {note}" for note in notes), f"metrics {made.metrics}"]:
        log(line)
    result = {
        **edit_columns(spec, attempt),
        "width": made.result.shape[-1],
        "height": made.result.shape[-2],
        "pictures": len(made.result),
        **judged(task, made),
        "channels": None if pyramid.channels.is_rgb else pyramid.channels.to_json(),
        "note": "; ".join(notes) or None,
        "wall_s": round(time.monotonic() - began, 3),
        **provenance(options.device, spec.method),
    }
    values = value_files(task, made, pyramid.channels, loaded)
    shown = made.displayed(pyramid.channels)
    rows = pictures(spec, attempt, task, displayed_inputs(inputs, pyramid.channels), shown)
    at = {f"{row['name']}-{row['index']}": row for row in rows}
    for name in values:
        at[name.partition(".")[0]]["values"] = artifact_path(spec.job_id, attempt, name)
    files = {
        "pictures.parquet": schemas.parquet_bytes(schemas.table(rows, schemas.PICTURES)),
        **values,
        "metrics.parquet": schemas.parquet_bytes(
            schemas.table(pyramid_metrics(spec.job_id, made.metrics), schemas.METRICS)
        ),
        "log.txt": log.bytes(),
    }
    if made.regions is not None:
        rows = [{"job_id": spec.job_id, "attempt": attempt, **row} for row in region_rows(made.regions)]
        files["regions.parquet"] = schemas.parquet_bytes(schemas.table(rows, schemas.REGIONS))
    beat()
    check_stop()
    return publish(store, spec.job_id, attempt, files, result)


def edit_columns(spec: EditSpec, attempt: str) -> dict[str, Any]:
    """The columns of the result that the request determines."""
    return {
        "edit_id": spec.edit_id,
        "image_id": spec.image_id,
        "uri": spec.image.uri,
        "task": spec.task,
        "job_id": spec.job_id,
        "attempt": attempt,
        "pyramid": spec.pyramid.name,
        "pyramid_job": spec.pyramid.job_id,
        "pyramid_run": spec.pyramid.run,
        "target_uri": spec.target.uri if spec.target else None,
        "mask_uri": spec.mask.uri if spec.mask else None,
        "options": schemas.json_text(spec.options),
        "seed": spec.options["seed"],
    }


def value_files(task: Task[Any], made: TaskResult, channels: Channels, loaded: LoadedInputs) -> dict[str, bytes]:
    """The results with all channels and bits, and maps of numbers, as files by name; none for clips.

    Their names are those of the images: `result-0.tif`, `saliency-0.tif`. Results in the frame of a GeoTIFF have its
    georeference, and pixels without data of the frame have none. There are no files of other RGB of 8 bits, and of
    other drawings.
    """
    frame, size = Frame(loaded.frame.picture.format), (made.result.shape[-2], made.result.shape[-1])
    if task.keeps_frame:
        unknown = None if task.fills else loaded.frame.unknown_at(size)
        frame = Frame(frame.format, loaded.frame.georeference(size), unknown)
    maps = {}
    if made.values is not None:
        file = encode_map(made.values.values, made.values.unit, frame)
        maps = {f"{made.values.name}-0.{file.ending}": file.data}
    if (channels.is_rgb and frame.place is None and frame.unknown is None) or task.clip or "result" in made.drawn:
        return maps
    found = (encode_values(result, channels, frame) for result in made.result)
    return {f"result-{index}.{file.ending}": file.data for index, file in enumerate(found)} | maps


def displayed_inputs(inputs: Inputs, channels: Channels) -> Inputs:
    """The inputs as RGB, to look at."""
    target, truth = (None if x is None else channels.display(x) for x in (inputs.target, inputs.truth))
    return replace(inputs, image=channels.display(inputs.image), target=target, truth=truth)


def read(spec: EditSpec, options: ExecutionOptions, reading: Reading) -> LoadedInputs:
    """An edit's images, each checked to be the planned one, and notes on their conversion."""

    def ref(one: ImageRef | None) -> InputRef | None:
        return None if one is None else InputRef(one.location, one.uri, one.uri, one.sha256)

    own = InputRef(spec.image.location, spec.image.uri, spec.image.uri, spec.image.sha256)
    refs = InputRefs(own, ref(spec.target), ref(spec.mask), ref(spec.truth), spec.parts)
    return load_inputs(refs, options.max_pixels, reading)


def judged(task: Task[Any], made: TaskResult) -> Row:
    """The task's own metric and its value without the task, where both are known."""
    rule = task.criterion
    if rule is None or not {rule.metric, rule.baseline} <= made.metrics.keys():
        return {"metric": None, "value": None, "baseline": None, "better": None}
    return {
        "metric": rule.metric,
        "value": float(made.metrics[rule.metric]),
        "baseline": float(made.metrics[rule.baseline]),
        "better": rule.passes(made.metrics),
    }


def pictures(spec: EditSpec, attempt: str, task: Task[Any], inputs: Inputs, made: TaskResult) -> list[Row]:
    """Rows of `schemas.PICTURES`: the result, and the images to compare it with."""
    rows: list[Row] = []

    def add(name: str, data: bytes, width: int, height: int, kind: str = "png") -> None:
        index = sum(row["name"] == name for row in rows)
        rows.append(
            {"job_id": spec.job_id, "attempt": attempt, "name": name, "index": index, "width": width, "height": height}
            | {"image": {"bytes": data, "path": f"{name}-{index}.{kind}"}}
        )

    def add_picture(name: str, image: Tensor) -> None:
        add(name, encode_png(to_rgb(image)), image.shape[-1], image.shape[-2])

    results = made.result[:1] if task.clip else made.result
    for result in results:
        add_picture("result", result)
    if max(results.shape[-2:]) > VIEW_SIDE:
        for result in results:
            add_picture("view", at_most(result[None], VIEW_SIDE))
    if task.clip:
        height, width = made.result.shape[-2:]
        add("clip", encode_clip([to_rgb(frame) for frame in made.result], "WEBP"), width, height, "webp")
    beside = {"image": inputs.image, "target": inputs.target, "truth": inputs.truth, "before": task.before(made)}
    beside["mask"] = made.images.get("mask")
    if beside["mask"] is None and inputs.mask is not None:
        beside["mask"] = mask_image(inputs.mask)
    for name, image in beside.items():
        if image is not None:
            add_picture(name, at_most(image, VIEW_SIDE))
    for name, sheet in sheets_of(made):
        add(name, encode_png(sheet), sheet.shape[1], sheet.shape[0])
    return rows


def at_most(image: Tensor, side: int) -> Tensor:
    """The image `(1, 3, H, W)`, made smaller where its longest side is above `side` px."""
    height, width = image.shape[-2:]
    factor = side / max(height, width)
    return image if factor >= 1 else resize(image, (max(1, round(height * factor)), max(1, round(width * factor))))
