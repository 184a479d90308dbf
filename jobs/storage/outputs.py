"""Files that a command writes where its user says: on this machine or in any storage, by the same door as a run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from jobs.common.codes import Code
from jobs.common.failures import ConfigError
from jobs.storage.store import Store
from jobs.storage.urls import is_local, local_path


def split_place(out: str) -> tuple[str, str]:
    """The folder of a file, as it was written, and the file's own name: `s3://b/x`, `a.png` of `s3://b/x/a.png`."""
    name = out.rpartition("/")[2]
    folder = out.removesuffix(name)
    return folder.rstrip("/") or ("/" if folder else "."), name


def joined(folder: str, name: str) -> str:
    """The name of a file in a folder, as a person may see it: relative where the folder was written so."""
    shown = Store(folder).url.rstrip("/")
    return name if shown == "." else f"{shown}/{name}"


def write_beside(folder: str, stem: str, endings: Mapping[str, bytes]) -> list[str]:
    """Write files that are called as a stem and their own endings, and replace none that is there.

    Returns where they are.

    Where another file has one of the names, all take the next stem: `cat-superres-v2`. A file of the very same bytes
    is the one that would be written. Raises `StoreError`.
    """
    store = Store(folder)
    for number in count(1):
        named = stem if number == 1 else f"{stem}-v{number}"
        files = {f"{named}{ending}": data for ending, data in endings.items()}
        if all(_is_free(store, name, data) for name, data in files.items()):
            taken = [name for name, data in files.items() if not _create(store, name, data)]
            if not taken:  # by another command, since we looked
                return [joined(folder, name) for name in files]
    raise AssertionError("numbers do not end")


def _is_free(store: Store, name: str, data: bytes) -> bool:
    try:
        return store.get(name) == data
    except FileNotFoundError:
        return True


def _create(store: Store, name: str, data: bytes) -> bool:
    return store.create(name, data) or _is_free(store, name, data)


def write_file(out: str, data: bytes) -> None:
    """Write one file whole, in place of any other. Raises `ConfigError` or `StoreError` where that cannot be."""
    if is_local(out):
        try:
            local_path(out).write_bytes(data)  # may be a device, as /dev/stdout
        except OSError as error:
            raise ConfigError(
                f"The file {out} cannot be written: {error.strerror}.", code=Code.OUTPUT_UNWRITABLE
            ) from None
        return
    folder, name = split_place(out)
    if not name:
        raise ConfigError(
            f"{Store(out).url} is a folder: --out is a file's name, as in {Store(out).url}answer.csv.",
            code=Code.OUTPUT_UNWRITABLE,
        )
    Store(folder).put(name, data)
