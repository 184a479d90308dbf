"""The code of a wheel as a folder, for a cluster that does not have it, or has another version.

Ray accepts the wheel itself, but then installs all its dependencies anew, from a registry, and takes a changed wheel
of the same name for the one it has. A folder is identified by its content, and needs nothing more on the cluster.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError


@dataclass(frozen=True)
class PackagedCode:
    """An unpacked wheel of pgcn."""

    folder: Path
    version: str


@contextmanager
def unpacked(source: Path) -> Iterator[PackagedCode]:
    """The code of the wheel `source`, or of a wheel built from the checkout `source`, inside this context.

    Raises `ConfigError` where it is not a wheel of pgcn, or cannot be built.
    """
    with TemporaryDirectory(prefix="pgcn-") as temporary:
        wheel = _built(source, Path(temporary, "wheel")) if source.is_dir() else source
        folder = Path(temporary, "code")
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        except (OSError, zipfile.BadZipFile):
            raise ConfigError(
                f"{source} is neither a wheel nor a checkout of pgcn: correct --wheel.", code=Code.SUBMIT_WHEEL
            ) from None
        found = [each for each in distributions(path=[str(folder)]) if each.name == "pgcn"]
        if not found:
            raise ConfigError(f"The wheel {source} is not one of pgcn: correct --wheel.", code=Code.SUBMIT_WHEEL)
        yield PackagedCode(folder, found[0].version)


def _built(checkout: Path, into: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(into), str(checkout)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    wheels = list(into.glob("*.whl"))
    if ended.returncode != 0 or len(wheels) != 1:
        said = ended.stderr.strip().splitlines() or ["pip says nothing"]
        raise ConfigError(f"A wheel could not be built from {checkout}: {said[-1]}", code=Code.SUBMIT_WHEEL)
    return wheels[0]
