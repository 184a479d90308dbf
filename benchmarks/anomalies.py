"""Anomaly maps of images by themselves, on made defects or on a folder, beside two plain detectors.

`python -m benchmarks.anomalies` prints the tables of docs/anomalies.md, in about a minute of one core.
`python -m benchmarks.anomalies FOLDER` reads one category in the layout of MVTec AD (`train/good`, `test/<kind>`,
`ground_truth/<kind>`) instead; `energy of train/good` learns from the training images as well.
`python -m benchmarks.anomalies --method NAME` prints another table: the learned energies of each named method, trained
on the first clean image of each category for seconds (`--set iterations=400` for longer).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.anomaly_baselines import rx, sorted_features
from benchmarks.anomaly_cases import SIDE, Case, Category, categories
from benchmarks.anomaly_folders import read_category
from benchmarks.anomaly_methods import MethodEnergy
from benchmarks.anomaly_reference import Reference
from benchmarks.pictures import strip
from benchmarks.trained import markdown
from pgcn.anomaly import cross_fitted, regions_of
from pgcn.anomaly.tail import HIGH, MIDDLE
from pgcn.imaging.channels import of_tensor
from pgcn.imaging.heat import heat
from pgcn.metrics.localization import localization
from pgcn.tasks.energy import THRESHOLD, EnergyOptions
from pgcn_cluster.planning.options import parse_pairs

Detector = Callable[[Tensor], Tensor]
"""Maps an image `(1, C, H, W)` to `(h, w)`."""

METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO@0.3"}
SELF = "energy --self"
DETECTORS: dict[str, Detector] = {
    SELF: lambda image: cross_fitted(image)[0, 0],
    "sorted VGG": sorted_features,
    "RX": rx,
}


def maps_of(detector: Detector, cases: Sequence[Case]) -> list[Tensor]:
    """The map of each case at the size of its label."""
    found = []
    for case in cases:
        values = detector(case.image)[None, None]
        size = case.label.shape
        found.append(F.interpolate(values, tuple(size), mode="bilinear", align_corners=False)[0, 0])
    return found


def rows_of(cases: Sequence[Case], maps: Mapping[str, Sequence[Tensor]]) -> list[list[str]]:
    """A row for each kind and contrast, against all good images, with the metrics of every detector."""
    rows = []
    for kind, contrast in dict.fromkeys((case.kind, case.contrast) for case in cases if case.kind != "good"):
        chosen = [
            i for i, case in enumerate(cases) if case.kind == "good" or (case.kind, case.contrast) == (kind, contrast)
        ]
        labels = [cases[i].label for i in chosen]
        found = {name: localization([made[i] for i in chosen], labels) for name, made in maps.items()}
        values = [f"{found[name][metric]:.2f}" for metric in METRICS for name in maps]
        rows.append([kind, f"{contrast:g}" if contrast else "", *values])
    return rows


def table(found: Sequence[Category], detectors: Mapping[str, Detector]) -> str:
    """Markdown: metrics by category and by kind of defect."""
    columns = [f"{METRICS[metric]}, {name}" for metric in METRICS for name in detectors]
    whole, by_kind, alarms = [], list[list[str]](), []
    every: dict[str, list[Tensor]] = {name: [] for name in detectors}
    for category in found:
        maps = {name: maps_of(detector, category.test) for name, detector in detectors.items()}
        labels = [case.label for case in category.test]
        metrics = {name: localization(made, labels) for name, made in maps.items()}
        whole.append([category.name, *(f"{metrics[name][m]:.2f}" for m in METRICS for name in detectors)])
        alarms += [_alarms(made) for case, made in zip(category.test, maps[SELF], strict=True) if case.kind == "good"]
        for name, made in maps.items():
            every[name] += made
    cases = [case for category in found for case in category.test]
    by_kind = rows_of(cases, every)
    hits = [_hit(case, made) for case, made in zip(cases, every[SELF], strict=True) if case.kind != "good"]
    return "\n\n".join(
        [
            markdown(["images", *columns], whole),
            markdown(["defect", "contrast", *columns], by_kind),
            f"Regions above {THRESHOLD:g} decades: one on the defect in {sum(hits)} of {len(hits)} images with a "
            f"defect; {sum(alarms)} in {len(alarms)} images without one.",
        ]
    )


def table_of_methods(found: Sequence[Category], methods: Sequence[str], overrides: Mapping[str, Any]) -> str:
    """Markdown: a row for each category and method, with metrics, and quantiles of the decades of clean test images.

    The unit holds for clean images where these are 0.30 and 1. A category without a clean image to train on has no row.
    """
    rows = []
    for category in (each for each in found if each.train):
        labels = [case.label for case in category.test]
        for method in methods:
            maps = maps_of(MethodEnergy(method, category.train[0], overrides), category.test)
            metrics = localization(maps, labels)
            clean = [made for case, made in zip(category.test, maps, strict=True) if case.kind == "good"]
            values = torch.cat([made.flatten() for made in clean]) if clean else torch.full((1,), torch.nan)
            quantiles = [f"{float(values.quantile(share)):.2f}" for share in (MIDDLE, HIGH)]
            alarms = sum(_alarms(made) for made in clean)
            rows.append([category.name, method, *(f"{metrics[m]:.2f}" for m in METRICS), *quantiles, str(alarms)])
    columns = [*METRICS.values(), "clean, median", "clean, 0.9 quantile", f"clean, regions above {THRESHOLD:g}"]
    return markdown(["images", "method", *columns], rows)


def _alarms(values: Tensor) -> int:
    return len(regions_of(values, THRESHOLD, EnergyOptions().area))


def _hit(case: Case, values: Tensor) -> bool:
    return bool((values[case.label >= 0] > THRESHOLD).any())


SHOWN = (("bricks", "scratch", 0.5), ("wood", "blob", 0.6), ("gravel", "foreign", 1.0), ("5 bands", "one band", 0.2))


def picture(found: Sequence[Category]) -> Image.Image:
    """Four of the cases in one row, each with its map behind it."""
    shown = []
    for name, kind, contrast in SHOWN:
        category = next(each for each in found if each.name == name)
        case = next(each for each in category.test if (each.kind, each.contrast) == (kind, contrast))
        image = of_tensor(case.image).display(case.image)
        shown += [image, heat(cross_fitted(case.image), THRESHOLD)]
    return strip(shown, 2 * SIDE)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="a category in the layout of MVTec AD")
    parser.add_argument("--picture", type=Path, help="write the image of docs/anomalies.md here, and no table")
    parser.add_argument("--side", type=int, default=256, help="longest side of the folder's images, px")
    parser.add_argument("--method", action="append", help="a training method; repeatable")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the methods")
    parser.add_argument("--category", action="append", help="only this made category; repeatable")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.picture is not None:
        picture(categories()).save(given.picture, quality=80, method=6)
        return 0
    if given.folder is None:
        found = [each for each in categories() if given.category is None or each.name in given.category]
        if given.method:
            print(table_of_methods(found, given.method, parse_pairs(given.set)))
        else:
            print(table(found, DETECTORS))
        return 0
    category = read_category(given.folder, given.side)
    if given.method:
        print(table_of_methods([category], given.method, parse_pairs(given.set)))
        return 0
    more = {"energy of train/good": Reference(category.train)} if category.train else {}
    print(table([category], DETECTORS | more))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
