"""All training methods on the bundled photographs, in equal time: `python -m benchmarks.methods`, or `make methods`.

Trains every method of the registry on every picture with every seed, each for about the same CPU time of one thread,
and writes docs/methods.md and docs/methods.webp. Each result is kept in a folder, and another call makes only those
that are missing; it takes as long as the trainings, and about a third more. `--small` is the least that shows
something: 25 seconds a training, three pictures, one seed.

Tables of tasks are printed by `python -m benchmarks.inpainting --method NAME` and `python -m benchmarks.anomalies
--method NAME`; as `inpainting.md` and `anomalies.md` in the folder of results they become part of the page.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.machine import describe
from benchmarks.method_trial import Conditions, Result, Trial
from benchmarks.methods_page import PAGE, Facts, Kept, page, task_tables
from benchmarks.methods_sheet import sheet, write_picture
from benchmarks.trained import NAMES
from pgcn.methods import algorithm, all_methods, find_method
from pgcn_jobs.storage.store import Store

SIDE = 250
SECONDS, SEEDS, SAMPLES = 100.0, 2, 4
SMALL_SECONDS, SMALL_PICTURES, SMALL_SAMPLES = 25.0, ["01-bricks.jpg", "02-launch.jpg", "06-cat.jpg"], 2


class Wanted(NamedTuple):
    """One training of the table."""

    method: str
    picture: str
    seed: int


def stem(wanted: Wanted, conditions: Conditions) -> str:
    """The name of a result's files: all that it depends on."""
    made = f"{algorithm(find_method(wanted.method))}-{Path(wanted.picture).stem}-seed{wanted.seed}"
    return f"{made}-{conditions.seconds:g}s-{conditions.side}px-{conditions.samples}n-{conditions.device}"


def read(store: Store, name: str) -> Result | None:
    """A kept result; None where there is none."""
    try:
        result: Result = json.loads(store.get(f"{name}.json"))
    except FileNotFoundError:
        return None
    return result


def trained(every: Sequence[Wanted], conditions: Conditions, store: Store) -> Iterator[Kept]:
    """The results in order: those that are kept, and those that are missing, which are made and kept.

    A failure other than a divergence is a result of this call alone: another call tries it again.
    """
    trials: dict[str, Trial] = {}
    began = time.monotonic()
    for number, wanted in enumerate(every, 1):
        name = stem(wanted, conditions)
        result = read(store, name)
        if result is None:
            trial = trials.setdefault(wanted.method, Trial(find_method(wanted.method), conditions))
            result, png = trial(wanted.picture, wanted.seed)
            if png is not None:
                store.put(f"{name}.png", png)
            if not result["failed"]:
                store.put(f"{name}.json", json.dumps(result).encode())
            line = f"{number} of {len(every)}, {time.monotonic() - began:.0f} s: {' '.join(map(str, wanted))}"
            print(f"{line}: {_said(result)}", flush=True)
        shown = store.get(f"{name}.png") if store.exists(f"{name}.png") else None
        yield Kept(*wanted, result, shown)


def _said(result: Result) -> str:
    if problem := result["diverged"] or result["failed"]:
        return str(problem)
    return (
        f"{result['seconds']:.1f} s, {result['iterations']} iterations, VGG22 {result['frechet_vgg22']:.3f}, "
        f"copy {result['copy']:.2f}"
    )


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--methods", nargs="+", default=list(all_methods()), metavar="NAME", help="by default all")
    add("--pictures", nargs="+", metavar="FILE", help="by default the bundled ones")
    add("--seeds", type=int, help=f"number of seeds; by default {SEEDS}")
    add("--seconds", type=float, help=f"of a training; by default {SECONDS:g}")
    add("--samples", type=int, help=f"for the metrics, at least 2; by default {SAMPLES}")
    add("--small", action="store_true", help="other defaults, for about a minute a method and picture")
    add("--device", default="cpu", help="cpu, of which one thread, or cuda")
    add("--keep", type=Path, default=Path("runs/methods"), metavar="FOLDER", help="of the results")
    add("--page", type=Path, default=PAGE, metavar="FILE", help="the page; its picture lies beside it")
    asked = parser.parse_args(words)
    asked.pictures = asked.pictures or (SMALL_PICTURES if asked.small else NAMES)
    asked.seeds = asked.seeds or (1 if asked.small else SEEDS)
    asked.seconds = asked.seconds or (SMALL_SECONDS if asked.small else SECONDS)
    asked.samples = asked.samples or (SMALL_SAMPLES if asked.small else SAMPLES)
    return asked


def command(asked: argparse.Namespace) -> str:
    """The command that makes this table, without its places on this machine."""
    plain = arguments(["--small"] if asked.small else [])
    words = ["--small"] if asked.small else []
    for name in ("methods", "pictures", "seeds", "seconds", "samples", "device"):
        given = getattr(asked, name)
        if given != getattr(plain, name):
            listed = given if isinstance(given, list) else [str(given).removesuffix(".0")]
            words += [f"--{name}", *(Path(value).name for value in listed)]
    return shlex.join(["python", "-m", "benchmarks.methods", *words]) if words else "make methods"


def main() -> int:
    """Train what is missing and write the page. Returns 1 where a training failed, not counting divergences."""
    asked = arguments()
    torch.set_num_threads(1)
    conditions = Conditions(asked.seconds, SIDE, asked.samples, asked.device)
    every = [
        Wanted(method, picture, seed)
        for seed in range(asked.seeds)
        for picture in asked.pictures
        for method in asked.methods
    ]
    kept = list(trained(every, conditions, Store(str(asked.keep))))
    picture = asked.page.with_suffix(".webp")
    write_picture(sheet(kept, SIDE), picture)
    before = asked.page.read_text() if asked.page.exists() else ""
    facts = Facts(conditions, command(asked), describe(asked.device), picture.name)
    asked.page.write_text(page(kept, facts, task_tables(before, asked.keep)))
    print(f"{asked.page} and {picture}")
    return int(any(one.result["failed"] for one in kept))


if __name__ == "__main__":
    raise SystemExit(main())
