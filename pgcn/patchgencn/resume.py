"""Taking the state out of a trainer, and putting it back: the updates that follow are the same to the bit.

A state is one image's own: it can be put back into a trainer of that image alone, or of any stack of images that
stand at the same update.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pgcn.imaging.scales import Size
from pgcn.patchgencn.trainer import Trainer
from pgcn.settings import Settings

State = tuple[dict[str, Tensor], dict[str, str]]
"""Tensors, and text that says where they belong. Both fit one safetensors file."""


class ResumePoint(NamedTuple):
    """Where a state stands: its scale, its iteration, and how many of the starts are used."""

    scale: int
    iteration: int
    used: int


def resume_point(state: State, settings: Settings, seed: int, sizes: Sequence[Size]) -> ResumePoint:
    """Where a state stands. Raises `ValueError` where it belongs to another training than this."""
    where = state[1]
    if any(where.get(key) != value for key, value in _belonging(settings, seed, sizes).items()):
        raise ValueError("this restart state belongs to a training with other settings, seed or sizes")
    return ResumePoint(int(where["scale"]), int(where["iteration"]), int(where["used"]))


def state_of(trainer: Trainer, image: int = 0) -> State:
    """Everything that the next update of one image depends on. Copies: later updates do not change them."""
    own, channels = slice(image, image + 1), slice(3 * image, 3 * image + 3)
    tensors: dict[str, Tensor] = {"generator": trainer.generators[image].get_state()}
    for scale, net in enumerate([*trainer.nets, trainer.net] if not trainer.finished else trainer.nets):
        tensors |= {f"net.{scale}.{name}": value[own] for name, value in net.state_dict().items()}
    if not trainer.finished:
        tensors["starts"] = trainer.starts.drawn[:, channels]
        tensors["recovery_start"] = trainer.recovery_start[:, channels]
        tensors["recovered"] = trainer.recovered[:, channels]
        for index, slots in trainer.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": v[own] if v.ndim else v for name, v in slots.items()}
    where = _belonging(trainer.settings, trainer.seeds[image], trainer.sizes) | {
        "scale": str(trainer.scale),
        "iteration": str(trainer.iteration),
        "used": str(trainer.starts.used),
    }
    return {name: value.detach().clone().contiguous().cpu() for name, value in tensors.items()}, where


def restore(trainer: Trainer, states: Sequence[State]) -> None:
    """Bring a trainer to where its images' states were taken, one state for each image.

    Raises `ValueError` where a state belongs to another training, or they stand at different updates; the
    trainer is then not to be used.
    """
    places = {
        resume_point(state, trainer.settings, seed, trainer.sizes)
        for state, seed in zip(states, trainer.seeds, strict=True)
    }
    if len(places) != 1:
        raise ValueError("images that are trained side by side go on from the same update")
    ((scale, iteration, used),) = places
    device = trainer.observed[0].device

    def joined(name: str, dim: int = 0) -> Tensor:
        return torch.cat([tensors[name].to(device) for tensors, _ in states], dim=dim)

    def load(at: int) -> None:
        trainer.scale = at
        trainer.net = trainer.new_net()
        trainer.net.load_state_dict({name: joined(f"net.{at}.{name}") for name in trainer.net.state_dict()})

    trainer.nets, trainer.frozen = [], []
    for at in range(scale):
        load(at)
        trainer.nets.append(trainer.net)
        trainer.frozen.append(trainer.net.weights())
    trainer.scale = scale
    if not trainer.finished:
        trainer.begin_scale()
        load(scale)
        trainer.optimizer = trainer.new_optimizer()
        slots: dict[int, dict[str, Any]] = {}
        for name, value in states[0][0].items():
            if name.startswith("adam."):
                index, slot = name.removeprefix("adam.").split(".")
                # The count of steps is the same for all images; moments are each one's own.
                slots.setdefault(int(index), {})[slot] = joined(name) if value.ndim else value.clone()
        trainer.optimizer.load_state_dict({**trainer.optimizer.state_dict(), "state": slots})
        trainer.starts.drawn = joined("starts", dim=1)
        trainer.recovery_start = joined("recovery_start", dim=1)
        trainer.recovered = joined("recovered", dim=1)
    trainer.iteration = iteration
    trainer.starts.used = used
    for generator, (tensors, _) in zip(trainer.generators, states, strict=True):
        generator.set_state(tensors["generator"])


def _belonging(settings: Settings, seed: int, sizes: Sequence[Size]) -> dict[str, str]:
    return {"settings": settings.model_dump_json(), "seed": str(seed), "sizes": json.dumps(list(sizes))}
