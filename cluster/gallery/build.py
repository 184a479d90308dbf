"""Build the gallery of a run: read the tables, write a page for each job, then the index that leads to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple

import pyarrow as pa

from cluster.gallery.attempt import read_attempt
from cluster.gallery.built import BUILT, Built, built_bytes, digest, read_built
from cluster.gallery.catalogue import Catalogue, preset_of, read_catalogue
from cluster.gallery.commands import commands, run_argument
from cluster.gallery.facts import circumstances, quality, settings
from cluster.gallery.figures import rounded
from cluster.gallery.pages import Card, Pages, Totals, rows_script
from cluster.spread import Spread, here
from jobs.store import Store
from jobs.text import sentence, visible

# Jobs that one task builds the pages of.
SLICE = 100
# Jobs in memory at the same time. Most of a job's time goes into waiting for a bucket.
AT_ONCE = 4


def build_gallery(store: Store, title: str | None = None, spread: Spread = here) -> str:
    """Write the static gallery of the run in `store` and return the URL of its first page.

    The pages need no server and no network, and work from a disk and from a bucket. Built again, the same run
    gives the same bytes; pages of images that are gone are removed, and pages that are still right stay as
    they are. Memory holds the tables' rows and, where jobs are worked on, the pictures of a few of them. An artifact
    that is missing or damaged is named on its page and stops nothing. Raises what the store raises when it cannot be
    used.
    """
    catalogue = read_catalogue(store)
    run = run_argument(store.url)
    look = Look(
        title=visible(title or run.rsplit("/", 1)[-1]),
        preset=preset_of(catalogue),
        totals=Totals(len(catalogue.entries), len(catalogue.failed), catalogue.waiting),
        run=run,
    )
    there = set(store.list("gallery/"))
    slices = _slices(catalogue, read_built(store), there)
    built = [job for part in spread(partial(build_slice, store, look), slices) for job in part]
    cards = _cards(catalogue, built)

    pages = look.pages()
    written = {path for job in built for path in job.paths}
    record = {job.job_id: job.built for job in built if job.whole}
    records = [("rows.js", rows_script(cards)), (BUILT, built_bytes(record))]
    for path, data in chain(pages.failures(catalogue.failed), records, pages.index(cards)):
        store.put(f"gallery/{path}", data)
        written.add(f"gallery/{path}")
    store.delete(sorted(there - written))
    return f"{store.url.rstrip('/')}/gallery/index.html"


@dataclass(frozen=True)
class Look:
    """What all pages of a gallery show: its title, the run's preset and counts, and how commands name the run."""

    title: str
    preset: str
    totals: Totals
    run: str

    def pages(self) -> Pages:
        """What renders them: made once in a process, since templates take their time to be compiled."""
        return _pages(self.title, self.preset, self.totals)


@lru_cache(maxsize=1)
def _pages(title: str, preset: str, totals: Totals) -> Pages:
    return Pages(title, preset, totals)


class BuiltJob(NamedTuple):
    """One job's page as it now lies in the gallery; not `whole` where artifacts were missing."""

    job_id: str
    built: Built
    whole: bool

    @property
    def paths(self) -> list[str]:
        """Its objects."""
        page, thumb = f"gallery/jobs/{self.job_id}.html", f"gallery/thumbs/{self.job_id}.webp"
        return [page, thumb] if self.built.width else [page]


@dataclass(frozen=True)
class Slice:
    """Some jobs that follow each other, as rows of the results, and what else their pages depend on."""

    rows: pa.Table
    names: list[list[str]]  # of each job, the images that it stands for
    before: str | None  # the job before the first
    after: str | None  # the job after the last
    standing: dict[str, BuiltJob]  # what lies in the gallery, whole, from an earlier build


def _slices(catalogue: Catalogue, earlier: dict[str, Built], there: set[str]) -> Iterator[Slice]:
    names = catalogue.names()
    jobs: list[str | None] = [None, *catalogue.jobs["job_id"].to_pylist(), None]
    standing = {job_id: BuiltJob(job_id, built, True) for job_id, built in earlier.items()}
    standing = {job_id: job for job_id, job in standing.items() if there.issuperset(job.paths)}
    for start in range(0, len(names), SLICE):
        end = min(start + SLICE, len(names))
        mine = [job for job in jobs[start + 1 : end + 1] if job in standing]
        yield Slice(
            # Copied, since a slice of a table carries the whole of it wherever it is sent.
            catalogue.jobs.take(pa.array(range(start, end), pa.int64())),
            names[start:end],
            jobs[start],
            jobs[end + 1],
            {job: standing[job] for job in mine if job is not None},
        )


def build_slice(store: Store, look: Look, slice_: Slice) -> list[BuiltJob]:
    """Write the pages and thumbnails of some jobs, a few at once, unless they are there and still right."""
    jobs = [slice_.before, *slice_.rows["job_id"].to_pylist(), slice_.after]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(
            pool.map(
                partial(_build, store, look, slice_.standing),
                slice_.rows.to_pylist(),
                slice_.names,
                jobs[:-2],
                jobs[2:],
            )
        )


def _build(
    store: Store,
    look: Look,
    standing: Mapping[str, BuiltJob],
    row: dict[str, Any],
    names: list[str],
    previous: str | None,
    following: str | None,
) -> BuiltJob:
    job_id: str = row["job_id"]
    shown = digest([look.title, look.run, row, names, previous, following])
    if job_id in standing and standing[job_id].built.digest == shown:
        return standing[job_id]

    attempt = read_attempt(store, job_id, row["attempt"])
    page = look.pages().job(
        row=row,
        names=names,
        attempt=attempt,
        quality=quality(row, attempt.figures),
        circumstances=circumstances(row),
        settings=settings(row),
        commands=commands(look.run, names[0], job_id),
        previous=previous,
        following=following,
    )
    store.put(f"gallery/jobs/{job_id}.html", page)
    thumb, width, height = attempt.album.thumbnail or (b"", 0, 0)
    if thumb:
        store.put(f"gallery/thumbs/{job_id}.webp", thumb)
    return BuiltJob(job_id, Built(shown, width, height), not attempt.problem)


def _cards(catalogue: Catalogue, built: list[BuiltJob]) -> list[Card]:
    columns = ["job_id", "frechet_vgg22", "copy", "diversity", "train_s", "committed_at", "warning"]
    rows = catalogue.jobs.select(columns).to_pylist()
    cards = []
    for image_id, place in catalogue.entries:
        row, thumb = rows[place], built[place].built
        cards.append(
            Card(
                image_id,
                row["job_id"],
                rounded(row["frechet_vgg22"]),
                rounded(row["copy"]),
                rounded(row["diversity"]),
                rounded(row["train_s"]),
                row["committed_at"] or "",
                sentence(row["warning"]),
                thumb.width,
                thumb.height,
            )
        )
    return cards
