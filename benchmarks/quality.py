"""Metrics of made cases whose order a person knows.

`python -m benchmarks.quality` prints two tables and writes them into docs/quality.md: 2 minutes of one core.

Each case is the image itself, changed in one way. The table has the mean over bundled photographs; `EXPECTED` has the
order that a person gives, and the number of photographs where the metrics agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.pictures import photograph
from benchmarks.trained import markdown
from pgcn.imaging.scales import resize
from pgcn.metrics.quality import metrics

PAGE = Path(__file__).parents[1] / "docs" / "quality.md"
PICTURES = ("01-bricks.jpg", "02-launch.jpg", "03-wood.jpg", "04-gravel.jpg", "06-cat.jpg", "07-coffee.jpg")
SIDE = 256

COLUMNS = (
    "frechet_vgg22",
    "frechet_vgg33",
    "coherence_32",
    "coherence_128",
    "coherence_256",
    "completeness_64",
    "completeness_256",
    "detail",
    "largest_piece",
    "mean_piece",
    "in_place",
)

Values = Mapping[str, Mapping[str, float]]
"""Metrics by case and name."""


def halves(image: Tensor) -> Tensor:
    """Left and right half exchanged."""
    middle = image.shape[3] // 2
    return torch.cat([image[..., middle:], image[..., :middle]], 3)


def tiles(image: Tensor, count: int, seed: int = 1) -> Tensor:
    """The image with its `count` x `count` tiles in another order; the remainder is cut off."""
    height, width = (side // count * count for side in image.shape[2:])
    cut = [tile for row in image[..., :height, :width].chunk(count, 2) for tile in row.chunk(count, 3)]
    order = torch.randperm(count**2, generator=torch.Generator().manual_seed(seed)).tolist()
    rows = [torch.cat([cut[k] for k in order[i : i + count]], 3) for i in range(0, count**2, count)]
    return torch.cat(rows, 2)


def crop(image: Tensor) -> Tensor:
    """The middle, 0.7 of each side."""
    top, left = (round(0.15 * side) for side in image.shape[2:])
    return image[..., top : image.shape[2] - top, left : image.shape[3] - left]


def enlarged(image: Tensor) -> Tensor:
    """The same crop at the size of the image."""
    return resize(crop(image), _size(image))


def blurred(image: Tensor, deviation: float = 1.5) -> Tensor:
    """Gaussian blur, standard deviation in px."""
    reach = round(3 * deviation)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    kernel = (line / line.sum()).expand(3, 1, 1, -1)
    padded = F.pad(image, (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def gridded(image: Tensor, strength: float = 0.15, period: int = 8) -> Tensor:
    """Alternating bright and dark lines every 8 px, on both axes."""
    comb = [torch.zeros(side) for side in image.shape[2:]]
    for line in comb:
        line[period // 2 :: period * 2] = strength
        line[period // 2 + period :: period * 2] = -strength
    return (image + comb[0][:, None] + comb[1]).clamp(-1, 1)


def noise(image: Tensor, seed: int = 0) -> Tensor:
    """Gaussian noise with the image's mean and deviation of each channel."""
    drawn = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image.mean((2, 3), keepdim=True) + image.std((2, 3), keepdim=True) * drawn).clamp(-1, 1)


CASES: dict[str, Callable[[Tensor], Tensor]] = {
    "the image itself": lambda image: image,
    "moved by 3 px": lambda image: image[..., 3:, 3:],
    "crop": crop,
    "two halves exchanged": halves,
    "16 tiles shuffled": lambda image: tiles(image, 4),
    "144 tiles shuffled": lambda image: tiles(image, 12),
    "mirrored": lambda image: image.flip(3),
    "crop, enlarged": enlarged,
    "blurred": blurred,
    "blurred, halves exchanged": lambda image: blurred(halves(image)),
    "with a grid": gridded,
    "noise": noise,
}

Rule = Callable[[Values], bool]


def rising(metric: str, *cases: str) -> Rule:
    """True where a metric rises from each case to the next."""
    return lambda values: all(values[a][metric] < values[b][metric] for a, b in pairwise(cases))


def within(metric: str, case: str, low: float, high: float) -> Rule:
    """True where a case's metric is in [low, high]."""
    return lambda values: low <= values[case][metric] <= high


def _sharp_first(metric: str) -> Rule:
    """Exchanged halves are sharp everywhere but at one seam; the others have a fault everywhere."""
    return rising(metric, "the image itself", "two halves exchanged", "with a grid", "noise")


# The judgement of a person, as rules for metrics.
EXPECTED: tuple[tuple[str, str, Rule], ...] = (
    *(
        ("the image, sharp halves, a grid, noise", name, _sharp_first(name))
        for name in ("frechet_vgg22", "frechet_vgg33", "coherence_128", "coherence_256")
    ),
    *(
        ("sharp halves are better than blurred ones", name, rising(name, "two halves exchanged", "blurred"))
        for name in ("frechet_vgg22", "frechet_vgg33", "coherence_128", "coherence_256")
    ),
    (
        "a blur has less detail than the image, a grid more, noise the most",
        "detail",
        rising("detail", "blurred", "the image itself", "with a grid", "noise"),
    ),
    ("a crop lacks parts of the image", "completeness_64", rising("completeness_64", "the image itself", "crop")),
    ("the image is one piece", "largest_piece", within("largest_piece", "the image itself", 0.999, 1)),
    ("the image is in place", "in_place", within("in_place", "the image itself", 0.999, 1)),
    ("a crop is one piece", "largest_piece", within("largest_piece", "crop", 0.7, 1)),
    ("a moved image is one piece", "largest_piece", within("largest_piece", "moved by 3 px", 0.7, 1)),
    ("halves are two pieces", "largest_piece", within("largest_piece", "two halves exchanged", 0.4, 0.55)),
    (
        "smaller tiles are smaller pieces, noise none",
        "mean_piece",
        rising("mean_piece", "noise", "144 tiles shuffled", "16 tiles shuffled", "two halves exchanged"),
    ),
    ("halves are copied, but not in place", "in_place", within("in_place", "two halves exchanged", 0, 0.1)),
    ("the mirrored image is not in place", "in_place", within("in_place", "mirrored", 0, 0.15)),
    ("noise is no copy", "largest_piece", within("largest_piece", "noise", 0, 0.02)),
    # Not found by shift: these rules say what the eye says, and fail.
    ("a mirrored image is a copy", "largest_piece", within("largest_piece", "mirrored", 0.7, 1)),
    ("an enlarged crop is a copy", "largest_piece", within("largest_piece", "crop, enlarged", 0.7, 1)),
)


def measured(image: Tensor) -> dict[str, dict[str, float]]:
    """Metrics of every case of `image` `(1, 3, H, W)` in [-1, 1]."""
    return {name: metrics(image, make(image)) for name, make in CASES.items()}


def cases_table(pictures: Sequence[Values]) -> str:
    """One row per case, the mean over images."""
    rows = [
        [case, *(f"{sum(each[case][name] for each in pictures) / len(pictures):.3f}" for name in COLUMNS)]
        for case in CASES
    ]
    return markdown(["case", *(f"`{name}`" for name in COLUMNS)], rows)


def order_table(pictures: Sequence[Values]) -> str:
    """One row per rule, with the number of images where the metric agrees."""
    rows = [
        [said, f"`{name}`", f"{sum(rule(each) for each in pictures)} of {len(pictures)}"]
        for said, name, rule in EXPECTED
    ]
    return markdown(["what a person says", "metric", "agrees on"], rows)


def put_tables(page: str, tables: Mapping[str, str]) -> str:
    """The page with the text between `<!-- NAME -->` and `<!-- end -->` replaced by each table."""
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        page, count = re.subn(pattern, lambda found, t=table: f"{found[1]}{t}\n{found[2]}", page, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} places for the table {name!r}; it needs one")
    return page


def main() -> None:
    """Measures every case of every image, prints both tables, and writes them into the page."""
    torch.set_num_threads(1)
    pictures = [measured(photograph(name, SIDE)) for name in PICTURES]
    tables = {"cases": cases_table(pictures), "order": order_table(pictures)}
    print("\n\n".join(tables.values()))
    PAGE.write_text(put_tables(PAGE.read_text(), tables))


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]


if __name__ == "__main__":
    main()
