"""Seconds of one core, or of a GPU, for a sample of exact detail, against its pixels, and the slope of the logarithms.

`python -m benchmarks.detail` draws from a made image of structure at all sizes: the time hardly depends on the picture.
With `--image 0.175` samples of all sizes are drawn from one image of so many megapixels.
"""

from __future__ import annotations

import argparse
import math
import resource
import time

import torch
from torch import Tensor

from pgcn.exact import ExactDetail
from pgcn.imaging.scales import Size, exact_sizes, learned_sizes, resize, sizes_for
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


def size_of(megapixels: float) -> Size:
    """Height and width, px, half as wide again as high."""
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    return height, round(1.5 * height)


def clock(device: str) -> float:
    """Seconds of this thread; on a GPU, seconds on the wall when it has done all that it was given."""
    if device == "cpu":
        return time.thread_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measured(megapixels: float, image_megapixels: float, device: str) -> tuple[float, float, float]:
    """Seconds to prepare an image and for one sample of it, and the device's peak of memory so far, GiB."""
    settings = make_settings("best", {"max_size": LARGEST})
    whole = size_of(image_megapixels)
    sizes, learned = exact_sizes(*whole, settings), learned_sizes(*whole, settings)[-1]
    image = made_image(sizes[-1]).to(device)
    first, *above = sizes_for(size_of(megapixels), [learned, *sizes])
    layout = resize(resize(image, learned).roll((5, 9), (2, 3)), first)
    began = clock(device)
    exact = ExactDetail(image, sizes)
    for scale in range(len(sizes)):
        exact.patches(scale)
    prepared = clock(device)
    for _ in exact.draw(layout, above, [0]):
        pass
    ended = clock(device)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = kilobytes * 1024 if device == "cpu" else torch.cuda.max_memory_allocated()
    return prepared - began, ended - prepared, memory / 2**30


def main() -> None:
    """Print a table and the slope."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS)
    parser.add_argument("--image", type=float, help="megapixels of the image; else those of the sample")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    sizes = sorted(args.megapixels)
    torch.set_num_threads(1)
    measured(0.02, args.image or 0.02, args.device)  # compiles
    print("| megapixels | prepare, s | sample, s | s per megapixel | peak memory, GiB |\n|---|---|---|---|---|")
    points = []
    for size in sizes:
        prepare, sample, memory = measured(size, args.image or size, args.device)
        points.append((math.log(size), math.log(sample)))
        print(f"| {size:g} | {prepare:.2f} | {sample:.2f} | {sample / size:.2g} | {memory:.2f} |", flush=True)
    if len(points) > 1:
        x, y = (torch.tensor(values) for values in zip(*points, strict=True))
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
        print(f"\nslope of log seconds against log pixels: {slope:.2f} (1 is linear)")


if __name__ == "__main__":
    main()
