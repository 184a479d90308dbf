"""Training of a pyramid on one image, with or without a hole, as one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import overload

import torch
from torch import Tensor

from pgcn.imaging.scales import Size, check_image
from pgcn.method import Model, Progress
from pgcn.method_settings import MethodSettings
from pgcn.methods import DEFAULT, make_settings, method_of
from pgcn.pyramid import Pyramid
from pgcn.settings import Settings

OnProgress = Callable[[Progress], None]


@overload
def fit(
    image: Tensor,
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
    image: Tensor,
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
    image: Tensor,
    preset: str = "draft",
    seed: int = 0,
    *,
    method: str = DEFAULT,
    mask: Tensor | None = None,
    settings: MethodSettings | None = None,
    device: str | torch.device = "cpu",
    on_progress: OnProgress | None = None,
) -> Model:
    """Train a pyramid on one image `(1, 3, H, W)` in [-1, 1], with the default method or another `method`.

    Returns a `pgcn.method.Model`, of the default method a `pgcn.Pyramid`.

    Pixels where `mask` `(1, 1, H, W)` is 1 are unknown, and left out of the loss. `settings`, which are of a method
    already, replace `preset` and `method`.
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
    image = check_image(image)
    settings = settings or make_settings(preset, method=method)
    chosen = method_of(settings)
    height, width = image.shape[-2:]
    if problem := chosen.problem(height, width, settings):
        raise ValueError(f"the image {problem}")
    trainer = chosen.trainer([image], settings, [seed], mask=mask, device=device)
    with threads_for(chosen.plan(height, width, settings).learned):
        for progress in trainer.iterations():
            if on_progress:
                on_progress(progress)
    return trainer.model()


SMALL = 128 * 128
"""Pixels of a finest learned scale up to which a training has one thread: more wait for each other, and gain little."""


@contextmanager
def threads_for(sizes: Sequence[Size]) -> Iterator[None]:
    """One thread of PyTorch for a training at small `sizes`, unless OMP_NUM_THREADS is set; the number is restored."""
    before = torch.get_num_threads()
    if not os.environ.get("OMP_NUM_THREADS") and max(height * width for height, width in sizes) <= SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
