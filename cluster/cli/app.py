"""The `pgcn` command: all its commands, and errors as one line on stderr, never as a traceback."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from cluster.cli.image import apply, sample, tasks
from cluster.cli.maintenance import doctor, gc, verify
from cluster.cli.run import run
from cluster.cli.status import failures, status
from cluster.cli.submit import cancel, preflight, submit
from cluster.cli.tables import gallery, gather, query
from cluster.exit import Exit
from jobs.common.codes import Code
from jobs.common.failures import JobError
from jobs.common.terminal_text import terminal_safe_lines
from pgcn.settings import SettingsError

app = typer.Typer(
    name="pgcn",
    help="One generative model per image, for a folder or bucket of images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command(context_settings={"ignore_unknown_options": True})(submit)
app.command(hidden=True)(preflight)
for command in (cancel, status, failures, sample, apply, tasks, gather, gallery, query, verify, gc, doctor):
    app.command()(command)


def main() -> None:
    """The entry point of `pgcn`."""
    try:
        sys.exit(app(standalone_mode=False) or Exit.DONE)
    except JobError as error:
        _fail(error.code, str(error))
    except SettingsError as error:
        _fail(Code.SETTING, str(error))
    except typer.TyperException as error:
        _fail(Code.USAGE, f"{error.format_message()} `pgcn --help` lists commands and options.")
    except (KeyboardInterrupt, typer.Abort):
        _say("Interrupted.")
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        sys.exit(Exit.DONE)


def _fail(code: Code, sentence: str) -> None:
    """Print `error[CODE]: SENTENCE`, and exit."""
    _say(f"error[{code}]: {sentence}")
    sys.exit(Exit.BAD_COMMAND)


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(terminal_safe_lines(text), style="red", highlight=False, markup=False)
