"""`pgcn query` and places that `--out` names: values under their own columns, files where they were asked for."""

import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from pgcn_jobs.storage.store import Store
from tests.cluster.running import TINY, ask, run_here, write_photographs

COLUMNS = "r.image_id, m.image_id, r.width, m.image_id AS image_id_1, 1 AS width"
TWO = f"SELECT {COLUMNS} FROM results r JOIN manifest m USING (job_id)"
NAMES = ["image_id", "image_id_2", "width", "image_id_1", "width_1"]
SMALL = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("query") / "photos", 1)


@pytest.fixture(scope="module")
def run(photos):
    out = str(photos.parent / "run")
    run_here(photos, out)
    return out


@pytest.fixture
def width(monkeypatch):
    def set_width(columns):
        monkeypatch.setattr("pgcn_cluster.cli.arguments.console._width", columns)

    return set_width


def right(row):
    """True if every value stands under its own name, as text or as a number."""
    name = "photo-00.png"
    return [str(row[each]) for each in NAMES] == [name, name, str(row["width"]), name, "1"] and int(row["width"]) > 1


def test_two_columns_of_one_name_are_both_there(run, tmp_path):
    answers = {}
    for kind in ("csv", "json", "parquet"):
        code, output = ask("query", run, TWO, "--out", tmp_path / f"q.{kind}")
        assert code == 0, output
        assert "the column image_id more than once: this one is called image_id_2." in output
        answers[kind] = (tmp_path / f"q.{kind}").read_bytes()
    rows = list(csv.DictReader(io.StringIO(answers["csv"].decode())))
    assert len(rows) == 1
    assert right(rows[0])
    assert right(json.loads(answers["json"])[0])
    assert right(pq.read_table(io.BytesIO(answers["parquet"])).to_pylist()[0])
    _, output = ask("query", run, TWO, "--format", "json")
    assert json.loads(output[output.index("[") :])[0].keys() == set(NAMES)


@pytest.mark.parametrize(("columns", "table"), [(200, True), (40, False)])
def test_an_answer_too_wide_for_a_table_is_records(run, width, columns, table):
    width(columns)
    lines = [line.rstrip() for line in ask("query", run, TWO)[1].splitlines()]
    if table:
        head, values = (line.split() for line in lines[-2:])
        assert right(dict(zip(head, values, strict=True)))
    else:
        row = dict(line.split(": ") for line in lines if ": " in line and "called" not in line)
        assert right(row)


def test_all_columns_of_results_can_be_read_in_eighty_characters(run, width):
    width(80)
    _, output = ask("query", run, "SELECT * FROM results UNION ALL SELECT * FROM results")
    assert output.count("image_id: photo-00.png\n") == 2
    assert output.count("\n\n") == 1, "an empty line between rows"
    width(80)
    _, output = ask("query", run, "SELECT image_id, width FROM results")
    assert len(output.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "q.xlsx"], "let it end in .csv, .json or .parquet"),
        (["--out", "q"], "let it end in .csv, .json or .parquet"),
        (["--format", "table", "--out", "q.csv"], "A table is printed"),
        (["--format", "excel"], "not one of table, csv, json, parquet"),
        (["--out", "nonsense://b/q.csv"], "no kind of storage"),
        (["--out", "/no/such/q.csv"], "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(run, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, output = ask("query", run, "SELECT 1", *words)
    assert code == 2
    assert sentence in output
    assert not list(tmp_path.iterdir())


def test_a_format_that_is_given_wins_over_the_name(run, tmp_path):
    assert ask("query", run, "SELECT 1 AS one", "--format", "json", "--out", tmp_path / "q.csv")[0] == 0
    assert json.loads((tmp_path / "q.csv").read_text()) == [{"one": 1}]


def test_a_file_that_is_there_is_not_replaced(run, tmp_path):
    """Another program may have written it."""
    out = tmp_path / "q.csv"
    for _ in range(2):
        assert ask("query", run, "SELECT 1 AS one", "--out", out)[0] == 0, "the same answer again changes nothing"
    before = out.read_bytes()
    code, output = ask("query", run, "SELECT 2 AS two", "--out", out)
    assert code == 2
    assert "exists already, and is not replaced" in output
    assert out.read_bytes() == before


@pytest.mark.parametrize("kind", ["s3", "file"])
def test_results_go_to_the_place_that_a_url_names(run, photos, tmp_path, monkeypatch, moto, reach, kind):
    monkeypatch.chdir(tmp_path)
    url = reach(moto) if kind == "s3" else f"file://{tmp_path}/there"
    if kind == "file":
        (tmp_path / "there").mkdir()
    photo = photos / "photo-00.png"
    assert ask("query", run, "SELECT 1 AS one", "--out", f"{url}/q.csv")[0] == 0
    assert ask("query", run, "SELECT 2 AS two", "--out", f"{url}/q.csv")[0] == 2, "no file is replaced"
    for words in (
        ["sample", run, "photo-00.png", "-n", "1", "--out", url],
        ["apply", "superres", photo, "--pyramids", run, *SMALL, "--set", "factor=2", "--out", url],
        ["apply", "superres", photo, "--pyramids", run, *SMALL, "--set", "factor=2", "--out", f"{url}/one.png"],
    ):
        code, output = ask(*words)
        assert code == 0, output
        assert all(line.startswith(url) for line in output.splitlines() if line.endswith(".png"))
        assert ".png" in output
    found = Store(url).list()
    assert found.keys() >= {"q.csv", "one.png", "one.json"}
    assert sum(path.endswith(".png") for path in found) >= 3
    assert all(Store(url).get(path).startswith(b"\x89PNG") for path in found if path.endswith(".png"))
    assert {path.name for path in tmp_path.iterdir()} <= {"there"}
