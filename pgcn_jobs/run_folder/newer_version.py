"""Detection of records that a newer version of the program wrote: known fields are read, no such record is removed.

A record is newer if it names a later version, or has a field or column that this version does not know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from pgcn.methods import DEFAULT, MethodError
from pgcn_jobs import layout
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.common.failures import ConfigError, FailureClass, StoreError
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.commit import Artifact, Commit, Failure
from pgcn_jobs.run_folder.identity import RunIdentity
from pgcn_jobs.run_folder.old_names import current_row, is_old_name
from pgcn_jobs.spec import known_settings
from pgcn_jobs.storage.store import Store


def check_not_newer(store: Store) -> None:
    """Raises `ConfigError` if a newer version wrote any record of the run: none of its objects may be removed then."""
    found = list(newer_records(store))
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise ConfigError(
            f"{store.url} has records of a newer pgcn than this {version('pgcn')} ({', '.join(found[:3])}{more}): "
            "nothing was removed or mended. Use the newer version for that.",
            code=Code.RUN_OTHER,
        )


def newer_records(store: Store) -> Iterator[str]:
    """The paths of the run's records that a newer version wrote."""
    parts = layout.matching(layout.MANIFEST_PART, store.list("manifest"))
    edits = layout.matching(layout.EDITS_PART, store.list("manifest_edits"))
    kinds: list[tuple[str, Callable[[bytes], bool]]] = [
        *((path, _is_newer_commit) for path in layout.matching(layout.COMMIT, store.list("commits"))),
        *((path, _is_newer_failure) for path in layout.matching(layout.FAILURE, store.list("failures"))),
        *((path, _is_newer(schemas.MANIFEST)) for path in parts),
        *((path, _is_newer(schemas.MANIFEST_EDITS)) for path in edits),
        (layout.RUN, _is_newer_run),
    ]

    def newer(kind: tuple[str, Callable[[bytes], bool]]) -> bool:
        try:
            return kind[1](store.get(kind[0]))
        except FileNotFoundError:
            return False

    yield from (path for (path, _), found in zip(kinds, concurrent_map(newer, kinds), strict=True) if found)
    yield from (f"tables/{name}" for name, schema in schemas.TABLES.items() if _has_newer_part(store, name, schema))


def is_newer_commit(store: Store, job: str) -> bool:
    """True if a newer version wrote the job's commit."""
    try:
        return _is_newer_commit(store.get(layout.commit_path(job)))
    except FileNotFoundError:
        return False


def _is_newer_commit(data: bytes) -> bool:
    record = _object(data)
    result = record.get("result")
    result = result if isinstance(result, dict) else {}
    columns = set(schemas.TABLES[schemas.kind_of(result).results].names)
    artifacts = record.get("artifacts")
    listed = artifacts if isinstance(artifacts, list) else []
    return (
        bool(record.keys() - Commit.model_fields.keys() or current_row(result).keys() - columns)
        or any(isinstance(one, dict) and one.keys() - Artifact.model_fields.keys() for one in listed)
        or _is_later(result.get("pgcn_version"))
    )


def _is_newer_failure(data: bytes) -> bool:
    record = _object(data)
    return bool(record.keys() - Failure.model_fields.keys()) or (
        isinstance(record.get("failure"), str) and record["failure"] not in set(FailureClass)
    )


def _is_newer_run(data: bytes) -> bool:
    record = _object(data)
    others = record.get("others")
    methods = {record.get("method", DEFAULT): record.get("settings")} | (others if isinstance(others, dict) else {})
    return (
        bool(record.keys() - RunIdentity.model_fields.keys())
        or any(_are_newer(settings, name) for name, settings in methods.items())
        or _is_later(record.get("pgcn_version"))
    )


def _are_newer(settings: object, method: str) -> bool:
    """True for settings of a method that this version does not know, or with unknown names."""
    if not isinstance(settings, dict):
        return False
    try:
        return bool(known_settings(settings, method)[1])
    except MethodError:
        return True


def _is_newer(schema: pa.Schema) -> Callable[[bytes], bool]:
    def newer(data: bytes) -> bool:
        try:
            return _has_newer(schemas.read_parquet(data).column_names, schema)
        except (OSError, ValueError, pa.ArrowException):
            return False

    return newer


def _has_newer_part(store: Store, name: str, schema: pa.Schema) -> bool:
    try:
        data = store.parquet(f"tables/{name}")
        parts = [] if data is None else [fragment.physical_schema.names for fragment in data.get_fragments()]
    except (StoreError, OSError, ValueError, pa.ArrowException):
        return False  # damaged: of no known version
    return any(_has_newer(names, schema) for names in parts)


def _has_newer(names: Iterable[str], schema: pa.Schema) -> bool:
    return any(name not in schema.names and not is_old_name(name) for name in names)


def _object(data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_later(text: object) -> bool:
    """True for a version later than this one: "0.10.0" is later than "0.9.1"."""
    return isinstance(text, str) and _numbers(text) > _numbers(version("pgcn"))


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"\d{1,9}(?:\.\d{1,9}){0,9}", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
