"""The gallery's promises that need no browser: what is in it, what it links to, and what it never does."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin

import duckdb
import pytest
from PIL import Image

from pgcn_cluster.gallery import build_gallery, pages
from pgcn_cluster.gallery.build_record import forget
from pgcn_cluster.gallery.commands import commands, run_argument, shell_word
from pgcn_cluster.gallery.failure_help import HELP
from pgcn_cluster.gallery.views import formatting
from pgcn_cluster.gallery.views.album import SIDE
from pgcn_cluster.gallery.views.curves import MAX_POINTS, Metric, charts_by_scale, thinned
from pgcn_cluster.gallery.views.thumbnails import THUMB_HEIGHT, THUMB_WIDTH, thumbnail
from pgcn_jobs.common.failures import ConfigError, FailureClass
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.storage.store import Store
from tests.cluster.fake_run import (
    ATTEMPT,
    HOSTILE,
    TWINS,
    failure,
    job_of,
    result,
    write_attempt,
    write_run,
    write_table,
)

NO_PICTURE = '<span class="none">'


class Page(HTMLParser):
    """Content of a page for a browser: its links, its texts by tag, and every attribute."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.feed(html.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.texts.append((tag, ""))

    def handle_endtag(self, tag):
        self.texts.append(("", ""))

    def handle_data(self, data):
        if self.texts:
            tag, text = self.texts[-1]
            self.texts[-1] = tag, text + data

    def values(self, *names: str) -> list[str]:
        return [value for _, attrs in self.tags for name, value in attrs.items() if name in names and value]

    def named(self) -> list[str]:
        return [text for tag, text in self.texts if tag == "bdi"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Store:
    """One built gallery that the tests of this module only read."""
    store = Store(str(tmp_path_factory.mktemp("gallery") / "my run"))
    write_run(store)
    build_gallery(store)
    return store


@pytest.fixture
def small(tmp_path) -> Store:
    """A run of its own for a test that changes it: two finished images."""
    store = Store(str(tmp_path / "run"))
    names = ["a.png", "b.png"]
    for name in names:
        write_attempt(store, name)
    write_table(store, "results", [result(name) for name in names])
    write_table(store, "manifest", [{"image_id": name, "job_id": job_of(name)} for name in names])
    return store


def html_pages(store: Store) -> Iterator[tuple[str, Page]]:
    for path in store.list("gallery"):
        if path.endswith(".html"):
            yield path, Page(store.get(path))


def contents(store: Store) -> dict[str, bytes]:
    return {path: store.get(path) for path in store.list("gallery")}


def rows_of(store: Store) -> list[list]:
    return rows_in(store.get("gallery/rows-1.js"))


def rows_in(script: bytes) -> list[list]:
    text = script.decode("ascii")
    return json.loads(text[text.index(", [") + 1 : text.rindex("])") + 1])


def test_every_finished_image_has_one_card_and_60_fit_on_a_page(run):
    names = [Page(run.get(f"gallery/{n}.html")) for n in ("index", "page-2", "page-3")]
    cards = [page.named()[1:-1] for page in names]  # less the title and the blank card
    assert [len(page) for page in cards] == [60, 60, 10]
    shown = [name for page in cards for name in page]
    assert len(set(shown)) == 130
    assert shown.index("flowers/flower-2.png") < shown.index("flowers/flower-10.png"), "numbers sort as numbers"


def test_every_link_leads_to_something_and_nothing_leads_out(run):
    there = set(run.list())
    checked = 0
    for path, page in html_pages(run):
        for link in page.values("src", "href", "action", "poster", "data", "srcset"):
            if link.startswith(("data:image/", "#")):
                continue
            assert not re.match(r"[a-z][a-z0-9+.-]*:|//", link, re.I), f"{path} leads out: {link}"
            target = unquote(urljoin(f"/{path}", link).partition("#")[0]).lstrip("/")
            if target == "gallery/jobs/.html":
                continue  # the blank card, which the script fills
            if target != "gallery/thumbs/.webp":
                assert target in there, f"{path} has a dead link: {link}"
                checked += 1
    assert checked > 800


def test_pages_load_nothing_from_a_network(run):
    for path, data in contents(run).items():
        if path.endswith((".html", ".js")):
            text = re.sub(rb"data:image/[^\"]*", b"", data)
            assert not re.search(rb"https?:|url\(|@import|fetch\(|XMLHttp|WebSocket", text), path


def test_the_policy_allows_exactly_the_pages_own_style_and_script(run):
    for path, page in html_pages(run):
        policy = page.values("content")[0]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
        inline = re.findall(rb"<(?:style|script)>(.*?)</(?:style|script)>", run.get(path), re.S)
        for source in inline:
            digest = base64.b64encode(hashlib.sha256(source).digest()).decode()
            assert f"'sha256-{digest}'" in policy, path
        assert not [a for _, attrs in page.tags for a in attrs if a == "style" or a.startswith("on")], path
        assert "/jobs/" not in path or b"<script" not in run.get(path), "a job's page needs no script"


def test_hostile_names_are_text_and_never_paths(run):
    names = {name for _, page in html_pages(run) for name in page.named()}
    for name in HOSTILE:
        assert terminal_safe(name) in names
    assert {tag for _, page in html_pages(run) for tag, _ in page.tags}.isdisjoint({"b>bold", "iframe", "object"})
    for path in run.list("gallery/jobs") | run.list("gallery/thumbs"):
        assert re.fullmatch(r"[0-9a-f]{20}", PurePosixPath(path).stem)
    scripts = [a for p, page in html_pages(run) for t, a in page.tags if t == "script"]
    assert scripts == [{}, {}, {}], "one inline script on each page of the index, no other anywhere"


def test_rows_hold_every_image_and_cannot_end_the_script(run):
    data = run.get("gallery/rows-1.js")
    assert b"<" not in data
    rows = rows_of(run)
    assert {row[0] for row in rows} >= {*HOSTILE, *TWINS} and len(rows) == 130
    by_name = {row[0]: row for row in rows}
    expected = result("flowers/flower-5.png", place=len(HOSTILE) + 4)
    row = by_name["flowers/flower-5.png"]
    assert row[1] == expected["job_id"]
    assert row[2] == pytest.approx(expected["frechet_vgg33"], rel=1e-3)
    assert row[3:6] == pytest.approx([expected[n] for n in ("largest_piece", "in_place", "layout_diversity")], rel=5e-3)
    assert row[7] == expected["committed_at"]


def test_two_images_of_the_same_bytes_share_one_page(run):
    rows = [row for row in rows_of(run) if row[0] in TWINS]
    assert [row[1] for row in rows] == [job_of(TWINS[0])] * 2
    page = Page(run.get(f"gallery/jobs/{job_of(TWINS[0])}.html"))
    assert set(TWINS) <= set(page.named())


def test_the_counts_add_up(run):
    text = re.sub(r"<[^>]+>", " ", run.get("gallery/index.html").decode())
    assert re.search(r"130\s+done\s+8\s+failed\s+2\s+waiting", text)


def test_failures_are_grouped_explained_and_complete(run):
    page = Page(run.get("gallery/failures.html"))
    text = " ".join(text for _, text in page.texts)
    headings = [text.strip() for tag, text in page.texts if tag == "h2"]
    assert headings == ["INPUT", "NUMERIC", "HOST_OOM", "WORKER_LOST", "BUG", "FROM_THE_FUTURE"]
    for reason in (
        "holds no bytes; copy it again.",
        "refused.gif has 3 frames",
        "bad/<b>bold</b>.png is no picture that",
    ):
        assert reason in text
    assert "2026-03-02 08:30 UTC" in text and HELP["NUMERIC"].action in text
    assert "Silent for 300 s." not in text, "failed first, done in the end"
    assert "machine was taken away." not in text, "an attempt is still to come"
    assert "Traceback" not in text
    assert {*HELP} == {*FailureClass}


def test_many_failures_are_split_over_pages(small):
    failed = [failure(f"{i}.png", FailureClass.INPUT, f"Reason {i}.") for i in range(410)]
    write_table(small, "failures", failed)
    build_gallery(small)
    pages = [small.get(f"gallery/failures{n}.html").decode() for n in ("", "-2", "-3")]
    assert sum(len(re.findall(r"Reason \d+\.", page)) for page in pages) == 410
    assert all("410" in page and 'id="INPUT"' in page for page in pages)


def test_a_mended_image_waits_although_its_old_file_failed(small):
    write_table(small, "failures", [failure("c.png", FailureClass.INPUT, "Broken.")])
    write_table(small, "manifest", [{"image_id": "c.png", "job_id": job_of("c.png, mended")}])
    build_gallery(small)
    assert b"Broken." not in small.get("gallery/failures.html")
    assert re.search(rb"<b>1</b> waiting", small.get("gallery/index.html"))


def test_the_same_run_gives_the_same_bytes(small):
    url = build_gallery(small)
    assert url == f"{small.url}/gallery/index.html"
    first = contents(small)
    build_gallery(small)
    assert contents(small) == first
    small.delete(first)
    build_gallery(small)
    assert contents(small) == first


class Counting(Store):
    """A store that remembers what was written."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.written: list[str] = []

    def put(self, path: str, data: bytes) -> None:
        self.written.append(path)
        super().put(path, data)

    def jobs_written(self) -> set[str]:
        return {PurePosixPath(path).stem for path in self.written if "/jobs/" in path}


def test_a_rebuild_writes_only_the_jobs_that_changed(small):
    build_gallery(small)

    again = Counting(small.url)
    build_gallery(again)
    assert again.jobs_written() == set()

    small.delete([f"gallery/jobs/{job_of('a.png')}.html"])
    missing = Counting(small.url)
    build_gallery(missing)
    assert missing.jobs_written() == {job_of("a.png")}

    write_table(small, "results", [result("a.png"), result("b.png", warning="Look at this.")])
    changed = Counting(small.url)
    build_gallery(changed)
    assert changed.jobs_written() == {job_of("b.png")}
    assert b"Look at this." in small.get(f"gallery/jobs/{job_of('b.png')}.html")

    build_gallery(renamed := Counting(small.url), title="Another title")
    assert len(renamed.jobs_written()) == 2


def test_pages_of_images_that_are_gone_are_removed_and_files_of_others_stay(small, monkeypatch):
    monkeypatch.setattr(pages, "IMAGES_A_PAGE", 1)
    build_gallery(small)
    assert small.exists("gallery/page-2.html")
    others = {f"gallery/{name}": b"mine" for name in ("page-9.html", "Thumbs.db", "jobs/notes.html", "a/b.png")}
    for path, data in others.items():
        small.put(path, data)
    write_table(small, "results", [result("b.png")])
    write_table(small, "manifest", [{"image_id": "b.png", "job_id": job_of("b.png")}])
    build_gallery(small)
    assert set(small.list("gallery")) == {
        *(f"gallery/{name}" for name in ("built.json", "failures.html", "index.html", "rows-1.js")),
        f"gallery/jobs/{job_of('b.png')}.html",
        f"gallery/thumbs/{job_of('b.png')}.webp",
        *others,
    }
    assert {path: small.get(path) for path in others} == others
    assert job_of("a.png") not in small.get(f"gallery/jobs/{job_of('b.png')}.html").decode()


@pytest.mark.parametrize("record", [None, "old", "forgotten"])
def test_somebodys_page_is_never_replaced_and_one_of_ours_is(small, record):
    """A record of the first versions names no such pages: all of them may be ours."""
    small.put("gallery/index.html", b"mine")
    if record is None:
        with pytest.raises(ConfigError, match=r"gallery/index\.html is not a page that pgcn wrote"):
            build_gallery(small)
        assert small.get("gallery/index.html") == b"mine"
        small.delete(["gallery/index.html"])
    elif record == "old":
        small.put("gallery/built.json", b'{"0123456789abcdef0123":["a",1,1]}')
    else:
        small.delete(["gallery/index.html"])
        build_gallery(small)
        forget(small)
        small.put("gallery/index.html", b"changed")
    build_gallery(small)
    assert small.get("gallery/index.html").startswith(b"<!")


def test_a_build_that_is_cut_off_leaves_only_pages_that_the_next_may_replace(small):
    for cut_at in range(1, 9):
        with pytest.raises(KeyboardInterrupt):
            build_gallery(Dying(small.url, cut_at))
    build_gallery(small)


class Dying(Store):
    """Dies at a put."""

    def __init__(self, url, cut_at):
        super().__init__(url)
        self.left = cut_at

    def put(self, path, data):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        super().put(path, data)


@pytest.mark.parametrize("damage", ["missing", "cut", "no picture"])
def test_damaged_pictures_leave_a_gap_and_a_sentence_until_they_are_mended(small, damage):
    path = f"attempts/{job_of('a.png')}/{ATTEMPT}/samples.parquet"
    whole = small.get(path)
    if damage == "missing":
        small.delete([path])
    elif damage == "cut":
        small.put(path, whole[: len(whole) // 2])
    else:
        row = {"kind": "sample", "index": 0, "scale": 0, "width": 4, "height": 4, "image": {"bytes": b"no"}}
        small.put(path, schemas.parquet_bytes(schemas.table([row], schemas.SAMPLES)))
    build_gallery(small)
    page = small.get(f"gallery/jobs/{job_of('a.png')}.html").decode()
    assert path in page and ("is missing" in page or "could not be read" in page)
    assert "<svg" in page, "the curves are shown all the same"
    assert NO_PICTURE in small.get("gallery/index.html").decode()
    assert "Sample 1" in small.get(f"gallery/jobs/{job_of('b.png')}.html").decode()

    small.put(path, whole)
    build_gallery(small)
    assert "could not be read" not in small.get(f"gallery/jobs/{job_of('a.png')}.html").decode()
    assert NO_PICTURE not in small.get("gallery/index.html").decode()


@pytest.mark.parametrize("bad", [{"job_id": "../../../../x"}, {"attempt": "../.."}, {"job_id": None}])
def test_ids_that_are_no_names_are_left_out(small, bad, tmp_path):
    before = set(tmp_path.rglob("*")) - set((tmp_path / "run").rglob("*"))
    write_table(small, "results", [result("a.png"), result("evil.png", **bad)])
    build_gallery(small)
    assert [row[0] for row in rows_of(small)] == ["a.png"]
    assert set(tmp_path.rglob("*")) - set((tmp_path / "run").rglob("*")) == before


def test_an_empty_run_has_a_gallery(tmp_path):
    store = Store(str(tmp_path / "nothing yet"))
    build_gallery(store)
    assert b"No image is done yet." in store.get("gallery/index.html")
    assert b"Nothing failed." in store.get("gallery/failures.html")
    assert rows_of(store) == []


def test_a_job_page_shows_everything_of_the_job(run):
    page = run.get(f"gallery/jobs/{job_of('flowers/flower-3.png')}.html").decode()
    sources = re.findall(r'<img src="data:image/webp;base64,([^"]+)" width="(\d+)" height="(\d+)" alt="([^"]+)"', page)
    assert len(sources) == 2 + 6 + 5 * 3
    for data, width, height, alt in sources:
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.width / image.height == pytest.approx(int(width) / int(height), rel=0.02), alt
            if alt.startswith("The original"):
                assert max(int(width), int(height)) == SIDE
    assert page.count("<svg") == 5 * 4
    for text in ("2 × 1", "edge_density", "0.221", "step_size", "δ²", "pgcn sample", "scale-0.safetensors", "1.54 kB"):
        assert text in page


def test_a_thumbnail_is_two_pictures_with_nothing_between():
    wide, tall = Image.new("RGB", (250, 100), "red"), Image.new("RGB", (60, 120), "blue")
    data, width, height = thumbnail(*(_png(image) for image in (wide, tall)))
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.size) == ("WEBP", "RGBA", (width, height))
        assert width <= THUMB_WIDTH and height <= THUMB_HEIGHT
        alpha = [image.getpixel((x, height // 2))[3] for x in range(width)]
    gap = [x for x, a in enumerate(alpha) if a == 0]
    assert gap == list(range(gap[0], gap[-1] + 1))
    assert gap[0] / height == pytest.approx(2.5, rel=0.02)
    assert (width - 1 - gap[-1]) / height == pytest.approx(0.5, rel=0.05)


def _png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def test_thinned_curves_keep_spikes_and_ends():
    points = [(i, float(i == 777)) for i in range(5000)]
    kept = thinned(points)
    assert len(kept) <= MAX_POINTS
    assert (777, 1.0) in kept and kept[0] == points[0] and kept[-1] == points[-1]
    assert kept == sorted(kept)


def test_charts_survive_every_kind_of_curve():
    nan, infinity = float("nan"), float("inf")
    metrics = [
        Metric(0, 1, "energy_observed", 1.0),
        Metric(0, 2, "energy_observed", nan),
        Metric(0, 3, "energy_observed", 5.0),
        Metric(0, 1, "energy_synthesized", -1.0),
        Metric(0, 1, "loss", infinity),
        Metric(1, 1, "flat", 3.0),
        Metric(1, 9, "flat", 3.0),
        Metric(1, 1, "huge", -1.7e308),
        Metric(1, 2, "huge", 1.7e308),
        Metric(-1, 0, "patch_swd", 0.5),
    ]
    charts = charts_by_scale(metrics)
    assert [[chart.heading for chart in charts[scale]] for scale in (0, 1)] == [["Energy"], ["Flat", "Huge"]]
    energy = charts[0][0]
    assert energy.labels == ["observed", "synthesized"]
    assert "<title" in energy.svg and "from 1 at iteration 1 to 5 at iteration 3" in energy.svg
    for chart in (*charts[0], *charts[1]):
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", chart.svg):
            assert 0 <= float(x) <= 240 and 0 <= float(y) <= 84
        assert "nan" not in chart.svg and "inf" not in chart.svg


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash to ask")
@pytest.mark.parametrize("name", [*HOSTILE, "$(touch x)`y`\\n%s!", "\x1b[31mred\x07", "a\u2028b", "\U000e0041 tag", ""])
def test_a_copied_shell_word_is_the_name_again(name):
    word = shell_word(name)
    assert word.isprintable(), "what is read is what runs"
    line = f"printf %s {word}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode() == name


def test_the_commands_name_the_run_and_survive_a_dash(run):
    sample, metrics = commands("s3://bucket/o'run", "-n 3.png", job_of("x"))
    assert sample.text == """pgcn sample --size 2x1 -n 8 -- 's3://bucket/o'"'"'run' '-n 3.png'"""
    assert "'s3://bucket/o''run/tables/metrics/*.parquet'" in metrics.text
    assert commands("run", "a.png", "0" * 20)[0].text == "pgcn sample run a.png --size 2x1 -n 8"


def test_the_sql_of_a_page_runs(small):
    results_as_metrics = [{"job_id": job_of("a.png"), "scale": 0, "iteration": 1, "name": "loss", "value": 0.5}]
    write_table(small, "metrics", results_as_metrics)
    _, metrics = commands(small.url, "a.png", job_of("a.png"))
    assert duckdb.sql(metrics.text).fetchall() == [(0, 1, "loss", 0.5)]


def test_a_local_run_is_named_without_its_place():
    assert run_argument("/home/someone/runs/cats/") == "cats"
    assert run_argument("file:///home/someone/runs/cats") == "cats"
    assert run_argument("s3://bucket/runs/cats/") == "s3://bucket/runs/cats"


def test_no_page_says_where_the_run_lies(run):
    for path, data in contents(run).items():
        assert str(Path(run.url).parent).encode() not in data, path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (0.012349, "0.0123"),
        (151809, "152000"),
        (-1.5, "-1.5"),
        (100.0, "100"),
        (3e-9, "3e-09"),
    ],
)
def test_numbers_are_short_and_plain(value, text):
    assert formatting.number(value) == text


def test_times_and_sizes_take_their_unit():
    assert [formatting.duration(s) for s in (0.5, 41.0, 100, 5999, 11520)] == [
        "0.5 s",
        "41 s",
        "2 min",
        "100 min",
        "3.2 h",
    ]
    assert [formatting.size(n) for n in (812, 153_000, 4_100_000)] == ["812 B", "153 kB", "4.1 MB"]
    assert formatting.when("2026-03-01T13:02:11+01:00") == "2026-03-01 12:02 UTC"
    assert formatting.when("last week") == "last week"


def test_names_are_in_the_order_of_their_numbers():
    names = ["a", "A", "a2", "a10", "a10b", "a-2.png", "a2.png", "cat", "cat002", "cat2", "cat10", "2", "10", ""]
    assert sorted(names, key=formatting.natural_order) == [
        *("", "2", "10", "A", "a", "a2", "a2.png", "a10", "a10b", "a-2.png", "cat", "cat002", "cat2", "cat10"),
    ]
