"""The benchmark of `make bench`: time and quality on one machine, printed and written to docs/benchmarks.md.

`python -m benchmarks.bench [--device cuda] [--part presets …] [--keep FOLDER] [--strips FOLDER]`. Parts:

- presets: presets trained to their end on a bundled photograph, with the metrics of their samples;
- learned: the preset `small` in the product and in a plain implementation, and the published algorithm at its size;
- field: other ways to samples of one photograph (`benchmarks.field`), on a CPU;
- batches: images per hour, in batches and one at a time, on a GPU;
- sampling: 64 samples of `small`, and with exact detail of `draft`, on a GPU.

The page's section is replaced when all parts are measured; `--part` prints some of them and leaves the page as it is.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.field import field
from benchmarks.machine import clock, describe
from benchmarks.ours import Trainings, ours, precision, train
from benchmarks.pictures import photograph, strip
from benchmarks.published import expected
from benchmarks.rows import Rows
from benchmarks.sample_metrics import COMPARED, shown
from benchmarks.trained import markdown
from pgcn import Pyramid, Trainer, make_settings
from pgcn.exact.scales import ExactScales
from pgcn.imaging.scales import exact_sizes, learned_sizes, resize
from pgcn.patchgencn.energy import EnergyNet
from pgcn.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PICTURE = "02-launch.jpg"
PRESETS = ("draft", "small", "best")
SAMPLES = 4
TITLES = {
    "presets": "Presets",
    "learned": "One recipe of learned scales, two implementations",
    "field": "Beside other ways",
    "batches": "Batches on one GPU",
    "sampling": "Sampling",
}


def preset_settings(preset: str, device: str) -> Settings:
    """The preset as a run on this machine takes it."""
    return make_settings(preset, {"precision": precision(preset, device)})


def presets(rows: Rows, trainings: Trainings, strips: Path | None) -> str:
    """The table of the presets: training includes what exact scales prepare once."""

    def measured(preset: str) -> list[str]:
        settings = preset_settings(preset, trainings.device)
        image = photograph(PICTURE, settings.max_size)
        made = ours(image, settings, SAMPLES, trainings)
        assert made.samples is not None
        if strips is not None:
            strip([image, *made.samples.split(1)], image.shape[2]).save(strips / f"preset-{preset}.png")
        times = [f"{made.prepare:.0f}", f"{made.sample:.2f}"]
        size = f"{image.shape[3]}x{image.shape[2]}"
        return [f"`{preset}`", size, settings.precision, *times, *shown(made.samples, image)]

    header = ["preset", "px", "precision", "training, s", "a sample, s", *COMPARED]
    return markdown(header, [rows(f"preset {preset}", partial(measured, preset)) for preset in PRESETS])


def learned(rows: Rows, trainings: Trainings) -> str:
    """The table of times of learned scales: the plain implementation's are extrapolated."""
    side = make_settings("small").max_size
    image = photograph(PICTURE, side)
    size = image.shape[2], image.shape[3]
    plain = {
        "`small`, plain loop": make_settings("small"),
        "published algorithm, plain loop": make_settings("paper", {"max_size": side}),
    }

    def of_product(name: str) -> list[str]:
        return [name, f"{trainings(image, preset_settings('small', trainings.device))[1]:.0f}"]

    def of_plain(name: str) -> list[str]:
        return [name, f"{expected(size, plain[name], trainings.device).training:.0f}*"]

    product = rows("`small`, product", partial(of_product, "`small`, product"))
    lines = [product, *(rows(name, partial(of_plain, name)) for name in plain)]
    times = [f"{float(line[1].rstrip('*')) / float(product[1]):.1f}" for line in lines]
    table = markdown(
        ["", "training, s", "times the product"], [[*line, time] for line, time in zip(lines, times, strict=True)]
    )
    return f"{side} px.\n\n{table}\n\n\\* extrapolated from some Langevin steps at each scale."


def batches(rows: Rows, device: str, sizes: tuple[int, ...] = (1, 16, 128)) -> str:
    """Images per hour of `draft`, trained as batches. Diverged trainings are counted, since a run would repeat them."""
    settings = make_settings("draft", {"precision": "bfloat16"})
    image = photograph("08-vessels.jpg", settings.max_size)

    def measured(images: int) -> list[str]:
        trainer = Trainer([image] * images, settings, list(range(images)), device)
        began = clock(device)
        for _ in trainer.iterations():
            pass
        seconds = clock(device) - began
        memory = f"{torch.cuda.max_memory_allocated() >> 20}"
        return [f"{images}", f"{seconds:.1f}", f"{3600 * images / seconds:.0f}", f"{len(trainer.failed)}", memory]

    header = ["images in a batch", "seconds", "images per hour", "diverged", "peak memory, MiB"]
    return markdown(header, [rows(f"batch of {images}", partial(measured, images)) for images in sizes])


def sampling(rows: Rows, device: str) -> str:
    """Seconds of 64 samples, with untrained networks of a preset's shapes: training does not change the time."""

    def measured(preset: str) -> list[str]:
        settings = make_settings(preset)
        image = photograph(PICTURE)
        sizes = learned_sizes(image.shape[2], image.shape[3], settings)
        exact = exact_sizes(image.shape[2], image.shape[3], settings)
        nets = [
            EnergyNet(wide=settings.is_wide(max(size)), generators=[torch.Generator().manual_seed(0)]).weights()
            for size in sizes
        ]
        detail = ExactScales.of(image, exact, settings) if exact else None
        pyramid = Pyramid(settings, 0, sizes + exact, nets, resize(image, sizes[0]), detail).to(device)
        pyramid.sample(1)  # compiles, and makes the image's patches
        began = clock(device)
        pyramid.sample(64, seed=1)
        return [f"`{preset}`", "64", f"{pyramid.sizes[-1][1]}x{pyramid.sizes[-1][0]}", f"{clock(device) - began:.2f}"]

    header = ["preset", "samples", "px", "seconds"]
    return markdown(header, [rows(f"sampling {preset}", partial(measured, preset)) for preset in ("small", "draft")])


def warm_up(device: str) -> None:
    """Compile all kernels before the first measurement."""
    for preset in ("draft", "best", "small") if device.startswith("cuda") else ("draft",):
        settings = make_settings(
            preset, {"precision": precision(preset, device), "iterations": 3, "iteration_growth": 1}
        )
        trainer, _ = train(
            photograph(PICTURE, settings.max_size if device.startswith("cuda") else 96), settings, device
        )
        Pyramid.trained(trainer).sample(1)


def write(section: str, text: str, page: Path = PAGE) -> None:
    """Replace the page's section of this name with `text`, or append it."""
    old = page.read_text() if page.exists() else "# Benchmarks\n"
    whole = f"## {section}\n\n{text}\n"
    found = re.compile(rf"^## {re.escape(section)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    page.write_text(found.sub(lambda _: whole + "\n", old).rstrip() + "\n" if found.search(old) else f"{old}\n{whole}")


def main() -> None:
    """Print the parts, and write them to the page when all are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--part", action="append", choices=TITLES)
    parser.add_argument("--keep", type=Path, help="a folder of rows and trainings, which are not made again")
    parser.add_argument(
        "--long", action="store_true", help="a sample of direct matching at 600 px: a quarter of an hour more"
    )
    parser.add_argument("--strips", type=Path, help="a folder for strips of samples")
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    gpu = asked.device.startswith("cuda")
    rows, trainings = Rows(asked.keep), Trainings(asked.device, asked.keep)
    parts: dict[str, Callable[[], str]] = {
        "presets": partial(presets, rows, trainings, asked.strips),
        "learned": partial(learned, rows, trainings),
    }
    if gpu:
        parts |= {"batches": partial(batches, rows, asked.device), "sampling": partial(sampling, rows, asked.device)}
    else:
        parts |= {"field": partial(field, rows, trainings, PICTURE, SAMPLES, asked.long, asked.strips)}
    warm_up(asked.device)
    written = [f"{describe(asked.device)}. Image: `{PICTURE}`; one seed; means of {SAMPLES} samples of ours."]
    for name, part in parts.items():
        if asked.part is None or name in asked.part:
            written.append(f"### {TITLES[name]}\n\n{part()}")
            print(f"\n{written[-1]}\n", flush=True)
    if asked.part is None:
        write("On a GPU" if gpu else "On a CPU", "\n\n".join(written), asked.page)


if __name__ == "__main__":
    main()
