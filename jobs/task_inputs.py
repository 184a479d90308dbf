"""A task's pictures, read from where they lie, and the pyramid that it needs, found or trained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.decoder import shared as decoder
from jobs.failures import ConfigError, InputError
from jobs.identity import RUN
from jobs.images import to_tensor
from jobs.pyramids import find_in_run, find_kept, keep, learn, pyramid_id
from jobs.sources import find_sources, read_source
from jobs.store import Store
from pgcn.model import Pyramid
from pgcn.settings import Settings
from pgcn.tasks.masks import check_mask
from pgcn.tasks.masks import fit as fit_mask
from pgcn.tasks.task import Inputs, Task
from pgcn.train import DivergenceError, Progress


@dataclass(frozen=True)
class Read:
    """A task's pictures, the hash of the image's bytes, and the name of the image for people and files."""

    inputs: Inputs
    sha256: str
    name: str
    notes: list[str]


def read_inputs(
    image: str, target: str | None, mask: str | None, truth: str | None, *, max_pixels: int = 64_000_000
) -> Read:
    """The pictures of a task from files or URLs. Raises `ConfigError` or `InputError` with the file's name."""
    data, name = _bytes(image, "image")
    notes: list[str] = []

    def picture(where: str | None, what: str) -> Tensor | None:
        return None if where is None else _decoded(*_bytes(where, what), max_pixels, notes)

    own = _decoded(data, name, max_pixels, notes)
    inputs = Inputs(own, picture(target, "target"), None, picture(truth, "truth"))
    if mask is not None:
        inputs = Inputs(own, inputs.target, _mask(*_bytes(mask, "mask"), max_pixels), inputs.truth)
    return Read(inputs, hashlib.sha256(data).hexdigest(), name, notes)


def _bytes(where: str, what: str) -> tuple[bytes, str]:
    sources = find_sources([where], setting_names=())
    if len(sources) != 1:
        raise ConfigError(f"The {what} {where} is {len(sources)} pictures: name one. `pgcn run` does many.")
    (source,) = sources
    if source.problem:
        raise InputError(source.problem)
    return read_source(source.location, source.uri), source.image_id


def _decoded(data: bytes, name: str, max_pixels: int, notes: list[str]) -> Tensor:
    picture = decoder.decode(data, name, max_pixels=max_pixels)
    if picture.note:
        notes.append(f"{name}: {picture.note}")
    return to_tensor(picture.rgb)


def _mask(data: bytes, name: str, max_pixels: int) -> Tensor:
    """A picture of any mode as a mask: light, on white, is chosen. Raises `InputError` where it chooses nothing."""
    levels = decoder.decode(data, name, max_pixels=max_pixels).rgb.astype(np.float32).mean(2) / 255
    try:
        return check_mask(torch.from_numpy(levels))
    except ValueError as error:
        raise InputError(f"The mask {name} cannot be used: {error}.") from None


@dataclass(frozen=True)
class Wanted:
    """The pyramid that a task needs: how it is trained, where it may be already, and where it is kept.

    `settings` of None are any that a run has, and `fallback` those of a training where there is no pyramid.
    """

    settings: Settings | None
    fallback: Settings
    seed: int
    device: str
    found_in: Store | None
    kept_in: Store


def pyramid_for(
    task: Task[Any],
    read: Read,
    wanted: Wanted,
    on_progress: Callable[[Progress], None],
    on_found: Callable[[str], None],
) -> Pyramid:
    """The pyramid of a task's image: from another run or folder, from what was kept here, or trained and kept.

    `on_found` is told where it came from. Raises `ConfigError` where it is damaged, `DivergenceError` as training does.
    """
    inputs = read.inputs
    mask = inputs.mask if task.holes and inputs.target is None else None
    if mask is not None:
        mask = fit_mask(mask, (inputs.image.shape[-2], inputs.image.shape[-1]))
    holes = None if mask is None else hashlib.sha256(mask.to(torch.uint8).numpy().tobytes()).hexdigest()
    settings = wanted.settings or wanted.fallback
    name = pyramid_id(read.sha256, settings, wanted.seed, holes)
    for store in (wanted.found_in, wanted.kept_in):
        if store is None:
            continue
        found = find_kept(store, name)
        if found is None and holes is None and store.exists(RUN):
            try:
                found = find_in_run(
                    store, read.sha256, wanted.settings, None if wanted.settings is None else wanted.seed
                )
            except (ValueError, FileNotFoundError) as error:
                raise ConfigError(f"The pyramid of {read.name} in {store.url} cannot be read: {error}.") from None
        if found is not None:
            on_found(f"The pyramid of {read.name} is in {store.url} already: nothing is trained.")
            return found.to(wanted.device)
    missing = f" None is in {wanted.found_in.url} yet." if wanted.found_in is not None else ""
    on_found(f"Training a pyramid of {read.name}, once; it is kept in {wanted.kept_in.url}.{missing}")
    try:
        pyramid = learn(inputs.image, mask, settings, wanted.seed, wanted.device, on_progress)
    except DivergenceError as error:
        raise ConfigError(f"No pyramid of {read.name} could be learned. {error} Try another --seed.") from None
    keep(wanted.kept_in, name, pyramid)
    return pyramid
