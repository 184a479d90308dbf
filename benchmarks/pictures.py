"""The bundled photographs that benchmarks train on, and strips of what came out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from jobs.images import to_rgb, to_tensor

EXAMPLES = Path(__file__).parents[1] / "examples" / "images"


def photograph(name: str = "02-launch.jpg", side: int | None = None) -> Tensor:
    """A bundled photograph, or any picture file, `(1, 3, H, W)` in [-1, 1], its longest side at most `side` px."""
    path = Path(name) if Path(name).exists() else EXAMPLES / name
    image = Image.open(path).convert("RGB")
    if side is not None:
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return to_tensor(np.asarray(image))


def strip(images: Iterable[Tensor], height: int = 96) -> Image.Image:
    """Pictures `(3, H, W)` or `(1, 3, H, W)` in one row, each `height` px high."""
    made = [Image.fromarray(to_rgb(image.reshape(image.shape[-3:]))) for image in images]
    made = [one.resize((round(one.width * height / one.height), height), Image.Resampling.BICUBIC) for one in made]
    sheet = Image.new("RGB", (sum(one.width + 4 for one in made) - 4, height), "white")
    left = 0
    for one in made:
        sheet.paste(one, (left, 0))
        left += one.width + 4
    return sheet
