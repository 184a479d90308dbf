"""Options of a run: each declared once, for the command line, YAML files, `pgcn submit` and the preflight alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from pgcn_cluster.scheduler.stopping import Limits
from pgcn_jobs.spec import MAX_SEED


@dataclass(frozen=True)
class OptionFacts:
    """Facts of an option beside its name, type, bounds, default and help text.

    `scheduling` options change no result, and are no part of a job's identity. `column` is the column of an image list
    by which a row sets the option for its own image. `former` is the option's name in older versions, still taken.
    """

    metavar: str | None = None
    scheduling: bool = False
    column: str | None = None
    former: str | None = None


SCHEDULING = OptionFacts(scheduling=True)


def _as_texts(value: object) -> object:
    """A YAML file has one text or a list of them."""
    if value is None:
        return None
    return tuple(str(each) for each in (value if isinstance(value, list | tuple) else [value]))


class RunOptions(BaseModel):
    """Every option of `pgcn run` that a YAML file can set as well. None: as the run has it, or the default.

    The command line has `--cpus-per-job` for the field `cpus_per_job`; a YAML file has the field's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    out: Annotated[str, OptionFacts(metavar="RUN")] = Field(description="Folder or URL of the run's results.")
    method: Annotated[
        tuple[str, ...] | None, BeforeValidator(_as_texts), OptionFacts(metavar="NAME", column="method")
    ] = Field(None, description="Training method; repeatable, for several of each image. `pgcn methods` lists them.")
    preset: Annotated[str | None, OptionFacts()] = Field(
        None, description="draft (64 px), small (128), best or paper (250); by default best on a GPU, else draft."
    )
    samples: Annotated[int | None, OptionFacts()] = Field(None, ge=1, description="Number of samples of each size.")
    size: Annotated[tuple[str, ...] | None, BeforeValidator(_as_texts), OptionFacts(metavar="WxH")] = Field(
        None, description="Size of samples: 320x200 px, or 2x1 times the image; repeatable."
    )
    seed: Annotated[int | None, OptionFacts(column="seed")] = Field(
        None, ge=0, le=MAX_SEED, description="Seed of training and sampling."
    )
    limit: Annotated[int | None, SCHEDULING] = Field(None, ge=1, description="Take the first N images only.")
    device: Annotated[str, SCHEDULING] = Field("auto", description="auto, cpu or cuda.")
    gpus_per_job: Annotated[float, SCHEDULING] = Field(1.0, gt=0, le=1, description="1, or a share 1/n of a GPU.")
    cpus_per_job: Annotated[float, SCHEDULING] = Field(1.0, gt=0, description="CPU cores, and threads, of a job.")
    ray_address: Annotated[str | None, SCHEDULING] = Field(
        None, description="Address of a Ray cluster; else RAY_ADDRESS, else a local Ray."
    )
    local: Annotated[bool, SCHEDULING] = Field(False, description="Run on this machine without Ray: starts at once.")
    workers: Annotated[int | None, SCHEDULING] = Field(
        None, ge=1, description="Of --local: the most worker processes; 1 works in this process. Else one a core."
    )
    retry: Annotated[bool, SCHEDULING] = Field(False, description="Try failed and refused images again.")
    max_pixels: Annotated[int, SCHEDULING] = Field(64_000_000, ge=1, description="Refuse images with more pixels.")
    checkpoint_seconds: Annotated[float, SCHEDULING] = Field(
        60.0, ge=0.1, description="Seconds between two checkpoints of a job."
    )
    jobs_per_worker: Annotated[int, SCHEDULING] = Field(
        100, ge=1, description="Jobs of a worker process, which is then replaced."
    )
    batch: Annotated[int, OptionFacts(scheduling=True, former="stack")] = Field(
        1, ge=1, description="Images of equal size that a worker trains as one batch."
    )
    allow_local: Annotated[bool, SCHEDULING] = Field(
        False, description="Let a list from a bucket name files of the workers' machines."
    )
    task: Annotated[str | None, OptionFacts(metavar="TASK", column="task")] = Field(
        None, description="Apply this task to each image; `pgcn tasks` lists them."
    )
    target: Annotated[str | None, OptionFacts(metavar="FILE", column="target_uri")] = Field(
        None, description="The task's second image; {stem} and {name} stand for the image's. A folder: each with each."
    )
    mask: Annotated[str | None, OptionFacts(metavar="FILE", column="mask_uri")] = Field(
        None, description="The task's mask, white where it applies: masks/{stem}.png"
    )
    truth: Annotated[str | None, OptionFacts(metavar="FILE", column="truth_uri")] = Field(
        None, description="The true result, for metrics only."
    )
    channel: Annotated[tuple[str, ...] | None, BeforeValidator(_as_texts), OptionFacts(metavar="NAME=FILE")] = Field(
        None, description="Further channels from a file for each image: label=masks/{stem}.png; repeatable."
    )
    exclude: Annotated[str | None, OptionFacts(metavar="FILE", column="exclude_uri")] = Field(
        None, description="A mask, white on pixels that nothing is learned from, as scale bars: masks/{stem}.png"
    )
    pyramids: Annotated[str | None, OptionFacts(metavar="RUN")] = Field(
        None, description="Another run, whose pyramids are used where it has them."
    )
    job_timeout: Annotated[float, SCHEDULING] = Field(Limits.job_s, ge=1, description="Seconds for one image.")
    silence_timeout: Annotated[float, SCHEDULING] = Field(
        Limits.silence_s, ge=1, description="Seconds without a heartbeat until a worker is given up."
    )
    retry_wait: Annotated[float, SCHEDULING] = Field(
        Limits.backoff_s, ge=0, description="Seconds until the first retry after a storage failure; doubled each time."
    )

    @property
    def limits(self) -> Limits:
        """The limits of time, s, after which the driver gives up a worker."""
        return Limits(silence_s=self.silence_timeout, job_s=self.job_timeout, backoff_s=self.retry_wait)


class Request(RunOptions):
    """The request of one command: its images, its options, and `overrides`, settings by their names."""

    images: list[str]
    overrides: Mapping[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class OptionDeclaration:
    """One option as the command line declares it. `kind` is the type of one value: `size` takes several."""

    name: str
    kind: type[str] | type[int] | type[float] | type[bool]
    repeated: bool
    minimum: float | None
    maximum: float | None
    default: object
    help: str
    facts: OptionFacts

    @property
    def flag(self) -> str:
        """The option's name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def flags(self) -> list[str]:
        """All names that the command line takes: the present one first."""
        return [self.flag] if self.facts.former is None else [self.flag, f"--{self.facts.former}"]

    def arguments(self, value: object) -> list[str]:
        """The command line's words for this option with `value`."""
        if self.repeated:
            assert isinstance(value, tuple)
            return [word for each in value for word in (self.flag, str(each))]
        return [self.flag] if value is True else [self.flag, str(value)]


def declarations() -> list[OptionDeclaration]:
    """All options of `RunOptions`, in its order."""
    return [_declaration(name, field) for name, field in RunOptions.model_fields.items()]


def _declaration(name: str, field: FieldInfo) -> OptionDeclaration:
    types = list(_types(field.annotation))
    bounds = {type(each): each for each in field.metadata}
    low, high = bounds.get(Ge), bounds.get(Le)
    return OptionDeclaration(
        name=name,
        kind=next(kind for kind in (bool, int, float, str) if kind in types),
        repeated=tuple in types,
        minimum=None if low is None else low.ge,
        maximum=None if high is None else high.le,
        default=None if field.is_required() else field.default,
        help=field.description or "",
        facts=bounds[OptionFacts],
    )


def _types(annotation: object) -> Iterator[object]:
    """All types in an annotation: of `tuple[str, ...] | None`, they are tuple, str and NoneType."""
    if get_origin(annotation) is not None:
        yield get_origin(annotation)
    for part in get_args(annotation):
        yield from _types(part)
    if not get_args(annotation):
        yield annotation
