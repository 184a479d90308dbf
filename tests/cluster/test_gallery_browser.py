"""The gallery in a real browser, opened from the disk as a person does who was sent it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from pgcn.imaging.channels import Channels, Group
from pgcn_cluster.gallery import build_gallery
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.images.value_files import encode_values
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
    write_edit,
    write_run,
    write_table,
)
from tests.cluster.test_gallery import rows_in

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium or google-chrome on the PATH")

FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--enable-logging=stderr", "--virtual-time-budget=4000"),
]


class Card(NamedTuple):
    """One card of the index as the browser shows it."""

    name: str
    figures: list[str]
    warning: str
    alt: str


class Shown(HTMLParser):
    """The cards that are on the screen: those that no `hidden` takes off it."""

    VOID = frozenset({"img", "input", "meta", "link", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cards: list[Card] = []
        self.found = ""
        self.title = ""
        self._path: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self._path.append((tag, dict(attrs)))
        if self._hidden():
            return
        if tag == "li" and dict(attrs).get("class") == "card":
            self.cards.append(Card("", [], "", ""))
        elif tag == "img" and self.cards:
            self.cards[-1] = self.cards[-1]._replace(alt=dict(attrs)["alt"] or "")
        elif tag == "dd" and self.cards:
            self.cards[-1].figures.append("")

    def handle_endtag(self, tag):
        while self._path and self._path.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if not self._path:
            return
        tag, attrs = self._path[-1]
        if attrs.get("id") == "found":
            self.found += data
        elif [name for name, _ in self._path] == ["html", "head", "title"]:
            self.title += data
        if self._hidden() or not self.cards:
            return
        if attrs.get("class") == "name":
            self.cards[-1] = self.cards[-1]._replace(name=self.cards[-1].name + data)
        elif attrs.get("class") == "warning":
            self.cards[-1] = self.cards[-1]._replace(warning=data)
        elif tag == "dd":
            self.cards[-1].figures[-1] += data

    def names(self) -> list[str]:
        return [card.name for card in self.cards]

    def _hidden(self) -> bool:
        return any("hidden" in attrs or tag == "template" for tag, attrs in self._path)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> Path:
    store = Store(str(tmp_path_factory.mktemp("browser") / "run"))
    write_run(store, whole=4)
    build_gallery(store)
    return Path(store.url) / "gallery"


@pytest.fixture
def browse(tmp_path):
    """Open a page (a path, with a hash if wanted) and return its DOM; anything the browser complains of fails."""

    def open_page(page: str, *flags: str) -> str:
        assert BROWSER is not None
        command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, "--dump-dom", f"file://{page}"]
        done = subprocess.run(command, capture_output=True, timeout=90, check=True)
        complaints = re.findall(r"^.*CONSOLE.*$", done.stderr.decode(errors="replace"), re.M)
        assert not complaints, complaints
        return done.stdout.decode()

    return open_page


def test_the_first_page_shows_sixty_cards_and_the_tools(gallery, browse):
    dom = browse(f"{gallery}/index.html")
    shown = Shown(dom)
    assert len(shown.cards) == 60
    assert 'data-images="130" data-scripts="1">' in dom, "the script ran and unhid the tools"
    assert '<script src="rows-' not in dom, "rows are loaded only when they are wanted"


def test_search_finds_images_of_every_page_by_any_part_of_a_name(gallery, browse):
    shown = Shown(browse(f"{gallery}/page-2.html#q=FLOWER-11"))
    assert shown.names() == ["flowers/flower-11.png", *(f"flowers/flower-{n}.png" for n in range(110, 119))]
    assert shown.found == "10 of 130 images"
    assert Shown(browse(f"{gallery}/index.html#q=second+twins")).names() == [TWINS[1]]
    assert Shown(browse(f"{gallery}/index.html#q=no-such-image")).found == "0 of 130 images"


def test_a_found_card_is_the_card_of_the_page(gallery, browse):
    """Python and the script write the same card: names, figures, warnings and alternative texts."""
    pages = [Shown(browse(f"{gallery}/{name}.html")).cards for name in ("index", "page-2", "page-3")]
    static = {card.name: card for page in pages for card in page}
    found = [
        card
        for word in ("#q=1", "#warning=1", "#reverse=1")
        for card in Shown(browse(f"{gallery}/index.html{word}")).cards
    ]
    assert len(found) > 100
    assert {card.name for card in found if card.warning}
    for card in found:
        assert card == static[card.name]


@pytest.mark.parametrize("sort", ["frechet_vgg33", "largest_piece", "in_place", "layout_diversity", "time", "newest"])
def test_sorting_is_over_all_images(gallery, browse, sort):
    names = ("frechet_vgg33", "largest_piece", "in_place", "layout_diversity", "time", "newest")
    column = 2 + names.index(sort)
    rows = rows_in((gallery / "rows-1.js").read_bytes())
    highest_first = sort in ("layout_diversity", "newest")
    have = [row for row in rows if row[column] is not None]
    lack = [row for row in rows if row[column] is None]
    for hash_, turned in ((f"#sort={sort}", False), (f"#sort={sort}&reverse=1", True)):
        # Equal values keep the order of the names; missing ones come last, whichever way.
        expected = sorted(have, key=lambda row: row[column], reverse=highest_first != turned) + lack
        names = Shown(browse(f"{gallery}/index.html{hash_}")).names()
        assert len(names) == 60
        assert names == [terminal_safe(row[0]) for row in expected[:60]]


def test_search_and_sorting_go_over_all_scripts_of_rows(gallery, browse, monkeypatch):
    """With forty rows a script, a view is the same as with all rows in one script."""
    views = ("#q=flower-1", "#reverse=1&q=flower", "#sort=in_place", "#sort=newest&reverse=1", "#warning=1")
    one = {view: Shown(browse(f"{gallery}/index.html{view}")) for view in views}
    monkeypatch.setattr("pgcn_cluster.gallery.pages.ROWS_A_SCRIPT", 40)
    split = gallery.parent.parent / "split"
    shutil.copytree(gallery.parent, split / "run")
    build_gallery(Store(str(split / "run")))
    there = {path.name for path in (split / "run" / "gallery").glob("rows*")}
    assert there == {"rows-1.js", "rows-2.js", "rows-3.js", "rows-4.js"}
    for view, expected in one.items():
        found = Shown(browse(f"{split}/run/gallery/index.html{view}"))
        assert found.cards == expected.cards and found.cards
        assert found.found == expected.found


def test_hostile_names_run_nothing(gallery, browse):
    shown = Shown(browse(f"{gallery}/index.html#q=.&sort=newest"))
    assert shown.title == "run"
    for word, name in (("onerror", HOSTILE[2]), ("document.title", None), ("two", HOSTILE[4]), ("%24%26", HOSTILE[6])):
        shown = Shown(browse(f"{gallery}/index.html#q={word}"))
        assert shown.title == "run"
        assert shown.cards and (name is None or shown.names() == [terminal_safe(name)])
    assert shown.cards[0].alt == f"{HOSTILE[6]}: the original on the left, a sample on the right"
    for name in (HOSTILE[0], HOSTILE[2], HOSTILE[3], HOSTILE[5]):
        page = Shown(browse(f"{gallery}/jobs/{job_of(name)}.html"))
        assert page.title == f"{terminal_safe(name)} · run"


HARM = (
    "</style></script></title><script>document.title='owned'</script><img src=x onerror=document.title='owned'>\u202e"
)


def test_text_of_every_column_runs_nothing(browse, tmp_path):
    """A run whose every text is hostile, but for the ids, which have a form of their own."""
    store, name = Store(str(tmp_path / "run")), f"{HARM}.png"
    columns = ("uri", "preset", "warning", "note", "device", "algorithm", "pgcn_version", "torch_version")
    row = result(name, 0, **dict.fromkeys(columns, HARM), settings=json.dumps({HARM: HARM}), committed_at=HARM)
    write_attempt(store, name, 0, whole=False)
    write_table(store, "results", [row])
    failed = failure(f"failed {HARM}", HARM, HARM, failed_at=HARM)
    write_table(store, "failures", [failed])
    write_table(store, "manifest", [{"image_id": each["image_id"], "job_id": each["job_id"]} for each in (row, failed)])
    store.put("run.json", json.dumps({"preset": HARM}).encode())
    build_gallery(store, title="plain")
    for page, title in (("index", "plain"), ("failures", "Failures · plain"), (f"jobs/{job_of(name)}", None)):
        dom = browse(f"{tmp_path}/run/gallery/{page}.html")
        assert Shown(dom).title == (title or f"{terminal_safe(name)} · plain")
        assert "\u202e" not in dom
        assert "src=x" not in re.sub(r"&lt;img src=x", "", dom), page
    shown = Shown(browse(f"{tmp_path}/run/gallery/index.html#q=png"))
    assert shown.names() == [terminal_safe(name)] and shown.title == "plain"


@pytest.fixture(scope="module")
def edits(tmp_path_factory):
    """A gallery with two edits: a red picture made green, and one whose every text is hostile."""
    store = Store(str(tmp_path_factory.mktemp("edits") / "run"))
    red, green = Image.new("RGB", (90, 60), (220, 0, 0)), Image.new("RGB", (90, 60), (0, 180, 0))
    columns = ("uri", "target_uri", "mask_uri", "pyramid", "pyramid_run", "metric", "note", "device", "algorithm")
    harm = dict.fromkeys(columns, HARM) | {"options": json.dumps({HARM: HARM}), "image_id": HARM, "better": False}
    rows = [write_edit(store, "plain", red, green), write_edit(store, HARM, red, green, **harm)]
    stray = write_edit(store, "stray", red, green, task="../../../x")
    failed = failure(HARM, FailureClass.INPUT, HARM, edit_id=HARM, job_id="f" * 20)
    write_table(store, "edits", [*rows, stray])
    write_table(store, "manifest_edits", [{"edit_id": HARM + "!", "job_id": "f" * 20, "problem": HARM}])
    write_table(store, "failures", [failed])
    build_gallery(store, title="plain")
    return Path(store.url) / "gallery"


def test_an_edits_page_compares_before_and_after_without_a_network(edits, tmp_path):
    """Left of the middle it is red, as before, and right of it green, as after."""
    shot = tmp_path / "shot.png"
    page = f"file://{edits}/edits/{job_of('plain')}.html"
    flags = [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,900", f"--screenshot={shot}"]
    subprocess.run([BROWSER, *FLAGS, *flags, page], capture_output=True, timeout=90, check=True)
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    red = (pixels[..., 0] > 180) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    green = (pixels[..., 1] > 140) & (pixels[..., 0] < 60) & (pixels[..., 2] < 60)
    # The first row of pictures: the two of them, one over the other.
    rows = np.flatnonzero(red.sum(1) > 100)
    row = rows[len(rows[rows < rows[0] + 100]) // 2]
    left, right = np.flatnonzero(red[row]), np.flatnonzero(green[row])
    assert len(left) > 100
    assert abs(len(left) - len(right)) < 10
    assert left.max() < right.min()


def test_the_slider_moves_by_its_range(edits, browse, tmp_path):
    page = (edits / f"edits/{job_of('plain')}.html").read_text()
    assert "script-src &#39;sha256-" in page
    probe = (
        "<script>onload = () => { const range = document.querySelector('.compare input'); range.value = 20;"
        " range.dispatchEvent(new Event('input')); }</script>"
    )
    (tmp_path / "page.html").write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', probe, page))
    assert re.search(r'class="compare live" style="--at: ?20%;?"', browse(f"{tmp_path}/page.html"))
    assert re.search(r'class="compare live" style="--at: ?50%;?"', browse(f"{edits}/edits/{job_of('plain')}.html"))


@pytest.fixture
def material(tmp_path) -> Path:
    """The page of a sample whose left half is turned to the left and whose right half to the right, all white."""
    store = Store(str(tmp_path / "run"))
    write_run(store, images=len(HOSTILE) + 4, whole=1)
    channels = Channels((Group("colour", "colour"), Group("normal", "normal")))
    normal = torch.zeros(1, 3, 40, 60)
    normal[:, 0, :, :30], normal[:, 0, :, 30:], normal[:, 2] = -0.6, 0.6, 0.8
    maps = encode_values(torch.cat([torch.ones(1, 3, 40, 60), normal], dim=1), channels)
    name, folder = HOSTILE[0], f"attempts/{job_of(HOSTILE[0])}/{ATTEMPT}"
    path = f"{folder}/sample-4-1x1-0.safetensors"
    store.put(path, maps.data)
    rows = schemas.read_parquet(store.get(f"{folder}/samples.parquet")).to_pylist()
    rows = [{**row, "values": path if row["kind"] == "sample" else None} for row in rows]
    store.put(f"{folder}/samples.parquet", schemas.parquet_bytes(schemas.table(rows, schemas.SAMPLES)))
    build_gallery(store)
    return Path(store.url) / "gallery" / "jobs" / f"{job_of(name)}.html"


def test_a_material_is_lit_from_where_the_light_is(material, browse, tmp_path):
    assert 'class="material live"' in browse(str(material)), "the policy of the page lets the script run"
    probe = """<script>onload = () => setTimeout(() => {
        const range = document.querySelector(".material input[type=range]");
        const canvas = document.querySelector("canvas");
        for (const degrees of [0, 180]) {
            range.value = degrees;
            range.dispatchEvent(new Event("input"));
            const copy = new OffscreenCanvas(60, 40).getContext("2d", {willReadFrequently: true});
            copy.drawImage(canvas, 0, 0);
            const at = (x) => copy.getImageData(x, 20, 1, 1).data[0];
            document.documentElement.dataset[`lit${degrees}`] = `${at(10)} ${at(50)}`;
        }
    }, 1000)</script>"""
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', lambda _: probe, material.read_text())
    (tmp_path / "page.html").write_text(free)
    lit = {
        angle: (int(a), int(b))
        for angle, a, b in re.findall(r'data-lit(\d+)="(\d+) (\d+)"', browse(f"{tmp_path}/page.html"))
    }
    assert lit["0"][1] > lit["0"][0] + 50, "light from the right"
    assert lit["180"][0] > lit["180"][1] + 50, "light from the left"


def test_hostile_edits_run_nothing_and_lead_nowhere(edits, browse):
    pages = {path.name for path in edits.iterdir()}
    assert {name for name in pages if name.startswith("task-")} == {"task-style.html"}
    assert sorted(path.stem for path in (edits / "edits").glob("*.html")) == sorted(map(job_of, ("plain", HARM)))
    for page in (f"edits/{job_of(HARM)}", "task-style", "failures", "index"):
        dom = browse(f"{edits}/{page}.html")
        assert "plain" in Shown(dom).title
        assert "\u202e" not in dom
        assert "src=x" not in re.sub(r"&lt;img src=x", "", dom), page


def test_the_policy_stops_what_got_past_the_escaping(gallery, tmp_path):
    """Were a name ever written as it is, the browser still would not run it."""
    for page in ("index", f"jobs/{job_of(TWINS[0])}"):
        html = (gallery / f"{page}.html").read_text()
        (tmp_path / "page.html").write_text(html.replace("<body>", f"<body>{HARM}"))
        command = [
            BROWSER,
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            f"file://{tmp_path}/page.html",
        ]
        done = subprocess.run(command, capture_output=True, timeout=90, check=True)
        assert Shown(done.stdout.decode()).title != "owned"
        assert b"Content Security Policy" in done.stderr


def test_a_hostile_hash_is_only_a_search(gallery, browse):
    shown = Shown(browse(f"{gallery}/index.html#q=<img src=x onerror=alert(1)>&sort=constructor&__proto__=1"))
    assert shown.names() == [] and shown.found == "0 of 130 images"


def test_missing_rows_are_said(gallery, browse, tmp_path):
    shutil.copy(gallery / "index.html", tmp_path / "index.html")
    assert Shown(browse(f"{tmp_path}/index.html#q=a")).found == "rows-1.js is missing beside this page."


@pytest.mark.parametrize("width", [320, 390, 1400])
def test_no_page_scrolls_sideways(gallery, edits, browse, tmp_path, width):
    """Measured inside frames, since a window has a least width, by a script that the pages' policy would stop."""
    pages = ["index.html", "failures.html", f"jobs/{job_of(HOSTILE[0])}.html", f"jobs/{job_of(HOSTILE[8])}.html"]
    pages += [f"{edits}/{page}.html" for page in ("task-style", f"edits/{job_of(HARM)}", f"edits/{job_of('plain')}")]
    widths = "[NUMBER, document.documentElement.scrollWidth, innerWidth]"
    probe = f"<script>onload = () => parent.postMessage({widths}, '*')</script>"
    for number, page in enumerate(pages):
        html = (gallery / page).read_text().replace("thumbs/", f"{gallery}/thumbs/")
        free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', probe.replace("NUMBER", str(number)), html)
        (tmp_path / f"{number}.html").write_text(free)
    frames = "".join(
        f'<iframe src="{number}.html" width="{width}" height="900" frameborder="0"></iframe>'
        for number in range(len(pages))
    )
    told = (
        "onmessage = ({data}) => { document.documentElement.dataset[`widths${data[0]}`] = data.slice(1).join(' of ') }"
    )
    (tmp_path / "frames.html").write_text(f"<script>{told}</script>{frames}")
    measured = dict(re.findall(r'data-widths(\d+)="(\d+ of \d+)"', browse(str(tmp_path / "frames.html"))))
    for number, page in enumerate(pages):
        assert str(number) in measured, page
        needed, given = map(int, measured[str(number)].split(" of "))
        assert given == width
        assert needed <= width, page
