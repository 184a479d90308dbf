"""Reader of one category in the layout of MVTec AD (Bergmann et al., CVPR 2019); none is shipped here.

`train/good/*`, `test/<kind>/<name>.<ending>`, and for each kind but `good` `ground_truth/<kind>/<name>_mask.png`, or
`<name>.png`, which is bright on the defect.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.anomaly_cases import Case, Category
from pgcn.anomaly.regions import components
from pgcn.imaging.scales import resize
from pgcn_jobs.inputs.image_files import read_image

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy"}


def read_category(folder: Path, side: int) -> Category:
    """The images of a category, the longest side of each at most `side` px.

    Raises `FileNotFoundError` where there is no test image, or a defect without its mask.
    """
    train = [_small(path, side) for path in _images(folder / "train" / "good")]
    test = [_case(folder, path, side) for kind in _kinds(folder / "test") for path in _images(kind)]
    if not test:
        raise FileNotFoundError(f"{folder} has no images in test/<kind>: name one category, as in mvtec/tile.")
    return Category(folder.name, train, test)


def _kinds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)


def _small(path: Path, side: int) -> Tensor:
    image = read_image(path).tensor
    height, width = image.shape[-2:]
    factor = min(1.0, side / max(height, width))
    return resize(image, (max(1, round(height * factor)), max(1, round(width * factor))))


def _case(folder: Path, path: Path, side: int) -> Case:
    image, kind = _small(path, side), path.parent.name
    size = image.shape[-2], image.shape[-1]
    if kind == "good":
        return Case(kind, 0.0, image, torch.full(size, -1))
    truth = folder / "ground_truth" / kind
    found = next(
        (truth / f"{path.stem}{end}" for end in ("_mask.png", ".png") if (truth / f"{path.stem}{end}").exists()), None
    )
    if found is None:
        raise FileNotFoundError(f"{path} has no mask {truth / path.stem}_mask.png.")
    with Image.open(found) as opened:
        mask = opened.convert("L").resize((size[1], size[0]), Image.Resampling.BOX)
    return Case(kind, 0.0, image, _labels(torch.from_numpy(np.asarray(mask) > 127)))


def _labels(mask: Tensor) -> Tensor:
    """Regions of a mask, numbered from 0; -1 elsewhere."""
    label = components(mask)
    numbers: Tensor = label.unique(return_inverse=True)[1]
    return numbers - 1 if bool((label < 0).any()) else numbers
