"""Parsing of options: NAME=VALUE pairs, YAML files and the command line, made into a `Request`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pgcn.methods import names_of_settings
from pgcn_cluster.planning.run_options import Request, RunOptions, declarations
from pgcn_cluster.planning.task_request import find
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError


def parse_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """`["a=1", "b=2"]` as a mapping. Raises `ConfigError` for other text, and for a name with two values."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ConfigError(
                f"--set takes NAME=VALUE, as in --set iterations=500, not {pair!r}.", code=Code.OPTION_VALUE
            )
        if found.setdefault(name.strip(), value.strip()) != value.strip():
            raise ConfigError(
                f"--set gives {name.strip()} two values, {found[name.strip()]} and {value.strip()}.",
                code=Code.OPTION_TWICE,
            )
    return found


def merged(pairs: Mapping[str, str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """`--set` together with options of their own; None: not given. Raises `ConfigError` for a name in both."""
    given = {name: value for name, value in flags.items() if value is not None}
    for name in given:
        if name in pairs:
            flag = name.replace("_", "-")
            raise ConfigError(
                f"{name} is given twice, by --{flag} and by --set {name}=…: leave one of them out.",
                code=Code.OPTION_TWICE,
            )
    return {**pairs, **given}


def read_config(path: Path, task_name: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run options and the settings in a YAML file, as two mappings.

    Names are those of the command line with `_` for `-` (`cpus_per_job: 2`) and those of the settings
    (`iterations: 500`) and of the task, side by side; `task_name` is the command line's. Raises `ConfigError`
    for an unreadable file and for unknown names.
    """
    content = _read_yaml(path)
    options, settings = {}, {}
    asked = task_name or content.get("task")
    task = find(asked) if isinstance(asked, str) else None
    task_options = task.options.model_fields if task is not None else {}
    setting_names = names_of_settings()
    for name, value in content.items():
        if name in RunOptions.model_fields or name in FORMER_OPTIONS:
            options[FORMER_OPTIONS.get(name, name)] = value
        elif name in setting_names or name in task_options:
            settings[name] = value
        else:
            close = difflib.get_close_matches(str(name), [*RunOptions.model_fields, *setting_names], n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"The config file {path} sets {name!r}, which is not an option or a setting.{hint}",
                code=Code.OPTION_UNKNOWN,
            )
    return options, settings


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"The config file {path} cannot be read: {error.strerror}.", code=Code.CONFIG_UNREADABLE
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The config file {path} is not YAML: {str(error).splitlines()[0]}.", code=Code.CONFIG_UNREADABLE
        ) from None
    if twice := _twice(path):
        raise ConfigError(f"The config file {path} has {twice!r} twice: remove one.", code=Code.OPTION_TWICE)
    if not isinstance(content, dict):
        raise ConfigError(
            f"The config file {path} has no names with values, such as `iterations: 500`.",
            code=Code.CONFIG_UNREADABLE,
        )
    return content


def _twice(path: Path) -> str | None:
    """A name that a YAML file has twice: its reader takes the last one without a warning."""
    root = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    names = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    return next((str(name) for name in names if names.count(name) > 1), None)


FORMER_OPTIONS = {each.facts.former: each.name for each in declarations() if each.facts.former}
"""Present names of options by the names that older versions had."""


def request_of(parameters: Mapping[str, Any]) -> Request:
    """The request of `pgcn run`'s parameters, by their names, as the command line's parser leaves them.

    Raises `ConfigError` for invalid options.
    """
    given = {name: parameters[name] for name in RunOptions.model_fields if name in parameters}
    # A repeatable option is empty, and a switch is False, where the command line does not have it.
    given = {name: value for name, value in given.items() if value is not False and value not in ([], ())}
    config = Path(parameters["config"]) if parameters["config"] else None
    return make_request(parameters["images"], given, parameters["set_"], config)


def make_request(
    images: Sequence[str], given: Mapping[str, Any], pairs: Sequence[str] = (), config: Path | None = None
) -> Request:
    """The request of a command line: `given` wins over the config file where it is not None.

    Raises `ConfigError` for invalid options.
    """
    options, settings = read_config(config, given.get("task")) if config else ({}, {})
    options |= {name: value for name, value in given.items() if value is not None}
    if not options.get("out"):
        raise ConfigError(
            "The folder of the results is missing: give --out, a folder or a URL as s3://bucket/run.",
            code=Code.OPTION_MISSING,
        )
    return checked_request(images, {**settings, **parse_pairs(pairs)}, options)


def checked_request(images: Sequence[str], overrides: Mapping[str, Any], options: Mapping[str, Any]) -> Request:
    """A request with these options by name. Raises `ConfigError` for an unknown option, or a value out of range."""
    try:
        return Request(images=list(images), overrides=overrides, **options)
    except ValidationError as error:
        first = error.errors()[0]
        name, why = first["loc"][0], first["msg"].removeprefix("Input ")
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"There is no option {name}.", code=Code.OPTION_UNKNOWN) from None
        raise ConfigError(
            f"The option {name} cannot be {first['input']!r}: it {why}.", code=Code.OPTION_VALUE
        ) from None
