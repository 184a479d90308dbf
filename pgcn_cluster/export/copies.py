"""Copy shares of samples across all images of a run, at a bounded cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.dataset as ds
import torch
from torch import Tensor

from pgcn.imaging.scales import resize
from pgcn.metrics.cross_copying import Coarse, CopyShares, coarse, copy_share, most_similar
from pgcn_cluster.export.pairs import Pair, observed_of, shown
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.storage.store import Store

MOST_SAMPLES, MOST_COMPARISONS = 200, 50_000
"""Samples that are compared (0.4 s of a core each), and comparisons of one with an image (0.7 ms), at most."""

SIDE = 64
"""Longest side, px, at which images are kept: that of the search for copies."""


@dataclass(frozen=True)
class _Image:
    """An image of the run: its id, the hash of its file, and its pixels at `SIDE`, `(1, 3, H, W)` uint8."""

    image_id: str
    sha256: str
    pixels: Tensor

    @property
    def tensor(self) -> Tensor:
        """The pixels in [-1, 1]."""
        return self.pixels.float() / 127.5 - 1


class CopyCheck:
    """Copy shares of the `count` samples in a table of samples, evenly spread ones where there are too many."""

    def __init__(self, store: Store, table: ds.Dataset, count: int) -> None:
        self._images = {image.image_id: image for image in _images(store, table)}
        self._count = count
        most = max(1, min(MOST_SAMPLES, MOST_COMPARISONS // max(1, len(self._images))))
        self._chosen = {index * count // min(most, count) for index in range(min(most, count))}
        self._worst: tuple[float, str, str] = (0.0, "", "")

    def shares(self, index: int, pair: Pair) -> CopyShares | None:
        """The copy shares of sample `index`; None where it is not compared."""
        own = self._images.get(pair.row["image_id"])
        if index not in self._chosen or own is None:
            return None
        sample = pair.display()
        # The file of the sample's own image may be in the run under other names, with other settings.
        name = most_similar(sample, self._coarse(own.sha256))
        share = copy_share(sample, own.tensor)
        if name is None:
            return CopyShares(share)
        other = copy_share(sample, self._images[name].tensor)
        self._worst = max(self._worst, (other, own.image_id, name))
        return CopyShares(share, other, name)

    def sentences(self) -> list[str]:
        """Sentences for a person: how many samples were compared, and the largest share from another image."""
        said = []
        if len(self._chosen) < self._count:
            said.append(f"Copy shares are those of {len(self._chosen)} of {self._count} samples, evenly spread.")
        share, own, other = self._worst
        if other:
            said.append(
                f"The most from another image: {share:.0%} of a sample of {terminal_safe(own)} is in "
                f"{terminal_safe(other)}."
            )
        return said

    def _coarse(self, own: str) -> Iterator[Coarse]:
        for image in self._images.values():
            if image.sha256 != own:
                yield coarse(image.image_id, image.tensor)


def _images(store: Store, table: ds.Dataset) -> Iterator[_Image]:
    manifest = store.parquet("tables/manifest")
    rows = [] if manifest is None else manifest.to_table(columns=["job_id", "sha256"]).to_pylist()
    hashes = {row["job_id"]: row["sha256"] for row in rows}
    for row in observed_of(table):
        x = shown(row)
        factor = min(1.0, SIDE / max(x.shape[-2:]))
        small = resize(x, (max(1, round(x.shape[-2] * factor)), max(1, round(x.shape[-1] * factor))))
        pixels = ((small + 1) * 127.5).round().to(torch.uint8)
        yield _Image(row["image_id"], hashes.get(row["job_id"]) or row["job_id"], pixels)
