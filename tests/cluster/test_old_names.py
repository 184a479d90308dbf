"""Run folders of version 0.1: records and tables under their old names are read, gathered, queried and shown."""

import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pgcn_cluster.cli.run_summary import say_summary
from pgcn_cluster.gallery import build_gallery
from pgcn_cluster.maintenance.verify import verify
from pgcn_cluster.tables.build import build_tables
from pgcn_cluster.tables.query import query
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.run_folder.commit import committed, read_commit
from pgcn_jobs.run_folder.newer_version import newer_records
from pgcn_jobs.run_folder.schemas import TABLES, parquet_bytes, read_parquet, table
from pgcn_jobs.storage.store import Store

FINISHED = Path(__file__).parents[1] / "fixtures/v0_1/finished"
RESULTS = "tables/results/part-00000.parquet"
EDITS = "tables/edits/part-00000.parquet"


@pytest.fixture
def old(tmp_path):
    return Store(str(shutil.copytree(FINISHED, tmp_path / "run")))


def rows(store, path):
    return read_parquet(store.get(path)).to_pylist()


def test_commits_have_present_names(old):
    results = [read_commit(old, job).result for job in committed(old)]
    assert {result["batch"] for result in results if "task" not in result} == {1}
    assert all(result["baseline"] > 0 and result["metric"] for result in results if "task" in result)
    assert not any(result.keys() & {"stack", "nothing", "figure"} for result in results)
    assert not list(newer_records(old)), "an old name is not the column of a newer version"


def test_tables_are_gathered_under_present_names(old):
    before = rows(old, EDITS)
    assert [row["nothing"] for row in before] == [row["nothing"] for row in before if row["nothing"] > 0]
    found = build_tables(old)
    assert not found.problems and found.rows["edits"] == len(before) == 2
    assert read_parquet(old.get(RESULTS)).column_names == TABLES["results"].names
    after = pq.read_table(f"{old.url}/tables/edits").to_pylist()
    assert len(old.list("tables/edits")) == 1, "the parts of the old version are replaced"
    assert [row["baseline"] for row in after] == [row["nothing"] for row in before]
    assert [row["metric"] for row in after] == [row["figure"] for row in before]
    assert {row["largest_piece"] for row in rows(old, RESULTS)} == {None}
    assert all(row["copy"] is not None and row["frechet_random"] > 0 for row in rows(old, RESULTS))


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize(
    ("sql", "present"),
    [
        ("SELECT nothing FROM edits ORDER BY edit_id", "SELECT baseline FROM edits ORDER BY edit_id"),
        ("SELECT e.figure FROM edits e ORDER BY edit_id", "SELECT metric FROM edits ORDER BY edit_id"),
        ("WITH x AS (SELECT STACK FROM results) SELECT * FROM x", "SELECT batch FROM results"),
    ],
)
def test_queries_know_both_names_and_the_old_one_is_said(old, gathered, sql, present):
    if gathered:
        build_tables(old)
    said = []
    values = [list(row.values()) for row in query(old, sql, said.append).to_pylist()]
    assert len(said) == 1 and "is now called" in said[0]
    assert values == [list(row.values()) for row in query(old, present, pytest.fail).to_pylist()]
    assert values and None not in values[0]
    everything = query(old, "SELECT * FROM edits", pytest.fail)
    assert everything.column_names == TABLES["edits"].names, "old names are in no answer that does not ask for them"


def test_an_unknown_column_is_still_refused(old):
    with pytest.raises(ConfigError, match="nonsense"):
        query(old, "SELECT nonsense FROM edits")


def test_a_newer_versions_column_is_kept(old):
    data = read_parquet(old.get(EDITS))
    old.put(EDITS, parquet_bytes(data.append_column("later", data["value"])))
    assert query(old, "SELECT later FROM edits").num_rows == 2


def test_tables_of_the_old_version_are_current(old):
    build_gallery(old)  # which does not gather
    assert [problem.sentence for problem in verify(old, quick=False).problems] == []
    damaged = read_parquet(old.get(EDITS)).to_pydict() | {"nothing": [7.0, 7.0]}
    old.put(EDITS, parquet_bytes(table([], TABLES["edits"]).from_pydict(damaged)))
    assert any("edits" in problem.sentence for problem in verify(old, quick=False).problems)


def test_the_gallery_and_the_summary_show_the_old_tables(old):
    build_gallery(old)
    script = old.get("gallery/rows-1.js").decode()
    shown = json.loads(script[script.index(", [") + 1 : script.rindex("])") + 1])
    assert [row[2] is not None and row[3:6] for row in shown] == [[None] * 3] * 2
    assert not old.exists("gallery/rows.js")
    console = Console(file=io.StringIO(), width=200)
    say_summary(old.url, console)
    output = console.file.getvalue()
    assert "input_error" in output and "gravel.png" in output and "metric, value, baseline" in output
