"""`pgcn submit`, `cancel` and the hidden `preflight`: runs as jobs of a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pgcn_cluster.cli.arguments import Address, RunFolder, console
from pgcn_cluster.cli.run import run
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError


def submit(
    arguments: Annotated[
        list[str], typer.Argument(metavar="IMAGES… --out RUN …", help="As for `pgcn run`, with all its options.")
    ],
    address: Address,
    wheel: Annotated[
        Path | None,
        typer.Option(help="A wheel or a checkout of pgcn to send along, for a cluster without this version."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for the end, pass on the output and exit with the run's exit code.")
    ] = False,
) -> None:
    """Send a run to a Ray cluster as a job, after a check of the cluster. A run that was sent before is found."""
    from pgcn_cluster.planning.options import request_of
    from pgcn_cluster.submission.submit import submit as send

    parsed = run_parameters(arguments)
    if parsed["dry_run"]:
        raise ConfigError("A dry run is not sent to a cluster: use `pgcn run --dry-run`.", code=Code.OPTION_VALUE)
    if parsed["local"]:
        raise ConfigError("A run without Ray is not sent to a cluster: use `pgcn run --local`.", code=Code.OPTION_VALUE)
    raise typer.Exit(send(request_of(parsed), address, wheel, console, follow=follow))


def run_parameters(arguments: list[str]) -> dict[str, Any]:
    """The parameters that `pgcn run` gets for `arguments`."""
    alone = typer.Typer(add_completion=False)
    alone.command()(run)
    return typer.main.get_command(alone).make_context("pgcn run", arguments).params


def preflight(request: Annotated[str, typer.Argument(help="A request as JSON.")]) -> None:
    """Print, on a cluster, a report on what a run finds there."""
    from pgcn_cluster.planning.run_options import Request
    from pgcn_cluster.submission.preflight import MARK, examine

    print(MARK + examine(Request.model_validate_json(request)).model_dump_json())


def cancel(run: RunFolder, address: Address) -> None:
    """Stop a submitted run. Its workers write checkpoints, and the same `pgcn submit` goes on from them."""
    from pgcn_cluster.submission.cancel import cancel as stop

    stop(run, address, console)
