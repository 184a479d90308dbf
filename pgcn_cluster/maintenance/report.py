"""Output and exit codes of `pgcn verify`, `pgcn gc` and `pgcn doctor`."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from datetime import timedelta

from rich.console import Console

from pgcn_cluster.exit import Exit
from pgcn_cluster.gallery.views.formatting import size
from pgcn_cluster.maintenance.verify import VerifyReport, repair, verify
from pgcn_cluster.monitor.status import require_run, under_way
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.run_folder.garbage import find_garbage
from pgcn_jobs.storage.doctor import examine
from pgcn_jobs.storage.store import Store

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGE = re.compile(rf"(\d{{1,6}})([{''.join(_UNITS)}])")


def report_verification(store: Store, console: Console, *, quick: bool, mend: bool, as_json: bool) -> Exit:
    """Verify a run, print its faults, and repair it if `mend`; the result is SOME_FAILED if it is not sound then."""
    report = verify(store, quick=quick)
    left = repair(store, report) if mend and report.problems else None
    if as_json:
        mended = None if left is None else {"mended": not left, "still_damaged": left}
        print(json.dumps({"sound": report.sound, **report.model_dump(mode="json"), "repair": mended}, indent=1))
    else:
        _print(report, console)
        if left is not None:
            _print_repair(store, report, left, console)
        elif report.problems:
            _say(console, f"Not sound. `pgcn verify {shlex.quote(store.url)} --repair` repairs it.")
    return Exit.DONE if report.sound or left == [] else Exit.SOME_FAILED


def _print(report: VerifyReport, console: Console) -> None:
    for problem in report.problems:
        _say(console, problem.sentence)
    asked = [f"{report.images} images", *([f"{report.edits} edits"] if report.edits else [])]
    parts = [*asked, f"{report.committed} jobs committed", f"{report.failed} failed for good"]
    _say(console, f"{report.run}: {', '.join(parts)}, {report.left} left to do.")
    if report.not_compared:
        _say(console, report.not_compared)
    if report.sound:
        _say(console, "Sound." if not report.left else "Sound. The same `pgcn run` command does what is left.")


def _print_repair(store: Store, report: VerifyReport, left: list[str], console: Console) -> None:
    folders = Counter(path.split("/")[0] for path in {p.drop for p in report.problems if p.drop})
    dropped = [f"{folders[name]} of {name}/" for name in sorted(folders)]
    _say(console, f"Repaired: {', '.join(dropped) or 'nothing'} removed, tables and gallery rebuilt.")
    for sentence in left:
        _say(console, f"Left out of the tables: {sentence}.")
    if folders:
        _say(console, f"Run the same `pgcn run … --out {shlex.quote(store.url)}` again: it repeats the removed jobs.")


def report_garbage(store: Store, console: Console, *, older_than: str, dry_run: bool) -> None:
    """Remove the garbage of a run, or with `dry_run` only list it."""
    require_run(store)
    garbage = find_garbage(store, _age(older_than), under_way=under_way(store) is not None)
    for kind, objects in garbage.found.items():
        if objects:
            _say(console, f"{kind}: {len(objects)} objects, {size(sum(objects.values()))}")
        for path, bytes_ in objects.items():
            _say(console, f"  {path}  {size(bytes_)}")
    for sentence in garbage.left:
        _say(console, f"Kept: {sentence}.")
    if not dry_run:
        store.delete(garbage.paths)
    total = sum(sum(objects.values()) for objects in garbage.found.values())
    done = "would be removed; nothing was" if dry_run else "removed"
    _say(console, f"{len(garbage.paths)} objects, {size(total)} {done}.")


def _age(text: str) -> timedelta:
    """The age of a text such as "36h". Raises `ConfigError` for any other text."""
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"--older-than is a number with s, m, h or d, as 24h or 7d, not {text!r}.", code=Code.OPTION_VALUE
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def report_storage(url: str, console: Console) -> Exit:
    """Print the findings on a storage; the result is BAD_COMMAND if no run can be kept there."""
    usable = True
    for finding in examine(url):
        usable = usable and finding.usable
        _say(console, f"{'ok ' if finding.usable else 'NOT'} {finding.subject}: {finding.result.rstrip('.')}.")
        if finding.consequence:
            _say(console, f"    {finding.consequence}")
    _say(console, "A run can be kept here." if usable else "No run can be kept here as it is.")
    return Exit.DONE if usable else Exit.BAD_COMMAND


def _say(console: Console, line: str) -> None:
    """Print a line without markup: names in a bucket are untrusted."""
    console.print(terminal_safe(line), highlight=False, markup=False)
