"""A list of images as a table: a CSV or Parquet file with one row for each image to learn from, or task on one.

Columns: `uri` (needed), `image_id`, `seed`, and any setting by its name. Other columns are the user's own, and
are left alone, unless one looks like a misspelt setting.

With a column `task`, a row that has one asks for that task on the image: `target_uri`, `mask_uri` and `truth_uri` name
its other pictures, `edit_id` names what is made, and any option of any task is a column (`task_seed` is its `seed`).
Rows of one image share its model.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow.parquet as pq

from jobs.common.codes import Code
from jobs.common.failures import ConfigError
from jobs.spec import MAX_SEED
from jobs.storage.urls import public_url
from pgcn.tasks.task import TaskError, all_tasks, find_task

SUFFIXES = (".csv", ".parquet")

_OWN_COLUMNS = ("uri", "image_id", "seed")
_TASK_COLUMNS = ("task", "target_uri", "mask_uri", "truth_uri", "edit_id", "task_seed")
MAX_ROWS = 10_000_000
MAX_COLUMNS = 1000
MAX_ID = 1024  # characters, as an object's key has bytes
MAX_URI = 8192

_NEAR_MISS = 0.8  # of difflib's ratio: "iteratons" is "iterations", "label" is nothing of ours


@dataclass(frozen=True)
class EditRow:
    """What a row asks of its image's model, where it has a task."""

    task: str
    options: Mapping[str, Any]  # a CSV's values are text
    target_uri: str | None
    mask_uri: str | None
    truth_uri: str | None
    edit_id: str | None


@dataclass(frozen=True)
class Row:
    """One row: `number` counts from 1 below the header; what was left empty is None or missing."""

    number: int
    uri: str
    image_id: str | None
    seed: int | None
    overrides: Mapping[str, Any]  # a CSV's values are text
    edit: EditRow | None = None


def read_image_list(data: bytes, name: str, setting_names: Collection[str]) -> list[Row]:
    """The rows of the CSV or Parquet file with these bytes; `name` ends as the file's name does.

    Raises `ConfigError`, with the row's number where there is one, for a file that cannot be parsed or has no
    rows, a missing `uri`, a seed that is no whole number in 0…2⁵³, an `image_id` used for two images, a column that is
    nearly a setting's name, a task that does not exist, and what belongs to a task in a row that has none.
    """
    columns, records = _parquet(data, name, setting_names) if name.lower().endswith(".parquet") else _csv(data, name)
    known = _known(columns, setting_names)
    _check_columns(columns, name, known)
    used = [column for column in columns if column in known]
    rows = [_row(number, record, name, used, setting_names) for number, record in enumerate(records, start=1)]
    if not rows:
        raise ConfigError(f"{name} has no rows: add one for each image.", code=Code.LIST_SIZE)
    _check_ids(rows, name)
    return rows


def _csv(data: bytes, name: str) -> tuple[Sequence[str], Iterator[Mapping[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is not UTF-8 text: save it as CSV in UTF-8.", code=Code.LIST_UNREADABLE) from None
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        return list(lines.fieldnames or ()), iter(_even(list(lines), name))
    except csv.Error as error:
        raise ConfigError(
            f"{name} is not a CSV file: {error} (line {lines.line_num}).", code=Code.LIST_UNREADABLE
        ) from None


def _even(records: Sequence[dict[str, Any]], name: str) -> Iterable[Mapping[str, Any]]:
    """The records, if none has more fields than the header: a comma in a name would shift the columns."""
    for number, record in enumerate(records, start=1):
        if None in record:
            raise ConfigError(
                f"{name}, row {number} has more fields than the header: quote fields with a comma.", code=Code.LIST_ROW
            )
    return records


def _known(columns: Sequence[str], setting_names: Collection[str]) -> list[str]:
    """The names that mean something to us in a list with these columns."""
    of_tasks = [*_TASK_COLUMNS, *_option_names()] if "task" in columns else []
    return [*_OWN_COLUMNS, *setting_names, *of_tasks]


def _parquet(
    data: bytes, name: str, setting_names: Collection[str]
) -> tuple[Sequence[str], Iterator[Mapping[str, Any]]]:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        columns, rows = file.schema_arrow.names, file.metadata.num_rows
        if rows <= MAX_ROWS and len(set(columns)) == len(columns):
            known = set(_known(columns, setting_names))
            used = [column for column in columns if column in known]
            return columns, iter(file.read(columns=used).to_pylist())
    except Exception:  # hostile bytes: any exception at all can come out of them
        raise ConfigError(
            f"{name} is not a Parquet file that can be read: write it again.", code=Code.LIST_UNREADABLE
        ) from None
    if rows > MAX_ROWS:
        raise ConfigError(f"{name} has {rows:,} rows, and a list may have {MAX_ROWS:,}: split it.", code=Code.LIST_SIZE)
    return columns, iter(())  # a column twice: said by those who look at the columns


def _check_columns(columns: Sequence[str], name: str, known: Collection[str]) -> None:
    if len(columns) > MAX_COLUMNS:
        raise ConfigError(
            f"{name} has {len(columns):,} columns, and a list may have {MAX_COLUMNS}: keep those it needs.",
            code=Code.LIST_SIZE,
        )
    for column in columns:
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
        shared = row.uri == other.uri and (row.edit is not None or other.edit is not None)
        if other is not row and not shared:
            raise ConfigError(
                f"{name}, row {row.number} has the image_id {row.image_id!r} of row {other.number}: change one.",
                code=Code.LIST_ROW,
            )


@cache
def _option_names() -> frozenset[str]:
    """Of all tasks. A task's seed is not among them: the column `seed` is that of the image's training."""
    return frozenset(option for task in all_tasks().values() for option in task.options.model_fields) - {"seed"}


def _row(number: int, record: Mapping[str, Any], name: str, used: Iterable[str], setting_names: Collection[str]) -> Row:
    filled = {column: record[column] for column in used if not _is_empty(record[column])}
    if "uri" not in filled:
        raise ConfigError(f"{name}, row {number} has no 'uri': name an image, or remove the row.", code=Code.LIST_ROW)
    uri, image_id = str(filled["uri"]).strip(), filled.get("image_id")
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
    return Row(
        number=number,
        uri=uri,
        image_id=image_id,
        seed=_seed(filled["seed"], where) if "seed" in filled else None,
        overrides={c: v for c, v in filled.items() if c in setting_names and not (edit and c in edit.options)},
        edit=edit,
    )


def _edit(filled: Mapping[str, Any], where: str, setting_names: Collection[str]) -> EditRow | None:
    """What a row asks of its image's model; a name that is the task's option and a setting too is the option."""
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


def _is_empty(value: Any) -> bool:
    """Null, blank text, or the NaN that pandas writes for nothing."""
    return value is None or (isinstance(value, str) and not value.strip()) or (value != value)


def _seed(value: Any, where: str) -> int:
    try:
        seed = int(value)
        exact = not isinstance(value, bool) and (isinstance(value, str) or math.isclose(seed, value, rel_tol=0))
    except (ValueError, TypeError, OverflowError):
        exact = False
    if not exact or not 0 <= seed <= MAX_SEED:
        raise ConfigError(
            f"{where}: the seed {value!r} is not a whole number from 0 to {MAX_SEED}.", code=Code.LIST_ROW
        )
    return seed
