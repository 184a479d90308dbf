"""From views to HTML: the templates, the pager, and the policy that keeps pages from loading anything else."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pgcn_cluster.gallery.catalogue import Failed, Totals
from pgcn_cluster.gallery.comparisons import HEADINGS, Compared, MeansRow
from pgcn_cluster.gallery.failure_help import HELP, UNKNOWN, Help
from pgcn_cluster.gallery.views import formatting
from pgcn_cluster.gallery.views.facts import GLOSSARY
from pgcn_jobs.common.terminal_text import sentence, terminal_safe

T = TypeVar("T")

IMAGES_A_PAGE = 60
FAILURES_A_PAGE = 200
COMPARED_A_PAGE = 20
ROWS_A_SCRIPT = 1000


class Card(NamedTuple):
    """One finished image of the index; the order of the fields is the order in the rows' scripts.

    Metrics come rounded, so that the pages and the script show and sort the same.
    """

    image_id: str
    job_id: str
    frechet_vgg33: float | None
    largest_piece: float | None
    in_place: float | None
    layout_diversity: float | None
    train_s: float | None
    committed_at: str
    warning: str
    width: int  # of the thumbnail; 0 where there is none
    height: int


class EditCard(NamedTuple):
    """One finished edit of a task's page: its own metric, the baseline, and its thumbnail's size."""

    edit_id: str
    job_id: str
    metric: str
    value: float | None
    baseline: float | None
    wall_s: float | None
    width: int
    height: int


class Pager(NamedTuple):
    """The place of a page in its sequence: file names of its neighbours, and (number, file name) of pages to jump to.

    A None among the jumps is a gap.
    """

    number: int
    last: int
    previous: str | None
    next: str | None
    jumps: list[tuple[int, str] | None]


class FailureGroup(NamedTuple):
    """The failures of one class on one page; `total` counts them on all pages."""

    failure: str
    help: Help
    total: int
    failed: list[Failed]


def index_name(number: int) -> str:
    """The file of the index's page, counted from 1."""
    return "index.html" if number == 1 else f"page-{number}.html"


def rows_name(number: int) -> str:
    """The script with some of the index's rows, counted from 1."""
    return f"rows-{number}.js"


def failures_name(number: int) -> str:
    """The file of the failures' page, counted from 1."""
    return "failures.html" if number == 1 else f"failures-{number}.html"


def task_name(task: str, number: int) -> str:
    """The file of the page of a task's edits, counted from 1. `task` is a task's own name."""
    return f"task-{task}.html" if number == 1 else f"task-{task}-{number}.html"


def compare_name(number: int) -> str:
    """The file of the comparisons' page, counted from 1."""
    return "compare.html" if number == 1 else f"compare-{number}.html"


def list_names(images: int, failures: int, compared: int, edits: Mapping[str, int]) -> Iterator[str]:
    """The files of all pages that show many images, failures or edits of a task, and of the scripts beside them.

    `compared` images have comparisons; without one, there is no page of them.
    """
    yield from (compare_name(number) for number in _numbers(compared, COMPARED_A_PAGE) if compared)
    yield from (index_name(number) for number in _numbers(images, IMAGES_A_PAGE))
    yield from (failures_name(number) for number in _numbers(failures, FAILURES_A_PAGE))
    for task, count in edits.items():
        yield from (task_name(task, number) for number in _numbers(count, IMAGES_A_PAGE))
    yield from (rows_name(number) for number in _numbers(images, ROWS_A_SCRIPT))


def _numbers(items: int, length: int) -> range:
    return range(1, max(1, math.ceil(items / length)) + 1)


class Pages:
    """Renders the pages of one run's gallery. The same input gives the same bytes."""

    def __init__(
        self,
        title: str,
        preset: str,
        methods: str,
        totals: Totals,
        edits: Totals,
        tasks: Mapping[str, int],
        compared: int,
    ) -> None:
        """`title` names the run on every page; `tasks` counts the finished edits of each, `compared` comparisons."""
        self._compared = compared
        self._env = Environment(
            loader=PackageLoader("pgcn_cluster.gallery"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for rule in (
            formatting.number,
            formatting.share,
            formatting.duration,
            formatting.when,
            terminal_safe,
            sentence,
        ):
            self._env.filters[rule.__name__] = rule
        style, script, compare, light = map(self._source, ("gallery.css", "gallery.js", "compare.js", "light.js"))
        self._env.globals |= {
            "style": style,
            "script": script,
            "compare": compare,
            "light": light,
            "policy_of_pictures": _policy(f"img-src data:; style-src {_hash(style)}"),
            "policy_of_material": _policy(f"img-src data:; style-src {_hash(style)}; script-src {_hash(light)}"),
            "policy_of_files": _policy(f"img-src 'self' file: data:; style-src {_hash(style)}"),
            "policy_of_edit": _policy(
                f"img-src data:; style-src {_hash(style)}; script-src {_hash(compare)} {_hash(light)}"
            ),
            # From a disk a page's own folder is "file:", which 'self' does not cover in every browser.
            "policy_of_index": _policy(
                f"img-src 'self' file: data:; style-src {_hash(style)}; script-src 'self' file: {_hash(script)}"
            ),
            "title": title,
            "preset": preset,
            "methods": methods,
            "totals": totals,
            "edits": edits,
            "compared": compared,
            "tasks": [(task, count, task_name(task, 1)) for task, count in sorted(tasks.items())],
            # The template that the script fills for an image that is not on the page.
            "blank": Card("{name}", "", None, None, None, None, None, "", "", 1, 1),
            "glossary": GLOSSARY,
        }

    def index(self, cards: Iterable[Card], images: int) -> Iterator[tuple[str, bytes]]:
        """The pages of the index with the cards of so many images; one page where there is no image yet."""
        last = len(_numbers(images, IMAGES_A_PAGE))
        for number, page in enumerate(batches(cards, IMAGES_A_PAGE), 1):
            pager = _pager(number, last, index_name)
            view = {"images": images, "scripts": len(_numbers(images, ROWS_A_SCRIPT))}
            yield index_name(number), self._render("index.html", cards=page, pager=pager, **view)

    def task(self, task: str, cards: Sequence[EditCard]) -> Iterator[tuple[str, bytes]]:
        """The pages of one task's edits."""
        pages = _split(cards, IMAGES_A_PAGE)
        for number, page in enumerate(pages, 1):
            pager = _pager(number, len(pages), partial(task_name, task))
            yield task_name(task, number), self._render("task.html", task=task, cards=page, pager=pager)

    def compare(self, images: Iterable[Compared], means: Sequence[MeansRow]) -> Iterator[tuple[str, bytes]]:
        """The pages of images that were trained in several ways, with the means of each method."""
        last = len(_numbers(self._compared, COMPARED_A_PAGE))
        for number, page in enumerate(batches(images, COMPARED_A_PAGE), 1):
            pager = _pager(number, last, compare_name)
            yield (
                compare_name(number),
                self._render("compare.html", images=page, means=means, headings=HEADINGS, pager=pager),
            )

    def edit(self, **view: Any) -> bytes:
        """The page of one edit."""
        return self._render("edit.html", **view)

    def failures(self, failed: Sequence[Failed]) -> Iterator[tuple[str, bytes]]:
        """The pages of the failures, grouped by class; one page where nothing failed."""
        pages = _split(failed, FAILURES_A_PAGE)
        totals = {name: len(list(group)) for name, group in groupby(failed, key=lambda f: f.failure)}
        page_of: dict[str, str] = {}
        for number, page in enumerate(pages, 1):
            for failure in page:
                page_of.setdefault(failure.failure, failures_name(number))
        summary = [(name, total, page_of[name]) for name, total in totals.items()]
        for number, page in enumerate(pages, 1):
            groups = [
                FailureGroup(name, HELP.get(name, UNKNOWN), totals[name], list(group))
                for name, group in groupby(page, key=lambda f: f.failure)
            ]
            pager = _pager(number, len(pages), failures_name)
            html = self._render("failures.html", groups=groups, summary=summary, pager=pager)
            yield failures_name(number), html

    def job(self, **view: Any) -> bytes:
        """The page of one job."""
        return self._render("job.html", **view)

    def _render(self, template: str, **view: Any) -> bytes:
        return self._env.get_template(template).render(**view).encode()

    def _source(self, name: str) -> Markup:
        assert self._env.loader is not None
        # Our own file, which goes into the page as it is.
        return Markup(self._env.loader.get_source(self._env, name)[0])  # noqa: S704


def rows_scripts(cards: Iterable[Card]) -> Iterator[tuple[str, bytes]]:
    """All images as scripts of a thousand rows each: a page opened from a disk may load scripts, but not fetch data."""
    for number, page in enumerate(batches(cards, ROWS_A_SCRIPT), 1):
        lines = (json.dumps(card, separators=(",", ":")) for card in page)
        # ASCII alone, and no "<": the text stays data wherever a browser may come to read it.
        text = ",\n".join(lines).replace("<", "\\u003c")
        yield rows_name(number), f'"use strict";\nself.galleryRows({number}, [\n{text}\n]);\n'.encode("ascii")


def _policy(allowed: str) -> str:
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def batches(items: Iterable[T], length: int) -> Iterator[list[T]]:
    """The items in lists of this length, of which the last may be shorter; one empty list where there is none."""
    items = iter(items)
    batch = list(islice(items, length))
    while True:
        yield batch
        if not (batch := list(islice(items, length))):
            return


def _split(items: Sequence[T], length: int) -> list[Sequence[T]]:
    return [items[start : start + length] for start in range(0, max(1, len(items)), length)]


def _pager(number: int, last: int, name: Callable[[int], str]) -> Pager:
    near = {n for n in (1, *range(number - 2, number + 3), last) if 1 <= n <= last}
    jumps: list[tuple[int, str] | None] = []
    for n in sorted(near):
        if jumps and n - 1 not in near:
            jumps.append(None)
        jumps.append((n, name(n)))
    return Pager(
        number,
        last,
        name(number - 1) if number > 1 else None,
        name(number + 1) if number < last else None,
        jumps,
    )
