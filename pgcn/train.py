"""Learning: scale after scale, coarse to fine, by alternating short chains and updates of the weights.

One update at scale s: synthesize by a chain from a start, recover by a chain from the coarser recovery, and
step Adam on

    [mean f(syn) - mean f(obs)] + recovery_weight · [mean f(rec) - mean f(obs)].

The trainer is a state machine: everything that its next update depends on can be taken out as tensors and put
back, and the updates that follow are the same to the bit on the same machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pgcn.cost import scale_operations
from pgcn.energy import EnergyNet, Weights, crop, energy, pad
from pgcn.langevin import normal
from pgcn.pyramid import check_image, image_pyramid, resize, scale_sizes
from pgcn.sample import ascend, chain, noise_start, recover_start, recovery_chain
from pgcn.settings import Settings

DIVERGED = 2.0
"""Squared recovery error, summed over channels and averaged over pixels, above which a training has failed."""

AHEAD = 16
"""Starts drawn together where each is used once: the frozen scales run as a batch, not one by one."""

RECORDS = 100
"""Records of the training curves for each scale."""


class DivergenceError(ArithmeticError):
    """Training left the numbers it can come back from. Start again with another seed and a smaller step."""


@dataclass(frozen=True)
class Progress:
    """Where a training is, after an update.

    `done` is the share of all the work, in [0, 1], by operations. `figures` holds the update's figures where
    it was one that is recorded, and is empty otherwise.
    """

    scale: int
    scales: int
    iteration: int
    iterations: int
    done: float
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def scale_finished(self) -> bool:
        """Whether this was the scale's last update."""
        return self.iteration == self.iterations


class Trainer:
    """Trains the nets of one image's pyramid.

    `image` is `(1, 3, H, W)` in [-1, 1] at its own size. Raises `ValueError` for anything else.
    """

    def __init__(self, image: Tensor, settings: Settings, seed: int = 0, device: str | torch.device = "cpu") -> None:
        image = check_image(image).to(device)
        self.settings = settings
        self.seed = seed
        self.sizes = scale_sizes(image.shape[2], image.shape[3], settings)
        self.observed = image_pyramid(image, self.sizes)
        self._work = [scale_operations(scale, self.sizes, settings) for scale in range(len(self.sizes))]
        self.generator = torch.Generator(device=image.device).manual_seed(seed)
        self.on_alive: Callable[[], None] = lambda: None
        """Called now and then within long updates: a sign of life for who watches."""
        self.nets: list[EnergyNet] = []
        self.frozen: list[Weights] = []
        self.scale = 0
        self._begin_scale()

    # What the next update depends on, beside the generator.

    def _begin_scale(self) -> None:
        """A new net, a new optimizer, no starts yet, and the recovery of the scale below."""
        self.net = self._new_net()
        self.optimizer = self._new_optimizer()
        self.iteration = 0
        self.starts = self.observed[self.scale].new_empty((0, *self.observed[self.scale].shape[1:]))
        self.next_start = 0
        self.recovery_start = self._recovery_start()
        self.recovery_error = recovery_error(self.recovery_start, self.observed[self.scale])

    def _new_net(self) -> EnergyNet:
        net = EnergyNet(wide=self.settings.is_wide(max(self.sizes[self.scale])), generator=self.generator)
        if self.settings.warm_start and self.nets and self.nets[-1].channels == net.channels:
            net.load_state_dict(self.nets[-1].state_dict())
        return net

    def _new_optimizer(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.net.parameters(), lr=self.settings.learning_rate, betas=(0.5, 0.999))

    def _recovery_start(self) -> Tensor:
        if self.scale == 0:
            return recover_start(self.observed[0])
        below = recovery_chain(self.recovery_start, self.frozen[-1], self.settings)
        return resize(crop(below), self.sizes[self.scale])

    # One update.

    @property
    def finished(self) -> bool:
        """Whether the finest scale is trained."""
        return self.scale == len(self.sizes)

    @property
    def iterations(self) -> int:
        """Updates of the present scale."""
        return self.settings.iterations_at(self.scale)

    def updates(self) -> Iterator[Progress]:
        """Make updates until the finest scale is trained, telling after each where things are.

        Raises `DivergenceError`. The state may be taken between any two updates.
        """
        while not self.finished:
            yield self.update()

    def update(self) -> Progress:
        """One synthesis, one recovery where it is due, one step of Adam."""
        settings, scale = self.settings, self.scale
        iterations = self.iterations
        observed = self.observed[scale]

        self.net.update_norms()
        weights = self.net.weights()
        fixed = weights.detach()

        synthesized = chain(
            self._draw_starts(settings.chains),
            fixed,
            settings,
            steps=settings.steps_at(scale),
            noise_std=settings.sigma(self.iteration, scale),
            draw=normal(self.generator),
        )
        images = [pad(observed), synthesized]
        if self.iteration % settings.recovery_every == 0:
            recovered = recovery_chain(self.recovery_start, fixed, settings)
            images.append(recovered)
            self.recovery_error = recovery_error(crop(recovered), observed)

        f_observed, f_synthesized, *f_recovered = (
            part.mean() for part in energy(torch.cat(images), weights).split([len(x) for x in images])
        )
        loss = f_synthesized - f_observed
        for f in f_recovered:
            loss = loss + settings.recovery_weight * (f - f_observed)

        rate = settings.learning_rate_at(self.iteration, iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

        self.iteration += 1
        figures: dict[str, float] = {}
        if self.iteration % max(1, iterations // RECORDS) == 0 or self.iteration == iterations:
            self._check()
            figures = {
                "loss": float(loss.detach()),
                "energy_synthesized": float(f_synthesized.detach()),
                "energy_observed": float(f_observed.detach()),
                "recovery_error": self.recovery_error,
                "synthesized_std": float(crop(synthesized).std()),
                "learning_rate": rate,
            }
        progress = Progress(scale, len(self.sizes), self.iteration, iterations, self.done, figures)
        if self.iteration == iterations:
            self._end_scale()
        return progress

    def _check(self) -> None:
        """Raises `DivergenceError` where the last recovered image is far from the observed one, or no image at all.

        Weights that are not finite show here too, at the next recovery. As the published code does, this looks
        now and then, and at the end of a scale: short chains overshoot at times, and come back.
        """
        if not self.recovery_error <= DIVERGED:
            raise DivergenceError(
                f"Training diverged (scale {self.scale}, iteration {self.iteration}): the recovery error is "
                f"{self.recovery_error:.3g}, above {DIVERGED}."
            )

    def _end_scale(self) -> None:
        """Freeze this scale's net, and begin the next."""
        self.net.update_norms()
        self.nets.append(self.net)
        self.frozen.append(self.net.weights().detach())
        self.scale += 1
        if not self.finished:
            self._begin_scale()

    # Starts of synthesis chains.

    def _draw_starts(self, count: int) -> Tensor:
        """Starts of `count` chains: noise at scale 0, else ends of the chains below, upsampled.

        Frozen scales make a start a function of noise alone, so starts can be drawn ahead, in batches: each
        used once (`pool_size` 0, the published algorithm), or kept as a pool that updates choose from.
        """
        if self.scale == 0:
            return noise_start(self.sizes[0], [self.generator] * count)
        if self.settings.pool_size > 0:
            if not len(self.starts):
                self.starts = torch.cat(
                    [
                        self._ends_below(min(AHEAD, self.settings.pool_size - at))
                        for at in range(0, self.settings.pool_size, AHEAD)
                    ]
                )
            chosen = torch.randint(len(self.starts), (count,), generator=self.generator, device=self.generator.device)
            return self.starts[chosen]
        if self.next_start + count > len(self.starts):
            left = self.starts[self.next_start :]
            self.starts = torch.cat([left, self._ends_below(max(AHEAD, count))])
            self.next_start = 0
        self.next_start += count
        return self.starts[self.next_start - count : self.next_start]

    def _ends_below(self, count: int) -> Tensor:
        start = noise_start(self.sizes[0], [self.generator] * count)
        x = start
        for end in ascend(start, self.frozen, self.sizes, self.settings, normal(self.generator)):
            x = end
            self.on_alive()
        return resize(x, self.sizes[self.scale])

    # How far.

    @property
    def done(self) -> float:
        """Share of all the work that is done, in [0, 1]."""
        if self.finished:
            return 1.0
        here = self._work[self.scale] * self.iteration / self.iterations
        return (sum(self._work[: self.scale]) + here) / sum(self._work)

    # Taking the state out, and putting it back.

    def state(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Everything the next update depends on: tensors, and text that says where they belong.

        Copies: later updates do not change them. Both fit one safetensors file.
        """
        tensors: dict[str, Tensor] = {"generator": self.generator.get_state()}
        for scale, net in enumerate([*self.nets, self.net] if not self.finished else self.nets):
            tensors |= {f"net.{scale}.{name}": value for name, value in net.state_dict().items()}
        if not self.finished:
            tensors |= {"starts": self.starts, "recovery_start": self.recovery_start}
            for index, slots in self.optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{index}.{name}": value for name, value in slots.items()}
        where = {
            "settings": self.settings.model_dump_json(),
            "seed": str(self.seed),
            "sizes": json.dumps(self.sizes),
            "scale": str(self.scale),
            "iteration": str(self.iteration),
            "next_start": str(self.next_start),
            "recovery_error": repr(self.recovery_error),
        }
        return {name: value.detach().clone().contiguous().cpu() for name, value in tensors.items()}, where

    def restore(self, tensors: dict[str, Tensor], where: dict[str, str]) -> None:
        """Go to a state that was taken from a trainer of the same image, settings and seed.

        Raises `ValueError` where the state belongs to another training; the trainer is then not to be used.
        """
        mine = (self.settings.model_dump_json(), str(self.seed), json.dumps(self.sizes))
        if mine != (where.get("settings"), where.get("seed"), where.get("sizes")):
            raise ValueError("this restart state belongs to a training with other settings, seed or sizes")
        device = self.generator.device
        self.nets, self.frozen = [], []
        for scale in range(int(where["scale"])):
            self.scale = scale
            net = self._new_net()
            net.load_state_dict(_under(f"net.{scale}.", tensors))
            self.nets.append(net)
            self.frozen.append(net.weights().detach())
        self.scale = int(where["scale"])
        if not self.finished:
            self.net = self._new_net()
            self.net.load_state_dict(_under(f"net.{self.scale}.", tensors))
            self.optimizer = self._new_optimizer()
            slots: dict[int, dict[str, Any]] = {}
            for name, value in _under("adam.", tensors).items():
                index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = value.clone()
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})
            self.starts = tensors["starts"].to(device)
            self.recovery_start = tensors["recovery_start"].to(device)
        self.iteration = int(where["iteration"])
        self.next_start = int(where["next_start"])
        self.recovery_error = float(where["recovery_error"])
        self.generator.set_state(tensors["generator"])


def recovery_error(recovered: Tensor, observed: Tensor) -> float:
    """Squared difference, summed over channels and averaged over pixels: `(1, 3, H, W)` both, in [-1, 1]."""
    return float((recovered - observed).square().sum(1).mean())


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
