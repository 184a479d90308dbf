"""Several pictures in one, to look at side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from jobs.images.convert import RGB
from jobs.images.png import to_rgb
from pgcn.tasks.task import TaskResult

GAP = 4


def in_a_row(pictures: Sequence[RGB], height: int | None = None) -> RGB:
    """Pictures `(H, W, 3)` uint8 in one row on white, all `height` px high (none: as the first is)."""
    high = height or pictures[0].shape[0]
    made = [Image.fromarray(picture) for picture in pictures]
    made = [one.resize((max(1, round(one.width * high / one.height)), high), Image.Resampling.BICUBIC) for one in made]
    sheet = Image.new("RGB", (sum(one.width + GAP for one in made) - GAP, high), "white")
    left = 0
    for one in made:
        sheet.paste(one, (left, 0))
        left += one.width + GAP
    return np.asarray(sheet)


def sheets_of(made: TaskResult) -> Iterator[tuple[str, RGB]]:
    """What a task shows beside its result, by name, each in a row: every start scale, coarsest first; two by two."""
    for name in ("sweep", "tiled"):
        if name in made.images:
            yield name, in_a_row([to_rgb(one) for one in made.images[name]])


def in_rows(rows: Sequence[RGB]) -> RGB:
    """Rows below each other on white."""
    made = [Image.fromarray(row) for row in rows]
    sheet = Image.new("RGB", (max(one.width for one in made), sum(one.height + GAP for one in made) - GAP), "white")
    top = 0
    for one in made:
        sheet.paste(one, (0, top))
        top += one.height + GAP
    return np.asarray(sheet)
