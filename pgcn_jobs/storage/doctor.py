"""`pgcn doctor`: tests of a storage, reported as findings with their consequence for a run.

The tests use the operations of a run, in a temporary folder that is removed afterwards.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import botocore.session
from botocore.exceptions import BotoCoreError

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.storage.store import Store, explain
from pgcn_jobs.storage.urls import filesystem, is_hub, is_local, is_s3, local_path, read_only_problem

LARGE_BYTES = 12 * 2**20
"""Size of the large object, which a client with multipart upload would split."""

ROUNDS = 5
"""Repetitions of the tests of overwriting and of listing."""

MAX_SKEW_S = 60.0
"""Largest difference of clocks without a finding, seconds."""

_SOURCES = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "shared-credentials-file": "the credentials file",
    "config-file": "the configuration file",
    "iam-role": "this machine's role",
    "container-role": "this container's role",
    "assume-role": "a role that the configuration names",
    "assume-role-with-web-identity": "a role of the cluster (AWS_WEB_IDENTITY_TOKEN_FILE)",
}


@dataclass(frozen=True)
class Finding:
    """Result of one test, its consequence for a run, and whether the storage is usable for a run in this respect."""

    subject: str
    result: str
    consequence: str = ""
    usable: bool = True


def examine(url: str) -> Iterator[Finding]:
    """Test the folder or bucket at `url`; yields each finding at once.

    Raises `StoreError` or `ConfigError` for a URL that can hold no run.
    """
    if problem := read_only_problem(url):
        raise StoreError(problem, code=Code.STORAGE_UNSUPPORTED)
    yield _location(url)
    trial = _Trial(Store(url))
    made = _absent(local_path(url) / trial.folder) if is_local(url) else []
    try:
        yield from trial.findings()
    finally:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()


class _Trial:
    """One examination, in a folder of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.folder = f"doctor-{secrets.token_hex(6)}"
        self._small = f"{self.folder}/small"
        self._large = f"{self.folder}/large"

    def findings(self) -> Iterator[Finding]:
        """The findings of all tests, except of those that need a missing permission."""
        listing = _tried("list", self._list)
        yield listing
        writing = _tried("write", self._write)
        yield writing
        if not (listing.usable or writing.usable):
            return  # no server or no permission: each further test would wait as long
        try:
            yield from self._with_rights(listing, writing)
        finally:
            with contextlib.suppress(StoreError):
                self._store.delete([self._small, self._large, *map(self._round, range(ROUNDS))])

    def _with_rights(self, listing: Finding, writing: Finding) -> Iterator[Finding]:
        reading = _tried("read", self._read if writing.usable else self._read_nothing)
        yield reading
        if not writing.usable:
            yield Finding("delete", "not tried: nothing could be written", usable=False)
            return
        if reading.usable:
            yield _tried("overwrite", self._overwrite)
            yield _tried("conditional put", self._condition)
            yield _tried("large put", self._large_put)
            yield _tried("clock", self._clock)
        deleting = _tried("delete", self._delete)
        if not deleting.usable:
            deleting = replace(
                deleting, consequence=f"The test objects are left in {self.folder}: remove them by hand."
            )
        yield deleting
        if listing.usable and deleting.usable:
            yield _tried("listing", self._listing)

    def _round(self, turn: int) -> str:
        return f"{self.folder}/round-{turn}"

    def _list(self) -> Finding:
        self._store.list(self.folder)
        return Finding("list", "allowed")

    def _write(self) -> Finding:
        self._store.put(self._small, b"one")
        return Finding("write", "allowed")

    def _read(self) -> Finding:
        if self._store.get(self._small) == b"one":
            return Finding("read", "allowed; the written object is readable at once")
        return Finding("read", "the bytes differ from those written", "No run can be kept here.", usable=False)

    def _read_nothing(self) -> Finding:
        """A read of an absent object: a storage that forbids reading does not report that it is absent."""
        with contextlib.suppress(FileNotFoundError):
            self._store.get(self._small)
        return Finding("read", "allowed", "Images can be read from here.")

    def _overwrite(self) -> Finding:
        late = 0
        for turn in range(ROUNDS):
            data = b"x" * (turn + 10)
            self._store.put(self._small, data)
            late += self._store.get(self._small) != data
        if not late:
            return Finding("overwrite", "visible at once")
        consequence = "`pgcn status` and tables may be out of date. Commits are written once, and are right."
        return Finding("overwrite", f"the earlier object was read {late} times of {ROUNDS}", consequence)

    def _condition(self) -> Finding:
        self._store.put(self._small, b"first")
        if not self._store.claim(self._small, b"second"):
            return Finding("conditional put", "honoured", "Of two commits of one job the first stands.")
        consequence = (
            "Of two concurrent commits of one job the last stands. Both are valid, and nothing depends on the choice; "
            "start one driver per run, so that nothing is trained twice."
        )
        return Finding("conditional put", "ignored: the object was replaced without an error", consequence)

    def _large_put(self) -> Finding:
        data = os.urandom(LARGE_BYTES)
        began = time.monotonic()
        self._store.put(self._large, data)
        written = time.monotonic()
        same = self._store.get(self._large) == data
        read = time.monotonic()
        if not same:
            return Finding("large put", "the object was damaged", "No run can be kept here.", usable=False)
        write_rate, read_rate = LARGE_BYTES / 1e6 / (written - began), LARGE_BYTES / 1e6 / (read - written)
        speeds = f"{write_rate:.0f} MB/s written, {read_rate:.0f} MB/s read"
        consequence = "A run sends each object in one request: no multipart upload is needed or left incomplete."
        return Finding("large put", f"{LARGE_BYTES >> 20} MiB intact; {speeds}", consequence)

    def _clock(self) -> Finding:
        before = time.time()
        self._store.put(self._small, b"what time is it")
        after = time.time()
        moment = self._store.modified(self._small)
        if moment is None:
            consequence = "`pgcn gc` keeps attempts and temporary files here."
            return Finding("clock", "unknown: this storage reports no modification times", consequence)
        theirs = moment.timestamp()  # often in whole seconds
        skew = min(0.0, theirs + 1 - before) + max(0.0, theirs - after)
        if abs(skew) <= MAX_SKEW_S:
            return Finding("clock", f"within {max(1.0, abs(skew)):.0f} s of this machine's")
        consequence = "Set the wrong clock: S3 refuses requests beyond 900 s, and `pgcn gc` removes objects by age."
        return Finding("clock", f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's", consequence)

    def _delete(self) -> Finding:
        self._store.delete([self._small])
        if not self._store.exists(self._small):
            return Finding("delete", "allowed")
        return Finding("delete", "a removed object is still there", "A damaged result may not be replaced.")

    def _listing(self) -> Finding:
        late = []
        for turn in range(ROUNDS):
            path = self._round(turn)
            self._store.put(path, b"1")
            late += ["a write"] * (path not in self._store.list(self.folder))
            self._store.delete([path])
            late += ["a delete"] * (path in self._store.list(self.folder))
        if not late:
            return Finding("listing", "up to date at once after a write and after a delete")
        consequence = (
            "A run may train an image again, or report missing results at its end: "
            "the same command finds them a little later."
        )
        return Finding("listing", f"out of date after {' and '.join(sorted(set(late)))}", consequence)


def _absent(folder: Path) -> list[Path]:
    """The folder and its parents that do not exist, the deepest first."""
    return [part for part in (folder, *folder.parents) if not os.path.exists(part)]  # noqa: PTH110 (Path's may raise)


def _tried(subject: str, step: Callable[[], Finding]) -> Finding:
    try:
        return step()
    except (StoreError, FileNotFoundError) as error:
        return Finding(subject, str(error), usable=False)


def _location(url: str) -> Finding:
    """The location of the storage, and the source of the credentials; never a key."""
    if is_local(url):
        consequence = "Workers on other machines need it mounted at the same path."
        return Finding("place", "a folder as this machine sees it", consequence)
    filesystem(url)
    if is_hub(url):
        consequence = "Workers on other machines need HF_TOKEN, too. Not yet tried on the real service."
        return Finding("place", "a storage bucket of the Hugging Face hub; credentials come from HF_TOKEN", consequence)
    if not is_s3(url):
        return Finding("place", f"reached through fsspec, as {url.partition('://')[0]}")
    session = botocore.session.Session()
    try:
        credentials = session.get_credentials()
        endpoint = urlsplit(session.create_client("s3", region_name="us-east-1").meta.endpoint_url)
    except (BotoCoreError, ValueError) as error:
        return Finding("place", explain(error, url), usable=False)
    source = _SOURCES.get(credentials.method, credentials.method) if credentials else "nowhere: none are set"
    port = f":{endpoint.port}" if endpoint.port else ""
    return Finding(
        "place",
        f"S3 at {endpoint.scheme}://{endpoint.hostname}{port}; credentials come from {source}",
        "Workers on other machines need the same endpoint, and credentials of their own.",
    )
