"""What `pgcn run --task` asks of each image: options of the task out of `--set`, and its other pictures by pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from jobs.common.failures import ConfigError
from jobs.inputs.discover import one_source
from jobs.inputs.source import EditSource, Source
from pgcn.settings import setting_names
from pgcn.tasks.task import Task, TaskError, find_task

if TYPE_CHECKING:
    from cluster.planning.request import Request

Asking = Callable[[Source], EditSource]


def split_task_options(task: Task[Any] | None, pairs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`--set` as options of a task and settings of a training; what both have is the task's.

    What is neither is left to the task, which says so; without a task, all are settings.
    """
    if task is None:
        return {}, dict(pairs)
    own = task.options.model_fields
    settings = {name: value for name, value in pairs.items() if name in setting_names() and name not in own}
    return {name: value for name, value in pairs.items() if name not in settings}, settings


def task_of(request: Request, task: Task[Any] | None, options: Mapping[str, Any]) -> Asking | None:
    """What is asked of each image, or None without `--task`. Raises `ConfigError` for pictures that belong to no task.

    In `--target`, `--mask` and `--truth`, {name} is the image's own name with folders and extension, and {stem} that
    without its extension: masks/{stem}.png.
    """
    patterns = {"target": request.target, "mask": request.mask, "truth": request.truth}
    if task is None:
        given = next((name for name, pattern in patterns.items() if pattern is not None), None)
        if given is not None:
            raise ConfigError(f"--{given} belongs to a task: say which with --task, or in a list with a column 'task'.")
        return None
    for name, pattern in patterns.items():
        for field in re.findall(r"{(.*?)}", pattern or ""):
            if field not in ("name", "stem"):
                raise ConfigError(
                    f"--{name} has {{{field}}}: it can have {{name}}, as a/cat.jpg, or {{stem}}, as a/cat."
                )
    read: dict[str, Source] = {}

    def other(pattern: str | None, source: Source) -> Source | None:
        if pattern is None:
            return None
        name = PurePosixPath(source.image_id)
        if "{" in pattern and (name.is_absolute() or not name.name or ".." in name.parts):
            # A list, which may be anybody's, gave it this name.
            return Source(source.image_id, source.image_id, "", problem=f"{source.image_id} is no name for {pattern}.")
        stem = str(name.with_suffix(""))
        place = pattern.replace("{name}", source.image_id).replace("{stem}", stem)
        if place not in read:
            read[place] = one_source(place)
        return read[place]

    def asked_of(source: Source) -> EditSource:
        target, mask, truth = (other(pattern, source) for pattern in patterns.values())
        return EditSource(task.name, options, target, mask, truth)

    return asked_of


def find(name: str | None) -> Task[Any] | None:
    """The task of a command line, if it names one. Raises `ConfigError` where there is none of this name."""
    try:
        return None if name is None else find_task(name)
    except TaskError as error:
        raise ConfigError(str(error)) from None
