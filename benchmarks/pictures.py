"""The bundled photographs that benchmarks train on, and strips of their results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from pgcn_jobs.images.contact_sheets import in_a_row
from pgcn_jobs.images.png import to_rgb, to_tensor

EXAMPLES = Path(__file__).parents[1] / "examples" / "images"


def photograph(name: str = "02-launch.jpg", side: int | None = None) -> Tensor:
    """A bundled photograph, or any image file, `(1, 3, H, W)` in [-1, 1], its longest side at most `side` px."""
    path = Path(name) if Path(name).exists() else EXAMPLES / name
    image = Image.open(path).convert("RGB")
    if side is not None:
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return to_tensor(np.asarray(image))


def strip(images: Iterable[Tensor], height: int = 96) -> Image.Image:
    """Images `(3, H, W)` or `(1, 3, H, W)` in one row, each `height` px high."""
    return Image.fromarray(in_a_row([to_rgb(image.reshape(image.shape[-3:])) for image in images], height))
