"""Makes the README's image from a run: `python docs/pictures.py runs/demo docs/demo.webp`.

One row per image: the image, samples of the trained size, and one sample twice as wide, at their own size or reduced to
rows of one width. The quality of the compression falls until the file is small enough for a page.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from pgcn_cluster.tables.query import query
from pgcn_jobs.storage.store import Store

WIDTH, GAP, SAMPLES = 2000, 8, 3
"""Width of a row, px, the space between its pictures, and the number of samples of the trained size."""

HIGHEST = 280
"""Most height of a row, px."""

LARGEST_FILE = 400_000
"""Bytes."""

PICTURES = """
    SELECT image.bytes AS png FROM samples
    WHERE image_id = '{image}' AND (
        (kind = 'observed' AND scale = (SELECT max(scale) FROM samples WHERE image_id = '{image}'))
        OR (kind = 'sample' AND (index < {samples} OR size = '2x1') AND (size <> '2x1' OR index = 0)))
    ORDER BY kind, size, index
"""


def main(run: str, out: Path) -> None:
    """Write the picture."""
    store = Store(run)
    rows = []
    for row in query(store, "SELECT image_id FROM results ORDER BY image_id").to_pylist():
        sql = PICTURES.format(image=row["image_id"].replace("'", "''"), samples=SAMPLES)
        rows.append(in_a_row([Image.open(io.BytesIO(png)) for png in query(store, sql).column("png").to_pylist()]))
    sheet = Image.new("RGBA", (max(row.width for row in rows), sum(row.height + GAP for row in rows) - GAP))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + GAP
    write(sheet, out)


def in_a_row(pictures: list[Image.Image]) -> Image.Image:
    """Pictures side by side on a transparent row: of one height, reduced where they are wider than a row, or higher."""
    shares = sum(picture.width / picture.height for picture in pictures)
    fitting = int((WIDTH - GAP * (len(pictures) - 1)) / shares)
    height = min(fitting, HIGHEST, pictures[0].height)
    resized = [
        one.resize((round(one.width * height / one.height), height), Image.Resampling.LANCZOS) for one in pictures
    ]
    row = Image.new("RGBA", (sum(one.width + GAP for one in resized) - GAP, height))
    left = 0
    for one in resized:
        row.paste(one, (left, 0))
        left += one.width + GAP
    return row


def write(sheet: Image.Image, out: Path) -> None:
    """Save with the best quality at which the file has at most `LARGEST_FILE` bytes."""
    for quality in range(90, 40, -5):
        sheet.save(out, quality=quality, method=6)
        if out.stat().st_size <= LARGEST_FILE:
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
