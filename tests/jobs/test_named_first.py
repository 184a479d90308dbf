"""Names with `[`, `*` and `?`, links, pictures of other runs, and what a search passes over."""

import gzip
from pathlib import Path

import pytest

from pgcn.settings import Settings
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.discover import find_sources
from pgcn_jobs.inputs.passed_over import Passed
from pgcn_jobs.inputs.source_bytes import read_source
from pgcn_jobs.storage.store import Store
from tests.sentences import fails_with

ODD = {
    "photos/img[1].png": b"bracket",
    "photos/img1.png": b"one",
    "photos/a*b.png": b"star",
    "photos/axb.png": b"x",
    "photos/q?.png": b"question",
    "photos/qq.png": b"qq",
    "photos[1]/c.png": b"folder",
    "photos1/d.png": b"other folder",
}


def find(*images, passed=None):
    return find_sources([str(image) for image in images], setting_names=Settings.model_fields, passed=passed)


def contents(*images):
    return sorted(read_source(source.location, source.uri) for source in find(*images))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("photos/img[1].png", [b"bracket"]),
        ("photos/img[12].png", [b"one"]),
        ("photos/a*b.png", [b"star"]),
        ("photos/a?b.png", [b"star", b"x"]),
        ("photos/q?.png", [b"question"]),
        ("photos/[q]?.png", [b"qq", b"question"]),
        ("photos[1]", [b"folder"]),
        ("photos[1]/", [b"folder"]),
        ("photos[1]/*.png", [b"folder"]),
        ("photos[1]/c.png", [b"folder"]),
        ("photos[2]/*.png", None),
        ("photos[12]/*.png", [b"other folder"]),
        ("photos[[]1[]]/*.png", [b"folder"]),
        ("photo*/[cd].png", [b"folder", b"other folder"]),
    ],
)
def test_what_is_named_comes_before_what_is_meant(place, name, found):
    store = Store(place)
    for path, data in ODD.items():
        store.put(path, data)
    if found is None:
        with fails_with("images.none"):
            find(f"{place}/{name}")
    else:
        assert contents(f"{place}/{name}") == found


def test_the_public_name_of_an_object_keeps_its_question_mark(place):
    Store(place).put("q?.png", b"question")
    (source,) = find(f"{place}/q?.png")
    assert source.image_id == "q?.png"
    assert source.uri.endswith("q?.png")


def test_two_stars_do_not_walk_links(tmp_path):
    (tmp_path / "p" / "deep").mkdir(parents=True)
    for path in ("p/a.png", "p/deep/b.png"):
        (tmp_path / path).write_bytes(b"x")
    (tmp_path / "p" / "deep" / "loop").symlink_to(tmp_path / "p")
    assert [source.image_id for source in find(f"{tmp_path}/p/**/*.png")] == ["a.png", "deep/b.png"]
    assert [source.image_id for source in find(f"{tmp_path}/p/**")] == ["a.png", "deep/b.png"]
    assert [source.image_id for source in find(f"{tmp_path}/p/**.png")] == ["a.png"]
    assert [source.image_id for source in find(f"{tmp_path}/p/deep/loop/*.png")] == ["a.png"]


@pytest.mark.parametrize("asked", ["site", "site/**/*", "site/"])
def test_pictures_of_other_runs_are_told_of_and_not_taken(place, asked):
    store = Store(place)
    previews = [f"run2/previews/{digit * 20}.png" for digit in "de"]
    for path in ("a.png", "b/c.png", "b/run/gallery/thumbs/c.png", *previews):
        store.put(f"site/{path}", b"x")
    for path in ("b/run/run.json", "run2/run.json", "b/run/gallery/notes.txt"):
        store.put(f"site/{path}", b"{}")
    passed = Passed()
    assert [source.image_id for source in find(f"{place}/{asked}", passed=passed)] == ["a.png", "b/c.png"]
    (sentence,) = passed.sentences()
    assert "1 images in " in sentence and "2 images in " in sentence and "b/run" in sentence and "run2" in sentence
    folder = f"{place}/site/run2"
    assert "run2" not in passed.sentences(lambda location: location == folder)[0]
    with fails_with("images.none"):
        find(folder)


@pytest.mark.parametrize("asked", ["all", "all/*"])
def test_files_that_are_no_images_are_counted(place, asked):
    store = Store(place)
    for name in ("a.png", "b.XYZ", "c.xyz", "d.mov", "e", ".hidden", "f.txt"):
        store.put(f"all/{name}", b"x")
    passed = Passed()
    assert [source.image_id for source in find(f"{place}/{asked}", passed=passed)] == ["a.png"]
    (sentence,) = passed.sentences()
    assert sentence.endswith("2 .xyz, 1 .mov, 1 .txt, 1 without an extension.")
    store.delete(["all/a.png"])
    with fails_with("images.none"):
        find(f"{place}/{asked}")


LISTS = {
    "plain.csv": b"uri,seed\na.png,3\nb c.png,\n",
    "pandas.csv": b",uri,seed\n0,a.png,3.0\n1,b c.png,\n",
    "excel.csv": b"\xef\xbb\xbfsep=;\r\nuri;seed\r\na.png;3\r\n;\r\nb c.png;\r\n;;\r\n",
    "spaces.csv": b"uri , seed\na.png, 3\n,\nb%20c.png,\n",
    "commas.csv": b"uri,seed,,\na.png,3,,\nb c.png,,,\n",
    "wide.csv": "uri\tseed\na.png\t3\nb c.png\t\n".encode("utf-16"),
    "twice.csv": b"uri,seed\na.png,3\n./a.png,3\nb c.png,\n",
    "list.tsv": b"uri\tseed\na.png\t3\nb c.png\t\n",
    "list.jsonl": b'{"uri": "a.png", "seed": 3}\n\n{"uri": "b c.png"}\n',
    "float.jsonl": b'{"uri": "a.png", "seed": 3.0}\n{"seed": null, "uri": "b c.png"}\n{}\n',
    "list.csv.gz": gzip.compress(b"uri,seed\na.png,3\nb c.png,\n", mtime=0),
    "list.TSV.gz": gzip.compress(b"uri\tseed\na.png\t3\n", mtime=0) + gzip.compress(b"b c.png\t\n"),
    "list.jsonl.gz": gzip.compress(b'{"uri": "a.png", "seed": 3}\n{"uri": "b c.png"}\n', mtime=0),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_as_programs_write_them(tmp_path, name):
    for picture in ("a.png", "b c.png"):
        (tmp_path / picture).write_bytes(picture.encode())
    (tmp_path / name).write_bytes(LISTS[name])
    found = find(tmp_path / name)
    assert [(source.image_id, source.seed, source.problem) for source in found] == [
        ("a.png", 3, None),
        ("b c.png", None, None),
    ]


def test_parquet_with_names_as_bytes_and_seeds_as_floats(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.png").write_bytes(b"x")
    pq.write_table(pa.table({"uri": [b"a.png"], "seed": [3.0]}), tmp_path / "list.parquet")
    (source,) = find(tmp_path / "list.parquet")
    assert (source.image_id, source.seed, source.problem) == ("a.png", 3, None)
    pq.write_table(pa.table({"uri": [["a.png"]]}), tmp_path / "list.parquet")
    with fails_with("list.row"):
        find(tmp_path / "list.parquet")


def test_one_image_twice_under_its_name_is_that_image_once(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "list.csv").write_text("uri,image_id,seed\na.png,x,1\n./a.png,x,1.0\n")
    assert [(source.image_id, source.seed) for source in find(tmp_path / "list.csv")] == [("x", 1)]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("l.jsonl", b'["a.png"]\n', "line 1 is not a JSON object"),
        ("l.jsonl", b'{"uri": "a.png"}\n{"uri"\n', "line 2 is not a JSON object"),
        ("l.csv.gz", b"uri\na.png\n", "not compressed by gzip"),
        ("l.csv.gz", gzip.compress(b"uri\na.png\n" * 100, mtime=0)[:-12], "ends too early"),
        ("l.csv.gz", gzip.compress(b"uri\n" + b"a" * 10_000, mtime=0), "holds more than"),
        ("l.csv", b"uri,seed\na.png,3.5\n", "'3.5' is not a whole number"),
        ("l.csv", b"uri,seed\n,3\n", "row 1 has no 'uri'"),
        ("l.csv", b"uri,seed\n,\n", "has no rows"),
    ],
)
def test_lists_that_are_none_are_sentences(tmp_path, monkeypatch, name, data, words):
    monkeypatch.setattr("pgcn_jobs.inputs.lists.formats.MAX_UNPACKED", 5000)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=words):
        find(tmp_path / name)


def test_columns_that_nobody_reads_are_named(tmp_path):
    (tmp_path / "list.csv").write_text("uri,note,label,target_uri\na.png,x,y,b.png\n")
    passed = Passed()
    find(tmp_path / "list.csv", passed=passed)
    (sentence,) = passed.sentences()
    assert sentence.endswith("nothing reads its columns note, label, target_uri.")


def test_a_url_of_a_file_may_be_written_with_percent_signs(tmp_path):
    Path(tmp_path, "my photo.png").write_bytes(b"x")
    Path(tmp_path, "100%25.png").write_bytes(b"literal")
    Path(tmp_path, "100%.png").write_bytes(b"decoded")
    assert contents(f"file://{tmp_path}/my%20photo.png") == [b"x"]
    assert contents(f"file://{tmp_path}/100%25.png") == [b"literal"]
