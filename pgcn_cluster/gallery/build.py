"""Build the gallery of a run: read the tables, write a page for each job, then the index that leads to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple

import pyarrow as pa

from pgcn_cluster.gallery.build_record import Built, Record, built_bytes, digest, read_built
from pgcn_cluster.gallery.catalogue import Catalogue, Totals, by_class, methods_of, preset_of, read_catalogue
from pgcn_cluster.gallery.commands import commands, run_argument
from pgcn_cluster.gallery.edit_pages import Used, edit_cards, edit_page, edits_by_pyramid, read_edits
from pgcn_cluster.gallery.pages import Card, Pages, list_names, rows_scripts
from pgcn_cluster.gallery.views.attempt import read_attempt
from pgcn_cluster.gallery.views.facts import all_metrics, provenance, quality, settings
from pgcn_cluster.gallery.views.formatting import rounded
from pgcn_cluster.ray_cluster.parallel_map import Spread, map_local
from pgcn_jobs import layout
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import sentence, terminal_safe
from pgcn_jobs.storage.store import Store

PAGES_PER_SLICE = 100
"""Jobs whose pages one task builds."""

JOBS_AT_ONCE = 4
"""Jobs in memory at the same time. Most of a job's time is spent waiting for storage."""


def build_gallery(store: Store, title: str | None = None, spread: Spread = map_local) -> str:
    """Write the static gallery of the run in `store` and return the URL of its first page.

    The pages need no server and no network, and work from a disk and from a bucket. Built again, the same run
    gives the same bytes; pages of images that are gone are removed, and pages that are still right stay as
    they are. Memory holds the tables' rows and the images of `JOBS_AT_ONCE` jobs. A missing or damaged
    artifact is named on its page and stops nothing. Only objects that a build has written are replaced or removed.

    Raises `ConfigError` where somebody's file has the name of a page, and what the store raises when it cannot be used.
    """
    catalogue, edits = read_catalogue(store), read_edits(store)
    run = run_argument(store.url)
    counts = Counter(edits.jobs["task"].to_pylist())
    look = Look(
        title=terminal_safe(title or run.rsplit("/", 1)[-1]),
        preset=preset_of(catalogue),
        methods=methods_of(catalogue),
        totals=catalogue.totals,
        edits=edits.totals,
        tasks=tuple(sorted(counts.items())),
        run=run,
    )
    there = set(store.list("gallery/"))
    earlier = read_built(store)
    failed = by_class([*catalogue.failed, *edits.failed])
    listing = _list_pages(catalogue, edits, len(failed))
    _claim(store, listing, there, earlier)
    slices = chain(
        _slices(catalogue, "jobs", edits_by_pyramid(edits), earlier.jobs, there),
        _slices(edits, "edits", {}, earlier.jobs, there),
    )
    built = [job for part in spread(partial(build_slice, store, look), slices) for job in part]
    images, used = built[: catalogue.jobs.num_rows], built[catalogue.jobs.num_rows :]
    cards = _cards(catalogue, images)

    pages = look.pages()
    written = {path for job in built for path in job.paths}
    record = {job.job_id: job.built for job in built if job.whole}
    of_tasks = edit_cards(edits, [job.built for job in used])
    tasks = (page for task, those in of_tasks.items() for page in pages.task(task, those))
    for path, data in chain(pages.failures(failed), tasks, rows_scripts(cards), pages.index(cards)):
        store.put(f"gallery/{path}", data)
        written.add(f"gallery/{path}")
    store.delete(sorted(path for path in there - written if earlier.wrote(path)))
    store.put(layout.GALLERY_BUILT, built_bytes(Record(record, frozenset(listing))))
    return f"{store.url.rstrip('/')}/gallery/index.html"


def _list_pages(catalogue: Catalogue, edits: Catalogue, classes: int) -> set[str]:
    """The objects of all pages but those of jobs; `classes` is the number of failure classes."""
    task_of = edits.jobs["task"].to_pylist()
    edits_of_task = Counter(task_of[place] for _, place in edits.entries)
    return {f"gallery/{name}" for name in list_names(len(catalogue.entries), classes, edits_of_task)}


def _claim(store: Store, listing: set[str], there: set[str], earlier: Record) -> None:
    """Record the list pages of this build before any is written, so that an aborted build leaves no unknown page.

    Raises `ConfigError` where one of them would replace an object of `there` that no build has written.
    """
    _check_ours(store, there & listing, earlier)
    known = None if earlier.lists is None else earlier.lists | listing
    if known != earlier.lists:
        store.put(layout.GALLERY_BUILT, built_bytes(earlier._replace(lists=known)))


def _check_ours(store: Store, there: Iterable[str], earlier: Record) -> None:
    """Raises `ConfigError` where an object that would be replaced is not of an earlier build."""
    for path in sorted(there):
        if not earlier.wrote(path):
            raise ConfigError(
                f"{store.url}/{path} is not a page that pgcn wrote, and is not replaced: move it away, then "
                f"build the gallery with `pgcn gallery {store.url}`.",
                code=Code.OUTPUT_UNWRITABLE,
            )


@dataclass(frozen=True)
class Look:
    """Text that all pages of a gallery show: its title, the run's preset and counts, and how commands name the run.

    `methods` is empty where all images have one method.
    """

    title: str
    preset: str
    methods: str
    totals: Totals
    edits: Totals
    tasks: tuple[tuple[str, int], ...]
    run: str

    def pages(self) -> Pages:
        """The renderer of the pages, made once in a process, since templates are slow to compile."""
        return _pages(self)


@lru_cache(maxsize=1)
def _pages(look: Look) -> Pages:
    return Pages(look.title, look.preset, look.methods, look.totals, look.edits, dict(look.tasks))


class BuiltJob(NamedTuple):
    """One job's page as it now lies in the gallery, in `jobs` or `edits`; not `whole` where artifacts were missing."""

    job_id: str
    folder: str
    built: Built
    whole: bool

    @property
    def page(self) -> str:
        """Its page's object."""
        return f"gallery/{self.folder}/{self.job_id}.html"

    @property
    def thumb(self) -> str:
        """Its thumbnail's object, where it has one."""
        return f"gallery/{'thumbs' if self.folder == 'jobs' else self.folder}/{self.job_id}.webp"

    @property
    def paths(self) -> list[str]:
        """Its objects."""
        return [self.page, self.thumb] if self.built.width else [self.page]


@dataclass(frozen=True)
class PageSlice:
    """Some jobs that follow each other, as rows of the results, and what else their pages depend on."""

    folder: str  # "jobs" of images, or "edits"
    rows: pa.Table
    names: list[list[str]]  # of each job, the images or edits that it stands for
    edits: dict[str, list[Used]]  # of the pyramids that edits used
    before: str | None  # the job before the first
    after: str | None  # the job after the last
    standing: dict[str, BuiltJob]  # what lies in the gallery, whole, from an earlier build


def _slices(
    catalogue: Catalogue, folder: str, edits: dict[str, list[Used]], earlier: dict[str, Built], there: set[str]
) -> Iterator[PageSlice]:
    names = catalogue.names()
    jobs: list[str | None] = [None, *catalogue.jobs["job_id"].to_pylist(), None]
    standing = {job_id: BuiltJob(job_id, folder, built, True) for job_id, built in earlier.items()}
    standing = {job_id: job for job_id, job in standing.items() if there.issuperset(job.paths)}
    for start in range(0, len(names), PAGES_PER_SLICE):
        end = min(start + PAGES_PER_SLICE, len(names))
        here = [job for job in jobs[start + 1 : end + 1] if job is not None]
        yield PageSlice(
            folder,
            # Copied, since a slice of a table carries the whole of it wherever it is sent.
            catalogue.jobs.take(pa.array(range(start, end), pa.int64())),
            names[start:end],
            {job: edits[job] for job in here if job in edits},
            jobs[start],
            jobs[end + 1],
            {job: standing[job] for job in here if job in standing},
        )


def build_slice(store: Store, look: Look, slice_: PageSlice) -> list[BuiltJob]:
    """Write the pages and thumbnails of some jobs, a few at once, unless they are there and still right."""
    jobs = [slice_.before, *slice_.rows["job_id"].to_pylist(), slice_.after]
    around = [
        {"row": row, "names": names, "previous": previous, "following": following}
        for row, names, previous, following in zip(
            slice_.rows.to_pylist(), slice_.names, jobs[:-2], jobs[2:], strict=True
        )
    ]
    with ThreadPoolExecutor(JOBS_AT_ONCE) as pool:
        return list(pool.map(partial(_build, store, look, slice_), around))


def _build(store: Store, look: Look, slice_: PageSlice, around: dict[str, Any]) -> BuiltJob:
    """Write the page and thumbnail of one job; `around` has its row, its names, and the jobs before and after it."""
    row, names = around["row"], around["names"]
    job_id: str = row["job_id"]
    edits = slice_.edits.get(job_id, [])
    shown = digest([look.title, look.run, row, names, around["previous"], around["following"], edits])
    if job_id in slice_.standing and slice_.standing[job_id].built.digest == shown:
        return slice_.standing[job_id]
    if slice_.folder == "edits":
        page, thumbnail, problem = edit_page(store, look.pages(), look.run, row, around)
    else:
        attempt = read_attempt(store, job_id, row["attempt"])
        page = look.pages().job(
            **around,
            attempt=attempt,
            edits=edits,
            quality=quality(row),
            metrics=all_metrics(row, attempt.metrics),
            provenance=provenance(row),
            settings=settings(row),
            commands=commands(look.run, names[0], job_id),
        )
        thumbnail, problem = attempt.album.thumbnail, attempt.problem
    thumb, width, height = thumbnail or (b"", 0, 0)
    built = BuiltJob(job_id, slice_.folder, Built(shown, width, height), not problem)
    store.put(built.page, page)
    if thumb:
        store.put(built.thumb, thumb)
    return built


def _cards(catalogue: Catalogue, built: list[BuiltJob]) -> list[Card]:
    columns = [
        "job_id",
        "frechet_vgg33",
        "largest_piece",
        "in_place",
        "layout_diversity",
        "train_s",
        "committed_at",
        "warning",
    ]
    rows = catalogue.jobs.select(columns).to_pylist()
    cards = []
    for image_id, place in catalogue.entries:
        row, thumb = rows[place], built[place].built
        cards.append(
            Card(
                image_id,
                row["job_id"],
                rounded(row["frechet_vgg33"]),
                rounded(row["largest_piece"]),
                rounded(row["in_place"]),
                rounded(row["layout_diversity"]),
                rounded(row["train_s"]),
                row["committed_at"] or "",
                sentence(row["warning"]),
                thumb.width,
                thumb.height,
            )
        )
    return cards
