"""New samples from a committed pyramid: nothing is trained, and the run is only read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from pgcn.learned_pyramid import LearnedPyramid
from pgcn.method import Model
from pgcn.methods import MethodError, load_model
from pgcn_cluster.one_image.memory import check_memory
from pgcn_cluster.planning.device import choose_device
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.images.label_files import encode_label
from pgcn_jobs.images.png import encode_png, to_rgb
from pgcn_jobs.images.value_files import encode_values
from pgcn_jobs.run_folder.commit import read_commit
from pgcn_jobs.run_folder.manifest import Entry
from pgcn_jobs.run_folder.pyramids import weight_files
from pgcn_jobs.spec import resolve_size
from pgcn_jobs.storage.outputs import file_stem, write_beside
from pgcn_jobs.storage.store import Store

LONGEST = 16_384
"""Longest side of a sample, px."""


def load_pyramid(store: Store, entry: Entry) -> Model:
    """An image's trained pyramid. Raises `ConfigError` where it is not done yet, or damaged."""
    commit = read_commit(store, entry.job_id)
    name = terminal_safe(entry.image_id)
    if commit is None:
        raise ConfigError(
            f"{name} has no trained pyramid in {store.url} yet: see `pgcn status {store.url}`.",
            code=Code.PYRAMID_MISSING,
        )
    try:
        return load_model(weight_files(store, commit))
    except MethodError as error:
        raise ConfigError(f"The pyramid of {name} cannot be used here. {error}", code=Code.METHOD_UNKNOWN) from None
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"The pyramid of {name} cannot be read: {error}.", code=Code.PYRAMID_DAMAGED) from None


@dataclass(frozen=True)
class SampleRequest:
    """The arguments of `pgcn sample`: `count` samples of each of `sizes`, the first with `seed`.

    `sampling` is a way of drawing that the pyramid has (`pgcn.generator.Sampling`); None: as its settings say.
    """

    sizes: list[str]
    count: int
    seed: int
    start_scale: int
    device: str
    sampling: str | None = None


def draw_samples(store: Store, entry: Entry, request: SampleRequest, out: str) -> Iterator[str]:
    """Write the samples of an image as PNG files into `out`, and yield their paths as they come.

    Where PNG does not hold all channels and bits, a file of `encode_values` does, beside it, and one of the label.
    Files are named after the image, size and seed, and replace none that is there: see `write_beside`. Raises
    `ConfigError` for a size, a start scale or a sampling that cannot be drawn, and for more memory than is free.
    """
    pyramid = load_pyramid(store, entry).to(choose_device(request.device, torch.cuda.is_available))
    seed, start_scale = request.seed, request.start_scale
    if start_scale >= len(pyramid.sizes):
        raise ConfigError(
            f"--start-scale is 0 to {len(pyramid.sizes) - 1} for {terminal_safe(entry.image_id)}, not {start_scale}.",
            code=Code.OPTION_VALUE,
        )
    if request.sampling is not None:
        pyramid = _sampled_by(pyramid, request.sampling)
    resolved = {size: resolve_size(size, pyramid.sizes[-1], LONGEST) for size in request.sizes}
    if str(pyramid.device) == "cpu":
        for pixels in resolved.values():
            check_memory(pyramid, pixels)
    Store(out).check()
    stem = file_stem(entry.image_id) or entry.job_id
    start = (f"-from{start_scale}" if start_scale else "") + (f"-{request.sampling}" if request.sampling else "")
    for size, pixels in resolved.items():
        batches = pyramid.samples(request.count, pixels, seed=seed, start_scale=start_scale)
        for index, image in enumerate(_finest(batches)):
            name = f"{stem}-{size}{start}-seed{seed + index}"
            files = {".png": encode_png(to_rgb(pyramid.channels.display(image[None])))}
            if not pyramid.channels.is_rgb:
                exact = encode_values(image, pyramid.channels, entry.format)
                files[f".{exact.ending}"] = exact.data
            if (label := encode_label(image[None], pyramid.channels)) is not None:
                files[f"-label.{label.ending}"] = label.data
            del image  # it may be large, and the next one is drawn now
            yield from write_beside(out, name, files)


def _finest(batches: Iterator[list[Tensor]]) -> Iterator[Tensor]:
    """The samples `(C, H, W)` of batches of chains' ends; those of a batch are not kept while the next is drawn."""
    for ends in batches:
        samples = ends.pop()
        ends.clear()
        for at in range(len(samples)):
            yield samples[at]
        del samples


def _sampled_by(pyramid: Model, sampling: str) -> Model:
    """The pyramid with another way of drawing samples. Raises `ConfigError` for one that it does not have."""
    try:
        if isinstance(pyramid, LearnedPyramid):
            return cast(Model, pyramid.with_sampling(sampling))
        raise ValueError("a pyramid of this method has one way of drawing samples")
    except ValueError as error:
        raise ConfigError(f"--sampling {terminal_safe(sampling)}: {error}.", code=Code.OPTION_VALUE) from None
