"""Inpainting three kinds of holes in three photographs, against a mean fill and scikit-image's biharmonic diffusion.

`python -m benchmarks.inpainting --keep FOLDER` prints a table: PSNR over the image, and the root mean squared error
in the hole, levels of 255. Each pyramid is trained with its hole left out of the loss. `--method NAME`, which may be
repeated, chooses the training methods, and `--picture NAME` the images; the size is that of `draft`, or `--size` px.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from benchmarks.pictures import photograph
from benchmarks.trained import markdown, pyramid_of_pixels
from pgcn import make_settings
from pgcn.imaging.scales import finest_size, resize
from pgcn.methods import DEFAULT
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


def table(
    folder: Path, methods: Sequence[str] = (DEFAULT,), pictures: Sequence[str] = PICTURES, size: int | None = None
) -> tuple[str, dict[str, float]]:
    """Markdown with a row for each image and hole, and the mean PSNR of each fill; `size` is the longest side, px."""
    names = {method: "pgcn" if method == DEFAULT else method for method in methods}
    fills_of: list[dict[str, tuple[float, float]]] = []
    rows = []
    for name in pictures:
        image = photograph(name, size)
        image = resize(image, finest_size(image.shape[-2], image.shape[-1], make_settings("draft")))
        for kind, mask in holes(image.shape[-2], image.shape[-1]).items():
            torn = image * (1 - mask)
            spread = diffused(torn, mask)
            fills = {"diffusion": (psnr(spread, image), rmse(spread, image, mask))}
            for method in methods:
                pyramid = pyramid_of_pixels(torn, mask, folder, method=method)
                found = pyramid.apply("inpaint", torn, mask=mask, truth=image).metrics
                fills[names[method]] = found["psnr"], found["rmse_hole"]
            mean_fill = found["psnr_mean_fill"], found["rmse_hole_mean_fill"]
            fills_of.append({"mean fill": mean_fill, **fills})
            rows.append([name, kind, *(f"{value:.1f} / {error:.0f}" for value, error in fills_of[-1].values())])
            print(*rows[-1], file=sys.stderr, flush=True)
    mean = {fill: sum(fills[fill][0] for fills in fills_of) / len(rows) for fill in fills_of[0]}
    rows.append(["mean", "", *(f"{value:.1f}" for value in mean.values())])
    return markdown(["image", "hole", *mean], rows), mean


def main() -> None:
    """Print the table of the methods and images that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, required=True, help="a folder of trained pyramids, used again")
    parser.add_argument("--method", action="append", help="a training method; may be repeated")
    parser.add_argument("--picture", action="append", help="a bundled photograph; may be repeated")
    parser.add_argument("--size", type=int, help="longest side of the images, px")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(table(asked.keep, asked.method or [DEFAULT], asked.picture or PICTURES, asked.size)[0])


if __name__ == "__main__":
    main()
