"""Output files of a command, at a path of this machine or a URL of any storage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.storage.store import Store
from pgcn_jobs.storage.urls import is_local, local_path

STEM_BYTES = 160  # of the 255 that a file's name may have


def file_stem(image_id: str) -> str:
    """The stem of an image's file names: letters, digits, `_`, `-` and `.` alone, and never very long.

    The image_id is somebody's file name, and may hold folders and anything else; "" where nothing of it is left.
    """
    plain = re.sub(r"[^\w.-]+", "_", re.sub(r"\.\w{1,5}$", "", image_id)).strip("._-")
    return plain.encode()[:STEM_BYTES].decode(errors="ignore")


def split_place(out: str) -> tuple[str, str]:
    """Folder and name of a file, as written: `s3://b/x` and `a.png` for `s3://b/x/a.png`."""
    name = out.rpartition("/")[2]
    folder = out.removesuffix(name)
    return folder.rstrip("/") or ("/" if folder else "."), name


def joined(folder: str, name: str) -> str:
    """The public name of a file in a folder; relative if the folder is."""
    shown = Store(folder).url.rstrip("/")
    return name if shown == "." else f"{shown}/{name}"


def write_beside(folder: str, stem: str, endings: Mapping[str, bytes]) -> list[str]:
    """Write files named by a stem and an ending each, without replacing any file; returns their public names.

    If a file with other bytes has one of the names, all files take the next stem: `cat-superres-v2`. Files with equal
    bytes are kept. Raises `StoreError`.
    """
    store = Store(folder)
    for number in count(1):
        named = stem if number == 1 else f"{stem}-v{number}"
        files = {f"{named}{ending}": data for ending, data in endings.items()}
        if all(_is_free(store, name, data) for name, data in files.items()):
            taken = [name for name, data in files.items() if not _create(store, name, data)]
            if not taken:  # by another command after the check
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
    """Write one file whole. No file with other bytes is replaced. Raises `ConfigError` or `StoreError`."""
    if is_local(out):
        path = local_path(out)
        try:
            if path.exists() and not path.is_file():
                path.write_bytes(data)  # a device, as /dev/stdout
                return
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            if path.read_bytes() != data:
                raise _taken(out) from None
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
    if not _create(Store(folder), name, data):
        raise _taken(joined(folder, name))


def _taken(name: str) -> ConfigError:
    return ConfigError(
        f"{name} exists already, and is not replaced: choose another name, or remove it.", code=Code.OUTPUT_UNWRITABLE
    )
