"""Lists that are far larger than any list needs to be are a sentence, before they are in memory."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pgcn_jobs.inputs.lists.formats
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.inputs.discover import find_sources

NAMES = [f"c{index}" for index in range(20)]
ROWS = ["a.png"] * 20


def write(path, columns, rows):
    """A list of that many rows with `uri` and more columns."""
    match path.suffix:
        case ".csv":
            path.write_text("\n".join([",".join(["uri", *columns]), *rows]))
        case ".jsonl":
            path.write_text("\n".join(json.dumps({"uri": row, **dict.fromkeys(columns, 1)}) for row in rows))
        case ".parquet":
            pq.write_table(pa.table({"uri": rows, **{key: rows for key in columns}}), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_lists_with_too_many_columns_or_rows_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(pgcn_jobs.inputs.lists.formats, "MAX_COLUMNS", 10)
    monkeypatch.setattr(pgcn_jobs.inputs.lists.formats, "MAX_ROWS", 10)
    for columns, rows, says in (
        (NAMES, ROWS[:1], r"columns, and a list may have 10"),
        ([], ROWS, r"more than 10 rows"),
    ):
        with pytest.raises(ConfigError, match=says) as caught:
            find_sources([str(write(tmp_path / f"list.{kind}", columns, rows))], setting_names=())
        assert caught.value.code == "list.size"
    assert len(find_sources([str(write(tmp_path / f"list.{kind}", NAMES[:9], ROWS[:10]))], setting_names=())) == 1
