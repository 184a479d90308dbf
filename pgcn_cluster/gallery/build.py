"""Build the gallery of a run: read the tables, write a page for each job, then the index that leads to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from pgcn_cluster.gallery.build_record import Built, BuiltJob, Record, built_bytes, digest, read_built
from pgcn_cluster.gallery.catalogue import Catalogue, Totals, by_class, methods_of, preset_of, read_catalogue
from pgcn_cluster.gallery.commands import commands, run_argument
from pgcn_cluster.gallery.comparisons import Comparison, compared, means, read_comparisons
from pgcn_cluster.gallery.edit_pages import Used, edit_cards, edit_page, edits_by_pyramid, read_edits
from pgcn_cluster.gallery.pages import (
    COMPARED_A_PAGE,
    ROWS_A_SCRIPT,
    Card,
    Pages,
    batches,
    compare_name,
    list_names,
    rows_scripts,
)
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
    comparisons = read_comparisons(store, catalogue)
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
        compared=len(comparisons),
    )
    there = store.list("gallery/").keys()
    earlier = read_built(store)
    failed = by_class([*catalogue.failed, *edits.failed])
    listing = _list_pages(catalogue, edits, len(failed), len(comparisons))
    _claim(store, listing, there, earlier)
    slices = chain(
        _slices(catalogue, "jobs", edits_by_pyramid(edits), _pages_of(comparisons, catalogue), earlier.jobs, there),
        _slices(edits, "edits", {}, {}, earlier.jobs, there),
    )
    built = {job.job_id: job for part in spread(partial(build_slice, store, look), slices) for job in part}

    pages = look.pages()
    of_tasks = edit_cards(edits, built)
    tasks = (page for task, those in of_tasks.items() for page in pages.task(task, those))
    index = pages.index(_cards(catalogue, built), len(catalogue.entries))
    compare = _compare_pages(pages, comparisons, catalogue, built)
    for path, data in chain(pages.failures(failed), tasks, compare, rows_scripts(_cards(catalogue, built)), index):
        store.put(f"gallery/{path}", data)
    store.delete(sorted(_outdated(there, earlier, listing, built)))
    record = {job.job_id: job.built for job in built.values() if job.whole}
    store.put(layout.GALLERY_BUILT, built_bytes(Record(record, frozenset(listing))))
    return f"{store.url.rstrip('/')}/gallery/index.html"


def _pages_of(comparisons: Sequence[Comparison], catalogue: Catalogue) -> dict[str, str]:
    """The page with the comparison of each compared job, by its job_id."""
    page_of = {
        place: compare_name(1 + number // COMPARED_A_PAGE)
        for number, comparison in enumerate(comparisons)
        for place in comparison.jobs
    }
    return {job_id: page_of[i] for i, job_id in enumerate(catalogue.jobs["job_id"].to_pylist()) if i in page_of}


def _compare_pages(
    pages: Pages, comparisons: Sequence[Comparison], catalogue: Catalogue, built: Mapping[str, BuiltJob]
) -> Iterator[tuple[str, bytes]]:
    """The pages of comparisons; none where no image was trained in several ways."""
    if comparisons:
        shown = (compared(each, catalogue.jobs, built) for each in comparisons)
        yield from pages.compare(shown, means(catalogue.jobs))


def _list_pages(catalogue: Catalogue, edits: Catalogue, classes: int, comparisons: int) -> set[str]:
    """The objects of all pages but those of jobs; `classes` is the number of failure classes."""
    task_of = edits.jobs["task"].to_pylist()
    edits_of_task = Counter(task_of[place] for _, place in edits.entries)
    return {f"gallery/{name}" for name in list_names(len(catalogue.entries), classes, comparisons, edits_of_task)}


def _claim(store: Store, listing: set[str], there: Set[str], earlier: Record) -> None:
    """Record the list pages of this build before any is written, so that an aborted build leaves no unknown page.

    Raises `ConfigError` where one of them would replace an object of `there` that no build has written.
    """
    _check_ours(store, there & listing, earlier)
    known = None if earlier.lists is None else earlier.lists | listing
    if known != earlier.lists:
        store.put(layout.GALLERY_BUILT, built_bytes(earlier._replace(lists=known)))


def _outdated(there: Iterable[str], earlier: Record, listing: set[str], built: Mapping[str, BuiltJob]) -> Iterator[str]:
    """The objects of earlier builds that this one has not written or kept."""
    for path in there:
        job = built.get(PurePosixPath(path).stem)
        if path not in listing and (job is None or path not in job.paths) and earlier.wrote(path):
            yield path


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

    `methods` is empty where all images have one method; `compared` is the number of comparisons.
    """

    title: str
    preset: str
    methods: str
    totals: Totals
    edits: Totals
    tasks: tuple[tuple[str, int], ...]
    run: str
    compared: int

    def pages(self) -> Pages:
        """The renderer of the pages, made once in a process, since templates are slow to compile."""
        return _pages(self)


@lru_cache(maxsize=1)
def _pages(look: Look) -> Pages:
    return Pages(look.title, look.preset, look.methods, look.totals, look.edits, dict(look.tasks), look.compared)


@dataclass(frozen=True)
class PageSlice:
    """Some jobs that follow each other, as rows of the results, and what else their pages depend on."""

    folder: str  # "jobs" of images, or "edits"
    rows: pa.Table
    names: list[list[str]]  # of each job, the images or edits that it stands for
    edits: dict[str, list[Used]]  # of the pyramids that edits used
    compared: dict[str, str]  # of the jobs in comparisons, their page
    before: str | None  # the job before the first
    after: str | None  # the job after the last
    standing: dict[str, BuiltJob]  # what lies in the gallery, whole, from an earlier build


def _slices(
    catalogue: Catalogue,
    folder: str,
    edits: dict[str, list[Used]],
    compared: dict[str, str],
    earlier: dict[str, Built],
    there: Set[str],
) -> Iterator[PageSlice]:
    names = catalogue.names()
    jobs: list[str | None] = [None, *catalogue.jobs["job_id"].to_pylist(), None]
    for start in range(0, len(names), PAGES_PER_SLICE):
        end = min(start + PAGES_PER_SLICE, len(names))
        here = [job for job in jobs[start + 1 : end + 1] if job is not None]
        known = [BuiltJob(job, folder, earlier[job], True) for job in here if job in earlier]
        yield PageSlice(
            folder,
            catalogue.rows(start, end),
            names[start:end],
            {job: edits[job] for job in here if job in edits},
            {job: compared[job] for job in here if job in compared},
            jobs[start],
            jobs[end + 1],
            {job.job_id: job for job in known if there >= set(job.paths)},
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
    edits, comparison = slice_.edits.get(job_id, []), slice_.compared.get(job_id)
    shown = digest([look.title, look.run, row, names, around["previous"], around["following"], edits, comparison])
    if job_id in slice_.standing and slice_.standing[job_id].built.digest == shown:
        return slice_.standing[job_id]
    if slice_.folder == "edits":
        page, thumbnail, problem = edit_page(store, look.pages(), look.run, row, around)
        pictures = [thumbnail, None, None]
    else:
        attempt = read_attempt(store, job_id, row["attempt"], compared=comparison is not None)
        page = look.pages().job(
            **around,
            attempt=attempt,
            edits=edits,
            comparison=comparison,
            quality=quality(row),
            metrics=all_metrics(row, attempt.metrics),
            provenance=provenance(row),
            settings=settings(row),
            commands=commands(look.run, names[0], job_id),
        )
        pictures, problem = [attempt.album.thumbnail, *attempt.album.beside], attempt.problem
    sizes = [size for picture in pictures for size in (picture[1:] if picture else (0, 0))]
    built = BuiltJob(job_id, slice_.folder, Built(shown, *sizes), not problem)
    store.put(built.page, page)
    for path, picture in zip((built.thumb, built.original, built.strip), pictures, strict=True):
        if picture:
            store.put(path, picture[0])
    return built


def _cards(catalogue: Catalogue, built: Mapping[str, BuiltJob]) -> Iterator[Card]:
    """The cards of all images in order: a million of them take most of a gigabyte, and are made as they are needed."""
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
    jobs = catalogue.jobs.select(columns)
    for entries in batches(catalogue.entries, ROWS_A_SCRIPT):
        rows = jobs.take(pa.array([entry.job for entry in entries], pa.int64())).to_pylist()
        for (image_id, _), row in zip(entries, rows, strict=True):
            thumb = built[row["job_id"]].built
            yield Card(
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
