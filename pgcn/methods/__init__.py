"""The training methods, found by name: a module of this package with a `METHOD`, or an entry point of `pgcn.methods`.

A method of another package is an entry point of the group `pgcn.methods`, whose name is the method's and whose object
is a `pgcn.method.Method`. Modules whose names begin with "_", and the package `base`, are no methods.
"""

from __future__ import annotations

import difflib
import json
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from torch import Tensor

from pgcn.imaging.channels import Channels
from pgcn.method import Method, Model
from pgcn.method_settings import MethodSettings, SettingsError, override, recorded_names, setting_names
from pgcn.tensor_files import read_header

DEFAULT = "patchgencn"
"""The method where none is named: of commands, and of records that older versions wrote."""

GROUP = "pgcn.methods"


class MethodError(SettingsError):
    """There is no method of this name here; the text is a sentence for a person."""


@cache
def _built_in() -> dict[str, Method]:
    """The methods of this package."""
    names = [found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")]
    modules = [import_module(f"{__name__}.{name}") for name in names]
    return {module.METHOD.name: module.METHOD for module in modules if hasattr(module, "METHOD")}


@cache
def _names() -> list[str]:
    """The names of all methods, the default one first; other packages are not imported for them."""
    others = {point.name for point in entry_points(group=GROUP)}
    return sorted({*_built_in(), *others}, key=lambda name: (name != DEFAULT, name))


@cache
def find_method(name: str) -> Method:
    """The method of this name. Raises `MethodError` where there is none, or its package cannot be imported."""
    if name in _built_in():
        return _built_in()[name]
    for point in entry_points(group=GROUP, name=name):
        try:
            return cast(Method, point.load())
        except Exception as error:  # of another package: anything
            raise MethodError(
                f"The method {name} of the package {point.value.partition(':')[0]} cannot be imported: {error}."
            ) from error
    close = difflib.get_close_matches(name, _names(), n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "`pgcn methods` lists them."
    raise MethodError(f"There is no method {name!r}. {hint}")


def all_methods() -> dict[str, Method]:
    """Every method by its name, the default one first. Raises `MethodError` where one cannot be imported."""
    return {name: find_method(name) for name in _names()}


def method_of(settings: MethodSettings) -> Method:
    """The method that these settings are of."""
    return find_method(settings.method)


def algorithm(method: Method) -> str:
    """The method and its version, as records name them: "NAME-VERSION"."""
    return f"{method.name}-{method.version}"


def names_of_settings(methods: Any = None) -> list[str]:
    """All names by which settings of some methods, by default of all, may be given."""
    chosen = all_methods() if methods is None else methods
    return list(dict.fromkeys(name for method in chosen for name in setting_names(find_method(method).settings)))


def make_settings(preset: str, overrides: Mapping[str, Any] | None = None, method: str = DEFAULT) -> MethodSettings:
    """A preset of a method with some settings replaced. Text values are converted to the setting's type.

    Raises `SettingsError` for an unknown method, preset or setting, or a value out of range.
    """
    presets = find_method(method).presets
    if preset not in presets:
        where = "" if method == DEFAULT else f" of the method {method}"
        raise SettingsError(f"There is no preset {preset!r}{where}. Choose one of {', '.join(presets)}.")
    settings: MethodSettings = override(presets[preset], overrides or {})
    return settings


def read_settings(method: str, values: Mapping[str, Any]) -> tuple[MethodSettings, list[str]]:
    """The settings in a record, and the names of those that this version does not know, which are left out.

    Raises `ValueError` for settings that are invalid, and `MethodError` for an unknown method.
    """
    kind = find_method(method).settings
    known = {name: value for name, value in values.items() if name in recorded_names(kind)}
    return kind.model_validate(known), sorted(values.keys() - known.keys())


def settings_from_json(method: str, text: str) -> MethodSettings:
    """The settings in the JSON text of a record, as `read_settings`."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("settings are a JSON object")
    return read_settings(method, values)[0]


def load_model(files: Mapping[str, bytes]) -> Model:
    """The model in these files, of any method. Raises `ValueError` where one is missing, damaged or of another model.

    `MethodError`, a `ValueError`, where its method is not installed.
    """
    if "scale-0.safetensors" not in files:
        raise ValueError("a pyramid's files are incomplete: scale-0.safetensors is missing")
    name = read_header(files["scale-0.safetensors"]).get("algorithm", "").rpartition("-")[0]
    return find_method(name or DEFAULT).load(files)


def untrained_model(image: Tensor, channels: Channels) -> Model:
    """A model of `image` `(1, C, h, w)` without a scale, for tasks that train nothing or train their own."""
    from pgcn.pyramid import Pyramid  # not before it is needed: listing the methods imports no model
    from pgcn.settings import PRESETS

    return Pyramid.untrained(image, PRESETS["draft"], channels)
