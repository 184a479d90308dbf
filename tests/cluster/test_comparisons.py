"""Images trained in several ways: their pages in the gallery, and means of methods in the summary and in SQL."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess

import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

from pgcn_cluster.cli.run_summary import METHODS_QUERY, say_summary
from pgcn_cluster.gallery import build_gallery, pages
from pgcn_cluster.gallery.catalogue import read_catalogue
from pgcn_cluster.gallery.comparisons import labels, read_comparisons
from pgcn_cluster.gallery.views.formatting import number
from pgcn_cluster.gallery.views.thumbnails import STRIP_SIDE, strip
from pgcn_cluster.tables.method_means import means_by_method
from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.storage.store import Store
from tests.cluster.fake_run import HOSTILE, failure, job_of, png, result, write_attempt, write_table
from tests.cluster.test_gallery import Counting, Page
from tests.cluster.test_gallery_browser import BROWSER, FLAGS

METHODS = ("convnet", "multigrid", "patchgencn")
FAILED = "b.png@convnet"


DONE = [f"{image}@{method}" for image in ("a.png", "b.png") for method in METHODS]
DONE.remove(FAILED)
DISTANCES = {name: result(name, place)["frechet_vgg33"] for place, name in enumerate(DONE)}
"""Those of the fixture `store`, in the order of its results."""


def mean_of(method: str) -> tuple[str, int, float]:
    own = [value for name, value in DISTANCES.items() if name.endswith(method)]
    return method, len(own), sum(own) / len(own)


MEANS = [mean_of(method) for method in ("patchgencn", "convnet", "multigrid")]


def asked(image: str, name: str) -> dict:
    return {"image_id": name, "job_id": job_of(name), "sha256": hashlib.sha256(image.encode()).hexdigest()}


def made(name: str, method: str, place: int = 0, **changed) -> dict:
    own = {"method": method, "preset": "draft", "settings": json.dumps({"of": method})}
    return result(name, place, **{**own, **changed})


def write_compared(store: Store, images: list[str], methods=METHODS, failed: str = "") -> None:
    """A run of images with several methods; one name may have failed."""
    names = [(image, f"{image}@{method}", method) for image in images for method in methods]
    done = [each for each in names if each[1] != failed]
    write_table(store, "manifest", [asked(image, name) for image, name, _ in names])
    write_table(store, "results", [made(name, method, place) for place, (_, name, method) in enumerate(done)])
    write_table(store, "failures", [failure(failed, FailureClass.NUMERIC, "Training diverged.")] if failed else [])
    for place, (_, name, _) in enumerate(done):
        write_attempt(store, name, place // len(methods), whole=False)


@pytest.fixture
def store(tmp_path) -> Store:
    """Two images with three methods, where one training failed, and one with the default method alone."""
    store = Store(str(tmp_path / "run"))
    write_compared(store, ["a.png", "b.png"], failed=FAILED)
    return store


def test_an_image_with_several_methods_has_a_column_for_each(store):
    build_gallery(store)
    html = store.get("gallery/compare.html")
    page = Page(html)
    assert [name for name in page.named() if name.endswith(".png")] == ["a.png", "b.png"]
    links = [link for link in page.values("href") if link.startswith("jobs/")]
    ordered = ["a.png@patchgencn", "a.png@convnet", "a.png@multigrid", "b.png@patchgencn", "b.png@multigrid"]
    assert list(dict.fromkeys(links)) == [f"jobs/{job_of(name)}.html" for name in ordered], "the default method first"
    rows = re.findall(r'<tr><th scope="row">Distance</th>(.*?)</tr>', html.decode())
    shown = [text for row in rows for text in re.findall(r"<td>([^<]+)</td>", row)]
    assert shown == [number(DISTANCES[name]) for name in ordered]
    pictures = [tag for name, tag in page.tags if name == "img"]
    assert len(pictures) == 2 + len(ordered)
    for picture in pictures:
        image = Image.open(io.BytesIO(store.get(f"gallery/{picture['src']}")))
        width, height = int(picture["width"]), int(picture["height"])
        assert width / image.width == pytest.approx(height / image.height, rel=0.02)
        assert width == pytest.approx(STRIP_SIDE, abs=1) or height >= STRIP_SIDE, "small pictures are enlarged"


def test_a_failed_training_is_named_beside_the_others(store):
    build_gallery(store)
    html = store.get("gallery/compare.html").decode()
    assert re.search(r'<a href="failures.html">Failed</a>: <bdi>b\.png@convnet</bdi>', html)
    assert html.count("Failed</a>") == 1


def test_the_means_of_methods_stand_above(store):
    build_gallery(store)
    means = re.search(r'<table class="means">(.*?)</table>', store.get("gallery/compare.html").decode(), re.S)
    assert means is not None
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td>(\d+)</td><td>([^<]+)</td>', means[1])
    assert rows == [(method, str(count), number(mean)) for method, count, mean in MEANS]


def test_index_and_job_pages_lead_to_the_comparison(store, monkeypatch):
    monkeypatch.setattr(pages, "COMPARED_A_PAGE", 1)
    monkeypatch.setattr("pgcn_cluster.gallery.build.COMPARED_A_PAGE", 1)
    build_gallery(store)
    assert 'href="compare.html">2 images side by side' in store.get("gallery/index.html").decode()
    for name, page in (("a.png@convnet", "compare.html"), ("b.png@multigrid", "compare-2.html")):
        (link,) = re.findall(r'href="\.\./(compare[^"]*)"', store.get(f"gallery/jobs/{job_of(name)}.html").decode())
        assert link == f"{page}#{job_of(name)}"
        assert f'id="{job_of(name)}"' in store.get(f"gallery/{page}").decode()
    assert 'href="compare-2.html"' in store.get("gallery/compare.html").decode(), "the pager"


def test_without_a_second_way_there_is_no_comparison(tmp_path):
    store = Store(str(tmp_path / "run"))
    write_compared(store, ["a.png", "b.png"], methods=("convnet",))
    build_gallery(store)
    assert not [path for path in store.list("gallery") if re.search("compare|strips|originals", path)]
    assert "compare.html" not in store.get("gallery/index.html").decode()


def test_a_comparison_that_is_gone_is_removed_with_its_pictures(store):
    build_gallery(store)
    assert len(store.list("gallery/strips")) == len(store.list("gallery/originals")) == 5
    write_compared(store, ["a.png", "b.png"], methods=("convnet",))
    build_gallery(store)
    assert not [path for path in store.list("gallery") if re.search("compare|strips|originals", path)]
    assert "compare.html" not in store.get(f"gallery/jobs/{job_of('a.png@convnet')}.html").decode()


def test_a_rebuild_writes_no_picture_again(store):
    build_gallery(store)
    build_gallery(again := Counting(store.url))
    assert not again.jobs_written()
    assert not [path for path in again.written if path.endswith(".webp")]
    store.delete([f"gallery/strips/{job_of('a.png@convnet')}.webp"])
    build_gallery(missing := Counting(store.url))
    assert missing.jobs_written() == {job_of("a.png@convnet")}


def test_the_record_of_an_earlier_version_is_read(store):
    """It has two sizes for each job; those of comparisons are then written."""
    build_gallery(store)
    record = json.loads(store.get("gallery/built.json"))
    assert {len(built) for built in record["jobs"].values()} == {7}
    record["jobs"] = {job: built[:3] for job, built in record["jobs"].items()}
    store.put("gallery/built.json", json.dumps(record).encode())
    store.put("gallery/page-9.html", b"mine")
    build_gallery(store)
    assert store.get("gallery/page-9.html") == b"mine", "the record still says which pages are ours"


def test_files_of_one_image_that_differ_in_mask_are_other_images(store):
    names = ["a.png@convnet", "a.png@multigrid"]
    rows = [asked("a.png", name) | {"holes": hole} for name, hole in zip(names, (None, "0" * 64), strict=True)]
    write_table(store, "manifest", rows)
    assert read_comparisons(store, read_catalogue(store)) == []


def test_twins_are_one_image(tmp_path):
    """Two files of the same bytes with two methods: two jobs, four names, one comparison."""
    store = Store(str(tmp_path / "run"))
    write_compared(store, ["a.png"], methods=("convnet", "multigrid"))
    rows = [asked("a.png", f"a.png@{method}") for method in ("convnet", "multigrid")]
    write_table(
        store, "manifest", rows + [row | {"image_id": row["image_id"].replace("a.png", "z.png")} for row in rows]
    )
    (found,) = read_comparisons(store, read_catalogue(store))
    assert found.name == "a.png"
    assert found.jobs == [0, 1]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"preset": "draft"}, {"preset": "best"}], ["convnet · draft", "convnet · best"]),
        ([{"rate": 1}, {"rate": 2, "seed": 3}], ["convnet · rate 1", "convnet · rate 2"]),
        ([{"seed": 3}, {"seed": 4}, {"method": None}], ["convnet · seed 3", "convnet · seed 4", "patchgencn"]),
    ],
)
def test_ways_are_named_by_what_differs(rows, expected):
    def row(seed=0, preset="draft", method="convnet", **settings):
        return {"method": method, "preset": preset, "seed": seed, "settings": json.dumps({"chains": 1, **settings})}

    assert labels([row(**given) for given in rows]) == expected


def test_a_thousand_images_are_a_thousand_comparisons(tmp_path):
    store = Store(str(tmp_path / "run"))
    names = [(f"{i}.png", f"{i}.png@{method}", method) for i in range(1000) for method in ("convnet", "multigrid")]
    write_table(store, "manifest", [asked(image, name) for image, name, _ in names])
    write_table(store, "results", [made(name, method) for _, name, method in names])
    found = read_comparisons(store, read_catalogue(store))
    assert [(comparison.name, comparison.jobs) for comparison in found] == [
        (f"{i}.png", [2 * i, 2 * i + 1]) for i in range(1000)
    ]


def test_a_strip_has_pictures_below_each_other():
    red, blue = Image.new("RGB", (500, 250), "red"), Image.new("RGB", (100, 200), "blue")
    data, width, height = strip([png(red), png(blue)])
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("WEBP", (width, height))
        assert width == STRIP_SIDE
        assert image.convert("RGB").getpixel((10, 10))[0] > 200
        assert image.convert("RGB").getpixel((10, height - 10))[2] > 200


def test_rows_without_a_method_are_of_the_default_one():
    table = pa.table({"method": pa.array([None, "convnet", "patchgencn"]), "copy": [0.2, None, 0.4]})
    assert [tuple(own) for own in means_by_method(table, ["copy"])] == [
        ("patchgencn", 2, {"copy": pytest.approx(0.3)}),
        ("convnet", 1, {"copy": None}),
    ]


def test_the_summary_of_a_run_has_a_row_for_each_method(store):
    console = Console(file=io.StringIO(), width=500)
    say_summary(store.url, console)
    lines = console.file.getvalue().splitlines()
    rows = [line.split() for line in lines if re.match(r" *(convnet|multigrid|patchgencn) ", line)]
    assert [row[:3] for row in rows] == [[method, str(count), f"{mean:.3f}"] for method, count, mean in MEANS]
    assert next(line for line in lines if line.startswith(" a.png")).split()[:2] == ["a.png", "convnet"]
    assert any(METHODS_QUERY in line for line in lines)


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium or google-chrome on the PATH")
def test_a_browser_shows_every_picture_and_does_not_scroll_sideways(tmp_path):
    """At 390 px, with hostile names, whose page runs nothing."""
    store = Store(str(tmp_path / "run"))
    write_compared(store, [HOSTILE[2], HOSTILE[8]], methods=(*METHODS, "a", "b", "c", "d", "e", "f"))
    build_gallery(store, title="plain")
    probe = """<script>onload = () => setTimeout(() => {
        const shown = [...document.images].filter((image) => image.naturalWidth > 0).length;
        document.documentElement.dataset.found = `${shown} of ${document.images.length}, ${document.title}`;
        parent.postMessage([document.documentElement.scrollWidth, innerWidth], "*");
    }, 500)</script>"""
    page = tmp_path / "run" / "gallery" / "compare.html"
    assert 'content="default-src &#39;none&#39;; img-src &#39;self&#39; file: data:; style-src' in page.read_text()
    assert "<script" not in page.read_text()
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', lambda _: probe, page.read_text())
    (page.parent / "probe.html").write_text(free.replace('loading="lazy"', ""))
    told = "onmessage = ({data}) => { document.documentElement.dataset.widths = data.join(' of ') }"
    frame = '<iframe src="probe.html" width="390" height="900" frameborder="0"></iframe>'
    (page.parent / "frame.html").write_text(f"<script>{told}</script>{frame}")

    def dom(name: str) -> str:
        command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        done = subprocess.run(
            [*command, f"file://{page.parent}/{name}.html"], capture_output=True, timeout=90, check=True
        )
        return done.stdout.decode()

    assert 'data-widths="390 of 390"' in dom("frame")
    found = re.search(r'data-found="(\d+) of (\d+), ([^"]*)"', dom("probe"))
    assert found is not None
    assert found[1] == found[2] == str(2 * 10)
    assert found[3] == "Side by side · plain"
    assert terminal_safe(HOSTILE[2]).replace("<", "&lt;").replace(">", "&gt;") in dom("compare")
