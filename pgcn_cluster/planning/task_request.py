"""The edits that `pgcn run --task` requests: the task's options out of `--set`, and its other images by pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pgcn.tasks.task import Task, TaskError, find_task
from pgcn_cluster.planning.run_options import RunOptions
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.discover import one_source, several
from pgcn_jobs.inputs.lists.image_list import NO_EXCLUDE
from pgcn_jobs.inputs.part_names import check_part_name
from pgcn_jobs.inputs.source import EditSource, Part, Source

EditRequest = Callable[[Source], Sequence[EditSource]]


def split_task_options(
    task: Task[Any] | None, pairs: Mapping[str, Any], setting_names: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`--set` as options of a task and settings of a training; a name of both is the task's.

    `setting_names` are those of the command's methods.

    An unknown name is left to the task, which refuses it; without a task, all are settings.
    """
    if task is None:
        return {}, dict(pairs)
    own = task.options.model_fields
    settings = {name: value for name, value in pairs.items() if name in setting_names and name not in own}
    return {name: value for name, value in pairs.items() if name not in settings}, settings


def task_request(options: RunOptions, task: Task[Any] | None, task_options: Mapping[str, Any]) -> EditRequest | None:
    """A function that makes the edits of an image, or None without `--task`.

    With a folder or a pattern of files as `--target`, there is an edit for each of these targets: all by all. In
    `--target`, `--mask` and `--truth`, {name} is the image's own name with folders and extension, and {stem} that
    without its extension: masks/{stem}.png. Raises `ConfigError` for images that belong to no task, and for other
    words in braces.
    """
    patterns = {"target": options.target, "mask": options.mask, "truth": options.truth}
    if task is None:
        given = next((name for name, pattern in patterns.items() if pattern is not None), None)
        if given is not None:
            raise ConfigError(
                f"--{given} belongs to a task: name one with --task, or in a list with a column 'task'.",
                code=Code.OPTION_MISSING,
            )
        return None
    _check_patterns(patterns)
    name = task.name
    read: dict[str, Source] = {}
    every = None if options.target is None or "{" in options.target else several(options.target)

    def edits_of(source: Source) -> Sequence[EditSource]:
        target, mask, truth = (
            None if every is not None and which == "target" else _other_image(pattern, source, read)
            for which, pattern in patterns.items()
        )
        targets = [target] if every is None else every
        return [EditSource(name, task_options, one, mask, truth) for one in targets]

    return edits_of


def parse_channels(texts: Sequence[str]) -> dict[str, str]:
    """`["label=a.png"]` as a mapping. Raises `ConfigError`: see `parts_request`."""
    patterns: dict[str, str] = {}
    for text in texts:
        name, equals, pattern = text.partition("=")
        if not equals or not pattern.strip():
            raise ConfigError(
                f"--channel takes NAME=FILE, as in --channel label='masks/{{stem}}.png', not {text!r}.",
                code=Code.OPTION_VALUE,
            )
        if check_part_name(name.strip()) in patterns:
            raise ConfigError(f"--channel gives {name.strip()} twice: leave one out.", code=Code.OPTION_TWICE)
        patterns[name.strip()] = pattern.strip()
    return patterns


def parts_request(options: RunOptions) -> Callable[[Source], tuple[Part, ...]] | None:
    """A function that names the files of an image's further channels, or None without `--channel`.

    Patterns are as in `task_request`. Raises `ConfigError` for a text that is not NAME=FILE, a name that cannot be, and
    one that is given twice.
    """
    patterns = parse_channels(options.channel or ())
    if not patterns:
        return None
    _check_patterns({f"channel {name}": pattern for name, pattern in patterns.items()})
    read: dict[str, Source] = {}

    def parts_of(source: Source) -> tuple[Part, ...]:
        found = ((name, _other_image(patterns[name], source, read)) for name in sorted(patterns))
        return tuple(Part(name, one) for name, one in found if one is not None)

    return parts_of


def exclude_request(options: RunOptions) -> Callable[[Source], Source] | None:
    """A function that names the mask of an image's excluded pixels, or None without `--exclude`.

    The pattern is as in `task_request`. Raises `ConfigError` beside `--task`.
    """
    pattern = options.exclude
    if pattern is None:
        return None
    if options.task is not None:
        raise ConfigError(f"--exclude and --task are given: {NO_EXCLUDE}", code=Code.OPTION_VALUE)
    _check_patterns({"exclude": pattern})
    read: dict[str, Source] = {}

    def excluded(source: Source) -> Source:
        found = _other_image(pattern, source, read)
        assert found is not None
        return found

    return excluded


def _check_patterns(patterns: Mapping[str, str | None]) -> None:
    for name, pattern in patterns.items():
        for field in re.findall(r"{(.*?)}", pattern or ""):
            if field not in ("name", "stem"):
                raise ConfigError(
                    f"--{name} has {{{field}}}: it can have {{name}}, as a/cat.jpg, or {{stem}}, as a/cat.",
                    code=Code.OPTION_VALUE,
                )


def _other_image(pattern: str | None, source: Source, read: dict[str, Source]) -> Source | None:
    """The image that a pattern names for `source`; `read` has those that were looked up before."""
    if pattern is None:
        return None
    name = PurePosixPath(source.image_id)
    if "{" in pattern and (name.is_absolute() or not name.name or ".." in name.parts):
        # The name comes from a list, which may be anybody's.
        problem = f"{source.image_id} cannot be used as a name in {pattern}."
        return Source(source.image_id, source.image_id, "", problem=problem, problem_code=Code.IMAGE_NAME)
    location = pattern.replace("{name}", source.image_id).replace("{stem}", str(name.with_suffix("")))
    if location not in read:
        read[location] = one_source(location)
    return read[location]


def find(name: str | None) -> Task[Any] | None:
    """The task that a command line names, if any. Raises `ConfigError` for an unknown name."""
    try:
        return None if name is None else find_task(name)
    except TaskError as error:
        raise ConfigError(str(error), code=Code.TASK_UNKNOWN) from None
