"""Contact sheets: several images in one, in rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from pgcn.tasks.task import TaskResult
from pgcn_jobs.images.convert import RGB
from pgcn_jobs.images.png import to_rgb

GAP_PX = 4

SHEETS = ("sweep", "tiled", "saliency", "decades")
"""Names of the images that a result has beside itself."""


def in_a_row(pictures: Sequence[RGB], height: int | None = None) -> RGB:
    """Images `(H, W, 3)` uint8 in one row on white, scaled to `height` px (None: the height of the first)."""
    high = height or pictures[0].shape[0]
    made = [Image.fromarray(picture) for picture in pictures]
    made = [one.resize((max(1, round(one.width * high / one.height)), high), Image.Resampling.BICUBIC) for one in made]
    sheet = Image.new("RGB", (sum(one.width + GAP_PX for one in made) - GAP_PX, high), "white")
    left = 0
    for one in made:
        sheet.paste(one, (left, 0))
        left += one.width + GAP_PX
    return np.asarray(sheet)


def sheets_of(made: TaskResult) -> Iterator[tuple[str, RGB]]:
    """The additional images of a result, by name, each as a row.

    All start scales, coarsest first; a 2x2 tiling; a map beside the result.
    """
    for name in SHEETS:
        if name in made.images:
            yield name, in_a_row([to_rgb(one) for one in made.images[name]])


def in_rows(rows: Sequence[RGB]) -> RGB:
    """Rows `(H, W, 3)` uint8 below each other on white."""
    made = [Image.fromarray(row) for row in rows]
    sheet = Image.new(
        "RGB", (max(one.width for one in made), sum(one.height + GAP_PX for one in made) - GAP_PX), "white"
    )
    top = 0
    for one in made:
        sheet.paste(one, (0, top))
        top += one.height + GAP_PX
    return np.asarray(sheet)
