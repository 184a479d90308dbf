"""Inputs of a task: its images, loaded from files or storage, and its pyramid, found or trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pgcn.method import DivergenceError, Model, Progress
from pgcn.method_settings import MethodSettings
from pgcn.methods import method_of
from pgcn.tasks.task import Inputs, Task
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError, InputError, PyramidError
from pgcn_jobs.inputs.discover import Source, find_sources
from pgcn_jobs.inputs.loading import MAX_PIXELS, Grid, LoadedImage, holes_of, load_image, load_mask
from pgcn_jobs.layout import RUN
from pgcn_jobs.run_folder.pyramids import any_of_image, keep, learn, load, pyramids_in
from pgcn_jobs.spec import PyramidRef, pyramid_id
from pgcn_jobs.storage.store import Store


class InputRef(NamedTuple):
    """One image file of a task: `name` is its name in notes, `expected` the hash that its bytes must have, if any."""

    location: str
    uri: str
    name: str
    expected: str | None = None


class LoadedInputs(NamedTuple):
    """A task's images as tensors, the hash of the image's own bytes, and notes on their conversion."""

    inputs: Inputs
    sha256: str
    notes: list[str]


def load_inputs(
    image: InputRef, target: InputRef | None, mask: InputRef | None, truth: InputRef | None, max_pixels: int
) -> LoadedInputs:
    """Load the images of a task. Raises `InputError` with the file's name, also for a file that has changed."""
    notes: list[str] = []

    def load_one(ref: InputRef) -> LoadedImage:
        loaded = load_image(ref.location, ref.uri, max_pixels, ref.expected)
        notes.extend([f"{ref.name}: {loaded.note}"] if loaded.note else [])
        return loaded

    own = load_one(image)
    other, true = (None if ref is None else load_one(ref) for ref in (target, truth))
    inputs = Inputs(own.image, other and other.image, None, true and true.image)
    if mask is not None:
        found = load_mask(mask.location, mask.uri, Grid.of(other or own), max_pixels, mask.expected)
        notes.extend([f"{mask.name}: {found.note}"] if found.note else [])
        inputs = replace(inputs, mask=found.mask)
    return LoadedInputs(inputs, own.sha256, notes)


@dataclass(frozen=True)
class Read:
    """A task's images, the hash of the image's bytes, and the name of the image for people and files."""

    inputs: Inputs
    sha256: str
    name: str
    notes: list[str]


def read_inputs(
    image: str, target: str | None, mask: str | None, truth: str | None, *, max_pixels: int = MAX_PIXELS
) -> Read:
    """The images of a task from files or URLs. Raises `ConfigError` or `InputError` with the file's name."""

    def ref(where: str | None, what: str) -> InputRef | None:
        source = None if where is None else _named(where, what)
        return None if source is None else InputRef(source.location, source.uri, source.image_id)

    own = ref(image, "image")
    assert own is not None
    loaded = load_inputs(own, ref(target, "target"), ref(mask, "mask"), ref(truth, "truth"), max_pixels)
    return Read(loaded.inputs, loaded.sha256, own.name, loaded.notes)


def _named(where: str, what: str) -> Source:
    """The single image of this name on the command line."""
    sources = find_sources([where], setting_names=())
    if len(sources) != 1:
        raise ConfigError(
            f"The {what} {where} is {len(sources)} images: name one. `pgcn run` takes many.", code=Code.IMAGES_MANY
        )
    (source,) = sources
    if source.problem:
        raise InputError(source.problem, code=source.problem_code)
    return source


@dataclass(frozen=True)
class PyramidRequest:
    """The pyramid that a task needs: how it is trained, where it may be already, and where it is kept.

    `settings` of None are any that a run has, and `fallback` those of a training where there is no pyramid.
    """

    settings: MethodSettings | None
    fallback: MethodSettings
    seed: int
    device: str
    found_in: Store | None
    kept_in: Store


def pyramid_for(
    task: Task[Any],
    read: Read,
    wanted: PyramidRequest,
    on_progress: Callable[[Progress], None],
    on_found: Callable[[str], None],
) -> Model:
    """The pyramid of a task's image: from another run or folder, from what was kept here, or trained and kept.

    `on_found` is told where it came from. Raises `ConfigError` where it is damaged, `DivergenceError` as training does.
    """
    inputs = read.inputs
    mask, holes = None, None
    if task.holes and inputs.target is None and inputs.mask is not None:
        mask, holes = holes_of(inputs.mask, (inputs.image.shape[-2], inputs.image.shape[-1]))
    settings = wanted.settings or wanted.fallback
    name = pyramid_id(read.sha256, settings, wanted.seed, holes)
    any_settings = wanted.settings is None and holes is None
    for store in (wanted.found_in, wanted.kept_in):
        found = None if store is None else _stored(store, name, read, any_settings=any_settings)
        if store is not None and found is not None:
            on_found(f"The pyramid of {read.name} is in {store.url} already: nothing is trained.")
            return found.to(wanted.device)
    height, width = inputs.image.shape[-2:]
    if problem := method_of(settings).problem(height, width, settings):
        raise InputError(f"{read.name} {problem}", code=Code.IMAGE_SMALL)
    wanted.kept_in.check("pyramids")  # before minutes of training
    missing = f" None is in {wanted.found_in.url} yet." if wanted.found_in is not None else ""
    on_found(f"Training a pyramid of {read.name}, once; it is kept in {wanted.kept_in.url}.{missing}")
    try:
        pyramid = learn(inputs.image, mask, settings, wanted.seed, wanted.device, on_progress)
    except DivergenceError as error:
        raise ConfigError(
            f"The pyramid of {read.name} could not be trained. {error} Try another --seed.", code=Code.TRAINING_DIVERGED
        ) from None
    keep(wanted.kept_in, name, pyramid)
    return pyramid


def _stored(store: Store, name: str, read: Read, *, any_settings: bool) -> Model | None:
    """The pyramid `name` of a run or folder; with `any_settings`, else any of the image. None if there is none.

    Raises `ConfigError` where a run's pyramid is damaged. A damaged one in a folder counts as missing.
    """
    at = pyramids_in(store).get(name) if store.exists(RUN) else PyramidRef(name=name)
    if at is None and any_settings:
        at = any_of_image(store, read.sha256)
    try:
        return None if at is None else load(at, store)
    except PyramidError as error:
        if at is not None and at.job_id is not None:
            raise ConfigError(
                f"{read.name} has a pyramid in {store.url} that cannot be read. {error}", code=Code.PYRAMID_DAMAGED
            ) from None
        return None  # none is kept there yet, or it is not whole: it is trained
