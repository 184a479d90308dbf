"""Tables have exactly their columns, whole and readable elsewhere."""

import json
import pickle

import duckdb
import pytest
import yaml

from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.hugging_face import MARK, with_features, write_card
from pgcn_jobs.run_folder.manifest import Entry
from pgcn_jobs.storage.store import Store

PNG = b"\x89PNG..."


def test_missing_columns_are_null_and_unknown_ones_are_a_mistake():
    row = schemas.table([{"job_id": "a", "value": 1.0}], schemas.METRICS)
    assert row.schema == schemas.METRICS
    assert row.to_pylist()[0]["name"] is None
    with pytest.raises(KeyError, match="colour"):
        schemas.table([{"job_id": "a", "colour": 1}], schemas.METRICS)


def test_a_part_that_is_converted_in_batches_has_all_rows_in_order():
    rows = [{"job_id": str(i), "value": i / 3} for i in range(25)]
    batches = (schemas.table(rows[at : at + 10], schemas.METRICS) for at in range(0, len(rows), 10))
    data = schemas.batches_bytes(batches, schemas.METRICS)
    assert schemas.read_parquet(data).equals(schemas.table(rows, schemas.METRICS))


def test_rows_of_a_manifest_from_other_processes_share_their_settings():
    row = dict.fromkeys(schemas.MANIFEST.names) | {"image_id": "a.png", "seed": 0, "settings": '{"min_size": 12}'}
    sent = pickle.dumps(Entry(**row))
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first == second == Entry(**row)
    assert first.settings is second.settings


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
    assert set(schemas.TABLES) == of_images | {"manifest_edits", "edits", "pictures", "regions"}
    assert schemas.TABLES["samples"].names[0] == "image_id"


def test_hugging_face_features_name_every_column_by_its_type():
    """The key and the format are those that `datasets` writes itself; read by `datasets` 5.2.0 once by hand."""
    data = with_features(schemas.TABLES["samples"].empty_table())
    stored = schemas.read_parquet(schemas.parquet_bytes(data)).schema
    features = json.loads(stored.metadata[b"huggingface"])["info"]["features"]
    assert list(json.loads(stored.metadata[b"huggingface"])) == ["info"]
    assert features["image"] == {"_type": "Image"}
    assert features["scale"] == {"dtype": "int16", "_type": "Value"}
    assert features.keys() == set(stored.names)
    edits = json.loads(with_features(schemas.MANIFEST_EDITS.empty_table()).schema.metadata[b"huggingface"])
    features = edits["info"]["features"]
    assert features["sha256"] == {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}
    assert features["dropped"] == {"dtype": "bool", "_type": "Value"}
    kinds = {
        feature["dtype"]
        for table in schemas.TABLES.values()
        for feature in json.loads(with_features(table.empty_table()).schema.metadata[b"huggingface"])["info"][
            "features"
        ].values()
        if feature["_type"] == "Value"
    }
    assert kinds == {"string", "int16", "int32", "int64", "float64", "bool"}, "names that `datasets` knows"


def test_the_card_has_a_configuration_for_each_table(tmp_path):
    store = Store(str(tmp_path))
    write_card(store)
    _, head, _ = store.get("tables/README.md").decode().split("---\n", 2)
    configs = yaml.safe_load(head)["configs"]
    assert {each["config_name"]: each["data_files"] for each in configs} == {
        name: f"{name}/*.parquet" for name in schemas.TABLES
    }
    assert [each["config_name"] for each in configs if each.get("default")] == ["samples"]


@pytest.mark.parametrize(("there", "kept"), [(b"# My own words\n", True), (MARK.encode() + b"\nolder", False)])
def test_somebodys_card_is_left_alone(tmp_path, there, kept):
    store = Store(str(tmp_path))
    store.put("tables/README.md", there)
    write_card(store)
    assert (store.get("tables/README.md") == there) == kept
