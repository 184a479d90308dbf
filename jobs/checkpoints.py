"""Restart points inside a job: what a worker that died leaves to the next.

Each is one safetensors object whose name carries its number and its hash. The two last are kept, and one is
used only where its bytes have that hash, so a half-written or damaged one costs time, never a wrong model.
"""

from __future__ import annotations

import hashlib

from jobs.store import Store
from pgcn.files import read_header, read_tensors, to_bytes
from pgcn.restart import State

KEEP = 2


def _folder(job_id: str) -> str:
    return f"checkpoints/{job_id}"


def write_checkpoint(store: Store, job_id: str, state: State) -> None:
    """Write one more restart point, and remove all but the last two."""
    tensors, where = state
    data = to_bytes(tensors, where)
    existing = sorted(store.list(_folder(job_id)))
    number = 1 + (int(existing[-1].rsplit("/", 1)[-1].split("-")[0]) if existing else 0)
    store.put(f"{_folder(job_id)}/{number:06d}-{hashlib.sha256(data).hexdigest()[:16]}.safetensors", data)
    store.delete(existing[: max(0, len(existing) - (KEEP - 1))])


def last_checkpoint(store: Store, job_id: str) -> State | None:
    """The last restart point that is whole, or None."""
    for path in sorted(store.list(_folder(job_id)), reverse=True):
        try:
            data = store.get(path)
        except FileNotFoundError:
            continue
        if path.endswith(f"-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"):
            return read_tensors(data), read_header(data)
    return None


def remove_checkpoints(store: Store, job_id: str) -> None:
    """Remove all of a job's restart points: it is committed."""
    store.delete(store.list(_folder(job_id)))
