"""Settings of a run: from the command, from the run that it continues, or by the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pgcn.settings import Settings, make_settings, override
from pgcn_jobs.run_folder.identity import RunIdentity


@dataclass(frozen=True)
class Origin:
    """The run whose preset, seed and settings hold where a command says nothing else.

    It is the run that the command continues (`continued`), or another one whose pyramids the command uses.
    """

    identity: RunIdentity
    continued: bool

    @property
    def name(self) -> str:
        """The run, in sentences."""
        return "this run" if self.continued else "the run of the pyramids"


@dataclass(frozen=True)
class Choice:
    """The settings of a run; `overrides` are those that differ from its preset."""

    preset: str
    settings: Settings
    overrides: Mapping[str, Any]


def choose_settings(
    preset: str | None,
    pairs: Mapping[str, Any],
    origin: Origin | None,
    device: str,
    in_bfloat16: Callable[[str], bool],
    said: list[str],
) -> Choice:
    """The settings of a command with this `preset` and these settings (`pairs`); reasons are appended to `said`.

    A run keeps the settings in its run.json, also where a later version has changed its preset; settings that are
    given and differ from it are found by `check_same`. `in_bfloat16` says whether a preset is faster in bfloat16 here.
    Raises `SettingsError` for settings that do not exist or do not fit.
    """
    chosen = preset or _default_preset(origin, device, said)
    if origin is not None and (preset is None or (origin.continued and preset == origin.identity.preset)):
        settings = override(origin.identity.settings, pairs)
        overrides = differences(settings, chosen)
        left = {name: value for name, value in overrides.items() if name != "precision" and name not in pairs}
        if left:
            listed = ", ".join(f"{name}={value}" for name, value in left.items())
            said.append(f"Settings are those that {origin.name} was begun with. The preset {chosen} differs: {listed}.")
        return Choice(chosen, settings, overrides)
    overrides = dict(pairs)
    if "precision" not in overrides and origin is not None:
        overrides["precision"] = origin.identity.settings.precision
    elif "precision" not in overrides and in_bfloat16(chosen):
        overrides["precision"] = "bfloat16"
        said.append("In bfloat16, since this CPU has AMX: half the time. --set precision=float32 does without.")
    return Choice(chosen, make_settings(chosen, overrides), overrides)


def _default_preset(origin: Origin | None, device: str, said: list[str]) -> str:
    """The preset where the command names none: the origin's, or by the device."""
    if origin is not None:
        said.append(f"Preset {origin.identity.preset}, as {origin.name} was begun with.")
        return origin.identity.preset
    preset = "best" if device == "cuda" else "draft"
    why = "there is a GPU" if device == "cuda" else "no GPU is used, and `best` would take hours on a CPU"
    said.append(f"Preset {preset}, since {why}. Choose with --preset.")
    return preset


def differences(settings: Settings, preset: str) -> dict[str, Any]:
    """The settings that differ from the preset."""
    plain = make_settings(preset).model_dump()
    return {name: value for name, value in settings.model_dump().items() if plain[name] != value}
