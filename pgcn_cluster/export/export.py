"""`pgcn export`: a run's image and label pairs as `images/`, `masks/` and `metadata.csv`, with copy shares."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from pgcn.metrics.cross_copying import CopyShares
from pgcn_cluster.export.copies import CopyCheck
from pgcn_cluster.export.owned_folder import OwnedFolder
from pgcn_cluster.export.pairs import Pair, labelled, samples_of
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.storage.store import Store

COLUMNS = (
    "image_file_name",
    "label_file_name",
    "image_id",
    "job_id",
    "seed",
    "width",
    "height",
    "copy_own",
    "copy_other",
    "other_image_id",
)
"""Columns of `metadata.csv`; Hugging Face `datasets` reads the first two as images."""

CARD = """# Image and label pairs of a pgcn run

`images/` has the samples, `masks/` their labels under the same names, with the values of the label that was learned.
`metadata.csv` has a row for each pair. `copy_own` is the share of a sample that is in shifted pieces of its own image,
`copy_other` that of the most similar other image of the run, `other_image_id`; empty: not compared. Where `copy_other`
is high, the two images show the same thing: keep both in one part of a split.

    from datasets import load_dataset
    pairs = load_dataset("imagefolder", data_dir="FOLDER")
"""


def export(store: Store, out: str, say: Callable[[str], None]) -> int:
    """Write the pairs of a run, whose tables are built, into the folder `out`; returns their number.

    `say` receives sentences about what was left out or found. Raises `ConfigError` for a run without labels, and for a
    folder with other files.
    """
    table = store.parquet("tables/samples")
    if table is None:
        raise ConfigError(
            f"{store.url} has no tables yet. Build them with `pgcn gather {store.url}`.", code=Code.TABLES_MISSING
        )
    count, without = labelled(table)
    if not count:
        raise ConfigError(
            f"{store.url} has no samples with a label: learn one with --channel label='masks/{{stem}}.png'.",
            code=Code.LABELS_NONE,
        )
    folder = OwnedFolder(Store(out))
    check = CopyCheck(store, table, count)
    rows: list[dict[str, Any]] = []
    for index, pair in enumerate(samples_of(table)):
        image, label = pair.image(store), pair.label
        names = f"images/{pair.stem}.{image.ending}", f"masks/{pair.stem}.{label.ending}"
        folder.write(names[0], image.data)
        folder.write(names[1], label.data)
        rows.append(_row(pair, names, check.shares(index, pair)))
    folder.write("metadata.csv", _csv(rows))
    folder.write("README.md", CARD.encode())
    for path in folder.finish():
        say(f"{terminal_safe(path)} of an earlier export was changed since, and is kept.")
    if without:
        say(f"{without} samples without a label are left out.")
    for sentence in check.sentences():
        say(sentence)
    return len(rows)


def _row(pair: Pair, names: tuple[str, str], shares: CopyShares | None) -> dict[str, Any]:
    row = {name: pair.row[name] for name in COLUMNS if name in pair.row}
    row |= {"image_file_name": names[0], "label_file_name": names[1]}
    if shares is not None:
        row |= {"copy_own": f"{shares.own:.4f}"}
        if shares.image is not None:
            row |= {"copy_other": f"{shares.other:.4f}", "other_image_id": shares.image}
    return row


def _csv(rows: list[dict[str, Any]]) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode(errors="surrogateescape")
