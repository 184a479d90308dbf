"""States of a training, from which it goes on: the iterations that follow are the same to the bit.

A state belongs to one image: a trainer of that image alone can load it, or a trainer of any batch of images whose
states stand at the same iteration.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pgcn.imaging.scales import Size
from pgcn.method import LayoutError, State
from pgcn.settings import Settings


class ResumePoint(NamedTuple):
    """The position of a state: its scale, its iteration, and how many of the chain starts are used."""

    scale: int
    iteration: int
    used: int


def resume_point(state: State, settings: Settings, seed: int, sizes: Sequence[Size]) -> ResumePoint:
    """The position of a state. Raises `ValueError` where it belongs to another training than this one."""
    where = state[1]
    own = training_text(settings, seed, sizes)
    # Compared as settings: an earlier version may have written them under other names.
    same = "settings" in where and Settings.model_validate_json(where["settings"]) == settings
    if not same or any(where.get(key) != own[key] for key in ("seed", "sizes")):
        raise ValueError("this checkpoint belongs to a training with other settings, seed or sizes")
    return ResumePoint(int(where["scale"]), int(where["iteration"]), int(where["used"]))


def common_resume_point(
    states: Sequence[State], settings: Settings, seeds: Sequence[int], sizes: Sequence[Size]
) -> ResumePoint:
    """The position of all states of a batch, one for each seed. Raises `ValueError` where they differ."""
    points = {resume_point(state, settings, seed, sizes) for state, seed in zip(states, seeds, strict=True)}
    if len(points) != 1:
        raise ValueError("images that are trained as a batch resume from the same iteration")
    return points.pop()


def training_text(settings: Settings, seed: int, sizes: Sequence[Size]) -> dict[str, str]:
    """The text of a state that says which training it belongs to."""
    return {"settings": settings.model_dump_json(), "seed": str(seed), "sizes": json.dumps(list(sizes))}


def joined(states: Sequence[State], name: str, like: Tensor, dim: int = 0) -> Tensor:
    """One tensor of all states of a batch, with the shape and type of `like`; without rows, it may have any number.

    Raises `LayoutError` where a state's tensor does not fit.
    """
    wanted = list(like.shape)
    wanted[dim] //= len(states)
    for tensors, _ in states:
        found = tensors.get(name)
        free = 0 if len(like) else 1
        if found is None or found.dtype != like.dtype or list(found.shape[free:]) != wanted[free:]:
            raise LayoutError(f"the tensor {name} of this checkpoint is missing, or has another shape or type")
    return torch.cat([tensors[name].to(like.device) for tensors, _ in states], dim=dim)


def optimizer_tensors(optimizer: torch.optim.Optimizer, image: int) -> dict[str, Tensor]:
    """One image's part of an optimizer's state."""
    own = slice(image, image + 1)
    return {
        f"adam.{index}.{name}": value[own] if value.ndim else value
        for index, slots in optimizer.state_dict()["state"].items()
        for name, value in slots.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, states: Sequence[State]) -> None:
    """Put the `optimizer_tensors` of a batch's states into an optimizer. Raises `LayoutError` where they do not fit."""
    parameters = optimizer.param_groups[0]["params"]
    slots: dict[int, dict[str, Any]] = {}
    for name, value in states[0][0].items():
        if name.startswith("adam."):
            index, slot = name.removeprefix("adam.").split(".")
            like = parameters[int(index)]
            # The count of steps is the same for all images; the moments are each image's own.
            slots.setdefault(int(index), {})[slot] = joined(states, name, like) if value.ndim else value.clone()
    names = {frozenset(each) for each in slots.values()}
    if slots and (len(slots), names) != (len(parameters), {frozenset(("step", "exp_avg", "exp_avg_sq"))}):
        raise LayoutError("this checkpoint lacks tensors of the optimizer, or has others")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
