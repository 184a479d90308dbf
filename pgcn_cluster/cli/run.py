"""`pgcn run`: train pyramids, draw samples, apply tasks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pgcn_cluster.cli.arguments import Config, Images, Pairs, console, with_run_options
from pgcn_cluster.exit import Exit
from pgcn_cluster.scheduler.stopping import StopSignal


@with_run_options
def run(
    context: typer.Context,
    images: Images,
    set_: Pairs = [],  # noqa: B006 - typer copies it
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and write nothing.")] = False,
    **options: Any,
) -> None:
    """Train one pyramid per image, draw samples, and build tables and a gallery.

    The same command again does only what is missing. Exit codes: 0 all done, 2 bad command or settings, 3 some images
    failed, 4 aborted: storage or cluster unavailable, or the same error on every image, 130 interrupted.
    """
    # Ray and torch take seconds to import: only the commands that use them pay for that.
    from pgcn_cluster.cli.run_summary import say_summary
    from pgcn_cluster.launch import run as launch
    from pgcn_cluster.planning.dry_run import dry_run as show_plan
    from pgcn_cluster.planning.options import request_of

    request = request_of(context.params)
    if dry_run:
        show_plan(request, console)
        return
    code = launch(request, console, StopSignal())
    if code in (Exit.DONE, Exit.SOME_FAILED):
        say_summary(request.out, console)
    raise typer.Exit(code)
