"""Help texts of training methods: what they are, their presets and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pgcn.methods import all_methods, find_method


def say_methods(console: Console) -> None:
    """Each method with its summary, its paper and its presets."""
    table = Table("method", "what it is", box=None, header_style="bold")
    for method in all_methods().values():
        about = f"{method.summary}\n{method.paper}; presets {', '.join(method.presets)}"
        table.add_row(escape(method.name), escape(about))
    console.print(table)
    console.print("`pgcn methods METHOD` has its settings; `pgcn run --method METHOD` trains with it.", highlight=False)


def say_method(name: str, console: Console) -> None:
    """A method's settings with their values in each preset. Raises `MethodError` where there is none of this name."""
    method = find_method(name)
    console.print(f"{method.name}: {method.summary}.\n{method.paper}.", highlight=False, markup=False)
    presets = {preset: settings.model_dump(mode="json") for preset, settings in method.presets.items()}
    table = Table(box=None, show_header=False)
    for setting, field in method.settings.model_fields.items():
        table.add_row(f"--set {setting}=…", escape(f"{field.description or ''} [{_values(presets, setting)}]"))
    console.print(table)


def _values(presets: Mapping[str, Mapping[str, Any]], setting: str) -> str:
    """The values of a setting in the presets: one where they are the same."""
    values = {preset: values[setting] for preset, values in presets.items()}
    if len(set(map(str, values.values()))) == 1:
        return str(next(iter(values.values())))
    return ", ".join(f"{preset} {value}" for preset, value in values.items())
