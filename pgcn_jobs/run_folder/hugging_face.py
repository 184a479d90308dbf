"""Hugging Face metadata of the tables: `load_dataset("RUN/tables", "samples")` gives images without a cast.

`datasets` reads the features of a Parquet file from the key `huggingface` of its Arrow schema, and the tables of a
folder from `configs` at the top of its README.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pgcn_jobs import layout
from pgcn_jobs.run_folder.schemas import IMAGE, TABLES
from pgcn_jobs.storage.store import Store

DEFAULT = "samples"
"""The table that `load_dataset("RUN/tables")` gives where none is named."""

MARK = "<!-- Written by pgcn with the tables. Remove this line to keep your own text. -->"

MEANINGS = {
    "samples": "samples of each image's generative model, and the pictures of its scales",
    "results": "a row for each finished image: metrics, settings, times",
    "metrics": "every metric, and the curves of the training",
    "edits": "a row for each finished edit: its task, metric and baseline",
    "pictures": "pictures of the edits: results, and the images, masks and targets they were made from",
    "regions": "unusual regions that `energy` found, a row for each",
    "manifest": "every image of the run, and refused ones with the reason",
    "manifest_edits": "every edit of the run",
    "attempts": "every attempt of a job, done or failed",
    "failures": "failures, with class and message",
}


def with_features(data: pa.Table) -> pa.Table:
    """The table with its columns' Hugging Face features in the schema's metadata."""
    features = {field.name: _feature(field.type) for field in data.schema}
    info = json.dumps({"info": {"features": features}}, sort_keys=True)
    return data.replace_schema_metadata({"huggingface": info})


def _feature(kind: pa.DataType) -> Mapping[str, Any]:
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    # Arrow's names of the types in the tables are those of `datasets`, but for float64.
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


def card() -> bytes:
    """The dataset card of the tables: a configuration for each."""
    configs = [
        f"- config_name: {name}\n  data_files: {name}/*.parquet" + ("\n  default: true" if name == DEFAULT else "")
        for name in sorted(TABLES, key=list(MEANINGS).index)
    ]
    rows = [f"| `{name}` | {MEANINGS[name]} |" for name in MEANINGS]
    text = ["---", "configs:", *configs, "---", MARK, "# Tables of a pgcn run", "", "| table | content |", "|---|---|"]
    text += [*rows, "", "```python", "from datasets import load_dataset", ""]
    text += [f'samples = load_dataset("RUN/tables", "{DEFAULT}", split="train")', "```", ""]
    return "\n".join(text).encode()


def write_card(store: Store) -> None:
    """Write the card, unless somebody's own text is there."""
    try:
        there = store.get(layout.TABLES_CARD)
    except FileNotFoundError:
        there = None
    if there is None or (MARK.encode() in there and there != card()):
        store.put(layout.TABLES_CARD, card())
