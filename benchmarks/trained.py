"""Pyramids of the bundled photographs for benchmarks of tasks: trained once, and kept where `pgcn apply` finds them."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.pictures import EXAMPLES, photograph
from pgcn import Pyramid
from pgcn.imaging.scales import resize
from pgcn.method_settings import MethodSettings
from pgcn.methods import DEFAULT, make_settings
from pgcn.methods.base import NetPyramid
from pgcn_jobs.run_folder.pyramids import find_kept, keep, learn
from pgcn_jobs.spec import pyramid_id
from pgcn_jobs.storage.store import Store

Trained = NetPyramid | Pyramid
"""A pyramid of a method with a net at each scale, or of PatchGenCN."""

NAMES = sorted(path.name for path in EXAMPLES.glob("*.jpg"))


def pyramid_of(name: str, folder: Path, preset: str = "draft") -> tuple[Pyramid, Tensor]:
    """The pyramid of a bundled photograph, and the photograph at its finest scale, `(1, 3, H, W)`."""
    image = photograph(name)
    sha256 = hashlib.sha256((EXAMPLES / name).read_bytes()).hexdigest()
    settings = make_settings(preset)
    pyramid = _kept(folder, pyramid_id(sha256, settings, 0), image, None, settings)
    assert isinstance(pyramid, Pyramid)
    return pyramid, resize(image, pyramid.sizes[-1])


def pyramid_of_pixels(
    image: Tensor, mask: Tensor | None, folder: Path, preset: str = "draft", method: str = DEFAULT
) -> Trained:
    """The model of an image in memory, its hole left out of the loss if it has one; named by its pixels."""
    sha256, holes = (None if x is None else hashlib.sha256(x.numpy().tobytes()).hexdigest() for x in (image, mask))
    assert sha256 is not None
    settings = make_settings(preset, method=method)
    return _kept(folder, pyramid_id(sha256, settings, 0, holes), image, mask, settings)


def _kept(folder: Path, name: str, image: Tensor, mask: Tensor | None, settings: MethodSettings) -> Trained:
    store = Store(str(folder))
    found = find_kept(store, name)
    if found is None:
        torch.set_num_threads(1)
        found = learn(image, mask, settings, 0)
        keep(store, name, found)
    assert isinstance(found, NetPyramid | Pyramid)
    return found


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column left-aligned and the others right-aligned."""
    lines = [f"| {' | '.join(columns)} |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def print_table(table: Callable[[Path], tuple[str, dict[str, float]]], description: str | None) -> None:
    """The command `python -m benchmarks.TABLE --keep FOLDER`, on one thread."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--keep", type=Path, required=True, help="a folder of trained pyramids, used again")
    torch.set_num_threads(1)
    print(table(parser.parse_args().keep)[0])
