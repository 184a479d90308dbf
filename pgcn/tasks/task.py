"""The definition of a task: its name, inputs and options, its function, and the criterion for its results.

Each task is a module of this package with a `TASK`; `all_tasks` finds them, so that a new file is a new task.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from pgcn.anomaly.regions import Region
from pgcn.imaging.channels import Channels
from pgcn.imaging.masks import check_mask
from pgcn.imaging.scales import check_image
from pgcn.method import Model


class TaskError(ValueError):
    """A task cannot do what was asked of it; the text is a sentence for a person."""


class Options(BaseModel):
    """Options of every task. Frozen; a task's own options are a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ADDED: ClassVar[frozenset[str]] = frozenset()
    """Options that version 0.1 did not have: with their default values, they are no part of an edit's identity."""

    seed: int = Field(0, ge=0, le=2**53, description="of the noise; the same seed gives the same result")


class Injected(Options):
    """Options of the tasks that inject an image at some scale."""

    start_scale: int | None = Field(
        None, ge=0, description="scale of injection, 0 the coarsest and freest; none: the best by metrics"
    )
    sweep: bool = Field(False, description="also show the results of all start scales")


@dataclass(frozen=True)
class Inputs:
    """The inputs of a task, at their own full sizes; images `(1, C, H, W)` in [-1, 1], masks in [0, 1].

    `image` `(1, C, H, W)` is the image that the pyramid was trained on. `target` `(1, C, h, w)` is the second image of
    tasks that take one: a composite, a painting, another image's content. `mask` `(1, 1, h, w)` is 1 where the target
    (or the image, without one) is to be worked on. `truth` is the ideal result, where it is
    known, and is used for metrics alone. `unknown` `(1, 1, h, w)` is 1 on pixels without data of the target (or the
    image, without one), whose content is no data.
    """

    image: Tensor
    target: Tensor | None = None
    mask: Tensor | None = None
    truth: Tensor | None = None
    unknown: Tensor | None = None


@dataclass(frozen=True, eq=False)
class MapValues:
    """Values of a drawn image, pixel by pixel: `values` `(1, 1, H, W)`, NaN where unknown, of one `unit`.

    `name` is that of the image in `TaskResult.images`.
    """

    unit: str
    values: Tensor
    name: str = "result"


@dataclass(frozen=True)
class TaskResult:
    """Images `(n, C, h, w)` by name, one of them the `result`; metrics by name; and `notes` for a person.

    Images have the model's channels, except for those in `drawn`: they are RGB, drawn for a person.
    """

    images: dict[str, Tensor]
    metrics: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    drawn: frozenset[str] = frozenset({"mask"})
    values: MapValues | None = None
    """The map of numbers that one of the images is a drawing of; None where there is none."""
    regions: list[Region] | None = None
    """Regions of that map; None where the task lists none."""

    def displayed(self, channels: Channels) -> TaskResult:
        """The same result with images of these channels as RGB, for a person."""
        if channels.is_rgb:
            return self
        shown = {name: x if name in self.drawn else channels.display(x) for name, x in self.images.items()}
        return replace(self, images=shown)

    @property
    def result(self) -> Tensor:
        """The image or images that were asked for: `(n, C, h, w)` in [-1, 1]."""
        return self.images["result"]


@dataclass(frozen=True)
class Criterion:
    """The metric of a task's results and that of its baseline, by their names in `TaskResult.metrics`.

    The baseline is the result without the pyramid, such as a bicubic enlargement. Some metrics exist only where
    `Inputs.truth`, or a mask of foreign content, is given.
    """

    metric: str
    baseline: str
    better: Literal["lower", "higher"]

    def passes(self, metrics: Mapping[str, float]) -> bool:
        """True where the metric is better than that of the baseline."""
        ours, theirs = metrics[self.metric], metrics[self.baseline]
        return ours < theirs if self.better == "lower" else ours > theirs


BEFORE = ("before", "bicubic", "corrupted", "content", "painting", "input")
"""Names of the image that a result is compared with."""


O = TypeVar("O", bound=Options)  # noqa: E741 - options


@dataclass(frozen=True)
class Task(Generic[O]):
    """One use of a trained pyramid.

    `target` and `mask` say what these inputs are, in words, or are empty where the task takes none; `needs` names
    those it cannot do without. With `holes`, the pyramid is trained with the mask's pixels left out of the loss.
    """

    name: str
    summary: str
    options: type[O]
    apply: Callable[[Model, Inputs, O], TaskResult]
    criterion: Criterion | None = None
    target: str = ""
    mask: str = ""
    needs: tuple[str, ...] = ()
    holes: bool = False
    truth: bool = False
    """True where `Inputs.truth` gives metrics."""
    clip: bool = False
    """True where the result's images are the frames of a clip."""
    fills: bool = False
    """True where pixels without data have some in the result."""
    keeps_frame: bool = False
    """True where a result shows what the target, or the image without one, shows, pixel by pixel but for its size."""
    untrained: Callable[[O], bool] = lambda options: False
    """True where these options need no trained pyramid, only its channels."""
    validate: Callable[[Inputs, O], None] = lambda inputs, options: None
    """Raises `TaskError` for inputs and options that would fail, before minutes of training."""

    def make_options(self, given: Mapping[str, Any]) -> O:
        """Options from values or texts by name. Raises `TaskError` for unknown options and impossible values."""
        for name in given:
            if name not in self.options.model_fields:
                close = difflib.get_close_matches(name, self.options.model_fields, n=1)
                hint = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(self.options.model_fields)}."
                raise TaskError(f"The task {self.name} has no option {name!r}. {hint}")
        try:
            return self.options.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = first["msg"].removeprefix("Value error, ").lower()
            raise TaskError(f"{self.name}: the option {where} cannot be {first['input']!r}: {reason}.") from None

    def identifying(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that are part of an edit's identity: all but those of `Options.ADDED` at their defaults."""
        fields = self.options.model_fields
        return {
            name: value
            for name, value in options.items()
            if name not in self.options.ADDED or value != fields[name].get_default(call_default_factory=True)
        }

    def __call__(self, model: Model, inputs: Inputs, /, **options: Any) -> TaskResult:
        """Check the inputs and apply the task. Raises `TaskError` for bad options, `ValueError` for bad tensors."""
        parsed = self.make_options(options)
        return self.apply(model, self.checked(model, inputs, parsed), parsed)

    def check(self, inputs: Inputs, options: O) -> None:
        """Raises `TaskError` where an input is missing, not taken or unsuitable, as far as shows without a model."""
        self.check_given({name: getattr(inputs, name) is not None for name in ("target", "mask", "truth")})
        self.validate(inputs, options)

    def check_given(self, given: Mapping[str, bool]) -> None:
        """Raises `TaskError` where a target, mask or truth is missing, or is given and not taken; by their names."""
        if given.get("truth") and not self.truth:
            raise TaskError(f"The task {self.name} has no figure that a truth would be for: leave it out.")
        for name, what in {"target": self.target, "mask": self.mask}.items():
            if given[name] and not what:
                raise TaskError(f"The task {self.name} takes no {name}: {self.summary}.")
            if not given[name] and name in self.needs:
                raise TaskError(f"The task {self.name} needs a {name}: {what}.")

    def before(self, made: TaskResult) -> Tensor | None:
        """The image that the result is compared with, `(1, C, h, w)`: that of the baseline."""
        return next((made.images[name][:1] for name in BEFORE if name in made.images), None)

    def checked(self, model: Model, inputs: Inputs, options: O) -> Inputs:
        """The inputs on the model's device. Raises as `check` does."""
        self.check(inputs, options)
        device = model.device

        def own(x: Tensor, what: str) -> Tensor:
            x = check_image(x)
            if x.shape[1] != model.channels.count:
                raise TaskError(
                    f"The {what} has {x.shape[1]} channels, and the pyramid was trained on {model.channels.count}: "
                    "give an image of the same kind."
                )
            return x.to(device)

        def moved(x: Tensor | None, what: str) -> Tensor | None:
            return None if x is None else own(x, what)

        mask = None if inputs.mask is None else check_mask(inputs.mask).to(device)
        target, truth = moved(inputs.target, "target"), moved(inputs.truth, "truth")
        unknown = None if inputs.unknown is None else check_mask(inputs.unknown).to(device)
        return Inputs(own(inputs.image, "image"), target, mask, truth, unknown)


@cache
def all_tasks() -> dict[str, Task[Any]]:
    """Every task by its name: the `TASK` of each module of this package that has one."""
    package = importlib.import_module("pgcn.tasks")
    modules = [importlib.import_module(f"pgcn.tasks.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    tasks = [module.TASK for module in modules if hasattr(module, "TASK")]
    return {task.name: task for task in sorted(tasks, key=lambda task: str(task.name))}


def find_task(name: str) -> Task[Any]:
    """The task of this name. Raises `TaskError` where there is none."""
    tasks = all_tasks()
    if name not in tasks:
        close = difflib.get_close_matches(name, tasks, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Choose one of {', '.join(tasks)}."
        raise TaskError(f"There is no task {name!r}. {hint}")
    return tasks[name]
