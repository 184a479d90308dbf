"""Trainings in equal time: the number of iterations with which a method takes a given number of seconds here.

A training takes `fixed + each · iterations` seconds: starts of chains, pools and filter banks are fixed. Both are
measured by two short trainings with the same settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmarks.machine import clock
from pgcn.method import Method, Model
from pgcn.method_settings import MethodSettings
from pgcn.methods import make_settings

FIRST, SECOND = 0.02, 0.15
"""The short trainings: a share of the preset's iterations, and about a share of the wanted seconds."""

COUNT = "iterations"
"""The setting that the length of a training follows."""


@dataclass(frozen=True)
class Trained:
    """A trained model, the image at its finest scale `(1, 3, H, W)`, and the seconds that the training took."""

    model: Model
    observed: Tensor
    seconds: float


def train(method: Method, image: Tensor, settings: MethodSettings, seed: int, device: str) -> Trained:
    """Train alone. Seconds on a CPU are CPU time of this process. Raises `DivergenceError`."""
    began = clock(device)
    trainer = method.trainer([image], settings, [seed], device=device)
    for _ in trainer.iterations():
        pass
    model = trainer.model()
    return Trained(model, trainer.observed()[-1], clock(device) - began)


def warm_up(method: Method, image: Tensor, changes: Mapping[str, Any], device: str) -> None:
    """A training of two iterations: the first one of a process also imports and compiles."""
    settings = make_settings("draft", changes, method.name)
    if hasattr(settings, COUNT):
        train(method, image, make_settings("draft", {**changes, COUNT: 2}, method.name), 0, device)


def fit_settings(
    method: Method, image: Tensor, seconds: float, changes: Mapping[str, Any], device: str
) -> MethodSettings:
    """The preset draft with `changes`, and the iterations with which it takes about `seconds` on `image`.

    A method without the setting `iterations` keeps its length. Raises `DivergenceError`.
    """
    settings = make_settings("draft", changes, method.name)
    whole = getattr(settings, COUNT, None)
    if whole is None:
        return settings

    def with_count(count: int) -> MethodSettings:
        return make_settings("draft", {**changes, COUNT: count}, method.name)

    few = max(2, round(FIRST * whole))
    short = train(method, image, with_count(few), 0, device).seconds
    more = min(max(3 * few, round(few * SECOND * seconds / short)), max(3 * few, whole))
    longer = train(method, image, with_count(more), 0, device).seconds
    return with_count(solve(few, short, more, longer, seconds))


def solve(few: int, short: float, more: int, longer: float, seconds: float) -> int:
    """The count with which fixed + each · count is `seconds`, from two measured counts; at least 1.

    >>> solve(2, 5.0, 6, 7.0, 25.0)
    42
    """
    each = max((longer - short) / (more - few), 1e-3 * longer / more)
    fixed = max(0.0, longer - each * more)
    return max(1, round((seconds - fixed) / each))
