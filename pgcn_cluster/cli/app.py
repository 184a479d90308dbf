"""The `pgcn` command: all its commands, and errors as one line on stderr, never as a traceback."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from pgcn.settings import SettingsError
from pgcn_cluster.cli.image import apply, methods, sample, tasks
from pgcn_cluster.cli.maintenance import doctor, gc, verify
from pgcn_cluster.cli.run import run
from pgcn_cluster.cli.status import failures, status
from pgcn_cluster.cli.submit import cancel, preflight, submit
from pgcn_cluster.cli.tables import export, gallery, gather, query
from pgcn_cluster.exit import Exit
from pgcn_cluster.interrupts import INTERRUPTS, SENTENCE
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import JobError
from pgcn_jobs.common.terminal_text import terminal_safe_lines

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
for command in (
    cancel,
    status,
    failures,
    sample,
    apply,
    tasks,
    methods,
    gather,
    gallery,
    query,
    export,
    verify,
    gc,
    doctor,
):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pgcn {version('pgcn')}")
        raise typer.Exit


@app.callback()
def _all_commands(
    version_: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """One generative model per image, for a folder or bucket of images."""


def main() -> None:
    """Run the command of `sys.argv`, and end the process."""
    INTERRUPTS.handle()
    _print_any_character()
    INTERRUPTS.raise_from_now()
    code = run_command()
    INTERRUPTS.end_at_once_from_now()
    atexit.register(_leave, code)
    sys.exit(code)


def run_command() -> int:
    """Run the command of `sys.argv`, and return its exit code."""
    try:
        return int(app(standalone_mode=False) or Exit.DONE)
    except JobError as error:
        return _failed(error.code, str(error))
    except SettingsError as error:
        return _failed(Code.SETTING, str(error))
    except typer.TyperException as error:
        said = error.format_message()  # empty where the help is printed, since there is no command
        return _failed(Code.USAGE, f"{said} `pgcn --help` lists commands and options.") if said else Exit.BAD_COMMAND
    except (KeyboardInterrupt, typer.Abort):
        _say(SENTENCE)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.DONE


def _leave(code: int) -> None:
    """End the process after all other exit functions, and before destructors of C++ libraries run.

    Threads of Arrow may still be alive then: now and then the process was aborted (SIGABRT), its work done.
    """
    atexit.unregister(_leave)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader of a pipe is gone
            stream.flush()
    os._exit(code)


def _print_any_character() -> None:
    """Print characters that the terminal's encoding lacks as escapes (`\\xfc`), not as an error that ends the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _failed(code: Code, sentence: str) -> int:
    """Print `error[CODE]: SENTENCE`, and return the exit code."""
    _say(f"error[{code}]: {sentence}")
    return Exit.BAD_COMMAND


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(terminal_safe_lines(text), style="red", highlight=False, markup=False)
