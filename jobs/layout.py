"""Every path of a run folder: how each is built, and the exact names by which an object is known to be ours.

A run folder may also hold files of others: a `.DS_Store`, a "(conflicted copy)", somebody's notes. Readers pass over
every name that is not here, and nothing but these names is ever removed or replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

RUN = "run.json"
PROGRESS = "progress.json"
TABLES_BUILT = "tables/built.json"
TABLES_CARD = "tables/README.md"
GALLERY_BUILT = "gallery/built.json"

JOB = r"[0-9a-f]{20}"
ATTEMPT = r"\d{8}T\d{6}-[0-9a-f]{6,12}"
_PART = r"part-\d[\dT-]*-[0-9a-f]{8}\.parquet"
_TABLE_PART = r"part-\d{5,}(?:_\d{3,})?\.parquet"
_SCALE = r"(?:scale-\d+|image)\.safetensors"

MANIFEST_PART = re.compile(rf"manifest/{_PART}")
EDITS_PART = re.compile(rf"manifest_edits/{_PART}")
COMMIT = re.compile(rf"commits/({JOB})\.json")
FAILURE = re.compile(rf"failures/({JOB})/({ATTEMPT})\.json")
ARTIFACT = re.compile(rf"attempts/({JOB})/({ATTEMPT})/(?:(?:samples|pictures|metrics)\.parquet|log\.txt|{_SCALE})")
CHECKPOINT = re.compile(rf"checkpoints/({JOB})/(\d{{6,}})-[0-9a-f]{{16}}\.safetensors")
PREVIEW = re.compile(rf"previews/({JOB})\.png")
TABLE_PART = re.compile(rf"tables/[a-z_]+/{_TABLE_PART}")
PYRAMID_FILE = re.compile(rf"pyramids/({JOB})/{_SCALE}")
# A job's page and thumbnail; the pages that list many are named by the gallery's own record.
JOB_PAGE = re.compile(rf"gallery/(?:(?:jobs|edits)/{JOB}\.html|(?:thumbs|edits)/{JOB}\.webp)")
LIST_PAGE = re.compile(
    r"gallery/(?:index|page-\d+|failures(?:-\d+)?|task-[a-z_]+(?:-\d+)?)\.html|gallery/rows(?:-\d+)?\.js"
)
TEMPORARY = re.compile(r"(?:.*/)?\.[0-9a-f]{32}\.tmp", re.DOTALL)

_FILES = (
    *(re.compile(re.escape(name)) for name in (RUN, PROGRESS, TABLES_BUILT, TABLES_CARD, GALLERY_BUILT)),
    *(MANIFEST_PART, EDITS_PART, COMMIT, FAILURE, ARTIFACT, CHECKPOINT, PREVIEW, TABLE_PART, PYRAMID_FILE),
    *(JOB_PAGE, LIST_PAGE),
)
_FOLDERS = re.compile(
    rf"manifest|manifest_edits|commits|previews|(?:failures|checkpoints|pyramids)(?:/{JOB})?"
    rf"|attempts(?:/{JOB}(?:/{ATTEMPT})?)?|tables(?:/[a-z_]+)?|gallery(?:/(?:jobs|edits|thumbs))?"
)

_LITTER = frozenset({".DS_Store", ".localized", "Thumbs.db", "desktop.ini", "Desktop.ini", "lost+found"})
"""What operating systems put into folders by themselves."""


def is_ours(path: str) -> bool:
    """Whether an object of this path, relative to the run, is one that a run writes."""
    return any(pattern.fullmatch(path) for pattern in _FILES)


def is_own_folder(path: str) -> bool:
    """Whether a run has a folder of this relative path."""
    return _FOLDERS.fullmatch(path) is not None


def is_temporary(path: str) -> bool:
    """Whether this is an unfinished object of one of our writers."""
    return TEMPORARY.fullmatch(path) is not None


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name leaves a folder empty: the system's own, or an unfinished one of ours."""
    return name in _LITTER or name.startswith("._") or is_temporary(name)


def matching(pattern: re.Pattern[str], paths: Iterable[str]) -> list[str]:
    """Those of `paths` that have such a name, sorted."""
    return sorted(path for path in paths if pattern.fullmatch(path))


def commit_path(job: str) -> str:
    """The one fact that a job is done."""
    return f"commits/{job}.json"


def job_of_commit(path: str) -> str:
    """The job that a commit's path names."""
    return path.removeprefix("commits/").removesuffix(".json")


def failure_path(job: str, attempt: str) -> str:
    """Why one attempt failed."""
    return f"failures/{job}/{attempt}.json"


def artifact_path(job: str, attempt: str, name: str) -> str:
    """One file of an attempt."""
    return f"attempts/{job}/{attempt}/{name}"


def checkpoint_folder(job: str) -> str:
    """Where a job's restart points lie."""
    return f"checkpoints/{job}"


def checkpoint_path(job: str, number: int, sha256: str) -> str:
    """A job's restart point, by its number and the hash of its bytes."""
    return f"{checkpoint_folder(job)}/{number:06d}-{sha256[:16]}.safetensors"


def preview_path(job: str) -> str:
    """Where a job in training shows how it goes: one picture, until the commit."""
    return f"previews/{job}.png"


def table_part(name: str, number: str) -> str:
    """One part of a table."""
    return f"tables/{name}/part-{number}.parquet"


def pyramid_folder(name: str) -> str:
    """Where `pgcn apply` keeps a pyramid."""
    return f"pyramids/{name}"
