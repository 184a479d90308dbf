"""Super-resolution by a factor of four on twelve images, against bicubic, back-projection and patch matching.

`python -m benchmarks.superres --keep FOLDER [--preset draft]` prints a table, one row per image. Each image is a
crop of a bundled photograph, at most 256 px, reduced by bicubic interpolation; the pyramid is trained on the small
image alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.matching import patch_distance
from benchmarks.naturalness import naturalness
from benchmarks.pictures import photograph
from benchmarks.trained import markdown, pyramid_of_pixels
from pgcn.imaging.scales import resize
from pgcn.metrics.pictures import psnr, rmse, ssim
from pgcn.tasks.enlarge import back_projected, sizes_up, step_factor
from pgcn_jobs.images.contact_sheets import in_a_row, in_rows
from pgcn_jobs.images.png import encode_png, to_rgb

FACTOR = 4
STEPS, RATE = 60, 0.002
"""Of Adam for direct matching: at ten times the rate, which suits a start from noise, it adds noise to a picture."""

# Name, and the crop's left, top, width and height in the photograph; the longest side becomes 256 px.
PICTURES = {
    "bricks": ("01-bricks.jpg", 0, 0, 256, 256),
    "launch": ("02-launch.jpg", 0, 0, 640, 427),
    "lamps": ("02-launch.jpg", 0, 171, 256, 256),
    "wood": ("03-wood.jpg", 0, 0, 160, 188),
    "gravel": ("04-gravel.jpg", 0, 0, 120, 120),
    "galaxies": ("05-galaxies.jpg", 0, 0, 256, 256),
    "stars": ("05-galaxies.jpg", 320, 0, 256, 256),
    "cat": ("06-cat.jpg", 0, 0, 451, 300),
    "fur": ("06-cat.jpg", 190, 40, 256, 256),
    "coffee": ("07-coffee.jpg", 0, 0, 600, 400),
    "cup": ("07-coffee.jpg", 200, 40, 256, 256),
    "vessels": ("08-vessels.jpg", 100, 200, 256, 256),
}


def truth_of(name: str) -> Tensor:
    """The large image, each side a multiple of four."""
    file, left, top, width, height = PICTURES[name]
    crop = photograph(file)[..., top : top + height, left : left + width]
    scale = min(1.0, 256 / max(width, height))
    return resize(crop, tuple(int(side * scale) // FACTOR * FACTOR for side in (height, width)))  # type: ignore[arg-type]


def matched(low: Tensor, factor: float, seed: int = 0) -> Tensor:
    """Direct matching: enlarged in steps, with patches optimized to the input's distribution, and back-projected."""
    generator = torch.Generator().manual_seed(seed)
    height, width = low.shape[-2:]
    x = low
    for size in sizes_up((height, width), (FACTOR * height, FACTOR * width), factor):
        x = back_projected(resize(x, size), low).requires_grad_()
        adam = torch.optim.Adam([x], lr=RATE)
        for _ in range(STEPS):
            adam.zero_grad()
            patch_distance(x, low, generator).backward()
            adam.step()
        x = back_projected(x.detach().clamp(-1, 1), low)
    return x


NAMES = ("bicubic", "back-projection", "matching", "pgcn")


def table(folder: Path, preset: str = "draft", sheet: Path | None = None) -> tuple[str, dict[str, float]]:
    """Markdown with PSNR, SSIM, RMSE (levels of 255) and NIQE of each method, and the mean PSNR of each."""
    rows, shown = [], []
    sums = {name: torch.zeros(4) for name in NAMES}
    natural = 0.0
    for picture, (photo, *_) in PICTURES.items():
        truth = truth_of(picture)
        size = truth.shape[-2], truth.shape[-1]
        low = resize(truth, (size[0] // FACTOR, size[1] // FACTOR))
        pyramid = pyramid_of_pixels(low, None, folder, preset)
        made = {
            "bicubic": resize(low, size),
            "back-projection": back_projected(resize(low, size), low),
            "matching": matched(low, step_factor(pyramid)),
            "pgcn": pyramid.superresolve(low, FACTOR),
        }
        cells = [picture]
        for name, x in made.items():
            figures = psnr(x, truth), ssim(x, truth), rmse(x, truth), naturalness(x, photo)
            sums[name] += torch.tensor(figures)
            cells.append(_cell(figures))
        of_truth = naturalness(truth, photo)
        natural += of_truth / len(PICTURES)
        rows.append([*cells, f"{of_truth:.1f}"])
        shown.append(in_a_row([to_rgb(x) for x in (made["bicubic"], made["pgcn"], made["matching"], truth)], 256))
    means = {name: (sums[name] / len(PICTURES)).tolist() for name in NAMES}
    rows.append(["mean", *(_cell(mean) for mean in means.values()), f"{natural:.1f}"])
    if sheet:
        sheet.write_bytes(encode_png(in_rows(shown)))
    return markdown(["image", *NAMES, "truth"], rows), {name: mean[0] for name, mean in means.items()}


def _cell(figures: Sequence[float]) -> str:
    return f"{figures[0]:.2f} / {figures[1]:.3f} / {figures[2]:.1f} / {figures[3]:.1f}"


def main() -> None:
    """Print the table, and write a sheet of all images on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--keep", type=Path, required=True, help="a folder of trained pyramids, used again")
    parser.add_argument("--sheet", type=Path, help="a PNG file: bicubic, ours, matching, truth")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(table(given.keep, given.preset, given.sheet)[0])


if __name__ == "__main__":
    main()
