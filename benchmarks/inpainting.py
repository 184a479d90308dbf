"""Inpainting three kinds of holes in three photographs, against a mean fill and scikit-image's biharmonic diffusion.

`python -m benchmarks.inpainting --keep FOLDER` prints a table: PSNR over the image, and the root mean squared error
in the hole, levels of 255. Each pyramid is trained with its hole left out of the loss, at 64 px.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from benchmarks.pictures import photograph
from benchmarks.trained import markdown, print_table, pyramid_of_pixels
from pgcn import make_settings
from pgcn.imaging.scales import finest_size, resize
from pgcn.metrics.pictures import psnr, rmse

PICTURES = ("01-bricks.jpg", "02-launch.jpg", "04-gravel.jpg")


def holes(height: int, width: int) -> dict[str, Tensor]:
    """A square of a quarter of each side, a doodle of 3 px, and 60 % of all pixels: `(1, 1, H, W)` each."""
    square = torch.zeros(1, 1, height, width)
    square[..., height // 3 : height // 3 + height // 4, width // 3 : width // 3 + width // 4] = 1
    drawn = Image.new("L", (width, height))
    points = [(0.1, 0.2), (0.5, 0.4), (0.3, 0.8), (0.9, 0.6)]
    ImageDraw.Draw(drawn).line([(width * x, height * y) for x, y in points], fill=255, width=3)
    doodle = torch.from_numpy(np.array(drawn) > 127).float()[None, None]
    pepper = (torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0)) < 0.6).float()
    return {"square": square, "doodle": doodle, "salt-and-pepper 60 %": pepper}


def diffused(image: Tensor, mask: Tensor) -> Tensor:
    """scikit-image's biharmonic fill of the hole."""
    rows = ((image[0] + 1) / 2).permute(1, 2, 0).double().numpy()
    made = inpaint_biharmonic(rows, mask[0, 0].numpy() > 0, channel_axis=2)
    return torch.from_numpy(made).float().permute(2, 0, 1)[None].clamp(0, 1) * 2 - 1


def table(folder: Path) -> tuple[str, dict[str, float]]:
    """Markdown with a row for each image and hole, and the mean PSNR of each fill."""
    rows, sums = [], {"mean fill": 0.0, "diffusion": 0.0, "pgcn": 0.0}
    for name in PICTURES:
        image = photograph(name)
        image = resize(image, finest_size(image.shape[-2], image.shape[-1], make_settings("draft")))
        for kind, mask in holes(image.shape[-2], image.shape[-1]).items():
            torn = image * (1 - mask)
            pyramid = pyramid_of_pixels(torn, mask, folder)
            made = pyramid.apply("inpaint", torn, mask=mask, truth=image)
            figures, spread = made.metrics, diffused(torn, mask)
            fills = {
                "mean fill": (figures["psnr_mean_fill"], figures["rmse_hole_mean_fill"]),
                "diffusion": (psnr(spread, image), rmse(spread, image, mask)),
                "pgcn": (figures["psnr"], figures["rmse_hole"]),
            }
            sums = {fill: sums[fill] + value for fill, (value, _) in fills.items()}
            rows.append([name, kind, *(f"{value:.1f} / {error:.0f}" for value, error in fills.values())])
    mean = {fill: value / len(rows) for fill, value in sums.items()}
    rows.append(["mean", "", *(f"{value:.1f}" for value in mean.values())])
    return markdown(["image", "hole", *mean], rows), mean


if __name__ == "__main__":
    print_table(table, __doc__)
