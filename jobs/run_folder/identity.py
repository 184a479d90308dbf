"""`run.json`: what a run is. Created once; another run does not write into its folder."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from jobs.common.clock import now
from jobs.common.failures import ConfigError
from jobs.spec import SamplePlan
from jobs.storage.store import Store
from pgcn.pyramid import ALGORITHM
from pgcn.settings import Settings

RUN = "run.json"


class RunIdentity(BaseModel):
    """What decides a run's results, and what it was begun with.

    The first group must agree for a later command to go on with the run; the second is kept for the record.
    """

    model_config = ConfigDict(frozen=True)

    preset: str
    settings: Settings
    seed: int
    samples: SamplePlan
    algorithm: str = ALGORITHM

    pgcn_version: str
    torch_version: str
    revision: str | None
    created_at: str

    @staticmethod
    def begin(preset: str, settings: Settings, seed: int, samples: SamplePlan) -> RunIdentity:
        """The identity of a run that begins now, with this code."""
        return RunIdentity(
            preset=preset,
            settings=settings,
            seed=seed,
            samples=samples,
            pgcn_version=version("pgcn"),
            torch_version=torch.__version__,
            revision=_revision(),
            created_at=now(),
        )

    def differences(self, other: RunIdentity) -> list[str]:
        """Lines that say where another run's identity is not this one's: `name: here, there`."""
        mine, theirs = _flat(self), _flat(other)
        return [f"{name}: {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name]]


def _flat(identity: RunIdentity) -> dict[str, Any]:
    return {
        **identity.settings.model_dump(),
        "seed": identity.seed,
        "samples": identity.samples.count,
        "sizes": " ".join(identity.samples.sizes),
        "algorithm": identity.algorithm,
    }


def read_identity(store: Store) -> RunIdentity | None:
    """The run in this folder, or None. Raises `ConfigError` for a `run.json` that is not one of ours."""
    try:
        return RunIdentity.model_validate_json(store.get(RUN))
    except FileNotFoundError:
        return None
    except ValidationError:
        raise ConfigError(
            f"{store.url}/{RUN} is not a run of this version of the program ({version('pgcn')}), or of none. "
            f"Choose another --out, or look at it with the version that began it."
        ) from None


def open_run(store: Store, identity: RunIdentity) -> RunIdentity:
    """Begin a run in this folder, or go on with it where it is the same one.

    Raises `ConfigError` with the differences where the folder belongs to another run.
    """
    standing = read_identity(store)
    if standing is None:
        store.create(RUN, identity.model_dump_json(indent=1).encode())
        standing = read_identity(store) or identity
    check_same(store, standing, identity)
    return standing


def check_same(store: Store, standing: RunIdentity, asked: RunIdentity) -> None:
    """Raises `ConfigError` with the differences where `asked` is another run than the one `standing` there."""
    differences = standing.differences(asked)
    if differences:
        listed = "\n".join(f"  {line}" for line in differences)
        raise ConfigError(
            f"{store.url} belongs to another run. It has\n{listed}\nUse the same settings to go on with it, "
            f"or another --out for a new run."
        )


def _revision() -> str | None:
    """The commit of the checkout that this code runs from, if it does; not that of a repository around it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        git = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - wherever git is
            cwd=root,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return git.stdout.strip()
