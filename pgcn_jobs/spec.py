"""Specifications of jobs, one image's training or one edit, and the identities that are hashed from them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, overload

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pgcn.imaging.scales import Size
from pgcn.method_settings import MethodSettings, identifying, recorded_names
from pgcn.methods import DEFAULT, algorithm, find_method, method_of
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError

FACTOR_BELOW = 12
"""Sizes with both numbers below this are factors of the image's size; larger numbers are pixels."""

MAX_SIDE = 8192
"""Longest side of a sample that a job draws, px."""

MAX_SEED = 2**53
"""Largest seed. Seeds are exact in JSON and SQL up to here; samples count up from the seed."""


def resolve_size(text: str, trained: Size, longest: int = MAX_SIDE) -> Size:
    """Height and width in pixels of a size written width x height: "2x1" doubles the width of `trained`.

    Raises `ConfigError` for text of another form, a mix of factors and pixels, and sides that are not 1 to `longest`.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*[x×]\s*(\d+(?:\.\d+)?)\s*", text, re.IGNORECASE)
    if not match:
        raise ConfigError(
            f"The size {text!r} is not of the form WIDTHxHEIGHT: 320x200 (px) or 2x1 (times the image).", code=Code.SIZE
        )
    width, height = float(match[1]), float(match[2])
    if (width < FACTOR_BELOW) != (height < FACTOR_BELOW):
        raise ConfigError(
            f"The size {text!r} mixes a factor with pixels: numbers below {FACTOR_BELOW} are factors of the image's "
            f"size, others are pixels. Write both in the same way.",
            code=Code.SIZE,
        )
    if width < FACTOR_BELOW:
        height, width = height * trained[0], width * trained[1]
    size = round(height), round(width)
    if min(size) < 1 or max(size) > longest:
        raise ConfigError(
            f"The size {text!r} is {size[1]}x{size[0]} px here; each side must be 1 to {longest} px.", code=Code.SIZE
        )
    return size


def _size_text(text: object) -> str:
    resolve_size(str(text), (64, 64))
    return re.sub(r"\s", "", str(text)).lower().replace("×", "x")


class Frozen(BaseModel):
    """Base of immutable models without extra fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SamplePlan(Frozen):
    """The samples of a job: `count` of each of `sizes`."""

    count: int = Field(4, ge=1, le=10_000)
    sizes: tuple[Annotated[str, BeforeValidator(_size_text)], ...] = ("1x1", "2x1")


def known_settings(settings: Mapping[str, Any], method: str = DEFAULT) -> tuple[dict[str, Any], list[str]]:
    """The settings of a method that this version knows, and the names of the others, which a later version wrote."""
    names = recorded_names(find_method(method).settings)
    known = {name: value for name, value in settings.items() if name in names}
    return known, sorted(settings.keys() - known.keys())


class MaskRef(Frozen):
    """A mask of pixels that the loss leaves out; `digest` is the hash of the mask's pixels at the image's size."""

    location: str
    uri: str
    digest: str


@dataclass(frozen=True, slots=True)
class PartRef:
    """A file of further channels of an image: `name` as in `pgcn_jobs.inputs.parts`, and the hash of its bytes."""

    name: str
    location: str
    uri: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One image's training: the inputs that decide the result, and the location of the image.

    A run holds one for each image, so it is small: a pydantic model would take a kilobyte more.

    `location` is the address that a worker opens; it may hold a credential and is never stored. `uri` is the public
    form that artifacts name. `preset` is the name of the preset that the settings began with, a label only: it is no
    part of the identity.
    """

    job_id: str
    sha256: str
    location: str
    uri: str
    preset: str
    settings: MethodSettings
    seed: int
    plan: SamplePlan
    holes: MaskRef | None = None
    parts: tuple[PartRef, ...] = ()

    @property
    def method(self) -> str:
        """The name of the method that trains the pyramid."""
        return self.settings.method


class ImageRef(Frozen):
    """One input image of a task: `location` and `uri` as in `JobSpec`, and the hash of the file's bytes."""

    location: str
    uri: str
    sha256: str


class PyramidRef(Frozen):
    """Reference to a trained pyramid: committed by a job of a run, or (no job) stored in a folder under its own name.

    `location` is the address at which a worker opens that run or folder, None for the job's own run; `run` is its
    public form in artifacts.
    """

    name: str
    location: str | None = None
    run: str | None = None
    job_id: str | None = None


class EditSpec(Frozen):
    """One edit, a task on one image's pyramid: the inputs that decide the result, and the locations of its images."""

    job_id: str
    edit_id: str
    image_id: str
    task: str
    options: dict[str, Any]
    method: str = DEFAULT
    pyramid: PyramidRef
    image: ImageRef
    target: ImageRef | None = None
    mask: ImageRef | None = None
    truth: ImageRef | None = None
    parts: tuple[PartRef, ...] = ()


def edit_job_id(
    pyramid: str,
    task: str,
    options: Mapping[str, Any],
    others: Sequence[str | None],
    channels: str | None = None,
    method: str = DEFAULT,
) -> str:
    """An edit's identity: 20 hex digits of a hash of its pyramid, task, options and the hashes of its other images.

    `channels` says what target and truth were read as, where one of them is not RGB of 8 bits that is known everywhere.
    `method` is the name of the method that trains the pyramid.
    """
    decides = {
        "algorithm": algorithm(find_method(method)),
        "pyramid": pyramid,
        "task": task,
        "options": dict(options),
        "others": list(others),
    }
    return _hash(decides | _own_channels(channels))


def job_id(
    sha256: str,
    settings: MethodSettings,
    seed: int,
    plan: SamplePlan,
    holes: str | None = None,
    channels: str | None = None,
) -> str:
    """The job's identity: 20 hex digits of a hash of the inputs that decide its result.

    These are the image's bytes, the method and its version, the settings, the seed, the samples, the holes and, where
    they are not RGB of 8 bits, the channels that the image was read as (their JSON); not paths, order, machine or
    device. The same job has the same identity anywhere. Settings that a later version adds count only where they differ
    from the value of earlier results (`identifying`): they rename no job.
    """
    decides = {
        "algorithm": algorithm(method_of(settings)),
        "image": sha256,
        "settings": identifying(settings),
        "seed": seed,
        "samples": plan.model_dump(mode="json"),
    }
    return _hash(decides | ({"holes": holes} if holes is not None else {}) | _own_channels(channels))


def _own_channels(channels: str | None) -> dict[str, str]:
    """The part of an identity for other channels than RGB of 8 bits, which older versions knew alone."""
    return {} if channels is None else {"channels": channels}


def pyramid_id(
    sha256: str, settings: MethodSettings, seed: int, holes: str | None = None, channels: str | None = None
) -> str:
    """A pyramid's identity: 20 hex digits of a hash of the inputs that decide it, independent of job and samples.

    `holes` is the hash of the mask of pixels that the loss leaves out, None without a mask; `channels` as in `job_id`.
    """
    return _hash(
        {
            "algorithm": algorithm(method_of(settings)),
            "image": sha256,
            "settings": identifying(settings),
            "seed": seed,
            "holes": holes,
        }
        | _own_channels(channels)
    )


def _hash(decides: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:20]


@overload
def reseeded(spec: JobSpec) -> JobSpec: ...
@overload
def reseeded(spec: EditSpec) -> EditSpec: ...
def reseeded(spec: JobSpec | EditSpec) -> JobSpec | EditSpec:
    """The spec of the next attempt after a NUMERIC failure: a new seed, and the method's remedy; the same job."""
    if isinstance(spec, EditSpec):
        return spec.model_copy(update={"options": {**spec.options, "seed": _another_seed(spec.options["seed"])}})
    seed, settings = another_try(spec.seed, spec.settings)
    return replace(spec, settings=settings, seed=seed)


def another_try(seed: int, settings: MethodSettings) -> tuple[int, MethodSettings]:
    """A new seed, and settings that the method chooses after a divergence, for example a smaller step size."""
    return _another_seed(seed), method_of(settings).after_divergence(settings)


def _another_seed(seed: int) -> int:
    return (seed + 1_000_003) % MAX_SEED
