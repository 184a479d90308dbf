"""Inputs of a task: its images, loaded from files or storage, and its pyramid, found or trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pgcn.imaging.channels import Image
from pgcn.method import DivergenceError, Model, Progress
from pgcn.method_settings import MethodSettings
from pgcn.methods import method_of, untrained_model
from pgcn.tasks.task import Inputs, Task
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError, InputError, PyramidError
from pgcn_jobs.images.convert import AS_RGB, Reading
from pgcn_jobs.inputs.discover import Source, find_sources
from pgcn_jobs.inputs.loading import MAX_PIXELS, Grid, LoadedImage, holes_of, load_image, load_mask, with_channels
from pgcn_jobs.inputs.parts import load_whole
from pgcn_jobs.layout import RUN
from pgcn_jobs.run_folder.manifest import channel_identity
from pgcn_jobs.run_folder.pyramids import any_of_image, keep, learn, load, pyramids_in
from pgcn_jobs.spec import PartRef, PyramidRef, pyramid_id
from pgcn_jobs.storage.store import Store


class InputRef(NamedTuple):
    """One image file of a task: `name` is its name in notes, `expected` the hash that its bytes must have, if any."""

    location: str
    uri: str
    name: str
    expected: str | None = None


class LoadedInputs(NamedTuple):
    """A task's images as tensors of the channels of the image, which is loaded `own`, and notes on their conversion."""

    inputs: Inputs
    own: LoadedImage
    notes: list[str]
    frame: LoadedImage
    """The image that results have the frame of: the target, or the image where there is none."""


class InputRefs(NamedTuple):
    """All image files of a task."""

    image: InputRef
    target: InputRef | None = None
    mask: InputRef | None = None
    truth: InputRef | None = None
    parts: tuple[PartRef, ...] = ()
    """Further channels of the image."""


def load_inputs(refs: InputRefs, max_pixels: int, reading: Reading = AS_RGB) -> LoadedInputs:
    """Load the images of a task, the image by `reading` and the others with its channels.

    Raises `InputError` with the file's name, also for a file that has changed, and one of other channels.
    """
    notes: list[str] = []

    def load_one(ref: InputRef) -> LoadedImage:
        loaded = load_image(ref.location, ref.uri, max_pixels, ref.expected, reading)
        notes.extend([f"{ref.name}: {loaded.note}"] if loaded.note else [])
        return loaded

    own = load_one(refs.image)
    if refs.parts:
        own, hashes = load_whole(own, refs.image.uri, refs.parts, max_pixels)
        own = own._replace(parts=json.dumps(hashes, sort_keys=True))
    other, true = (
        None if ref is None else with_channels(load_one(ref), own.channels, ref.uri)
        for ref in (refs.target, refs.truth)
    )
    inputs = Inputs(own.image, other and other.image, None, true and true.image, (other or own).unknown)
    if refs.mask is not None:
        mask = refs.mask
        found = load_mask(mask.location, mask.uri, Grid.of(other or own), max_pixels, mask.expected)
        notes.extend([f"{mask.name}: {found.note}"] if found.note else [])
        inputs = replace(inputs, mask=found.mask)
    return LoadedInputs(inputs, own, notes, other or own)


@dataclass(frozen=True)
class Read:
    """A task's images, the hash of the image's bytes, and the name of the image for people and files."""

    loaded: LoadedInputs
    name: str

    @property
    def inputs(self) -> Inputs:
        """The images as tensors."""
        return self.loaded.inputs

    @property
    def own(self) -> LoadedImage:
        """The image itself."""
        return self.loaded.own

    @property
    def notes(self) -> list[str]:
        """Notes on the conversion of the images."""
        return self.loaded.notes

    @property
    def sha256(self) -> str:
        """The hash of the image's bytes."""
        return self.own.sha256


def read_inputs(
    image: str,
    target: str | None,
    mask: str | None,
    truth: str | None,
    *,
    max_pixels: int = MAX_PIXELS,
    reading: Reading = AS_RGB,
    parts: Mapping[str, str] | None = None,
) -> Read:
    """The images of a task from files or URLs. Raises `ConfigError` or `InputError` with the file's name."""

    def ref(where: str | None, what: str) -> InputRef | None:
        source = None if where is None else _named(where, what)
        return None if source is None else InputRef(source.location, source.uri, source.image_id)

    own = ref(image, "image")
    assert own is not None
    more = [(name, _named(where, f"channels {name}")) for name, where in (parts or {}).items()]
    refs = InputRefs(
        own,
        ref(target, "target"),
        ref(mask, "mask"),
        ref(truth, "truth"),
        tuple(PartRef(name, source.location, source.uri, None) for name, source in more),
    )
    loaded = load_inputs(refs, max_pixels, reading)
    return Read(loaded, own.name)


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
    untrained: bool = False
    """True where the task needs no scale of it."""


def pyramid_for(
    task: Task[Any],
    read: Read,
    wanted: PyramidRequest,
    on_progress: Callable[[Progress], None],
    on_found: Callable[[str], None],
) -> Model:
    """The pyramid of a task's image: from another run or folder, from what was kept here, or trained and kept.

    For a task that needs no scale of it, one without a scale.

    `on_found` is told where it came from. Raises `ConfigError` where it is damaged, `DivergenceError` as training does.
    """
    inputs = read.inputs
    if wanted.untrained:
        return untrained_model(inputs.image, read.own.channels).to(wanted.device)
    mask, holes = None, None
    if task.holes and inputs.target is None and inputs.mask is not None:
        mask, holes = holes_of(inputs.mask, (inputs.image.shape[-2], inputs.image.shape[-1]), read.own.known)
    elif read.own.unknown is not None:
        mask, holes = holes_of(read.own.unknown, (inputs.image.shape[-2], inputs.image.shape[-1]))
    settings = wanted.settings or wanted.fallback
    channels = read.own.channels
    described = channel_identity(None if channels.is_rgb else channels.to_json(), read.own.parts)
    name = pyramid_id(read.sha256, settings, wanted.seed, holes, described)
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
        pyramid = learn(Image(inputs.image, channels), mask, settings, wanted.seed, wanted.device, on_progress)
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
