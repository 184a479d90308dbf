"""Energy as a detector: foreign parts of an image, and images of one pyramid's patches.

`python -m benchmarks.foreign_squares --keep FOLDER` prints a table. Anomalies: a square of 13 px of another photograph
in each photograph, from five others, AUROC over pixels. Pairs: each pyramid scores its own image mirrored, and two
thirds of it, and seven others; AUROC over all pairs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.trained import NAMES, markdown, print_table, pyramid_of
from pgcn.imaging.scales import resize
from pgcn.metrics.pictures import auroc

SIDE, OTHERS = 13, 5


def with_foreign_square(image: Tensor, other: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`image` with a square of `other` at a random place, and its mask."""
    height, width = image.shape[-2:]
    top = int(torch.randint(height - SIDE, (1,), generator=generator))
    left = int(torch.randint(width - SIDE, (1,), generator=generator))
    where = slice(top, top + SIDE), slice(left, left + SIDE)
    changed, mask = image.clone(), torch.zeros(1, 1, height, width)
    changed[..., where[0], where[1]] = resize(other, (height, width))[..., where[0], where[1]]
    mask[..., where[0], where[1]] = 1
    return changed, mask


def table(folder: Path) -> tuple[str, dict[str, float]]:
    """Markdown with both metrics for each photograph, and the two means."""
    generator = torch.Generator().manual_seed(1)
    trained = {name: pyramid_of(name, folder) for name in NAMES}
    rows, found, same, different = [], list[float](), list[float](), list[float]()
    for index, name in enumerate(NAMES):
        pyramid, image = trained[name]
        values = []
        for step in range(1, OTHERS + 1):
            other = trained[NAMES[(index + step) % len(NAMES)]][1]
            changed, mask = with_foreign_square(image, other, generator)
            values.append(pyramid.apply("energy", image, target=changed, mask=mask).metrics["auroc"])
        height, width = image.shape[-2:]
        others_own = (image.flip(-1), image[..., : 2 * height // 3, : 2 * width // 3])
        own = [pyramid.energy_score(image, x) for x in others_own]
        others = [pyramid.energy_score(image, trained[other][1]) for other in NAMES if other != name]
        pairs = auroc(torch.tensor(others), torch.tensor(own))
        same, different, found = same + own, different + others, [*found, *values]
        rows.append([name, f"{sum(values) / len(values):.2f}", f"{pairs:.2f}"])
    mean = {"anomalies": sum(found) / len(found), "pairs": auroc(torch.tensor(different), torch.tensor(same))}
    rows.append(["all", f"{mean['anomalies']:.2f}", f"{mean['pairs']:.2f}"])
    return markdown(["image", "AUROC, foreign squares", "AUROC, pairs"], rows), mean


if __name__ == "__main__":
    print_table(table, __doc__)
