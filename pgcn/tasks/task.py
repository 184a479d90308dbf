"""What a task is: a name, what it takes, its options, what it does, and the figure that it is judged by.

Each task is one module of this package with a `TASK`; `all_tasks` finds them, so that a new file is a new task.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from pgcn.imaging.masks import check_mask
from pgcn.imaging.scales import check_image

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class TaskError(ValueError):
    """A task was asked for something it cannot do; the text is a sentence for a person."""


class Options(BaseModel):
    """What every task can be told. Frozen; a task's own options are a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, le=2**53, description="of the noise; the same seed gives the same picture")


class Injected(Options):
    """Options of the tasks that begin from a picture at some scale."""

    start_scale: int | None = Field(
        None, ge=0, description="where the picture goes in, 0 the coarsest and freest; none: the best by measure"
    )
    sweep: bool = Field(False, description="also show what every start scale gives")


@dataclass(frozen=True)
class Inputs:
    """What a task works on, at the inputs' own full sizes; tensors in [-1, 1], masks in [0, 1].

    `image` `(1, 3, H, W)` is what the pyramid has learned. `target` `(1, 3, h, w)` is the second picture where the
    task takes one: a composite, a painting, another picture's content. `mask` `(1, 1, h, w)` is 1 where the target
    (or the image, without one) is to be worked on. `truth` is what the result should be, where it is known: it is
    never looked at but for figures.
    """

    image: Tensor
    target: Tensor | None = None
    mask: Tensor | None = None
    truth: Tensor | None = None


@dataclass(frozen=True)
class TaskResult:
    """What a task made: `pictures` `(n, 3, h, w)` by name, `result` among them, `figures`, and `notes` for a person."""

    pictures: dict[str, Tensor]
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def result(self) -> Tensor:
        """The picture, or pictures, that were asked for: `(n, 3, h, w)` in [-1, 1]."""
        return self.pictures["result"]


@dataclass(frozen=True)
class Criterion:
    """The task's own figure, and the one of doing nothing that it has to beat, as names in `TaskResult.figures`.

    Some figures are there only where `Inputs.truth`, or a mask of what is foreign, is given.
    """

    figure: str
    nothing: str
    better: Literal["lower", "higher"]

    def passes(self, figures: Mapping[str, float]) -> bool:
        """Whether the figure is better than that of doing nothing."""
        ours, theirs = figures[self.figure], figures[self.nothing]
        return ours < theirs if self.better == "lower" else ours > theirs


BEFORE = ("before", "bicubic", "corrupted", "content", "painting", "picture")
"""What tasks call the picture that their result is compared with."""


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
    apply: Callable[[Pyramid, Inputs, O], TaskResult]
    judged: Criterion | None = None
    target: str = ""
    mask: str = ""
    needs: tuple[str, ...] = ()
    holes: bool = False
    truth: bool = False
    """Whether `Inputs.truth` gives figures."""
    clip: bool = False
    """Whether the result's pictures are the frames of a clip."""
    refuse: Callable[[Inputs, O], None] = lambda inputs, options: None
    """Raises `TaskError` for what can be seen to fail before minutes of training."""

    def make_options(self, given: Mapping[str, Any]) -> O:
        """Options from values or texts by name. Raises `TaskError` for what does not exist or cannot be."""
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

    def __call__(self, pyramid: Pyramid, inputs: Inputs, **options: Any) -> TaskResult:
        """Check the inputs, and do it. Raises `TaskError` for what cannot be asked, `ValueError` for bad tensors."""
        parsed = self.make_options(options)
        return self.apply(pyramid, self.checked(pyramid, inputs, parsed), parsed)

    def check(self, inputs: Inputs, options: O) -> None:
        """Raises `TaskError` where an input is missing or not taken, or cannot do: what is seen without a pyramid."""
        self.check_given({name: getattr(inputs, name) is not None for name in ("target", "mask", "truth")})
        self.refuse(inputs, options)

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
        """What the result is looked at beside, `(1, 3, h, w)`: what there would be without the pyramid."""
        return next((made.pictures[name][:1] for name in BEFORE if name in made.pictures), None)

    def checked(self, pyramid: Pyramid, inputs: Inputs, options: O) -> Inputs:
        """The inputs on the pyramid's device. Raises as `check` does."""
        self.check(inputs, options)
        device = pyramid.observed.device

        def picture(x: Tensor | None) -> Tensor | None:
            return None if x is None else check_image(x).to(device)

        mask = None if inputs.mask is None else check_mask(inputs.mask).to(device)
        return Inputs(check_image(inputs.image).to(device), picture(inputs.target), mask, picture(inputs.truth))


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
