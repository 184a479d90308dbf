"""Settings of a run, of each of its methods: from the command, from the run that it continues, or by the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgcn.method_settings import MethodSettings, override
from pgcn.methods import DEFAULT, MethodError, find_method, make_settings
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.run_folder.identity import RunIdentity

PRECISION = "precision"
"""The setting of methods whose chains can run in bfloat16."""


@dataclass(frozen=True)
class Origin:
    """The run whose methods, preset, seed and settings hold where a command says nothing else.

    It is the run that the command continues (`continued`), or another one whose pyramids the command uses.
    """

    identity: RunIdentity
    continued: bool

    @property
    def name(self) -> str:
        """The run, in sentences."""
        return "this run" if self.continued else "the run of the pyramids"


@dataclass(frozen=True)
class Asked:
    """The request of a command: a preset, settings (`pairs`), and the device of its jobs.

    `in_bfloat16` says whether a preset is faster in bfloat16 here.
    """

    preset: str | None
    pairs: Mapping[str, Any]
    device: str
    in_bfloat16: Callable[[str], bool]


@dataclass(frozen=True)
class Choice:
    """The settings of one method in a run; `overrides` are those that differ from its preset."""

    preset: str
    settings: MethodSettings
    overrides: Mapping[str, Any]


def choose_methods(given: Sequence[str] | None, origin: Origin | None) -> list[str]:
    """The methods of a command: those it names, else those of its origin. Raises `ConfigError` for an unknown one."""
    names = list(dict.fromkeys(given or (origin.identity.methods if origin is not None else [DEFAULT])))
    for name in names:
        try:
            find_method(name)
        except MethodError as error:
            raise ConfigError(str(error), code=Code.METHOD_UNKNOWN) from None
    return names


def choose_settings(asked: Asked, method: str, origin: Origin | None, said: list[str]) -> Choice:
    """The settings of a method in a command; reasons are appended to `said`.

    A run keeps the settings in its run.json, also where a later version has changed its preset; settings that are
    given and differ from it are found by `check_same`. Raises `SettingsError` for settings that do not exist or do not
    fit.
    """
    chosen, pairs = asked.preset or _default_preset(origin, asked.device, said), asked.pairs
    before = None if origin is None else origin.identity.methods.get(method)
    named_again = origin is not None and origin.continued and asked.preset == origin.identity.preset
    if origin is not None and before is not None and (asked.preset is None or named_again):
        settings = override(before, pairs)
        overrides = differences(settings, chosen)
        left = {name: value for name, value in overrides.items() if name != PRECISION and name not in pairs}
        if left:
            listed = ", ".join(f"{name}={value}" for name, value in left.items())
            said.append(f"Settings are those that {origin.name} was begun with. The preset {chosen} differs: {listed}.")
        return Choice(chosen, settings, overrides)
    overrides = dict(pairs)
    if PRECISION in find_method(method).settings.model_fields and PRECISION not in overrides:
        if before is not None:
            overrides[PRECISION] = getattr(before, PRECISION)
        elif asked.in_bfloat16(chosen):
            overrides[PRECISION] = "bfloat16"
            said.append("In bfloat16, since this CPU has AMX: half the time. --set precision=float32 does without.")
    return Choice(chosen, make_settings(chosen, overrides, method), overrides)


def _default_preset(origin: Origin | None, device: str, said: list[str]) -> str:
    """The preset where the command names none: the origin's, or by the device."""
    if origin is not None:
        say(said, f"Preset {origin.identity.preset}, as {origin.name} was begun with.")
        return origin.identity.preset
    preset = "best" if device == "cuda" else "draft"
    why = "there is a GPU" if device == "cuda" else "no GPU is used, and `best` would take hours on a CPU"
    say(said, f"Preset {preset}, since {why}. Choose with --preset.")
    return preset


def say(said: list[str], sentence: str) -> None:
    """Append a sentence, unless another method has said it."""
    if sentence not in said:
        said.append(sentence)


def differences(settings: MethodSettings, preset: str) -> dict[str, Any]:
    """The settings that differ from the preset."""
    plain = make_settings(preset, method=settings.method).model_dump()
    return {name: value for name, value in settings.model_dump().items() if plain[name] != value}
