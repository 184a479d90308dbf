"""Recipes side by side: what each setting does to fidelity, copying, diversity and time.

`python -m benchmarks.recipes RECIPES.yaml [--images 02-launch.jpg …] [--seeds 2] [--out runs/recipes]` trains every
recipe on every image with every seed, one thread, keeps each result as a line of `results.jsonl` and a strip of
samples, and prints a row for each recipe. A recipe is a name and settings over a preset; results that are there
already are not made again, so that several processes and evenings add to one table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.pictures import photograph, strip
from jobs.artifacts import measure
from pgcn import DivergenceError, Pyramid, Trainer, make_settings

MEASURED = 6
FIGURES = ("seconds", "frechet_vgg22", "frechet_vgg33", "patch_swd", "copy", "diversity", "recovery_error")

Result = dict[str, Any]


def train(recipe: str, changes: Mapping[str, Any], image: str, seed: int, out: Path) -> Result:
    """Train once; seconds are of this process's one thread, so that others on the machine do not count."""
    changes = dict(changes)
    settings = make_settings(changes.pop("preset", "draft"), changes)
    trainer = Trainer([photograph(image)], settings, [seed])
    result: Result = {"recipe": recipe, "image": Path(image).name, "seed": seed, "diverged": None}
    began = time.process_time()
    try:
        for _ in trainer.updates():
            pass
    except DivergenceError as error:
        return result | {"diverged": str(error)}
    result["seconds"] = time.process_time() - began
    pyramid, observed = Pyramid.trained(trainer), trainer.observed_of(0)[-1]
    samples = pyramid.sample(MEASURED, seed=100)
    strip([observed, *samples[:4]]).save(out / f"{recipe}-{Path(image).stem}-{seed}.png")
    return result | measure(samples, pyramid.recover()[-1], observed)


def row(recipe: str, results: list[Result]) -> str:
    """A line of the table: means over the trainings that did not diverge, and how many did."""
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
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "results.jsonl"
    print(f"| recipe | trainings | diverged | {' | '.join(FIGURES)} |\n|{'---|' * (len(FIGURES) + 3)}")
    for recipe, changes in yaml.safe_load(asked.recipes.read_text()).items():
        results = []
        for image in asked.images:
            for seed in range(asked.seeds):
                key = (recipe, Path(image).name, seed)
                result = _kept(kept).get(key)
                if result is None:
                    result = train(recipe, changes or {}, image, seed, asked.out)
                    with kept.open("a") as file:
                        file.write(json.dumps(result) + "\n")
                results.append(result)
        print(row(recipe, results), flush=True)


def _kept(path: Path) -> dict[tuple[str, str, int], Result]:
    lines = path.read_text().splitlines() if path.exists() else []
    return {(r["recipe"], r["image"], r["seed"]): r for r in map(json.loads, lines)}


if __name__ == "__main__":
    main()
