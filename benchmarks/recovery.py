"""Gain of `recover` over the corrupted image, on the bundled photographs: noise, blur, lost detail.

`python -m benchmarks.recovery --keep FOLDER` prints a table. The pyramid is that of the clean image. As in the paper,
this measures how much the pyramid has learned of its image, not the restoration of unknown images.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.trained import NAMES, markdown, print_table, pyramid_of
from pgcn.imaging.masks import blur
from pgcn.imaging.scales import resize


def corruptions(image: Tensor) -> dict[str, Tensor]:
    """Versions of an image at its working size: three noises (σ in [-1, 1]), a 5 px blur, half the pixels a side."""
    generator = torch.Generator().manual_seed(0)
    height, width = image.shape[-2:]
    noisy = {
        f"noise {sigma:g}": (image + sigma * torch.randn(image.shape, generator=generator)).clamp(-1, 1)
        for sigma in (0.05, 0.1, 0.3)
    }
    half = resize(resize(image, (height // 2, width // 2)), (height, width))
    return noisy | {"blur 5 px": blur(image, 1), "half size": half}


def table(folder: Path) -> tuple[str, dict[str, float]]:
    """Markdown with PSNR before and after, and the mean gain for each corruption."""
    rows, gains = [], dict[str, list[float]]()
    for name in NAMES:
        pyramid, image = pyramid_of(name, folder)
        cells = [name]
        for kind, corrupted in corruptions(image).items():
            figures = pyramid.apply("recover", image, target=corrupted, truth=image).metrics
            cells.append(f"{figures['psnr_corrupted']:.1f} → {figures['psnr']:.1f}")
            gains.setdefault(kind, []).append(figures["psnr"] - figures["psnr_corrupted"])
        rows.append(cells)
    mean = {kind: sum(values) / len(values) for kind, values in gains.items()}
    rows.append(["mean gain, dB", *(f"{gain:+.1f}" for gain in mean.values())])
    return markdown(["image", *mean], rows), mean


if __name__ == "__main__":
    print_table(table, __doc__)
