"""`pgcn apply`: one task on one image, from files to files. No Ray."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from pgcn.imaging.channels import RGB, Channels
from pgcn.method_settings import MethodSettings
from pgcn.methods import make_settings, names_of_settings
from pgcn.tasks.task import Task, TaskResult, find_task
from pgcn_cluster.one_image.progress import task_progress, training_progress, use_threads
from pgcn_cluster.planning.device import choose_device
from pgcn_cluster.planning.settings_choice import choose_methods
from pgcn_cluster.planning.task_request import split_task_options
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.edit_job import value_files
from pgcn_jobs.images.clips import encode_clip, encode_mp4
from pgcn_jobs.images.contact_sheets import sheets_of
from pgcn_jobs.images.png import encode_png, to_rgb
from pgcn_jobs.inputs.loading import reading_of
from pgcn_jobs.run_folder.regions import region_rows, regions_csv
from pgcn_jobs.storage.outputs import file_stem, joined, split_place, write_beside
from pgcn_jobs.storage.store import Store
from pgcn_jobs.task_inputs import PyramidRequest, Read, pyramid_for, read_inputs


@dataclass(frozen=True)
class ApplyRequest:
    """The arguments of `pgcn apply`."""

    task: str
    image: str
    target: str | None
    mask: str | None
    truth: str | None
    pairs: Mapping[str, Any]
    preset: str | None
    pyramids: str | None
    out: str
    device: str
    threads: int | None = None
    methods: tuple[str, ...] = ()
    channels: Mapping[str, str] = field(default_factory=dict)


def apply(asked: ApplyRequest, console: Console) -> list[str]:
    """Apply the task with each method, and return the files written.

    Raises `JobError`, `SettingsError` or `ValueError`.
    """
    use_threads(asked.threads)
    methods = choose_methods(asked.methods, None)
    return [path for method in methods for path in _apply(asked, method, f"-{method}" * (len(methods) > 1), console)]


def _apply(asked: ApplyRequest, method: str, suffix: str, console: Console) -> list[str]:
    """Apply the task with one method; `suffix` ends the stem of the files' names."""
    task = find_task(asked.task)
    options, overrides = split_task_options(task, asked.pairs, names_of_settings([method]))
    parsed = task.make_options(options)
    device = choose_device(asked.device, torch.cuda.is_available)
    preset = asked.preset or ("best" if device == "cuda" else "draft")
    settings = make_settings(preset, overrides, method)
    task.check_given({name: getattr(asked, name) is not None for name in ("target", "mask", "truth")})
    read = _read(asked, settings)
    # Unusable inputs are refused before minutes of training.
    task.check(read.inputs, parsed)
    folder, stem = place(asked.out, read, task, suffix)
    Store(folder).check()
    wanted = PyramidRequest(
        settings=settings if asked.preset or overrides or asked.methods or not asked.pyramids else None,
        fallback=settings,
        seed=parsed.seed,
        device=device,
        found_in=Store(asked.pyramids) if asked.pyramids else None,
        kept_in=Store(folder),
        untrained=task.untrained(parsed),
    )

    def say(line: str) -> None:
        console.print(terminal_safe(line), highlight=False, markup=False)

    for note in read.notes:
        say(f"Note: {note}.")
    with training_progress(console, say) as show:
        pyramid = pyramid_for(task, read, wanted, show, say)
    if pyramid.channels != read.own.channels:  # it was found, and learned from the image as another setting reads it
        read = _read(asked, pyramid.settings)
    with task_progress(task.name, say):
        made = task(pyramid, read.inputs, **options)
    for note in made.notes:
        say(f"Note: {note}.")
    for name, value in made.metrics.items():
        say(f"  {name:24s} {value:.4g}")
    return write(task, made, folder, stem, value_files(task, made, pyramid.channels, read.loaded), pyramid.channels)


def _read(asked: ApplyRequest, settings: MethodSettings) -> Read:
    """The images of the task, as a training with these settings reads them."""
    reading = reading_of(settings)
    return read_inputs(asked.image, asked.target, asked.mask, asked.truth, reading=reading, parts=asked.channels)


def place(out: str, read: Read, task: Task[Any], suffix: str = "") -> tuple[str, str]:
    """The folder and the stem of the files' names: `out` is a folder, or the result's own PNG file; or a URL.

    `suffix` ends the stem.
    """
    folder, name = split_place(out)
    stem, _, ending = name.rpartition(".")
    if stem and ending.lower() == "png":
        _check_free(folder, stem + suffix)
        return folder, stem + suffix
    if stem and ending.lower() in ("jpg", "jpeg", "webp", "gif", "tif", "tiff"):
        raise ConfigError(
            f"Results are PNG files: --out {joined(folder, stem)}.png, or a folder.", code=Code.OPTION_VALUE
        )
    return out, f"{file_stem(read.name) or read.sha256[:12]}-{task.name}{suffix}"


def _check_free(folder: str, stem: str) -> None:
    """Raises `ConfigError` where a result's own file is there: it may be an input, or anybody's."""
    for name in (f"{stem}.png", f"{stem}.json"):
        if Store(folder).exists(name):
            raise ConfigError(
                f"{joined(folder, name)} exists already, and is not replaced: choose another name or a folder.",
                code=Code.OUTPUT_UNWRITABLE,
            )


def write(
    task: Task[Any],
    made: TaskResult,
    folder: str,
    stem: str,
    values: Mapping[str, bytes] | None = None,
    channels: Channels = RGB,
) -> list[str]:
    """Write the result, the other images of the task, and all metrics as JSON; returns the files.

    `values` are the files of `value_files`, written beside the PNG to look at, or in its place.
    No file is replaced: see `write_beside`. Raises `StoreError` where they cannot be written.
    """
    single = len(made.result) == 1
    exact = {_ending(name, single): data for name, data in (values or {}).items()}
    made = made.displayed(channels)
    facts: dict[str, Any] = {"task": task.name, **made.metrics}
    if made.regions is not None:
        facts["regions"] = region_rows(made.regions)
    files = {".json": json.dumps(facts, indent=1).encode()}
    if made.regions is not None:
        files["-regions.csv"] = regions_csv(made.regions)
    if task.clip:
        frames = [to_rgb(frame) for frame in made.result]
        files |= {f".{kind}": encode_clip(frames, kind.upper()) for kind in ("webp", "gif")}
        film = encode_mp4(frames)
        files |= {".mp4": film} if film is not None else {}
    elif len(made.result) == 1:
        files[".png"] = _png(made.result)
    else:
        files |= {f"-{index}.png": _png(one) for index, one in enumerate(made.result)}
    files |= {f"-{name}.png": encode_png(sheet) for name, sheet in sheets_of(made)}
    files |= exact
    return write_beside(folder, stem, files)


def _ending(name: str, single: bool) -> str:
    """The end of a value file's name: `result-0.tif` is that of the stem, `saliency-0.tif` has its name."""
    image, dot, kind = name.partition(".")
    what, _, index = image.rpartition("-")
    own = "" if what == "result" else f"-{what}"
    return f"{own}{dot}{kind}" if single or own else f"-{index}.{kind}"


def _png(picture: Tensor) -> bytes:
    return encode_png(to_rgb(picture))
