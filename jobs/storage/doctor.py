"""What a storage does and does not: tried on it, said in sentences, with what follows for a run.

Everything is tried with the calls that a run makes, in a folder of its own that is gone afterwards.
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

from jobs.common.codes import Code
from jobs.common.failures import StoreError
from jobs.storage.store import Store, explain
from jobs.storage.urls import filesystem, is_local, is_s3, is_web, local_path

LARGE = 12 * 2**20
"""Bytes of the large object: a tool that sends parts would send more than one."""

ROUNDS = 5
"""How often something is written, listed, removed and listed again."""

SKEW_S = 60.0
"""Clocks that differ by more are a finding."""

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
    """One thing that was tried: what it showed, what follows for a run, and whether a run can live with it."""

    subject: str
    result: str
    follows: str = ""
    usable: bool = True


def examine(url: str) -> Iterator[Finding]:
    """Try what a run needs of the folder or bucket at `url`; findings come as they are made.

    Raises `StoreError` or `ConfigError` for a URL that no run can be kept at.
    """
    if is_web(url):
        raise StoreError(
            f"Cannot use {Store(url).url}: a web address can only be read; give a folder or a bucket.",
            code=Code.STORAGE_UNSUPPORTED,
        )
    yield _place(url)
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
        """Everything, one after another; what hangs on a right that is missing is not tried."""
        listing = _tried("list", self._list)
        yield listing
        writing = _tried("write", self._write)
        yield writing
        if not (listing.usable or writing.usable):
            return  # nobody is there, or nothing is allowed: each further question would wait as long
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
            deleting = replace(deleting, follows=f"What was tried is left in {self.folder}: remove it by hand.")
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
            return Finding("read", "allowed; what was written came back at once")
        return Finding("read", "other bytes came back than were written", "No run can be kept here.", usable=False)

    def _read_nothing(self) -> Finding:
        """A storage that forbids reading does not say either that an object is absent."""
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
            return Finding("overwrite", "seen at once")
        follows = "`pgcn status` and tables may be behind. Commits are written once, and are right."
        return Finding("overwrite", f"the earlier object was read {late} times of {ROUNDS}", follows)

    def _condition(self) -> Finding:
        self._store.put(self._small, b"first")
        if not self._store.claim(self._small, b"second"):
            return Finding("conditional put", "honoured", "Of two commits of one job the first stands.")
        follows = (
            "Of two commits of one job at the same moment the last stands. Both are right, and nothing depends on "
            "which; start one driver a run, to train nothing twice."
        )
        return Finding("conditional put", "ignored: the object was replaced without a word", follows)

    def _large_put(self) -> Finding:
        data = os.urandom(LARGE)
        began = time.monotonic()
        self._store.put(self._large, data)
        written = time.monotonic()
        same = self._store.get(self._large) == data
        read = time.monotonic()
        if not same:
            return Finding("large put", "it came back damaged", "No run can be kept here.", usable=False)
        speeds = f"{LARGE / 1e6 / (written - began):.0f} MB/s written, {LARGE / 1e6 / (read - written):.0f} MB/s read"
        follows = "A run sends each object whole, in one request: no multipart upload is needed, or left behind."
        return Finding("large put", f"{LARGE >> 20} MiB came back; {speeds}", follows)

    def _clock(self) -> Finding:
        before = time.time()
        self._store.put(self._small, b"what time is it")
        after = time.time()
        moment = self._store.modified(self._small)
        if moment is None:
            follows = "`pgcn gc` leaves unfinished files alone here."
            return Finding("clock", "not known: this storage does not tell when an object was written", follows)
        theirs = moment.timestamp()  # often in whole seconds
        skew = min(0.0, theirs + 1 - before) + max(0.0, theirs - after)
        if abs(skew) <= SKEW_S:
            return Finding("clock", f"within {max(1.0, abs(skew)):.0f} s of this machine's")
        follows = "Set the one that is wrong: S3 refuses requests beyond 900 s, and `pgcn gc` goes by age."
        return Finding("clock", f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's", follows)

    def _delete(self) -> Finding:
        self._store.delete([self._small])
        if not self._store.exists(self._small):
            return Finding("delete", "allowed")
        return Finding("delete", "a removed object is still there", "A damaged result may not be made anew.")

    def _listing(self) -> Finding:
        late = []
        for turn in range(ROUNDS):
            path = self._round(turn)
            self._store.put(path, b"1")
            late += ["a write"] * (path not in self._store.list(self.folder))
            self._store.delete([path])
            late += ["a delete"] * (path in self._store.list(self.folder))
        if not late:
            return Finding("listing", "right at once after a write and after a delete")
        follows = (
            "A run may train an image again, or say at its end that results are missing: "
            "the same command, a little later, finds them."
        )
        return Finding("listing", f"behind after {' and '.join(sorted(set(late)))}", follows)


def _absent(folder: Path) -> list[Path]:
    """The folder and those above it that are not there, the deepest first."""
    return [part for part in (folder, *folder.parents) if not os.path.exists(part)]  # noqa: PTH110 (Path's may raise)


def _tried(subject: str, step: Callable[[], Finding]) -> Finding:
    try:
        return step()
    except (StoreError, FileNotFoundError) as error:
        return Finding(subject, str(error), usable=False)


def _place(url: str) -> Finding:
    """Where the storage is, and whose word opens it: never a key."""
    if is_local(url):
        follows = "Workers on other machines need it mounted at the same path."
        return Finding("place", "a folder as this machine sees it", follows)
    filesystem(url)
    if not is_s3(url):
        return Finding("place", f"reached through fsspec, as {url.partition('://')[0]}")
    session = botocore.session.Session()
    try:
        credentials = session.get_credentials()
        endpoint = urlsplit(session.create_client("s3", region_name="us-east-1").meta.endpoint_url)
    except (BotoCoreError, ValueError) as error:
        return Finding("place", explain(error, url), usable=False)
    source = _SOURCES.get(credentials.method, credentials.method) if credentials else "nowhere: there are none"
    port = f":{endpoint.port}" if endpoint.port else ""
    return Finding(
        "place",
        f"S3 at {endpoint.scheme}://{endpoint.hostname}{port}; credentials come from {source}",
        "Workers on other machines need the same endpoint, and credentials of their own.",
    )
