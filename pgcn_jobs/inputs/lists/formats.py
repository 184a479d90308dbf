"""The formats of a list of images: CSV, TSV, JSON Lines and Parquet, the texts also compressed by gzip."""

from __future__ import annotations

import codecs
import csv
import io
import json
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow.parquet as pq

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError

_TEXTS = (".csv", ".tsv", ".jsonl")
SUFFIXES = (*_TEXTS, *(f"{suffix}.gz" for suffix in _TEXTS), ".parquet")

MAX_ROWS = 10_000_000
MAX_COLUMNS = 1000
MAX_UNPACKED = 512 * 2**20
"""Bytes of a list that gzip has compressed: it may be a thousand times as long as its file."""

_DELIMITERS = (",", ";", "\t")

Table = tuple[Sequence[str], Iterator[Mapping[str, Any]]]
"""Columns, and rows by column."""


def read_table(data: bytes, name: str, known: Callable[[Sequence[str]], Collection[str]]) -> Table:
    """The columns and rows of a list with these bytes; `name` ends as the file's name does.

    Of a Parquet file, rows have the columns that `known` names alone. Raises `ConfigError` for what is no such file.
    """
    plain = name.lower()
    if plain.endswith(".parquet"):
        return _parquet(data, name, known)
    if plain.endswith(".gz"):
        data, plain = _unpacked(data, name), plain.removesuffix(".gz")
    text = _text(data, name)
    if plain.endswith(".jsonl"):
        return _json_lines(text, name)
    return _delimited(text, name, "\t" if plain.endswith(".tsv") else None)


def _unpacked(data: bytes, name: str) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    whole = b""
    try:
        while data:
            whole += unpacker.decompress(data, MAX_UNPACKED + 1 - len(whole))
            if len(whole) > MAX_UNPACKED:
                raise ConfigError(f"{name} holds more than {MAX_UNPACKED:,} bytes: split it.", code=Code.LIST_SIZE)
            if not unpacker.eof:
                break
            data, unpacker = unpacker.unused_data, zlib.decompressobj(wbits=31)
    except zlib.error:
        raise ConfigError(
            f"{name} is not compressed by gzip: correct its name, or compress it again.", code=Code.LIST_UNREADABLE
        ) from None
    if data:
        raise ConfigError(f"{name} ends too early: compress it again.", code=Code.LIST_UNREADABLE)
    return whole


def _text(data: bytes, name: str) -> str:
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is not UTF-8 text: save it in UTF-8.", code=Code.LIST_UNREADABLE) from None


def _delimited(text: str, name: str, delimiter: str | None) -> Table:
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # a hint that Excel writes
        delimiter, text = first.strip()[4], rest
    header = text.partition("\n")[0]
    delimiter = delimiter or next((d for d in _DELIMITERS if "uri" in _names(header.split(d))), ",")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        columns = [column.strip() for column in next(lines, [])]
        _check_columns(len(columns), name)
        rows = list(islice((row for row in lines if row), MAX_ROWS + 1))
    except csv.Error as error:
        kind = "TSV" if delimiter == "\t" else "CSV"
        raise ConfigError(
            f"{name} is not a {kind} file: {error} (line {lines.line_num}).", code=Code.LIST_UNREADABLE
        ) from None
    _check_rows(len(rows), name)
    for number, row in enumerate(rows, start=1):
        # A comma in a name would shift the columns.
        if len(row) > len(columns) and any(field.strip() for field in row[len(columns) :]):
            raise ConfigError(
                f"{name}, row {number} has more fields than the header: quote fields with a comma.", code=Code.LIST_ROW
            )
    return columns, (dict(zip(columns, [*row, *[None] * (len(columns) - len(row))], strict=False)) for row in rows)


def _names(header: Sequence[str]) -> list[str]:
    return [name.strip().strip('"') for name in header]


def _json_lines(text: str, name: str) -> Table:
    rows: list[dict[str, Any]] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise ConfigError(
                f'{name}, line {number} is not a JSON object, as {{"uri": "a.png"}} is: correct it.', code=Code.LIST_ROW
            )
        columns |= dict.fromkeys(row)
        rows.append(row)
        _check_columns(len(columns), name)
        _check_rows(len(rows), name)
    return list(columns), ({column: row.get(column) for column in columns} for row in rows)


def _parquet(data: bytes, name: str, known: Callable[[Sequence[str]], Collection[str]]) -> Table:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        columns, rows = file.schema_arrow.names, file.metadata.num_rows
        if rows <= MAX_ROWS and len(columns) <= MAX_COLUMNS and len(set(columns)) == len(columns):
            wanted = set(known(columns))
            used = [column for column in columns if column in wanted]
            return columns, iter(file.read(columns=used).to_pylist())
    except Exception:  # hostile bytes: any exception at all can come out of them
        raise ConfigError(
            f"{name} is not a Parquet file that can be read: write it again.", code=Code.LIST_UNREADABLE
        ) from None
    _check_columns(len(columns), name)
    _check_rows(rows, name)
    return columns, iter(())  # a column twice: said by those who look at the columns


def _check_columns(count: int, name: str) -> None:
    """Raises `ConfigError` for a list with more columns than any list needs, before its rows are in memory."""
    if count > MAX_COLUMNS:
        raise ConfigError(
            f"{name} has {count:,} columns, and a list may have {MAX_COLUMNS}: keep those it needs.",
            code=Code.LIST_SIZE,
        )


def _check_rows(count: int, name: str) -> None:
    if count > MAX_ROWS:
        raise ConfigError(f"{name} has more than {MAX_ROWS:,} rows: split it.", code=Code.LIST_SIZE)
