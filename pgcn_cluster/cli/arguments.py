"""Arguments and options that several commands have, each declared once, and the options of a run from their model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pgcn_cluster.planning.run_options import OptionDeclaration, declarations

console = Console(soft_wrap=True)

RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URL, as given to --out.")]
Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGES…", help="Files, folders, globs, URLs, or a CSV or Parquet list with a uri column."),
]
Pairs = Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="Any setting; repeatable.")]
Config = Annotated[Path | None, typer.Option(help="A YAML file of options and settings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Methods = Annotated[
    list[str], typer.Option(metavar="NAME", help="Training method; repeatable. `pgcn methods` lists them.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Address = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", metavar="URL", help="The dashboard of a Ray cluster, as http://HOST:8265."
    ),
]


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """A decorator: typer sees one parameter for each field of `RunOptions` in the place of `**options`.

    The default is None where the command line does not have an option: the config file's value holds then.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())
    at = next(index for index, each in enumerate(own) if each.kind is inspect.Parameter.VAR_KEYWORD)
    generated = [_parameter(each) for each in declarations()]
    ordered = sorted(own[:at] + generated, key=lambda each: each.default is not inspect.Parameter.empty)
    command.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    return command


def _parameter(option: OptionDeclaration) -> inspect.Parameter:
    switch = option.kind is bool
    kind: Any = list[option.kind] if option.repeated else option.kind  # type: ignore[name-defined]
    declared = typer.Option(
        *option.flags,
        metavar=option.facts.metavar,
        min=option.minimum,
        max=option.maximum,
        help=option.help,
        show_default=False if switch or option.default is None else _shown(option.default),
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if switch else None,
        annotation=Annotated[kind if switch else kind | None, declared],
    )


def _shown(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)
