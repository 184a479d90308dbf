"""Restart points inside a job: what a worker that died leaves to the next.

Each is one safetensors object whose name carries its number and its hash. The two last are kept, and one is
used only where its bytes have that hash, so a half-written or damaged one costs time, never a wrong model.
"""

from __future__ import annotations

import hashlib

from jobs import layout
from jobs.storage.store import Store
from pgcn.patchgencn.resume import State
from pgcn.tensor_files import read_header, read_tensors, to_bytes

KEEP = 2


class Checkpoints:
    """A job's restart points, as one attempt knows them: listed once, since each listing is a request more."""

    def __init__(self, store: Store, job_id: str) -> None:
        self._store = store
        self._job_id = job_id
        self._paths = _listed(store, job_id)

    def last(self) -> State | None:
        """The last restart point that is whole, or None."""
        for path in reversed(self._paths):
            try:
                data = self._store.get(path)
            except FileNotFoundError:
                continue
            if path.endswith(f"-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"):
                return read_tensors(data), read_header(data)
        return None

    def write(self, state: State) -> None:
        """Write one more, and remove all but the last two."""
        tensors, where = state
        data = to_bytes(tensors, where)
        number = 1 + (int(self._paths[-1].rsplit("/", 1)[-1].split("-")[0]) if self._paths else 0)
        path = layout.checkpoint_path(self._job_id, number, hashlib.sha256(data).hexdigest())
        self._store.put(path, data)
        self._paths.append(path)
        self._store.delete(self._paths[:-KEEP])
        del self._paths[:-KEEP]


def remove_checkpoints(store: Store, job_id: str) -> None:
    """Remove all of a job's restart points, whoever wrote them: it is committed."""
    store.delete(_listed(store, job_id))


def _listed(store: Store, job_id: str) -> list[str]:
    return layout.matching(layout.CHECKPOINT, store.list(layout.checkpoint_folder(job_id)))
