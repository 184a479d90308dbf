"""The base of every method's settings: names, identity, and changes by a person, with errors as sentences."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

S = TypeVar("S", bound="MethodSettings")


class SettingsError(ValueError):
    """A setting does not exist, or its value is not allowed; the text is a sentence for a person."""


class MethodSettings(BaseModel):
    """Everything that changes the result of a training by one method. Frozen; every field has a description.

    A field that came after the method's first release is also entered in `added`, so that it renames no finished job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: ClassVar[str] = ""
    """The name of the method that these settings are of."""

    shorthands: ClassVar[tuple[str, ...]] = ()
    """Names that `expanded` replaces by settings."""

    reading: ClassVar[frozenset[str]] = frozenset()
    """Settings of how an image's file is read. They enter an identity by what they make of the image alone: a file that
    they do not change has one identity under all of them (`pgcn_jobs.spec`)."""

    @classmethod
    def added(cls) -> Mapping[str, Any]:
        """Settings that came after the first release, each with the value that describes results from before it.

        That value is the field's default, so that records without the field read right.
        """
        return {}

    @classmethod
    def renamed(cls) -> Mapping[str, str]:
        """Former names of settings, which old runs, lists and commands still use, and the names now."""
        return {}

    @classmethod
    def expanded(cls, overrides: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        """`overrides` with `shorthands` replaced by settings; `current` has the values now.

        Raises `ValueError`, whose text is a sentence, for shorthands that do not fit.
        """
        return dict(overrides)

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, data: Any) -> Any:
        return with_present_names(cls, data) if isinstance(data, dict) else data


def with_present_names(kind: type[MethodSettings], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by setting, with former names replaced. Raises `ValueError` for a setting under both names."""
    renamed = kind.renamed()
    for old, new in renamed.items():
        if old in values and new in values:
            raise ValueError(f"{old} is the former name of {new}: give only {new}")
    return {renamed.get(name, name): value for name, value in values.items()}


def setting_names(kind: type[MethodSettings]) -> list[str]:
    """All names by which a setting may be given: those of records, and the shorthands."""
    return [*recorded_names(kind), *kind.shorthands]


def recorded_names(kind: type[MethodSettings]) -> list[str]:
    """All names of settings in records: the present ones, then the former ones."""
    return [*kind.model_fields, *kind.renamed()]


def identifying(settings: MethodSettings) -> dict[str, Any]:
    """The settings as they enter an identity: as JSON, and the same for results that are the same.

    The first release's fields under their names of then, and those of `added` only where they differ from the value
    that describes earlier results. Without those of `reading`.
    """
    former = {new: old for old, new in settings.renamed().items()}
    added = settings.added()
    values = settings.model_dump(mode="json", exclude=set(settings.reading))
    return {
        former.get(name, name): value for name, value in values.items() if name not in added or value != added[name]
    }


def override(settings: S, overrides: Mapping[str, Any]) -> S:
    """Settings with some replaced; text values are converted to the setting's type. Raises `SettingsError`."""
    kind = type(settings)
    try:
        overrides = with_present_names(kind, overrides)
    except ValueError as error:
        raise SettingsError(f"These settings do not fit: {error}.") from None
    names = [*kind.model_fields, *kind.shorthands]
    if unknown := next((name for name in overrides if name not in names), None):
        close = difflib.get_close_matches(unknown, names, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Choose from {', '.join(names)}."
        raise SettingsError(f"There is no setting {unknown!r} of the method {kind.method}. {hint}")
    try:
        overrides = kind.expanded(overrides, settings.model_dump())
    except ValueError as error:
        raise SettingsError(str(error)) from None
    try:
        return kind.model_validate({**settings.model_dump(), **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if not name:
            raise SettingsError(f"These settings do not fit: {first['msg'].removeprefix('Value error, ')}.") from None
        raise SettingsError(f"The setting {name} cannot be {first['input']!r}: {first['msg'].lower()}.") from None
