"""Files that a search for images passes over, reported in one sentence for each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath

from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.layout import is_ours

KINDS_NAMED = 8
"""Kinds of files, or runs, that a sentence names."""


class Passed:
    """Counts of files that are no images by their names, and of images that belong to runs."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()  # by extension
        self._runs: Counter[tuple[str, str]] = Counter()  # images by location and public name of their run's folder
        self._others: Counter[str] = Counter()  # of these, images that the run did not write, by its location
        self._special: list[str] = []  # public names
        self._notes: list[str] = []

    def file(self, name: str) -> None:
        """A file whose name does not say that it is an image."""
        self._files[PurePosixPath(name).suffix.lower()] += 1

    def special(self, uri: str) -> None:
        """A named pipe, socket or device with the name of an image."""
        self._special.append(uri)

    def of_run(self, location: str, uri: str, path: str) -> None:
        """An image at `path` below a run folder (it has a `run.json`), whose location and public name are given."""
        self._runs[location, uri] += 1
        self._others[location] += not is_ours(path)

    def note(self, sentence: str) -> None:
        """Anything else."""
        self._notes.append(sentence)

    def sentences(self, is_own: Callable[[str], bool] = lambda location: False) -> list[str]:
        """One sentence for each kind. `is_own` tells the run of the command itself, whose own images need none."""
        said = list(self._notes)
        if self._files:
            ordered = sorted(self._files.items(), key=lambda item: (-item[1], item[0] or "~"))
            kinds = [f"{count} {kind or 'without an extension'}" for kind, count in ordered]
            said.append(f"Passed over, as their names are not those of images that can be read: {_some_of(kinds)}.")
        if self._special:
            names = _some_of(sorted(self._special), "files")
            said.append(f"Passed over, as they are named pipes, sockets or devices: {names}.")
        counts = {
            uri: self._others[location] if is_own(location) else count for (location, uri), count in self._runs.items()
        }
        whose = _some_of([f"{count} images in {uri}" for uri, count in counts.items() if count])
        if whose:
            said.append(f"Passed over, because they are below a run folder (it has a run.json): {whose}.")
        return [terminal_safe(sentence) for sentence in said]


def _some_of(words: list[str], what: str = "kinds") -> str:
    more = [f"and {len(words) - KINDS_NAMED} more {what}"] if len(words) > KINDS_NAMED else []
    return ", ".join(words[:KINDS_NAMED] + more)
