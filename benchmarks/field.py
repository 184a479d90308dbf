"""The field beside us, on one picture: time, fidelity, copying and diversity of three ways to its samples.

- ours: `draft`, learned layout and exact detail;
- closed form: the training-free diffusion on patches, as published (`benchmarks.closed_form`);
- matching: direct patch matching (`benchmarks.matching`).

`python -m benchmarks.field [PICTURE] [--side 250 …] [--large] [--skip NAME …]` prints a table for each longest side;
`--large` adds 600. Seconds are processor seconds of one thread. The time to the hundredth sample is extrapolated from
one: training, and a hundred times the sample. The closed form is not drawn above `--most` px, where its time alone is
extrapolated by the square of the pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.closed_form import closed_form, halving
from benchmarks.machine import describe
from benchmarks.matching import match
from benchmarks.pictures import photograph, strip
from benchmarks.trained import markdown
from pgcn import fit, make_settings
from pgcn.metrics.quality import metrics

SHOWN = (
    "frechet_vgg22",
    "frechet_vgg33",
    "coherence_64",
    "coherence_128",
    "largest_piece",
    "mean_piece",
    "in_place",
    "layout_diversity",
)
WAYS = ("ours", "closed form", "matching")


class Made(NamedTuple):
    """Samples `(n, 3, H, W)` of one way, its seconds of preparation, and of one sample."""

    samples: Tensor
    prepare: float
    sample: float


def timed(make: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """A picture and the seconds that this thread's processor worked on it."""
    began = time.thread_time()
    made = make()
    return made, time.thread_time() - began


def ours(image: Tensor, samples: int, iterations: int | None) -> Made:
    """`draft` at the image's own size; `iterations` replaces its own number."""
    changes = {"max_size": max(image.shape[2:])} | ({} if iterations is None else {"iterations": iterations})
    began = time.thread_time()
    pyramid = fit(image, settings=make_settings("draft", changes))
    trained = time.thread_time()
    drawn = pyramid.sample(1)  # makes the image's patches, and compiles where it is the first
    first = time.thread_time() - trained
    more, seconds = timed(lambda: pyramid.sample(samples - 1, seed=1))
    each = seconds / (samples - 1)
    return Made(torch.cat([drawn, more]), trained - began + first - each, each)


def one_by_one(make: Callable[[int], Tensor], samples: int) -> Made:
    """Samples of a way that prepares nothing."""
    drawn, seconds = timed(lambda: torch.cat([make(seed) for seed in range(samples)]))
    return Made(drawn, 0.0, seconds / samples)


def row(name: str, made: Made, image: Tensor) -> list[str]:
    """A line of the table."""
    values = metrics(image, made.samples)
    first, hundredth = made.prepare + made.sample, made.prepare + 100 * made.sample
    return [name, f"{first:.0f}", f"{hundredth:.0f}*", *(f"{values[metric]:.3g}" for metric in SHOWN)]


def beyond(side: int, drawn: tuple[int, float] | None) -> list[str]:
    """The line of the closed form at a size where it is not drawn: its time, from a smaller size."""
    if drawn is None:
        return ["closed form", "not drawn"] + [""] * (1 + len(SHOWN))
    seconds = drawn[1] * (side / drawn[0]) ** 4
    return ["closed form", f"{seconds:.0f}*", f"{100 * seconds:.0f}*"] + ["not drawn"] + [""] * (len(SHOWN) - 1)


def made_by(way: str, image: Tensor, options: argparse.Namespace) -> Made:
    """Samples of one way; of those that prepare nothing at most two."""
    sizes, few = halving((image.shape[2], image.shape[3])), min(2, options.samples)
    if way == "ours":
        return ours(image, options.samples, options.iterations)
    if way == "closed form":
        return one_by_one(lambda seed: closed_form(image, sizes, seed), few)
    return one_by_one(lambda seed: match(image, sizes, seed), few)


def field(picture: str, sides: list[int], options: argparse.Namespace) -> str:
    """Tables of all ways at all sides, as Markdown; strips of samples go to `options.strips` where it is given."""
    written: list[str] = []
    drawn: tuple[int, float] | None = None
    for side in sides:
        image = photograph(picture, side)
        rows, shown = [], [image]
        for way in (way for way in WAYS if way not in options.skip):
            if way == "closed form" and side > options.most:
                rows.append(beyond(side, drawn))
                continue
            made = made_by(way, image, options)
            drawn = (side, made.sample) if way == "closed form" else drawn
            rows.append(row(way, made, image))
            print(*rows[-1], flush=True)
            shown += made.samples.split(1)
        if options.strips:
            strip(shown, min(image.shape[2], 240)).save(f"{options.strips}-{side}.png")
        header = ["", "first sample, s", "hundredth, s", *SHOWN]
        written.append(f"{image.shape[3]}x{image.shape[2]} px:\n\n{markdown(header, rows)}")
    written.append("\\* extrapolated: from one sample, or from a smaller size by the square of the pixels.")
    return "\n\n".join(written)


def arguments() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", default="02-launch.jpg")
    parser.add_argument("--side", type=int, nargs="+", default=[250])
    parser.add_argument("--large", action="store_true", help="600 px too")
    parser.add_argument("--samples", type=int, default=4, help="of ours; of the others at most two")
    parser.add_argument("--iterations", type=int, help="instead of those of `draft`")
    parser.add_argument("--most", type=int, default=250, help="longest side at which the closed form is drawn, px")
    parser.add_argument("--skip", nargs="+", choices=WAYS, default=[])
    parser.add_argument("--strips", help="where strips of samples go: the beginning of their names")
    return parser


def main() -> None:
    """Print the tables."""
    options = arguments().parse_args()
    torch.set_num_threads(1)
    sides = sorted({*options.side, *([600] if options.large else [])})
    print(f"{describe('cpu')}. Picture: {options.picture}.\n\n{field(options.picture, sides, options)}")


if __name__ == "__main__":
    main()
