"""States of a training as one file of tensors and text: which training they belong to, nets and optimizers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pgcn.imaging.scales import Size
from pgcn.method import State
from pgcn.method_settings import MethodSettings
from pgcn.tensor_files import under


class Position(NamedTuple):
    """The position of a state: the stage of its training, and the iterations done in it."""

    stage: int
    iteration: int


def training_text(method: str, settings: MethodSettings, seed: int, sizes: Sequence[Size]) -> dict[str, str]:
    """The text of a state that says which training it belongs to."""
    own = {"settings": settings.model_dump_json(), "seed": str(seed), "sizes": json.dumps(list(sizes))}
    return {"method": method, **own}


def check_own(state: State, method: str, settings: MethodSettings, seed: int, sizes: Sequence[Size]) -> Position:
    """The position of a state. Raises `ValueError` where it belongs to another training than this one."""
    text, own = state[1], training_text(method, settings, seed, sizes)
    same = "settings" in text and type(settings).model_validate_json(text["settings"]) == settings
    if not same or any(text.get(key) != own[key] for key in ("method", "seed", "sizes")):
        raise ValueError("this checkpoint belongs to a training with another method, settings, seed or sizes")
    return Position(int(text["scale"]), int(text["iteration"]))


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The tensors of an optimizer's state, under names that begin with `prefix`."""
    return {
        f"{prefix}{index}.{name}": value
        for index, slots in optimizer.state_dict()["state"].items()
        for name, value in slots.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """The inverse of `optimizer_tensors`."""
    slots: dict[int, dict[str, Any]] = {}
    for name, value in under(tensors, prefix).items():
        index, slot = name.split(".")
        slots.setdefault(int(index), {})[slot] = value.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
