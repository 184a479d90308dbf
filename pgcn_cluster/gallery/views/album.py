"""The images of one job, laid out: each encoded once, with its size on the page."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pgcn_cluster.gallery.views.thumbnails import EmbeddedImage, picture, strip, thumbnail

# A page embeds its images; more samples than this stay in samples.parquet.
MAX_SAMPLES = 48
# The longest side of the image on the page, in CSS pixels, and the bounds of its enlargement. Samples are
# enlarged like the image, so that a sample of twice the width is seen to be just that.
SIDE = 400
LEAST, MOST = 1.6, 6.0

STAGES = {"observed": "Observed", "stage": "Sampled", "recovered": "Recovered"}

# A row of the table `samples`, as a dictionary.
Row = Mapping[str, Any]


class Shown(NamedTuple):
    """One image on the page, with its size there in CSS pixels."""

    picture: EmbeddedImage
    width: int
    height: int
    label: str
    detail: str = ""


class Group(NamedTuple):
    """The samples of one size."""

    size: str
    samples: list[Shown]


Encoded = tuple[bytes, int, int]
"""A picture of its own file: WebP bytes, width and height, px."""

STRIP_SAMPLES = 3
"""Samples that a comparison shows of a job."""


@dataclass(frozen=True)
class Album:
    """All images of a page. `scales` holds those of the pyramid, by scale; `thumbnail` is for the index.

    `beside` has the original and some samples below each other, where they were asked for.
    """

    original: Shown | None = None
    recovered: Shown | None = None
    groups: list[Group] = field(default_factory=list)
    left_out: int = 0
    scales: dict[int, list[Shown]] = field(default_factory=dict)
    thumbnail: Encoded | None = None
    beside: tuple[Encoded | None, Encoded | None] = (None, None)


def album(samples: Iterable[Row], *, compared: bool = False) -> Album:
    """Lay out the rows of one `samples.parquet`; `compared`: with the pictures of a comparison.

    Raises OSError for bytes that are no image, TypeError for a row without one.
    """
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(samples, key=lambda row: (row["scale"] or 0, row["index"] or 0)):
        kinds[row["kind"]].append(row)
    drawn = kinds["sample"]
    original, recovered = (rows[-1] if rows else None for rows in (kinds["observed"], kinds["recovered"]))

    factor = _enlargement(original or (drawn[0] if drawn else None))
    return Album(
        original=_shown(original, factor, "Original", "what the pyramid learned from") if original else None,
        recovered=_shown(recovered, factor, "Recovered", "found again from a blurred start") if recovered else None,
        groups=list(_groups(drawn[:MAX_SAMPLES], factor)),
        left_out=max(0, len(drawn) - MAX_SAMPLES),
        scales=_scales(kinds),
        thumbnail=_thumbnail(original, drawn),
        beside=_beside(original, drawn) if compared else (None, None),
    )


def png_of(row: Row) -> bytes:
    """The bytes of a row's image."""
    data: bytes = row["image"]["bytes"]
    return data


def _enlargement(row: Row | None) -> float:
    return min(max(LEAST, SIDE / max(row["width"], row["height"])), MOST) if row else 1.0


def _shown(row: Row, factor: float, label: str, detail: str) -> Shown:
    made = picture(png_of(row))
    return Shown(made, *made.shown(factor), label, detail)


def _groups(samples: Sequence[Row], factor: float) -> Iterator[Group]:
    by_size: dict[str, list[Row]] = defaultdict(list)
    for row in samples:
        by_size[row["size"] or ""].append(row)
    count = itertools.count(1)
    for asked, rows in by_size.items():
        shown = [_shown(row, factor, f"Sample {next(count)}", f"seed {row['seed']}") for row in rows]
        yield Group(_size(asked, shown[0].picture), shown)


def _size(asked: str, made: EmbeddedImage) -> str:
    """ "2 × 1 · 192 × 72 px" where a multiple of the image was asked for, "192 × 72 px" where pixels were."""
    pixels = f"{made.width} × {made.height} px"
    factors = asked.replace("x", " × ")
    return pixels if not asked or pixels.startswith(factors) else f"{factors} · {pixels}"


def _scales(kinds: Mapping[str, Sequence[Row]]) -> dict[int, list[Shown]]:
    shown: dict[int, list[Shown]] = defaultdict(list)
    for kind, label in STAGES.items():
        # Rows are sorted by index: of several images at one scale the first one is shown.
        for scale, rows in itertools.groupby(kinds.get(kind, ()), key=lambda row: row["scale"]):
            made = picture(png_of(next(rows)))
            shown[scale].append(Shown(made, *made.fitted(SIDE), label))
    return dict(shown)


def _like_original(drawn: Sequence[Row]) -> Sequence[Row]:
    """Samples of the original's size, or all where there is none."""
    return [row for row in drawn if row["size"] == "1x1"] or drawn


def _beside(original: Row | None, drawn: Sequence[Row]) -> tuple[Encoded | None, Encoded | None]:
    """The original, and some samples of its size below each other."""
    samples = _like_original(drawn)[:STRIP_SAMPLES]
    return strip([png_of(original)]) if original else None, strip([png_of(row) for row in samples]) if samples else None


def _thumbnail(original: Row | None, drawn: Sequence[Row]) -> Encoded | None:
    """The original beside a sample of its own size, where there is one."""
    like_original = _like_original(drawn)
    pair = (png_of(original) if original else None, png_of(like_original[0]) if like_original else None)
    return thumbnail(*pair) if any(pair) else None
