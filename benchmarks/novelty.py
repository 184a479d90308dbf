"""Metrics of the three novelties on bundled photographs, and a strip of samples at each.

`python -m benchmarks.novelty [PICTURE …] [--strip docs/novelty.webp]` prints the table of docs/quality.md. The strip is
of the first picture: a row for each novelty, the photograph at its left. Novelties whose training is the same share it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.pictures import photograph, strip
from benchmarks.trained import markdown
from pgcn import Pyramid, Settings, fit, make_settings
from pgcn.exact.scales import ExactScales
from pgcn.metrics.quality import metrics
from pgcn.novelty import NOVELTIES

PICTURES = ("01-bricks.jpg", "02-launch.jpg", "06-cat.jpg")
SAMPLES = 4
SHOWN = ("frechet_vgg33", "largest_piece", "mean_piece", "in_place", "layout_diversity")


def pyramids(image: Tensor, preset: str = "draft") -> dict[str, Pyramid]:
    """A pyramid of `image` `(1, 3, H, W)` for each novelty."""
    trained: dict[Settings, Pyramid] = {}
    found = {}
    for name in NOVELTIES:
        settings = make_settings(preset, {"novelty": name})
        # Settings of the learned scales alone: those of exact detail do not change the training.
        plain = make_settings(preset, {"iterations": settings.iterations})
        if plain not in trained:
            trained[plain] = fit(image, settings=plain)
        pyramid = trained[plain]
        exact = pyramid.exact
        if exact is not None:
            exact = ExactScales.of(image, exact.sizes, settings)
        found[name] = replace(pyramid, settings=settings, exact=exact)
    return found


def sheet(image: Tensor, samples: dict[str, Tensor], height: int = 180) -> Image.Image:
    """A row for each novelty: the image, then its samples `(n, 3, H, W)`."""
    rows = [strip([image, *drawn.split(1)], height) for drawn in samples.values()]
    whole = Image.new("RGB", (rows[0].width, sum(row.height for row in rows) + 6 * (len(rows) - 1)), "white")
    for number, row in enumerate(rows):
        whole.paste(row, (0, number * (row.height + 6)))
    return whole


def main() -> None:
    """Print the table, and write the strip where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="*", default=PICTURES)
    parser.add_argument("--strip", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for number, picture in enumerate(options.picture):
        samples, image = {}, photograph(picture)
        for name, pyramid in pyramids(image).items():
            (observed, drawn) = pyramid.observed_scales()[-1], pyramid.sample(SAMPLES)
            values, samples[name] = metrics(observed, drawn), drawn
            rows.append([f"`{Path(picture).name}`", f"`{name}`", *(f"{values[metric]:.3f}" for metric in SHOWN)])
            print(*rows[-1], flush=True)
        if options.strip and number == 0:
            sheet(observed, samples).save(options.strip, quality=85, method=6)
    print(markdown(["image", "novelty", *(f"`{name}`" for name in SHOWN)], rows))


if __name__ == "__main__":
    main()
