"""A list of images as a table: a file with one row for each image to learn from, or task on one.

Columns: `uri` (needed), `image_id`, `seed`, `method`, any setting by its name, and `channel:NAME` for files of further
channels, named as images are: `channel:label`. `exclude_uri` names a mask of pixels that nothing is learned from. Other
columns are the user's own, and are left alone, unless one looks like a misspelt setting. Rows with nothing in them are
left out.

With a column `task`, a row that has one asks for that task on the image: `target_uri`, `mask_uri` and `truth_uri` name
its other images, `edit_id` names what is made, and any option of any task is a column (`task_seed` is its `seed`).
Rows of one image share its pyramid.
"""

from __future__ import annotations

import difflib
import math
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pgcn.methods import MethodError, find_method, names_of_settings
from pgcn.tasks.task import TaskError, all_tasks, find_task
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.lists.formats import SUFFIXES, read_table
from pgcn_jobs.inputs.part_names import check_part_name
from pgcn_jobs.spec import MAX_SEED
from pgcn_jobs.storage.urls import public_url

__all__ = ["SUFFIXES", "read_image_list"]

_OWN_COLUMNS = ("uri", "image_id", "seed", "method", "exclude_uri")
CHANNEL = "channel:"
"""Begin of the names of columns with files of further channels: `channel:label`, `channel:height`."""

_TASK_COLUMNS = ("task", "target_uri", "mask_uri", "truth_uri", "edit_id", "task_seed")
NO_EXCLUDE = "pixels are excluded from trainings alone. Name the area of a task by its mask."
"""Reason for which a task takes no `exclude_uri`."""

MAX_ID = 1024  # characters, as an object's key has bytes
MAX_URI = 8192

_NEAR_MISS = 0.8  # of difflib's ratio: "iteratons" is "iterations", "label" is nothing of ours


@dataclass(frozen=True)
class EditRow:
    """The edit that a row requests."""

    task: str
    options: Mapping[str, Any]  # a CSV's values are text
    target_uri: str | None
    mask_uri: str | None
    truth_uri: str | None
    edit_id: str | None


@dataclass(frozen=True)
class Row:
    """One row: `number` counts from 1 below the header; empty fields are None or missing."""

    number: int
    uri: str
    image_id: str | None
    seed: int | None
    overrides: Mapping[str, Any]  # a CSV's values are text
    edit: EditRow | None = None
    method: str | None = None
    channels: Mapping[str, str] = field(default_factory=dict)  # files of further channels, by name
    exclude_uri: str | None = None


def read_image_list(
    data: bytes, name: str, setting_names: Collection[str], say: Callable[[str], None] = lambda sentence: None
) -> list[Row]:
    """The rows of the list with these bytes; `name` ends as the file's name does, in one of `SUFFIXES`.

    `say` is told of columns that nobody reads.

    Raises `ConfigError`, with the row's number where there is one, for a file that cannot be parsed or has no
    rows, a missing `uri`, a seed that is no whole number in 0…2⁵³, an `image_id` used for two images, a column that is
    nearly a setting's name, a task that does not exist, and what belongs to a task in a row that has none.
    """
    columns, records = read_table(data, name, lambda columns: _known(columns, setting_names))
    if "method" in columns:
        setting_names = [*setting_names, *names_of_settings()]
    known = _known(columns, setting_names)
    _check_columns(columns, name, known)
    used = [column for column in columns if column in known]
    if unread := [column for column in columns if column and column not in known]:
        say(f"{name}: nothing reads its columns {_shown(unread)}.")
    rows = [
        _row(number, record, name, used, setting_names)
        for number, record in enumerate(records, start=1)
        if not all(_is_empty(value) for value in record.values())
    ]
    if not rows:
        raise ConfigError(f"{name} has no rows: add one for each image.", code=Code.LIST_SIZE)
    _check_ids(rows, name)
    return rows


def _known(columns: Sequence[str], setting_names: Collection[str]) -> list[str]:
    """The known names in a list with these columns."""
    of_tasks = [*_TASK_COLUMNS, *_option_names()] if "task" in columns else []
    of_methods = names_of_settings() if "method" in columns else []
    parts = [column for column in columns if column.startswith(CHANNEL)]
    return [*_OWN_COLUMNS, *setting_names, *of_methods, *of_tasks, *parts]


def _check_columns(columns: Sequence[str], name: str, known: Collection[str]) -> None:
    for column in columns:
        if not column:
            continue  # an index that pandas wrote, or a comma at the end of each line
        if columns.count(column) > 1:
            raise ConfigError(f"{name} has the column {column!r} twice: remove one.", code=Code.LIST_COLUMN)
        if column in known:
            continue
        near = difflib.get_close_matches(column.strip().lower(), known, n=1, cutoff=_NEAR_MISS)
        if near:
            raise ConfigError(
                f"{name} has a column {column!r}, which looks like {near[0]!r}: correct or rename it.",
                code=Code.LIST_COLUMN,
            )
        if "task" in known and f"{column}_uri" in known:
            raise ConfigError(
                f"{name} has a column {column!r}: call it '{column}_uri', or by another name.", code=Code.LIST_COLUMN
            )
    if "uri" not in columns:
        raise ConfigError(
            f"{name} has no column 'uri' with the images' names; its columns: {_shown(columns)}.", code=Code.LIST_COLUMN
        )


def _shown(columns: Sequence[str]) -> str:
    """Columns for a sentence: a list without a header has a URL there, which may hold a secret."""
    return ", ".join(public_url(column)[:80] for column in columns[:20]) + (" …" if len(columns) > 20 else "")


def _check_ids(rows: Iterable[Row], name: str) -> None:
    first: dict[str, Row] = {}
    for row in rows:
        other = row if row.image_id is None else first.setdefault(row.image_id, row)
        # Several tasks may be asked of one image, under its one name.
        same = posixpath.normpath(row.uri) == posixpath.normpath(other.uri)
        shared = same and (row.edit is not None or other.edit is not None or _asks(row) == _asks(other))
        if other is not row and not shared:
            raise ConfigError(
                f"{name}, row {row.number} has the image_id {row.image_id!r} of row {other.number}: change one.",
                code=Code.LIST_ROW,
            )


def _asks(row: Row) -> tuple[int | None, str | None, Mapping[str, Any], Mapping[str, str], str | None]:
    """The key of a row's request: a second row with the same request adds nothing."""
    return row.seed, row.method, row.overrides, row.channels, row.exclude_uri


@cache
def _option_names() -> frozenset[str]:
    """Of all tasks. A task's seed is not among them: the column `seed` is that of the image's training."""
    return frozenset(option for task in all_tasks().values() for option in task.options.model_fields) - {"seed"}


def _row(number: int, record: Mapping[str, Any], name: str, used: Iterable[str], setting_names: Collection[str]) -> Row:
    filled = {column: _plain(record[column]) for column in used if not _is_empty(record[column])}
    if "uri" not in filled:
        raise ConfigError(f"{name}, row {number} has no 'uri': name an image, or remove the row.", code=Code.LIST_ROW)
    if not isinstance(filled["uri"], str):
        raise ConfigError(
            f"{name}, row {number}: its 'uri' is no text: write a file's name or URL.", code=Code.LIST_ROW
        )
    uri, image_id = filled["uri"].strip(), filled.get("image_id")
    image_id = None if image_id is None else str(image_id).strip()
    for column, value in filled.items():
        most = {"image_id": MAX_ID, "edit_id": MAX_ID}.get(column, MAX_URI)
        if isinstance(value, str) and len(value) > most:
            raise ConfigError(
                f"{name}, row {number}: its {column!r} has more than {most} characters: shorten it.",
                code=Code.LIST_COLUMN,
            )
    where = f"{name}, row {number}"
    edit = _edit(filled, where, setting_names)
    exclude = str(filled["exclude_uri"]).strip() if "exclude_uri" in filled else None
    if exclude is not None and edit is not None:
        raise ConfigError(f"{where} has an 'exclude_uri' and a 'task': {NO_EXCLUDE}", code=Code.LIST_ROW)
    return Row(
        number=number,
        uri=uri,
        image_id=image_id,
        seed=_seed(filled["seed"], where) if "seed" in filled else None,
        channels={
            check_part_name(column.removeprefix(CHANNEL)): str(filled[column]).strip()
            for column in filled
            if column.startswith(CHANNEL)
        },
        overrides={c: v for c, v in filled.items() if c in setting_names and not (edit and c in edit.options)},
        edit=edit,
        exclude_uri=exclude,
        method=_method(filled["method"], where) if "method" in filled else None,
    )


def _edit(filled: Mapping[str, Any], where: str, setting_names: Collection[str]) -> EditRow | None:
    """The edit of a row; a name that is both an option of the task and a setting is the option."""
    name = str(filled.get("task", "")).strip()
    options = {column: filled[column] for column in filled if column in _option_names()}
    if not name:
        stray = [c for c in filled if c in _TASK_COLUMNS or (c in options and c not in setting_names)]
        if stray:
            raise ConfigError(
                f"{where} has a {stray[0]!r}, and no 'task' that it belongs to: give one, or empty it.",
                code=Code.LIST_ROW,
            )
        return None
    try:
        task = find_task(name)
    except TaskError as error:
        raise ConfigError(f"{where}: {error}", code=Code.LIST_ROW) from None
    foreign = [column for column in options if column not in task.options.model_fields]
    if stray := [column for column in foreign if column not in setting_names]:
        raise ConfigError(
            f"{where}: the task {name} has no option {stray[0]!r}: empty it in this row.", code=Code.LIST_ROW
        )
    if "task_seed" in filled:
        options["seed"] = _seed(filled["task_seed"], where)

    def text(column: str) -> str | None:
        return str(filled[column]).strip() if column in filled else None

    own = {column: value for column, value in options.items() if column not in foreign}
    return EditRow(name, own, text("target_uri"), text("mask_uri"), text("truth_uri"), text("edit_id"))


def _method(value: Any, where: str) -> str:
    try:
        return find_method(str(value).strip()).name
    except MethodError as error:
        raise ConfigError(f"{where}: {error}", code=Code.LIST_ROW) from None


def _is_empty(value: Any) -> bool:
    """Null, blank text, or the NaN that pandas writes for nothing."""
    return value is None or (isinstance(value, str) and not value.strip()) or (value != value)


def _plain(value: Any) -> Any:
    """Text that a Parquet file holds as bytes, as text; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _seed(value: Any, where: str) -> int:
    try:
        # "3.0" is what pandas writes of a column of whole numbers in which one is missing.
        seed = int(re.sub(r"\.0*$", "", value.strip()) if isinstance(value, str) else value)
        exact = not isinstance(value, bool) and (isinstance(value, str) or math.isclose(seed, value, rel_tol=0))
    except (ValueError, TypeError, OverflowError):
        exact = False
    if not exact or not 0 <= seed <= MAX_SEED:
        raise ConfigError(
            f"{where}: the seed {value!r} is not a whole number from 0 to {MAX_SEED}.", code=Code.LIST_ROW
        )
    return seed
