"""What an earlier build left that is still right, so that a large run's gallery can be rebuilt as it grows."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import PIL

from jobs.storage.store import Store

BUILT = "built.json"


class Built(NamedTuple):
    """One job's page and thumbnail as they lie in the gallery: a digest of what they show, the thumbnail's size."""

    digest: str
    width: int
    height: int


def read_built(store: Store) -> dict[str, Built]:
    """What the last build wrote, by job_id. Nothing, where there was none or its record cannot be read."""
    try:
        record = json.loads(store.get(f"gallery/{BUILT}"))
        return {job_id: Built(str(d), int(w), int(h)) for job_id, (d, w, h) in record.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def built_bytes(built: dict[str, Built]) -> bytes:
    """The record for the next build."""
    return json.dumps(dict(sorted(built.items())), separators=(",", ":")).encode()


def digest(shown: Any) -> str:
    """Name what a page shows, and the code that draws it. An attempt's artifacts never change, so its id is enough."""
    text = json.dumps([_made_with(), shown], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@cache
def _made_with() -> str:
    """A digest of this package's code and templates, and of the library that writes the pictures."""
    seen = hashlib.sha256(PIL.__version__.encode())
    for folder in ("gallery", "gallery/templates"):
        files = (f for f in resources.files("cluster").joinpath(folder).iterdir() if f.is_file())
        for file in sorted(files, key=lambda f: f.name):
            seen.update(file.name.encode() + b"\0" + file.read_bytes())
    return seen.hexdigest()
