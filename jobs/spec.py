"""What is to be done for one image, and the identity that follows from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, overload

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jobs.common.codes import Code
from jobs.common.failures import ConfigError
from pgcn.imaging.scales import Size
from pgcn.pyramid import ALGORITHM
from pgcn.settings import Settings, identifying, recorded_names

FACTOR_BELOW = 12
"""A size with both numbers below this is in factors of the image's; from here on it is in pixels."""

MAX_SIDE = 8192

MAX_SEED = 2**53
"""Seeds are exact in JSON and SQL up to here, and leave room for the samples that count up from them."""


def resolve_size(text: str, trained: Size) -> Size:
    """Height and width, px, that a size asks for: "2x1" is twice as wide as `trained`, "320x200" is itself.

    Sizes are written width x height. Raises `ConfigError` for anything else, and for a mix of the two.
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
    if min(size) < 1 or max(size) > MAX_SIDE:
        raise ConfigError(
            f"The size {text!r} is {size[1]}x{size[0]} px here; each side must be 1 to {MAX_SIDE} px.", code=Code.SIZE
        )
    return size


def _size_text(text: object) -> str:
    resolve_size(str(text), (64, 64))
    return re.sub(r"\s", "", str(text)).lower().replace("×", "x")


class Frozen(BaseModel):
    """What nobody can change, or give another field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SamplePlan(Frozen):
    """Which samples a job draws: `count` of each of `sizes`."""

    count: int = Field(4, ge=1, le=10_000)
    sizes: tuple[Annotated[str, BeforeValidator(_size_text)], ...] = ("1x1", "2x1")


def known_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Those of some settings that this version has, and the names of the others, which a later one wrote."""
    known = {name: value for name, value in settings.items() if name in recorded_names()}
    return known, sorted(settings.keys() - known.keys())


class MaskRef(Frozen):
    """A mask that is left out of the loss; `digest` is the hash of its pixels, fitted to the image."""

    location: str
    uri: str
    digest: str


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One image's training: what decides the result, and where the image is.

    There is one for each image of a run, so it is small: a model of pydantic would take a kilobyte more.

    `location` is what a worker opens and never leaves the machine's memory; `uri` is what artifacts say.
    `preset` is the name that the settings began with: a label, no part of the identity.
    """

    job_id: str
    sha256: str
    location: str
    uri: str
    preset: str
    settings: Settings
    seed: int
    plan: SamplePlan
    holes: MaskRef | None = None


class ImageRef(Frozen):
    """One picture that a task is given, as `JobSpec` has its image."""

    location: str
    uri: str
    sha256: str


class PyramidRef(Frozen):
    """Where a trained pyramid is: committed by a job of a run, or (no job) kept in a folder under its own name.

    `location` is what a worker opens that run or folder by, or None for the run that asks; `run` is what artifacts say.
    """

    name: str
    location: str | None = None
    run: str | None = None
    job_id: str | None = None


class EditSpec(Frozen):
    """One task on one image's pyramid: what decides the result, and where its pictures are."""

    job_id: str
    edit_id: str
    image_id: str
    task: str
    options: dict[str, Any]
    pyramid: PyramidRef
    image: ImageRef
    target: ImageRef | None = None
    mask: ImageRef | None = None
    truth: ImageRef | None = None


def edit_job_id(pyramid: str, task: str, options: Mapping[str, Any], others: Sequence[str | None]) -> str:
    """An edit's name: 20 hex digits of the pyramid, the task, its options, and the hashes of its other pictures."""
    decides = {
        "algorithm": ALGORITHM,
        "pyramid": pyramid,
        "task": task,
        "options": dict(options),
        "others": list(others),
    }
    return _hash(decides)


def job_id(sha256: str, settings: Settings, seed: int, plan: SamplePlan, holes: str | None = None) -> str:
    """The job's name: 20 hex digits of what decides its result.

    That is the image's bytes, the method and its version, the settings, the seed, the samples and the holes; not paths,
    order, machine or device. The same job has the same name anywhere. Settings that a later version adds are part of it
    only where they differ from the value of earlier results (`pgcn.settings.identifying`), so they rename no job.
    """
    decides = {
        "algorithm": ALGORITHM,
        "image": sha256,
        "settings": identifying(settings),
        "seed": seed,
        "samples": plan.model_dump(mode="json"),
    }
    return _hash(decides | ({"holes": holes} if holes is not None else {}))


def pyramid_id(sha256: str, settings: Settings, seed: int, holes: str | None = None) -> str:
    """A pyramid's name, whoever trains it and whatever samples are drawn: 20 hex digits of what decides it.

    `holes` is the hash of the mask that is left out, if any.
    """
    return _hash(
        {
            "algorithm": ALGORITHM,
            "image": sha256,
            "settings": identifying(settings),
            "seed": seed,
            "holes": holes,
        }
    )


def _hash(decides: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:20]


@overload
def reseeded(spec: JobSpec) -> JobSpec: ...
@overload
def reseeded(spec: EditSpec) -> EditSpec: ...
def reseeded(spec: JobSpec | EditSpec) -> JobSpec | EditSpec:
    """The spec for another attempt after a NUMERIC failure: a new seed and half the step; the same job."""
    if isinstance(spec, EditSpec):
        return spec.model_copy(update={"options": {**spec.options, "seed": _another_seed(spec.options["seed"])}})
    seed, settings = another_try(spec.seed, spec.settings)
    return replace(spec, settings=settings, seed=seed)


def another_try(seed: int, settings: Settings) -> tuple[int, Settings]:
    """A new seed and half the step: where a training diverged, the same again would diverge in the same way."""
    return _another_seed(seed), settings.model_copy(update={"step_size": settings.step_size / 2})


def _another_seed(seed: int) -> int:
    return (seed + 1_000_003) % MAX_SEED
