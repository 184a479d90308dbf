"""Training of a pyramid on one image, with or without a hole, as one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import overload

import torch
from torch import Tensor

from pgcn.imaging.channels import Image, of_tensor
from pgcn.imaging.masks import joined_masks
from pgcn.imaging.scales import Size, check_image
from pgcn.method import Model, Progress
from pgcn.method_settings import MethodSettings
from pgcn.methods import DEFAULT, make_settings, method_of
from pgcn.pyramid import Pyramid
from pgcn.settings import Settings
from pgcn.threads import set_threads

OnProgress = Callable[[Progress], None]


@overload
def fit(
    image: Tensor | Image,
    preset: str = "draft",
    seed: int = 0,
    *,
    mask: Tensor | None = None,
    settings: Settings | None = None,
    device: str | torch.device = "cpu",
    on_progress: OnProgress | None = None,
) -> Pyramid: ...
@overload
def fit(
    image: Tensor | Image,
    preset: str = "draft",
    seed: int = 0,
    *,
    method: str = DEFAULT,
    mask: Tensor | None = None,
    settings: MethodSettings | None = None,
    device: str | torch.device = "cpu",
    on_progress: OnProgress | None = None,
) -> Model: ...
def fit(
    image: Tensor | Image,
    preset: str = "draft",
    seed: int = 0,
    *,
    method: str = DEFAULT,
    mask: Tensor | None = None,
    settings: MethodSettings | None = None,
    device: str | torch.device = "cpu",
    on_progress: OnProgress | None = None,
) -> Model:
    """Train a pyramid on one image `(1, C, H, W)` in [-1, 1], or on an `Image`, as `pgcn.read_image` returns it.

    `method` is the default one or another; returns a `pgcn.method.Model`, of the default method a `pgcn.Pyramid`.

    Pixels where `mask` `(1, 1, H, W)` is 1 are unknown, and left out of the loss, beside those that the image itself
    does not know. `settings`, which are of a method already, replace `preset` and `method`. A tensor of three channels
    is RGB, one of one channel is gray.
    `on_progress` is called after every iteration. At small sizes a training uses one thread, unless the environment
    variable OMP_NUM_THREADS is set. Raises `ValueError` for a bad image or mask or an unknown preset,
    `DivergenceError` where training fails.

    >>> import torch, pgcn
    >>> image, hole = torch.rand(1, 3, 20, 24) * 2 - 1, torch.zeros(1, 1, 20, 24)
    >>> hole[..., 6:12, 8:16] = 1
    >>> settings = pgcn.make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 2, "iterations": 2})
    >>> pgcn.fit(image, mask=hole, settings=settings).inpaint(image, hole).shape
    torch.Size([1, 3, 20, 24])
    """
    settings = settings or make_settings(preset, method=method)
    image = image if isinstance(image, Image) else Image(image, of_tensor(check_image(image)))
    mask, x = joined_masks(mask, image.unknown), check_image(image.tensor)
    chosen, (height, width) = method_of(settings), x.shape[-2:]
    if problem := chosen.problem(height, width, settings):
        raise ValueError(f"the image {problem}")
    trainer = chosen.trainer([x], settings, [seed], mask=mask, device=device, channels=[image.channels])
    with threads_for(chosen.plan(height, width, settings).computed):
        for progress in trainer.iterations():
            if on_progress:
                on_progress(progress)
    return trainer.model()


SMALL = 128 * 128
"""Pixels of a window, or of a whole scale, up to which a training has one thread: more gain little."""


@contextmanager
def threads_for(sizes: Sequence[Size]) -> Iterator[None]:
    """One thread of PyTorch for windows of small `sizes`, unless OMP_NUM_THREADS is set; the number is restored."""
    small = not os.environ.get("OMP_NUM_THREADS") and max(height * width for height, width in sizes) <= SMALL
    with set_threads(1 if small else torch.get_num_threads()):
        yield
