"""Comparison of recipes: the effect of each setting on fidelity, copying, diversity and time.

`python -m benchmarks.recipes RECIPES.yaml [--images 02-launch.jpg …] [--seeds 2] [--out runs/recipes]` trains every
recipe on every image with every seed, one thread, keeps each result as a line of `results.jsonl` and a strip of
samples, and prints a row for each recipe. With `--device cuda` the seeds of an image are trained as a batch, and
seconds are of the whole batch. A recipe is a name, and settings over a preset. Existing results are kept, so several
processes or sessions can fill one table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.machine import clock
from benchmarks.pictures import photograph, strip
from benchmarks.sample_metrics import with_patch_swd
from pgcn import DivergenceError, Pyramid, Trainer, make_settings

MEASURED = 6
FIGURES = ("seconds", "frechet_vgg22", "frechet_vgg33", "patch_swd", "copy", "diversity", "recovery_error")

Result = dict[str, Any]


def train(
    recipe: str, changes: Mapping[str, Any], image: str, seeds: Sequence[int], device: str, out: Path
) -> list[Result]:
    """Train an image once for each seed, as a batch. Seconds on a CPU are CPU time of this process's one thread."""
    changes = dict(changes)
    settings = make_settings(changes.pop("preset", "draft"), changes)
    trainer = Trainer([photograph(image, settings.max_size)] * len(seeds), settings, seeds, device)
    began = clock(device)
    with contextlib.suppress(DivergenceError):  # all of them: each is told of below
        for _ in trainer.iterations():
            pass
    seconds = clock(device) - began
    results: list[Result] = []
    for index, seed in enumerate(seeds):
        result: Result = {"recipe": recipe, "image": Path(image).name, "seed": seed, "diverged": None}
        if index in trainer.failed:
            results.append(result | {"diverged": str(trainer.failed[index])})
            continue
        pyramid, observed = Pyramid.trained(trainer, index), trainer.observed_of(index)[-1]
        samples = pyramid.sample(MEASURED, seed=100)
        strip([observed, *samples[:4]]).save(out / f"{recipe}-{Path(image).stem}-{seed}.png")
        figures = with_patch_swd(samples.cpu(), pyramid.reconstruct()[-1].cpu(), observed.cpu())
        results.append(result | {"seconds": seconds} | figures)
    return results


def row(recipe: str, results: list[Result]) -> str:
    """A row of the table: means over the trainings that did not diverge, and the number of those that did."""
    good = [result for result in results if not result["diverged"]]
    means = [sum(result[name] for result in good) / len(good) for name in FIGURES] if good else []
    shown = [f"{means[0]:.0f}", *(f"{mean:.3f}" for mean in means[1:])] if means else ["–"] * len(FIGURES)
    return f"| {recipe} | {len(results)} | {len(results) - len(good)} | {' | '.join(shown)} |"


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path)
    parser.add_argument(
        "--images", nargs="+", default=["01-bricks.jpg", "02-launch.jpg", "04-gravel.jpg", "05-galaxies.jpg"]
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "results.jsonl"
    print(f"| recipe | trainings | diverged | {' | '.join(FIGURES)} |\n|{'---|' * (len(FIGURES) + 3)}")
    for recipe, changes in yaml.safe_load(asked.recipes.read_text()).items():
        results = []
        for image in asked.images:
            wanted = [(recipe, Path(image).name, seed) for seed in range(asked.seeds)]
            missing = [seed for *_, seed in wanted if (recipe, Path(image).name, seed) not in _kept(kept)]
            side_by_side = [missing] if asked.device.startswith("cuda") else [[seed] for seed in missing]
            for seeds in filter(None, side_by_side):
                made = train(recipe, changes or {}, image, seeds, asked.device, asked.out)
                with kept.open("a") as file:
                    file.writelines(json.dumps(result) + "\n" for result in made)
            results += [_kept(kept)[key] for key in wanted]
        print(row(recipe, results), flush=True)


def _kept(path: Path) -> dict[tuple[str, str, int], Result]:
    lines = path.read_text().splitlines() if path.exists() else []
    return {(r["recipe"], r["image"], r["seed"]): r for r in map(json.loads, lines)}


if __name__ == "__main__":
    main()
