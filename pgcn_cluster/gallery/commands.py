"""Commands a person can copy from a job's page. An image's name is data, whatever characters it holds."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from pgcn_jobs.storage.urls import is_local, local_path


class Command(NamedTuple):
    """A line to copy and what it does."""

    purpose: str
    text: str


def shell_word(text: str) -> str:
    """`text` as one word of bash or zsh that reads back as exactly `text`, on one line and without surprises.

    Characters that cannot be seen (line breaks, direction marks) are written as escapes, so that the line that
    is read is the line that runs.
    """
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escaped(c) for c in text) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\{code:03o}"  # octal takes three digits at most, so a digit that follows stays itself
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def sql_text(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def commands(run: str, image_id: str, job_id: str) -> list[Command]:
    """Commands for a pyramid: more samples, and its training curves as a table."""
    options, words = "--size 2x1 -n 8", f"{shell_word(run)} {shell_word(image_id)}"
    # After a lone "--" a name that starts with a dash is still a name.
    dashed = run.startswith("-") or image_id.startswith("-")
    sample = f"pgcn sample {options} -- {words}" if dashed else f"pgcn sample {words} {options}"
    metrics = (
        "SELECT scale, iteration, name, value\n"
        f"FROM read_parquet({sql_text(run.rstrip('/') + '/tables/metrics/*.parquet')})\n"
        f"WHERE job_id = {sql_text(job_id)}\n"
        "ORDER BY name, scale, iteration;"
    )
    return [
        Command("Draw eight more samples, twice as wide (in a shell)", sample),
        Command("The training curves as a table (in DuckDB)", metrics),
    ]


def run_argument(url: str) -> str:
    """The run as an argument of commands: the URL of a bucket, the last name of a local folder.

    A gallery is made to be sent, and reveals no path of the machine that built it.
    """
    return local_path(url).name if is_local(url) else url.rstrip("/")
