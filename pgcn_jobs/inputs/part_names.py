"""Names of parts, the files of an image's further channels: NAME or NAME:KIND."""

from __future__ import annotations

import re

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError

KINDS = ("label", "normal")
"""Kinds of which a part is only where its name says so."""

_NAME = re.compile(rf"[A-Za-z][\w-]{{0,63}}(?::(?:{'|'.join(KINDS)}))?")


def kind_of(name: str) -> str | None:
    """`label` or `normal` for a part of this name; None: as the file says."""
    last = name.rpartition(":")[2]
    return last if last in KINDS else None


def group_name(name: str) -> str:
    """The name of the channels of a part."""
    return name.partition(":")[0]


def check_part_name(name: str) -> str:
    """The name of a part. Raises `ConfigError` for one that cannot be."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"Channels cannot be called {name!r}: a name is a letter, then letters, digits, _ and -, as height; "
            "height:label says that they are a label, height:normal that they are normals.",
            code=Code.CHANNELS_INVALID,
        )
    return name
