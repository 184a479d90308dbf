"""The picture of docs/methods.md: a row of samples for each method, the photographs above."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.methods_page import Kept
from benchmarks.pictures import photograph
from pgcn_jobs.images.png import to_rgb

LARGEST_FILE = 900_000
"""Bytes of the picture."""

GAP, LABEL, TEXT = 6, 120, 17


def sheet(kept: Sequence[Kept], side: int) -> Image.Image:
    """Samples of the first seed: a row for each method, a column for each picture, the photographs above."""
    pictures = list(dict.fromkeys(one.picture for one in kept))
    originals = {name: Image.fromarray(to_rgb(photograph(name, side))) for name in pictures}
    of_first = {(one.method, one.picture): one for one in sorted(kept, key=lambda one: -one.seed)}
    rows: list[tuple[str, list[Image.Image | str]]] = [("photograph", list(originals.values()))]
    for method in dict.fromkeys(one.method for one in kept):
        rows.append((method, [_cell(of_first.get((method, picture))) for picture in pictures]))
    widths = [originals[name].width + GAP for name in pictures]
    height = max(image.height for image in originals.values()) + GAP
    made = Image.new("RGB", (LABEL + sum(widths) - GAP, len(rows) * height - GAP), "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(TEXT)
    for row, (label, cells) in enumerate(rows):
        draw.text((0, row * height), label.replace("-", "-\n"), "black", font)
        left = LABEL
        for cell, width in zip(cells, widths, strict=True):
            if isinstance(cell, str):
                draw.text((left, row * height), cell, "black", font)
            else:
                made.paste(cell, (left, row * height))
            left += width
    return made


def _cell(one: Kept | None) -> Image.Image | str:
    if one is None:
        return ""
    if one.png is None:
        return "diverged" if one.result["diverged"] else "failed"
    return Image.open(io.BytesIO(one.png)).convert("RGB")


def write_picture(image: Image.Image, out: Path) -> None:
    """Save with the best quality at which the file has at most `LARGEST_FILE` bytes."""
    for quality in range(90, 40, -5):
        image.save(out, quality=quality, method=6)
        if out.stat().st_size <= LARGEST_FILE:
            return
