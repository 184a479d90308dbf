"""The field beside us, on one photograph: time, fidelity, copying and diversity of five ways to its samples.

- new, balanced: `draft` with these values of `novelty`, learned layout and exact detail;
- closed form: the training-free diffusion on patches, as published (`benchmarks.closed_form`);
- matching: direct patch matching (`benchmarks.matching`), at the same four scales;
- published: the published algorithm, whose time alone is extrapolated (`benchmarks.published`).

Seconds are CPU time of one thread. The time to the hundredth sample is extrapolated: the training, and a hundred times
one sample. Above `MOST` px the closed form and direct matching are not drawn, and their time is extrapolated from some
patches, or some steps, of each scale.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.closed_form import closed_form, closed_form_seconds, halving
from benchmarks.matching import match, match_seconds
from benchmarks.ours import Made, Trainings, ours, precision, timed
from benchmarks.pictures import photograph, strip
from benchmarks.published import expected
from benchmarks.rows import Rows
from benchmarks.sample_metrics import COMPARED, shown
from benchmarks.trained import markdown
from pgcn import make_settings

SIDES = (250, 600)
"""Longest sides, px."""

MOST = 250
"""Longest side at which the closed form and direct matching are drawn, px."""

STAR = "\\* extrapolated: a training and a hundred times one sample; or, of a way that is not drawn, from parts of it."


class Way(NamedTuple):
    """A way to samples of an image `(1, 3, H, W)`: its name in the table, and how many samples at most are drawn."""

    name: str
    make: Callable[[Tensor, int, Trainings], Made]


def drawn(make: Callable[[int], Tensor], samples: int) -> Made:
    """Samples of a way that prepares nothing."""
    pictures, seconds = timed(lambda: torch.cat([make(seed) for seed in range(samples)]))
    return Made(pictures, 0.0, seconds / samples)


def by_novelty(name: str, image: Tensor, samples: int, trainings: Trainings) -> Made:
    """Ours: `draft` at the image's own size."""
    changes = {"novelty": name, "max_size": max(image.shape[2:]), "precision": precision("draft", trainings.device)}
    return ours(image, make_settings("draft", changes), samples, trainings)


def by_closed_form(image: Tensor, _: int, __: Trainings) -> Made:
    """One sample of the closed form, or its time alone."""
    sizes = halving((image.shape[2], image.shape[3]))
    if max(image.shape[2:]) > MOST:
        return Made(None, 0.0, closed_form_seconds(image, sizes))
    return drawn(lambda seed: closed_form(image, sizes, seed), 1)


def by_matching(long: bool, image: Tensor, samples: int, _: Trainings) -> Made:
    """At most two samples of direct matching; above `MOST` px its time alone, or `long`: one sample."""
    sizes, large = halving((image.shape[2], image.shape[3])), max(image.shape[2:]) > MOST
    if large and not long:
        return Made(None, 0.0, match_seconds(image, sizes))
    return drawn(lambda seed: match(image, sizes, seed), min(samples, 1 if large else 2))


def by_published(image: Tensor, _: int, __: Trainings) -> Made:
    """The time of the published algorithm, with the published constants."""
    size = image.shape[2], image.shape[3]
    return Made(None, *expected(size, make_settings("paper", {"max_size": max(size)}), "cpu"))


def ways(long: bool) -> list[Way]:
    """All ways of the table."""
    return [
        Way("ours, `novelty=new`", partial(by_novelty, "new")),
        Way("ours, `novelty=balanced`", partial(by_novelty, "balanced")),
        Way("closed form", by_closed_form),
        Way("direct matching", partial(by_matching, long)),
        Way("published algorithm", by_published),
    ]


def row(name: str, made: Made, image: Tensor) -> list[str]:
    """A line of the table."""
    first, hundredth = made.prepare + made.sample, made.prepare + 100 * made.sample
    if made.samples is None:
        return [name, f"{first:.0f}*", f"{hundredth:.0f}*", "not drawn", *[""] * (len(COMPARED) - 1)]
    return [name, f"{first:.0f}", f"{hundredth:.0f}*", *shown(made.samples, image)]


def field(
    rows: Rows,
    trainings: Trainings,
    picture: str,
    samples: int,
    long: bool = False,
    strips: Path | None = None,
    sides: tuple[int, ...] = SIDES,
) -> str:
    """A table of all ways for each of `sides`, as Markdown; strips of samples go to the folder `strips`.

    `long` draws a sample of direct matching above `MOST` px too.
    """

    def measured(way: Way, image: Tensor) -> list[str]:
        made = way.make(image, samples, trainings)
        if strips is not None and made.samples is not None:
            name = "".join(letter if letter.isalnum() else "-" for letter in way.name)
            strip([image, *made.samples.split(1)], image.shape[2]).save(strips / f"{max(image.shape)}-{name}.png")
        return row(way.name, made, image)

    written = []
    for side in sides:
        image = photograph(picture, side)
        lines = [rows(f"{side} px, {way.name}", partial(measured, way, image)) for way in ways(long)]
        header = ["", "first sample, s", "hundredth, s", *COMPARED]
        written.append(f"{image.shape[3]}x{image.shape[2]} px:\n\n{markdown(header, lines)}")
    return "\n\n".join([*written, STAR])
