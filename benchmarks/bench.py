"""The benchmark of `make bench`: quality, time and memory on one machine, printed and written to docs/benchmarks.md.

`python -m benchmarks.bench [--device cuda] [--part quality …] [--threads 1]`. Parts:

- quality: presets trained to their end on a bundled photograph, with their metrics;
- reference: a plain implementation of the published algorithm, its time extrapolated from a few iterations per scale;
- paths: one recipe, `small`, in that plain implementation and in the product;
- stack: images per hour, in batches and one at a time (GPU);
- sampling: 64 samples of `small`, and with exact detail of `draft`;
- field: methods without training, on the CPU (`benchmarks.field`).
"""

from __future__ import annotations

import argparse
import re
import resource
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import reference
from benchmarks.field import arguments, field
from benchmarks.machine import clock, describe
from benchmarks.pictures import photograph
from benchmarks.sample_metrics import with_patch_swd
from benchmarks.trained import markdown
from pgcn import DivergenceError, Pyramid, Trainer, make_settings
from pgcn.exact.scales import ExactScales
from pgcn.imaging.scales import exact_sizes, learned_sizes, resize
from pgcn.patchgencn.energy import EnergyNet
from pgcn.settings import Settings
from pgcn_cluster.planning.device import has_bfloat16_units

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PICTURE = "02-launch.jpg"
FIGURES = ("frechet_vgg22", "frechet_vgg33", "patch_swd", "copy", "diversity", "recovery_error")
MEASURED = 4


def table(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; small numbers have three decimals."""
    return markdown(header, [[_shown(cell) for cell in row] for row in rows])


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell >= 100 else f"{cell:.1f}" if cell >= 5 else f"{cell:.3f}"
    return str(cell)


def train(image: Tensor, settings: Settings, device: str, seed: int = 0) -> tuple[Trainer, float]:
    """A finished training, and its seconds by `clock`. After a divergence the next seed follows; its time counts."""
    began = clock(device)
    for attempt in range(3):
        trainer = Trainer([image], settings, [seed + attempt], device)
        try:
            for _ in trainer.iterations():
                pass
        except DivergenceError as error:
            print(f"seed {seed + attempt}: {error}", flush=True)
            continue
        break
    else:
        raise SystemExit("Three seeds diverged.")
    return trainer, clock(device) - began


def precisions(preset: str, device: str) -> list[str]:
    """The precisions that suit this machine; the last one is the default of a run."""
    own = make_settings(preset).precision
    return [own] if device.startswith("cuda") or not has_bfloat16_units() else [own, "bfloat16"]


def quality(device: str, presets: list[str]) -> str:
    """The table of quality: each preset on the photograph, once for each precision."""
    rows = []
    pairs = [(preset, precision) for preset in presets for precision in precisions(preset, device)]
    for preset, precision in pairs:
        settings = make_settings(preset, {"precision": precision})
        trainer, seconds = train(photograph(PICTURE, settings.max_size), settings, device)
        pyramid = Pyramid.trained(trainer)
        image = (pyramid.observed_scales() or trainer.observed_of(0))[-1]
        figures = with_patch_swd(pyramid.sample(MEASURED, seed=100), pyramid.reconstruct()[-1], image)
        shown = [figures.get(name, float("nan")) for name in FIGURES]
        rows.append([f"`{preset}`", precision, f"{image.shape[3]}x{image.shape[2]}", seconds, *shown])
        print(*rows[-1], flush=True)
    return table(["preset", "precision", "px", "seconds", *FIGURES], rows)


def plain_seconds(settings: Settings, device: str, updates: int = 2) -> float:
    """Seconds of a whole training by the plain reference, extrapolated from `updates` iterations of each scale."""
    image = photograph(PICTURE, settings.max_size).to(device)
    return reference.whole_seconds(reference.train(image, settings, updates=updates))


def reference_times(device: str, presets: list[str]) -> str:
    """The table of times: the published constants at each preset's size, plain, and the preset in the product.

    Presets of exact detail are left out: at their sizes the published algorithm takes weeks.
    """
    rows = []
    for preset in presets:
        settings = make_settings(preset, {"precision": precisions(preset, device)[-1]})
        if settings.detail == "exact":
            continue
        plain = plain_seconds(make_settings("paper", {"max_size": settings.max_size}), device)
        _, seconds = train(photograph(PICTURE, settings.max_size), settings, device)
        rows.append([f"{settings.max_size} px", plain, f"`{preset}`", seconds, f"{plain / seconds:.0f}"])
        print(*rows[-1], flush=True)
    return table(["longest side", "published algorithm, plain, s", "preset", "product, s", "times faster"], rows)


def paths(device: str) -> str:
    """The table of times of `small`: in the plain implementation, and in the product."""
    plain = plain_seconds(make_settings("small"), device)
    rows = []
    for precision in precisions("small", device):
        settings = make_settings("small", {"precision": precision})
        _, seconds = train(photograph(PICTURE, settings.max_size), settings, device)
        rows.append([plain, precision, seconds, f"{plain / seconds:.1f}"])
    return table(["`small`, plain loop, s", "precision of the product", "product, s", "times faster"], rows)


def stack(device: str, sizes: tuple[int, ...] = (1, 16, 128)) -> str:
    """Images per hour of `draft`, trained as batches. Diverged trainings are counted, since a run would repeat them."""
    settings = make_settings("draft", {"precision": "bfloat16"})
    image = photograph("08-vessels.jpg", settings.max_size)
    rows = []
    for images in sizes:
        trainer = Trainer([image] * images, settings, list(range(images)), device)
        began = clock(device)
        for _ in trainer.iterations():
            pass
        seconds = clock(device) - began
        rows.append([images, seconds, f"{3600 * images / seconds:.0f}", len(trainer.failed), peak_memory(device)])
        print(*rows[-1], flush=True)
    return table(["images in a batch", "seconds", "images per hour", "diverged", "peak memory, MiB"], rows)


def sampling(device: str, presets: tuple[str, ...] = ("small", "draft")) -> str:
    """Seconds of 64 samples, with untrained networks of a preset's shapes: training does not change the time."""
    rows = []
    for preset in presets:
        settings = make_settings(preset)
        image = photograph(PICTURE)
        learned = learned_sizes(image.shape[2], image.shape[3], settings)
        exact = exact_sizes(image.shape[2], image.shape[3], settings)
        nets = [
            EnergyNet(wide=settings.is_wide(max(size)), generators=[torch.Generator().manual_seed(0)]).weights()
            for size in learned
        ]
        detail = ExactScales.of(image, exact, settings) if exact else None
        pyramid = Pyramid(settings, 0, learned + exact, nets, resize(image, learned[0]), detail).to(device)
        pyramid.sample(1)  # compiles, and makes the image's patches
        began = clock(device)
        pyramid.sample(64, seed=1)
        seconds = clock(device) - began
        rows.append([f"`{preset}`", 64, f"{pyramid.sizes[-1][1]}x{pyramid.sizes[-1][0]}", seconds])
    return table(["preset", "samples", "px", "seconds"], rows)


def beside(device: str) -> str:
    """The table of the field: `draft`, the closed-form diffusion and direct matching, on one thread of the CPU."""
    if device.startswith("cuda"):
        raise ValueError("the field is measured on a CPU")
    return field(PICTURE, [128, 250], arguments().parse_args(["--most", "128"]))


def peak_memory(device: str) -> str:
    """Peak memory, MiB, of the GPU's allocator, or of this process."""
    if device.startswith("cuda"):
        return str(torch.cuda.max_memory_allocated() >> 20)
    return str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)


def warm_up(device: str) -> None:
    """Compile the GPU's kernels before the first measurement."""
    if device.startswith("cuda"):
        for preset in ("draft", "best"):
            settings = make_settings(preset, {"precision": "bfloat16", "iterations": 3, "iteration_growth": 1})
            train(photograph(PICTURE, settings.max_size), settings, device)


def write(section: str, text: str, page: Path = PAGE) -> None:
    """Replace the page's section of this name with `text`, or append it."""
    old = page.read_text() if page.exists() else "# Benchmarks\n"
    whole = f"## {section}\n\n{text}\n"
    found = re.compile(rf"^## {re.escape(section)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    page.write_text(found.sub(lambda _: whole + "\n", old).rstrip() + "\n" if found.search(old) else f"{old}\n{whole}")


def main() -> None:
    """Print and write the requested parts, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", action="append")
    parser.add_argument("--preset", action="append")
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    gpu = asked.device.startswith("cuda")
    presets = asked.preset or (["draft", "small", "best"] if gpu else ["draft", "small"])
    parts: dict[str, Callable[[], str]] = {
        "quality": partial(quality, asked.device, presets),
        "reference": partial(reference_times, asked.device, presets),
        "paths": partial(paths, asked.device),
        "sampling": partial(sampling, asked.device),
        **({"stack": partial(stack, asked.device)} if gpu else {"field": partial(beside, asked.device)}),
    }
    warm_up(asked.device)
    titles = {
        "quality": "Quality and time of the presets",
        "reference": "Comparison with the published algorithm",
        "paths": "One recipe, two implementations",
        "stack": "Batches on one GPU",
        "sampling": "Sampling",
        "field": "Beside methods without training",
    }
    written = [f"{describe(asked.device)}. Image: `{PICTURE}`; one seed."]
    for name, part in parts.items():
        if asked.part is None or name in asked.part:
            written.append(f"### {titles[name]}\n\n{part()}")
            print(f"\n{written[-1]}\n", flush=True)
            write("On a GPU" if gpu else "On a CPU", "\n\n".join(written), asked.page)


if __name__ == "__main__":
    main()
