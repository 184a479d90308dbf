"""Multi-grid: all scales learned at the same time, by sweeps from the coarsest to the finest.

Gao, Lu, Zhou, Zhu and Wu, "Learning Generative ConvNets via Multi-grid Modeling and Sampling", CVPR 2018. One sweep:

    x₀ from noise, or from the mean colour of a random crop;  for each scale s: x ← resize(x, size of s), K steps of

        x ← clamp(x + ½δ²∇ₓΣf_s + σε, -1, 1),

    and one step of Adam of net s on mean f_s(x) - mean f_s(I_s).

So chains of a fine scale begin where the present chains of the coarse ones end, and all nets are usable at all times.
Of one image, the 1×1 grid of the paper has one value, its mean colour, from which chains without noise would all end
alike: starts are noise, or the mean colours of random crops with noise (`start`).

When the chains of one scale diverge, its net goes back to its weights of a while ago, with fresh Adam moments, and the
sweep ends there; the finer scales keep their nets. A scale that goes back more than `ROLLBACKS` times fails the
training.

Coarse scales get several chains and updates in a sweep, `iteration_growth` to the power of their distance from the
finest: they are cheap, and the finer ones learn from their samples. A scale opens at a share of the sweeps, as a copy
of the net below it (`opening`).

`paper`: the published nets have strides and batch normalization, and chains without noise of 90 steps (the code) of
δ = 0.3 in [0, 255]; they do not carry over to one image in [-1, 1], so that it has our nets and pyramid of PatchGenCN's
constants, with the published order of learning: 30 steps (the text), no noise in chains, scales of factor 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from pgcn.imaging.scales import Size, resize
from pgcn.method import DivergenceError
from pgcn.methods.base import EXACT_DRAFT, NetMethod, NetSettings, NetTrainer, PatchEnergy
from pgcn.methods.base.trainer import Learned

ROLLBACKS = 5
"""Times that one scale may go back to earlier weights."""

KEPT_EVERY = 20
"""Sweeps from one set of weights that a scale may go back to, to the next."""


class Settings(NetSettings):
    """Settings of multi-grid learning; `iterations` are sweeps."""

    method: ClassVar[str] = "multigrid"

    start: Literal["noise", "crops"] = Field(
        "noise", description="start of a sweep: noise, or the mean colour of a random crop, with noise"
    )
    opening: float = Field(
        0.1, ge=0, lt=1, description="share of the sweeps after which a scale opens, from one to the next finer one"
    )
    warm_start: bool = Field(True, description="a scale opens with the weights of the scale below, where widths agree")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="number format of the convolutions in chains; all else is float32"
    )

    def times(self, scale: int, scales: int) -> int:
        """Updates of a scale in one sweep."""
        return max(1, round(self.iteration_growth ** (scales - 1 - scale)))


class Trainer(NetTrainer):
    """Sweeps over all open scales; see the module."""

    settings: Settings

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.kept = [self._weights(scale) for scale in range(len(self.nets))]
        """Weights of each scale that it goes back to."""
        self.rollbacks = [0] * len(self.nets)
        self.updated = [0] * len(self.nets)
        """Sweeps that each scale has learned in; a scale with none is not open."""

    def iterate(self) -> Learned:
        """One sweep."""
        x, learned = self._start(), None
        for scale in range(self._open()):
            self._begin_scale(scale)
            start = resize(x, self.sizes[scale])
            try:
                learned = self._learn_scale(scale, start)
            except DivergenceError as error:
                self._roll_back(scale, error)
                break
            x = learned.synthesized
        if learned is None:
            nothing = torch.zeros((), device=self.image.device)
            return Learned(x, nothing, nothing)
        return learned

    def _open(self) -> int:
        """The number of scales that are open in this sweep, by the share of sweeps that are done."""
        step = self.settings.opening * self.counts[0] / max(1, len(self.sizes) - 1)
        return len(self.sizes) if step == 0 else min(len(self.sizes), 1 + int(self.iteration / step))

    def _start(self) -> Tensor:
        noise = self.noise(self.settings.chains)
        if self.settings.start == "noise":
            return noise
        height, width = self.scales[0].shape[-2:]
        top, left = (
            int(torch.randint(0, 1 + side // 2, (), generator=self.generator, device=noise.device))
            for side in (height, width)
        )
        crop = self.scales[0][..., top : top + (height + 1) // 2, left : left + (width + 1) // 2]
        return (crop.mean((2, 3), keepdim=True) + 0.3 * noise).clamp(-1, 1)

    def _begin_scale(self, scale: int) -> None:
        """Open a scale with the weights of the one below; keep weights to go back to."""
        if self.updated[scale] == 0 and scale > 0 and self.settings.warm_start:
            below, own = self.nets[scale - 1].state_dict(), self.nets[scale].state_dict()
            if all(below[name].shape == value.shape for name, value in own.items()):
                self.nets[scale].load_state_dict(below)
                self.kept[scale] = self._weights(scale)
        if self.updated[scale] % KEPT_EVERY == 0 and self.updated[scale] > 0:
            self.kept[scale] = self._weights(scale)
        self.updated[scale] += 1

    def _learn_scale(self, scale: int, start: Tensor) -> Learned:
        """The updates of one scale in a sweep: `iteration_growth`^(distance from the finest), from the same start."""
        times = self.settings.times(scale, len(self.sizes))
        learned = self.update(scale, start)
        for _ in range(times - 1):
            fresh = start if scale > 0 else resize(self._start(), self.sizes[0])
            learned = self.update(scale, fresh)
        return learned

    def _weights(self, scale: int) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.nets[scale].state_dict().items()}

    def _roll_back(self, scale: int, error: DivergenceError) -> None:
        """Give a scale its earlier weights. Raises the error where it has gone back too often."""
        self.rollbacks[scale] += 1
        if self.rollbacks[scale] > ROLLBACKS:
            raise error
        self.nets[scale].load_state_dict(self.kept[scale])
        self.optimizers[scale] = self.new_optimizer(self.nets[scale])

    def metrics(self, learned: Learned, rate: float) -> dict[str, float]:
        """The metrics of the base, and how often scales went back to earlier weights."""
        return super().metrics(learned, rate) | {"rollbacks": float(sum(self.rollbacks))}

    def trained(self) -> int:
        """All scales that have learned are usable at any time."""
        return sum(count > 0 for count in self.updated)

    def more_tensors(self) -> dict[str, Tensor]:
        """The weights that scales go back to, and the counts."""
        kept = {f"kept.{scale}.{name}": value for scale, own in enumerate(self.kept) for name, value in own.items()}
        return kept | {"rollbacks": torch.tensor(self.rollbacks), "updated": torch.tensor(self.updated)}

    def load_more(self, tensors: dict[str, Tensor]) -> None:
        """The weights that scales go back to, and the counts."""
        for scale, own in enumerate(self.kept):
            self.kept[scale] = {name: tensors[f"kept.{scale}.{name}"] for name in own}
        self.rollbacks, self.updated = tensors["rollbacks"].tolist(), tensors["updated"].tolist()


_draft = Settings(
    **EXACT_DRAFT,
    min_size=12,
    scales=4,
    iterations=200,
    iteration_growth=1.2,
    langevin_steps=10,
)


class Multigrid(NetMethod[Settings]):
    """The method; see the module."""

    name = Settings.method
    summary = "all scales learned at the same time, by sweeps from the coarsest to the finest"
    paper = "Gao, Lu, Zhou, Zhu, Wu: Multi-grid Modeling and Sampling, CVPR 2018"
    settings = Settings
    training = Trainer

    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": _draft,
        "best": _draft.model_copy(update={"max_size": 2048, "scales": 5, "iterations": 400}),
        "paper": Settings(
            max_size=250,
            min_size=16,
            scales=3,
            langevin_steps=30,
            step_size=0.01,
            step_decay=0.0,
            iterations=4000,
            opening=0.0,
            warm_start=False,
        ),
    }

    def iterations(self, settings: Settings, sizes: Sequence[Size]) -> list[int]:
        """One stage of sweeps."""
        return [settings.iterations]

    def updates(self, settings: Settings, sizes: Sequence[Size]) -> list[int]:
        """Updates of each scale in all sweeps."""
        return [settings.iterations * settings.times(at, len(sizes)) for at in range(len(sizes))]

    def net(
        self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: torch.Generator
    ) -> PatchEnergy:
        """PatchGenCN's net: wide from 64 px on."""
        return PatchEnergy(channels, wide=max(sizes[scale]) >= 64, generator=generator, precision=settings.precision)


METHOD = Multigrid()
