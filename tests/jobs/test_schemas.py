"""Tables have exactly their columns, whole and readable elsewhere."""

import duckdb
import pytest

from jobs.run_folder import schemas

PNG = b"\x89PNG..."


def test_missing_columns_are_null_and_unknown_ones_are_a_mistake():
    row = schemas.table([{"job_id": "a", "value": 1.0}], schemas.METRICS)
    assert row.schema == schemas.METRICS
    assert row.to_pylist()[0]["name"] is None
    with pytest.raises(KeyError, match="colour"):
        schemas.table([{"job_id": "a", "colour": 1}], schemas.METRICS)


def test_the_same_rows_are_the_same_bytes():
    rows = [{"job_id": str(i), "value": i / 3} for i in range(100)]
    data = schemas.parquet_bytes(schemas.table(rows, schemas.METRICS))
    assert data == schemas.parquet_bytes(schemas.table(rows, schemas.METRICS))
    assert schemas.read_parquet(data).num_rows == 100


def test_pictures_are_read_by_duckdb_and_pandas_as_they_are(tmp_path):
    path = tmp_path / "samples.parquet"
    row = {"job_id": "a", "kind": "sample", "image": {"bytes": PNG, "path": "x.png"}}
    path.write_bytes(schemas.parquet_bytes(schemas.table([row], schemas.SAMPLES)))
    assert duckdb.sql(f"SELECT image.bytes FROM '{path}'").fetchall()[0][0] == PNG
    assert schemas.read_parquet(path.read_bytes()).to_pandas().image[0]["bytes"] == PNG


def test_every_table_of_the_design_has_a_schema():
    of_images = {"manifest", "attempts", "results", "samples", "metrics", "failures"}
    assert set(schemas.TABLES) == of_images | {"manifest_edits", "edits", "pictures"}
    assert schemas.TABLES["samples"].names[0] == "image_id"
