"""Derives the maps of this folder from a photograph: `python examples/materials/make.py`.

Height is the luminance, smoothed: the mortar, which is lighter than the bricks, stands out. Normals are those of the
surface z = DEPTH · height, in the convention of OpenGL: red to the right, green up, blue to the viewer.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

HERE = Path(__file__).parent
PHOTOGRAPH = HERE.parent / "images" / "01-bricks.jpg"

SMOOTHING = 1.5
"""Standard deviation of the Gaussian, px."""

DEPTH = 12.0
"""Height of white above black, px."""


def main() -> None:
    """Write the photograph, its height and its normals, under one name in three folders."""
    for folder in ("images", "height", "normal"):
        (HERE / folder).mkdir(exist_ok=True)
    shutil.copyfile(PHOTOGRAPH, HERE / "images" / "bricks.jpg")
    photograph = Image.open(PHOTOGRAPH).convert("L")
    smooth = photograph.filter(ImageFilter.GaussianBlur(SMOOTHING))
    smooth.save(HERE / "height" / "bricks.png", optimize=True)
    height = np.asarray(smooth).astype(float) / 255 * DEPTH
    down, right = np.gradient(height)
    normal = np.dstack([-right, down, np.ones_like(height)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    levels = np.round((normal + 1) / 2 * 255).astype(np.uint8)
    Image.fromarray(levels).save(HERE / "normal" / "bricks.png", optimize=True)


if __name__ == "__main__":
    main()
