"""The paths of a run folder: their construction, and the exact patterns that identify the program's own objects.

A run folder may also hold other files: a `.DS_Store`, a "(conflicted copy)", notes of a user. Readers ignore every
name that matches no pattern here, and only matching objects are ever removed or replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

RUN = "run.json"
PROGRESS = "progress.json"
TABLES_BUILT = "tables/built.json"
TABLES_PARTS = "tables/parts.json"
TABLES_CARD = "tables/README.md"
GALLERY_BUILT = "gallery/built.json"

JOB = r"[0-9a-f]{20}"
ATTEMPT = r"\d{8}T\d{6}-[0-9a-f]{6,12}"
_PART = r"part-\d[\dT-]*-[0-9a-f]{8}\.parquet"
_TABLE_PART = r"part-(?:edits-)?\d{5,}(?:_\d{3,})?\.parquet"
_SCALE = r"(?:scale-\d+|image)\.safetensors"
_VALUES = r"(?:sample|result)-[\dx.-]+\.(?:png|tif|npy|safetensors)"

MANIFEST_PART = re.compile(rf"manifest/{_PART}")
EDITS_PART = re.compile(rf"manifest_edits/{_PART}")
COMMIT = re.compile(rf"commits/({JOB})\.json")
FAILURE = re.compile(rf"failures/({JOB})/({ATTEMPT})\.json")
ARTIFACT = re.compile(
    rf"attempts/({JOB})/({ATTEMPT})/(?:(?:samples|pictures|metrics|regions)\.parquet|histograms\.json|log\.txt|{_SCALE}|{_VALUES})"
)
WEIGHTS = re.compile(rf"attempts/({JOB})/({ATTEMPT})/{_SCALE}")
CHECKPOINT = re.compile(rf"checkpoints/({JOB})/(\d{{6,}})-[0-9a-f]{{16}}\.safetensors")
PREVIEW = re.compile(rf"previews/({JOB})\.png")
TABLE_PART = re.compile(rf"tables/[a-z_]+/{_TABLE_PART}")
PYRAMID_FILE = re.compile(rf"pyramids/({JOB})/{_SCALE}")
# A job's page and pictures. The gallery's build record has the names of its list pages.
JOB_PAGE = re.compile(rf"gallery/(?:(?:jobs|edits)/{JOB}\.html|(?:thumbs|edits|originals|strips)/{JOB}\.webp)")
LIST_PAGE = re.compile(
    r"gallery/(?:index|page-\d+|(?:compare|failures)(?:-\d+)?|task-[a-z_]+(?:-\d+)?)\.html|gallery/rows(?:-\d+)?\.js"
)
TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")

_FILES = (
    *(re.compile(re.escape(name)) for name in (RUN, PROGRESS, TABLES_BUILT, TABLES_PARTS, TABLES_CARD, GALLERY_BUILT)),
    *(MANIFEST_PART, EDITS_PART, COMMIT, FAILURE, ARTIFACT, CHECKPOINT, PREVIEW, TABLE_PART, PYRAMID_FILE),
    *(JOB_PAGE, LIST_PAGE),
)
_FOLDERS = re.compile(
    rf"manifest|manifest_edits|commits|previews|(?:failures|checkpoints|pyramids)(?:/{JOB})?"
    rf"|attempts(?:/{JOB}(?:/{ATTEMPT})?)?|tables(?:/[a-z_]+)?|gallery(?:/(?:jobs|edits|thumbs|originals|strips))?"
)

_LITTER = frozenset({".DS_Store", ".localized", "Thumbs.db", "desktop.ini", "Desktop.ini", "lost+found"})
"""Files that operating systems create in folders by themselves."""


def is_ours(path: str) -> bool:
    """True if a run writes objects of this path, relative to the run folder."""
    return any(pattern.fullmatch(path) for pattern in _FILES)


def is_own_folder(path: str) -> bool:
    """True if a run creates a folder of this relative path."""
    return _FOLDERS.fullmatch(path) is not None


def is_temporary(path: str) -> bool:
    """True for the temporary file of one of this program's writers, which lies in a folder that a run creates."""
    folder, _, name = path.rpartition("/")
    return TEMPORARY.fullmatch(name) is not None and (not folder or is_own_folder(folder))


def is_litter(name: str) -> bool:
    """True if a folder that holds only this name counts as empty: a system file, or a temporary file of ours."""
    return name in _LITTER or name.startswith("._") or is_temporary(name)


def matching(pattern: re.Pattern[str], paths: Iterable[str]) -> list[str]:
    """The paths that match the whole pattern, sorted."""
    return sorted(path for path in paths if pattern.fullmatch(path))


def is_job(job: object) -> bool:
    """True for the id of a job or pyramid; paths are made of it, so that nothing else may be taken for one."""
    return isinstance(job, str) and re.fullmatch(JOB, job) is not None


def commit_path(job: str) -> str:
    """Path of a job's commit, the record that the job is done."""
    return f"commits/{job}.json"


def job_of_commit(path: str) -> str:
    """The job id in a commit's path."""
    return path.removeprefix("commits/").removesuffix(".json")


def failure_path(job: str, attempt: str) -> str:
    """Path of the failure record of one attempt."""
    return f"failures/{job}/{attempt}.json"


def artifact_path(job: str, attempt: str, name: str) -> str:
    """Path of one file of an attempt."""
    return f"attempts/{job}/{attempt}/{name}"


def checkpoint_folder(job: str) -> str:
    """Folder of a job's checkpoints."""
    return f"checkpoints/{job}"


def checkpoint_path(job: str, number: int, sha256: str) -> str:
    """Path of a job's checkpoint, from its number and the hash of its bytes."""
    return f"{checkpoint_folder(job)}/{number:06d}-{sha256[:16]}.safetensors"


def preview_path(job: str) -> str:
    """Path of the preview image of a job in training; it is removed after the commit."""
    return f"previews/{job}.png"


def table_part(name: str, number: str) -> str:
    """Path of one part of a table."""
    return f"tables/{name}/part-{number}.parquet"


def pyramid_folder(name: str) -> str:
    """Folder in which `pgcn apply` stores a pyramid."""
    return f"pyramids/{name}"
