"""Seconds of one core for a sample of exact detail, against its pixels, and the slope of their logarithms.

`python -m benchmarks.detail` draws from a made image of structure at all sizes: the time hardly depends on the picture.
"""

from __future__ import annotations

import argparse
import math
import resource
import time

import torch
from torch import Tensor

from pgcn.exact import ExactDetail
from pgcn.imaging.scales import Size, exact_sizes, learned_sizes, resize
from pgcn.settings import LARGEST, make_settings

MEGAPIXELS = (0.06, 0.25, 1.0, 4.0, 16.0)


def made_image(size: Size) -> Tensor:
    """Noise at every octave, `(1, 3, *size)` in [-1, 1]: structure at all sizes."""
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 3, *size)
    side = 4
    while side < min(size):
        noise = torch.rand(1, 3, side, 2 * side, generator=generator) * 2 - 1
        image += resize(noise, size) / math.sqrt(side)
        side *= 2
    return image / image.abs().max()


def measured(megapixels: float) -> tuple[float, float, float]:
    """Seconds of a core to prepare an image, for one sample of its size, and the peak of memory so far, GiB."""
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    whole, settings = (height, round(1.5 * height)), make_settings("best", {"max_size": LARGEST})
    sizes = exact_sizes(*whole, settings)
    image = made_image(sizes[-1])
    layout = resize(image, learned_sizes(*whole, settings)[-1]).roll((5, 9), (2, 3))
    began = time.thread_time()
    exact = ExactDetail(image, sizes)
    for scale in range(len(sizes)):
        exact.patches(scale)
    prepared = time.thread_time()
    for _ in exact.draw(layout, sizes, [0]):
        pass
    ended = time.thread_time()
    return prepared - began, ended - prepared, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print a table and the slope."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS)
    sizes = sorted(parser.parse_args().megapixels)
    torch.set_num_threads(1)
    measured(0.02)  # compiles
    print("| megapixels | prepare, s | sample, s | s per megapixel | peak memory, GiB |\n|---|---|---|---|---|")
    points = []
    for size in sizes:
        prepare, sample, memory = measured(size)
        points.append((math.log(size), math.log(sample)))
        print(f"| {size:g} | {prepare:.2f} | {sample:.2f} | {sample / size:.1f} | {memory:.2f} |", flush=True)
    if len(points) > 1:
        x, y = (torch.tensor(values) for values in zip(*points, strict=True))
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
        print(f"\nslope of log seconds against log pixels: {slope:.2f} (1 is linear)")


if __name__ == "__main__":
    main()
