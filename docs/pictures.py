"""Makes the README's image from a run: `python docs/pictures.py runs/demo docs/demo.webp`.

One row per image: the image, samples of the trained size, and one sample twice as wide.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from cluster.tables.query import query
from jobs.storage.store import Store

HEIGHT, GAP, SAMPLES = 120, 8, 3

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
        images = [Image.open(io.BytesIO(png)) for png in query(store, sql).column("png").to_pylist()]
        rows.append([i.resize((round(i.width * HEIGHT / i.height), HEIGHT), Image.Resampling.BICUBIC) for i in images])
    width = max(sum(i.width + GAP for i in row) for row in rows) - GAP
    sheet = Image.new("RGBA", (width, len(rows) * (HEIGHT + GAP) - GAP))
    for line, row in enumerate(rows):
        left = 0
        for image in row:
            sheet.paste(image, (left, line * (HEIGHT + GAP)))
            left += image.width + GAP
    sheet.save(out, quality=90)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
