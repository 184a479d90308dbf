"""Options as people write them: key=value pairs and YAML files, made into a request."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from cluster.planning.request import Request
from cluster.planning.task_request import find
from cluster.scheduler.stopping import Limits
from jobs.common.failures import ConfigError
from jobs.spec import MAX_SEED
from pgcn.settings import setting_names

# By the command line's name: the field's, but for --size, which is given again for each.
RUN_OPTIONS = {
    "size" if f.name == "sizes" else f.name: f.name
    for f in fields(Request)
    if f.name not in ("images", "overrides", "limits")
}


def parse_pairs(pairs: list[str]) -> dict[str, str]:
    """`["a=1", "b=2"]` as a mapping. Raises `ConfigError` for what is not a pair, and for a name with two values."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set takes NAME=VALUE, as in --set iterations=500, not {pair!r}.")
        if found.setdefault(name.strip(), value.strip()) != value.strip():
            raise ConfigError(f"--set gives {name.strip()} two values, {found[name.strip()]} and {value.strip()}.")
    return found


def merged(pairs: Mapping[str, str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """What `--set` and options of their own say together; None: not given. Raises `ConfigError` for what both say."""
    given = {name: value for name, value in flags.items() if value is not None}
    for name in given:
        if name in pairs:
            flag = name.replace("_", "-")
            raise ConfigError(f"{name} is given twice, by --{flag} and by --set {name}=…: leave one of them out.")
    return {**pairs, **given}


def read_config(path: Path, task_name: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """A YAML file's run options and settings, as two mappings.

    Names are those of the command line with `_` for `-` (`cpus_per_job: 2`) and those of the settings
    (`iterations: 500`) and of the task, side by side; `task_name` is the command line's. Raises `ConfigError`
    for a file that cannot be read as that.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"The config file {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file {path} is not YAML: {str(error).splitlines()[0]}.") from None
    if twice := _twice(path):
        raise ConfigError(f"The config file {path} has {twice!r} twice: remove one.")
    if not isinstance(content, dict):
        raise ConfigError(f"The config file {path} holds no names with values, as `iterations: 500` would be.")
    options, settings = {}, {}
    asked = task_name or content.get("task")
    task = find(asked) if isinstance(asked, str) else None
    task_options = task.options.model_fields if task is not None else {}
    for name, value in content.items():
        if name in RUN_OPTIONS:
            options[RUN_OPTIONS[name]] = value
        elif name in setting_names() or name in task_options:
            settings[name] = value
        else:
            close = difflib.get_close_matches(str(name), [*RUN_OPTIONS, *setting_names()], n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"The config file {path} sets {name!r}, which is no option or setting.{hint}")
    if "sizes" in options:
        sizes = options["sizes"] if isinstance(options["sizes"], list) else [options["sizes"]]
        options["sizes"] = tuple(str(size) for size in sizes)
    return options, settings


def _twice(path: Path) -> str | None:
    """A name that a YAML file has twice: of those, its reader takes the last without a word."""
    root = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    names = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    return next((str(name) for name in names if names.count(name) > 1), None)


def request_of(parameters: Mapping[str, Any]) -> Request:
    """The request of `pgcn run`'s parameters, by their names, as the command line's parser leaves them.

    Raises `ConfigError` for options that cannot be.
    """
    given = {name: parameters[flag] for flag, name in RUN_OPTIONS.items() if flag in parameters}
    given["sizes"] = tuple(given["sizes"]) if given["sizes"] else None
    for flag in ("retry", "allow_local"):
        given[flag] = given[flag] or None  # not said: as the config file has it
    limits = Limits(silence_s=parameters["silence_timeout"], job_s=parameters["job_timeout"])
    config = Path(parameters["config"]) if parameters["config"] else None
    return make_request(list(parameters["images"]), given, list(parameters["set_"]), config, {"limits": limits})


def make_request(
    images: list[str], given: dict[str, Any], pairs: list[str], config: Path | None, fixed: dict[str, Any]
) -> Request:
    """The request of a command line: `given` wins over the config file where it is not None.

    `fixed` has no place in a config file. Raises `ConfigError` for options that cannot be.
    """
    options, settings = read_config(config, given.get("task")) if config else ({}, {})
    options |= {name: value for name, value in given.items() if value is not None}
    if not options.get("out"):
        raise ConfigError("Say where results go with --out: a folder, or a URL as s3://bucket/run.")
    _check_types(options)
    return Request(images=images, overrides={**settings, **parse_pairs(pairs)}, **options, **fixed)


def _check_types(options: dict[str, Any]) -> None:
    """A config file's values can be of any type: the command line's are checked by its parser."""
    kinds: dict[str, tuple[type, ...]] = {
        "out": (str,),
        "preset": (str,),
        "samples": (int,),
        "sizes": (tuple,),
        "seed": (int,),
        "limit": (int,),
        "device": (str,),
        "gpus_per_job": (int, float),
        "cpus_per_job": (int, float),
        "ray_address": (str,),
        "retry": (bool,),
        "allow_local": (bool,),
        "task": (str,),
        "target": (str,),
        "mask": (str,),
        "truth": (str,),
        "pyramids": (str,),
        "max_pixels": (int,),
        "checkpoint_seconds": (int, float),
        "jobs_per_worker": (int,),
        "stack": (int,),
    }
    for name, value in options.items():
        if not isinstance(value, kinds[name]) or (isinstance(value, bool) and bool not in kinds[name]):
            raise ConfigError(f"The option {name} cannot be {value!r}.")
        if isinstance(value, int | float) and name not in ("seed", "retry", "allow_local") and value <= 0:
            raise ConfigError(f"The option {name} must be above 0, not {value}.")
        if name == "seed" and isinstance(value, int) and not 0 <= value <= MAX_SEED:
            raise ConfigError(f"The option seed must be from 0 to {MAX_SEED}, not {value}.")
