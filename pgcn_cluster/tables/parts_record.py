"""The record of a build, `tables/parts.json`: the parts of each slice, and a digest of the records they are built from.

A later build writes the parts of a slice again only where the digest or a part is another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

import pyarrow as pa

from pgcn_jobs import layout
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.storage.store import Store


class SliceParts(NamedTuple):
    """The output of a slice: rows by table, and sizes of parts by path; "" as digest is like no other."""

    digest: str
    rows: dict[str, int]
    parts: dict[str, int]

    def is_there(self, listed: Mapping[str, int]) -> bool:
        """True if all parts are in a listing, with their sizes."""
        return all(listed.get(path) == size for path, size in self.parts.items())


def read_parts(store: Store) -> dict[str, SliceParts]:
    """The parts of the last build, by the number of their slice; empty without a record, and for one of other code."""
    try:
        record = json.loads(store.get(layout.TABLES_PARTS))
        if record["made_with"] != _made_with():
            return {}
        return {number: SliceParts(str(d), dict(r), dict(p)) for number, (d, r, p) in record["slices"].items()}
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def write_parts(store: Store, slices: Mapping[str, SliceParts]) -> None:
    """Write the record of a build."""
    record = {"made_with": _made_with(), "slices": dict(sorted(slices.items()))}
    store.put(layout.TABLES_PARTS, json.dumps(record, separators=(",", ":")).encode())


def forget_parts(store: Store) -> None:
    """Let the next build write every part again: records may have changed while their names and sizes have not."""
    store.delete([layout.TABLES_BUILT, layout.TABLES_PARTS])


@cache
def _made_with() -> str:
    """A digest of the tables' schemas, the code that builds them, and the library that writes them."""
    seen = hashlib.sha256(f"{pa.__version__} {schemas.TABLES}".encode())
    for file in sorted(resources.files("pgcn_cluster").joinpath("tables").iterdir(), key=lambda file: file.name):
        if file.is_file():
            seen.update(file.name.encode() + b"\0" + file.read_bytes())
    return seen.hexdigest()[:20]
