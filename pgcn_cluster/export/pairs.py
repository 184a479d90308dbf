"""The pairs of image and label in a run's table of samples, and the files that they become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.dataset as ds
import torch
from torch import Tensor

from pgcn.imaging.channels import RGB, Channels
from pgcn_jobs.images.convert import Reading
from pgcn_jobs.images.decoder import shared as decoder
from pgcn_jobs.images.png import to_tensor
from pgcn_jobs.images.value_files import ValueFile, encode_values
from pgcn_jobs.inputs.loading import encoded
from pgcn_jobs.storage.outputs import file_stem
from pgcn_jobs.storage.store import Store

_AUTO = Reading("auto", "unknown")
_HAS_LABEL = ds.field("values").is_valid() & ds.field("label").is_valid()


@dataclass(frozen=True)
class Pair:
    """One sample with its label: a row of `samples`."""

    row: dict[str, Any]

    @property
    def stem(self) -> str:
        """The stem of its files' names: that of the image, and its own in the run."""
        row = self.row
        return f"{file_stem(row['image_id']) or 'image'}-{row['job_id'][:8]}-{row['size']}-{row['index']}"

    @property
    def label(self) -> ValueFile:
        """Its label, as in the table."""
        return ValueFile(self.row["label"]["path"].rpartition(".")[2], self.row["label"]["bytes"])

    def image(self, store: Store) -> ValueFile:
        """Its channels that are no label, in a file of the kind of the image; RGB to look at where there are none."""
        path = self.row["values"]
        decoded = decoder.decode(store.get(path), path, min_side=1, reading=_AUTO)
        channels = RGB if decoded.channels is None else Channels.from_json(decoded.channels)
        groups = tuple(group for group in channels.groups if group.kind != "label")
        if not groups:
            return ValueFile("png", self.row["image"]["bytes"])
        x = encoded(decoded.values, channels)
        kept = [channels.of(x, group.name) for group in groups]
        return encode_values(torch.cat(kept, dim=1), Channels(groups))

    def display(self) -> Tensor:
        """The sample as RGB, `(1, 3, H, W)` in [-1, 1]."""
        return shown(self.row)


def shown(row: dict[str, Any]) -> Tensor:
    """The column `image` of a row, `(1, 3, H, W)` in [-1, 1]."""
    return to_tensor(decoder.decode(row["image"]["bytes"], row["image"]["path"], min_side=1).rgb)


def labelled(table: ds.Dataset) -> tuple[int, int]:
    """The numbers of samples with and without a label."""
    sample = ds.field("kind") == "sample"
    every = table.count_rows(filter=sample)
    own = table.count_rows(filter=sample & _HAS_LABEL) if "label" in table.schema.names else 0
    return own, every - own


def samples_of(table: ds.Dataset) -> Iterator[Pair]:
    """The samples with a label, in the order of the table."""
    columns = ["image_id", "job_id", "size", "index", "seed", "width", "height", "image", "label", "values"]
    chosen = (ds.field("kind") == "sample") & _HAS_LABEL
    for batch in table.to_batches(columns=columns, filter=chosen, batch_size=64):
        yield from map(Pair, batch.to_pylist())


def observed_of(table: ds.Dataset) -> Iterator[dict[str, Any]]:
    """The image of each job at its finest scale: rows with `image_id`, `job_id`, `image`."""
    own = table.to_table(columns=["job_id", "scale"], filter=ds.field("kind") == "observed").to_pylist()
    finest = {row["job_id"]: 0 for row in own}
    for row in own:
        finest[row["job_id"]] = max(finest[row["job_id"]], row["scale"])
    columns = ["image_id", "job_id", "scale", "image"]
    for batch in table.to_batches(columns=columns, filter=ds.field("kind") == "observed", batch_size=64):
        for row in batch.to_pylist():
            if row["scale"] == finest.get(row["job_id"]):
                yield row
