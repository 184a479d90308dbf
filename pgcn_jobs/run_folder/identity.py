"""`run.json`: the identity of a run. It is created once; another run cannot use the same folder."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from pgcn.method_settings import MethodSettings
from pgcn.methods import DEFAULT, MethodError, algorithm, method_of, read_settings
from pgcn_jobs.common.clock import now
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.layout import RUN
from pgcn_jobs.spec import SamplePlan
from pgcn_jobs.storage.store import Store


class RunIdentity(BaseModel):
    """The inputs that decide a run's results, and the versions with which it began.

    A later command must have the same first group of fields to continue the run; the second is for the record.
    `settings` are those of `method`, the first one of the run, and `others` has those of its other methods by name.
    """

    model_config = ConfigDict(frozen=True)

    preset: str
    settings: SerializeAsAny[MethodSettings]
    seed: int
    samples: SamplePlan
    algorithm: str
    method: str = DEFAULT  # runs of the first versions do not name it
    others: dict[str, SerializeAsAny[MethodSettings]] = {}

    pgcn_version: str
    torch_version: str
    revision: str | None
    ray_version: str | None = None  # None in runs of the first versions
    created_at: str
    later_settings: tuple[str, ...] = Field((), exclude=True)  # names of settings that only a later version knows

    @model_validator(mode="before")
    @classmethod
    def _without_later_settings(cls, value: Any) -> Any:
        """Drop unknown settings so that the run can be read; `check_same` then refuses to continue it."""
        settings = value.get("settings") if isinstance(value, dict) else None
        if not isinstance(settings, dict):
            return value
        first, later = read_settings(value.get("method", DEFAULT), settings)
        others = {}
        for name, given in (value.get("others") or {}).items():
            others[name], more = read_settings(name, given)
            later += [f"{name}.{setting}" for setting in more]
        # The first versions had one algorithm, and wrote it now and then.
        known = {"algorithm": algorithm(method_of(first)), **value, "settings": first, "others": others}
        return {**known, "later_settings": tuple(later)}

    @staticmethod
    def begin(
        preset: str,
        settings: MethodSettings,
        seed: int,
        samples: SamplePlan,
        others: Mapping[str, MethodSettings] = MappingProxyType({}),
    ) -> RunIdentity:
        """The identity of a run that begins now, with this code; `others` are settings of further methods by name."""
        return RunIdentity(
            preset=preset,
            settings=settings,
            seed=seed,
            samples=samples,
            algorithm=algorithm(method_of(settings)),
            method=settings.method,
            others=dict(others),
            pgcn_version=version("pgcn"),
            torch_version=torch.__version__,
            ray_version=version("ray"),
            revision=_revision(),
            created_at=now(),
        )

    @property
    def methods(self) -> dict[str, MethodSettings]:
        """The settings of every method of the run, by its name."""
        return {self.method: self.settings, **self.others}

    def differences(self, other: RunIdentity) -> list[str]:
        """One line for each difference from another identity: `name: here, there`."""
        if list(self.methods) != list(other.methods):
            return [f"method: {' '.join(self.methods)}, not {' '.join(other.methods)}"]
        mine, theirs = _flat(self), _flat(other)
        return [f"{name}: {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name]]

    def other_versions(self, other: RunIdentity) -> str | None:
        """A sentence if `other`, an identity of the same run, has other versions of pgcn, torch or Ray, else None."""
        names = {"pgcn": "pgcn_version", "torch": "torch_version", "Ray": "ray_version"}
        pairs = {name: (getattr(self, field), getattr(other, field)) for name, field in names.items()}
        differ = {name: pair for name, pair in pairs.items() if None not in pair and pair[0] != pair[1]}
        if not differ:
            return None
        began = " and ".join(f"{name} {then}" for name, (then, _) in differ.items())
        here = " and ".join(f"{name} {now_}" for name, (_, now_) in differ.items())
        return f"This run was begun with {began}, and goes on with {here}: equal images may give other results."


def _flat(identity: RunIdentity) -> dict[str, Any]:
    return {
        **identity.settings.model_dump(),
        **{f"{name}.{key}": value for name, own in identity.others.items() for key, value in own.model_dump().items()},
        "seed": identity.seed,
        "samples": identity.samples.count,
        "sizes": " ".join(identity.samples.sizes),
        "algorithm": identity.algorithm,
    }


def read_identity(store: Store) -> RunIdentity | None:
    """The run in this folder, or None. Raises `ConfigError` for an invalid `run.json`."""
    try:
        return RunIdentity.model_validate_json(store.get(RUN))
    except FileNotFoundError:
        return None
    except ValidationError as invalid:
        causes = [error.get("ctx", {}).get("error") for error in invalid.errors()]
        if unknown := next((cause for cause in causes if isinstance(cause, MethodError)), None):
            raise ConfigError(f"{store.url} is a run of another method. {unknown}", code=Code.METHOD_UNKNOWN) from None
        raise ConfigError(
            f"{store.url}/{RUN} is not a run of this version of the program ({version('pgcn')}), or of none. "
            f"Choose another --out, or look at it with the version that began it.",
            code=Code.RUN_OTHER,
        ) from None


def open_run(store: Store, identity: RunIdentity) -> RunIdentity:
    """Begin a run in this folder, or continue the same run.

    Raises `ConfigError` if the folder has other files and no run, and, with the differences, if it has another run.
    """
    standing = require_place(store)
    if standing is None:
        store.create(RUN, identity.model_dump_json(indent=1).encode())
        standing = read_identity(store) or identity
    check_same(store, standing, identity)
    return standing


def require_place(store: Store) -> RunIdentity | None:
    """The run in this folder; None if the folder is empty or absent, so that a run can begin.

    Writes nothing. Raises `ConfigError` if the folder has other files and no run.
    """
    standing = read_identity(store)
    if standing is not None:
        return standing
    found = store.occupant()
    # Another command may have begun its run here between the two reads.
    standing = read_identity(store) if found is not None else None
    if found is not None and standing is None:
        raise ConfigError(
            f"{store.url} is in use: {terminal_safe(found)} is in it, and no run ({RUN}). A run begins in an empty or "
            "new folder: choose another --out.",
            code=Code.RUN_OTHER,
        )
    return standing


def check_same(store: Store, standing: RunIdentity, asked: RunIdentity) -> None:
    """Raises `ConfigError` with the differences if `asked` is not the run `standing` in the folder."""
    if standing.later_settings:
        raise ConfigError(
            f"{store.url} was begun with pgcn {standing.pgcn_version}, which has settings that this {version('pgcn')} "
            f"does not know ({', '.join(map(terminal_safe, standing.later_settings))}): go on with that version.",
            code=Code.RUN_OTHER,
        )
    differences = standing.differences(asked)
    if differences:
        listed = "\n".join(f"  {line}" for line in differences)
        raise ConfigError(
            f"{store.url} belongs to another run. It has\n{listed}\nUse the same settings to go on with it, "
            f"or another --out for a new run.",
            code=Code.RUN_OTHER,
        )


def _revision() -> str | None:
    """The Git commit of the checkout that this code runs from; None outside a checkout of this project."""
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
