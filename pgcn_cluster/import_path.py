"""Keeps the current folder off the import path: it is often the folder of the images.

Ray puts the working folder of a submitted job into PYTHONPATH, of the command and of its workers; a `torch.py` or
`typer.py` beside the images would be imported in place of the library.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray's variable with the runtime environment of a submitted job, as JSON."""

OTHER_PYTHON = {"py_executable", "pip", "uv", "conda", "container", "image_uri"}
"""Runtime environments that choose the Python of workers themselves."""


def leave_out_current_folder() -> None:
    """Remove the current folder from the import path of this process and of its children, unless pgcn is in it."""
    if _has_own_code():
        return
    sys.path[:] = [entry for entry in sys.path if not _is_here(entry)]
    if (paths := os.environ.get("PYTHONPATH")) is not None:
        os.environ["PYTHONPATH"] = os.pathsep.join(p for p in paths.split(os.pathsep) if not _is_here(p))


def worker_environment() -> dict[str, str]:
    """The runtime environment with which workers of a submitted job get the same import path as this command.

    Ray adds the job's working folder to theirs in any case, so that their command takes it away again.
    """
    try:
        job = json.loads(os.environ.get(JOB_CONFIG, "{}")).get("runtime_env") or {}
    except (AttributeError, ValueError):
        return {}
    if "working_dir" not in job or OTHER_PYTHON & set(job) or any(_is_here(entry) for entry in sys.path):
        return {}
    return {
        "py_executable": f"env PYTHONPATH={shlex.quote(os.environ.get('PYTHONPATH', ''))} {shlex.quote(sys.executable)}"
    }


def _has_own_code() -> bool:
    return _is_here(str(Path(__file__).parents[1]))


def _is_here(entry: str) -> bool:
    try:
        return os.path.realpath(entry) == os.path.realpath(os.curdir)
    except OSError:
        return False
