"""Files in a run folder that this version did not write: those of other people, and records of a newer version."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa

from pgcn_jobs import layout
from pgcn_jobs.run_folder import schemas


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def strangers(root):
    """Files that a run did not write, in every folder of it, by names that look like its own."""
    written = {}

    def write(path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not ours")
        written[path] = b"not ours"

    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        own = next((path for path in sorted(folder.iterdir()) if path.is_file()), None)
        for name in [".DS_Store", "Thumbs.db", "notes.txt", ".x.tmp", "0.json", "x.parquet"]:
            write(folder / name)
        write(folder / "sub folder" / (own.name if own else "a.png"))
        if own:
            write(folder / f"{own.stem} (conflicted copy){own.suffix}")
    for folder in ("checkpoints", "checkpoints/" + "a" * 20, "previews", "manifest_edits", "pyramids"):
        (root / folder).mkdir(exist_ok=True)
        for name in (".DS_Store", "notes.txt", "part-0 (conflicted copy).parquet"):
            write(root / folder / name)
    return written


def with_column(data):
    table = schemas.read_parquet(data)
    return schemas.parquet_bytes(table.append_column("novelty", pa.array([1] * table.num_rows)))


def with_field(data, where=()):
    record = json.loads(data)
    inner = record
    for key in where:
        inner = inner[key]
    inner["novelty"] = 0.5
    return json.dumps(record).encode()


def newer(store, what):
    """Write one record of the run as a later version might."""
    folder = what.split(" ")[0]
    path = folder if store.exists(folder) else next(p for p in store.list(folder) if layout.is_ours(p))
    data = store.get(path)
    store.delete([path])
    match what:
        case "manifest column":
            data = with_column(data)
            path = f"{path[:-16]}{hashlib.sha256(data).hexdigest()[:8]}.parquet"
        case "tables/results column":
            data = with_column(data)
        case "commits figure":
            data = with_field(data, ["result"])
        case "run.json setting":
            data = with_field(data, ["settings"])
        case "commits version":
            record = json.loads(data)
            record["result"]["pgcn_version"] = "99.0.0"
            data = json.dumps(record).encode()
        case "failures class":
            data = json.dumps(json.loads(data) | {"failure": "METEOR"}).encode()
        case _:
            data = with_field(data)
    store.put(path, data)


NEWER = [
    *("commits figure", "commits field", "commits version", "manifest column", "failures field", "failures class"),
    *("run.json field", "run.json setting", "tables/results column"),
]
