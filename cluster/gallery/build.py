"""Build the gallery of a run: read the tables, write a page for each job, then the index that leads to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

from cluster.gallery.attempt import read_attempt
from cluster.gallery.built import BUILT, Built, built_bytes, digest, read_built
from cluster.gallery.catalogue import Catalogue, preset_of, read_catalogue
from cluster.gallery.commands import commands, run_argument
from cluster.gallery.facts import circumstances, quality, settings
from cluster.gallery.figures import rounded
from cluster.gallery.pages import Card, Pages, Totals, rows_script
from jobs.store import Store
from jobs.text import sentence, visible

# Jobs in memory at the same time. Most of a job's time goes into waiting for a bucket.
AT_ONCE = 4


def build_gallery(store: Store, title: str | None = None) -> str:
    """Write the static gallery of the run in `store` and return the URL of its first page.

    The pages need no server and no network, and work from a disk and from a bucket. Built again, the same run
    gives the same bytes; pages of images that are gone are removed, and pages that are still right stay as
    they are. Memory holds the tables' rows and the pictures of a few jobs. An artifact that is missing or
    damaged is named on its page and stops nothing. Raises what the store raises when it cannot be used.
    """
    catalogue = read_catalogue(store)
    run = run_argument(store.url)
    name = visible(title or run.rsplit("/", 1)[-1])
    totals = Totals(len(catalogue.entries), len(catalogue.failed), catalogue.waiting)
    pages = Pages(name, preset_of(catalogue), totals)

    there = set(store.list("gallery/"))
    jobs = _Jobs(store, catalogue, pages, name, run, there)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        built = list(pool.map(jobs.build, range(catalogue.jobs.num_rows)))
    cards = _cards(catalogue, built)

    written = {path for job in built for path in job.paths}
    record = {job.job_id: job.built for job in built if job.whole}
    records = [("rows.js", rows_script(cards)), (BUILT, built_bytes(record))]
    for path, data in chain(pages.failures(catalogue.failed), records, pages.index(cards)):
        store.put(f"gallery/{path}", data)
        written.add(f"gallery/{path}")
    store.delete(sorted(there - written))
    return f"{store.url.rstrip('/')}/gallery/index.html"


class _Job(NamedTuple):
    """One job's page as it now lies in the gallery; not `whole` where artifacts were missing."""

    job_id: str
    built: Built
    whole: bool

    @property
    def paths(self) -> list[str]:
        page, thumb = f"gallery/jobs/{self.job_id}.html", f"gallery/thumbs/{self.job_id}.webp"
        return [page, thumb] if self.built.width else [page]


class _Jobs:
    """Builds the pages of single jobs; `build` may run in several threads at once."""

    def __init__(self, store: Store, catalogue: Catalogue, pages: Pages, title: str, run: str, there: set[str]) -> None:
        self._store, self._catalogue, self._pages = store, catalogue, pages
        self._title, self._run, self._there = title, run, there
        self._names = catalogue.names()
        self._job_ids: list[str] = catalogue.jobs["job_id"].to_pylist()
        self._earlier = read_built(store)

    def build(self, place: int) -> _Job:
        """Write the page and the thumbnail of one job, unless they are there and still right."""
        row, names = self._catalogue.job(place), self._names[place]
        job_id: str = row["job_id"]
        previous = self._job_ids[place - 1] if place else None
        following = self._job_ids[place + 1] if place + 1 < len(self._job_ids) else None
        shown = digest([self._title, self._run, row, names, previous, following])

        earlier = self._earlier.get(job_id)
        if earlier is not None and earlier.digest == shown:
            job = _Job(job_id, earlier, True)
            if self._there.issuperset(job.paths):
                return job

        attempt = read_attempt(self._store, job_id, row["attempt"])
        page = self._pages.job(
            row=row,
            names=names,
            attempt=attempt,
            quality=quality(row, attempt.figures),
            circumstances=circumstances(row),
            settings=settings(row),
            commands=commands(self._run, names[0], job_id),
            previous=previous,
            following=following,
        )
        self._store.put(f"gallery/jobs/{job_id}.html", page)
        thumb, width, height = attempt.album.thumbnail or (b"", 0, 0)
        if thumb:
            self._store.put(f"gallery/thumbs/{job_id}.webp", thumb)
        return _Job(job_id, Built(shown, width, height), not attempt.problem)


def _cards(catalogue: Catalogue, built: list[_Job]) -> list[Card]:
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
