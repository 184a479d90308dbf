"""Coarse-to-fine training of one energy a scale, with fresh or persistent chains; of FRAME and deep FRAME."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pgcn.imaging.scales import resize
from pgcn.methods.base import NetTrainer, ScaleEnergy
from pgcn.methods.base.trainer import Learned
from pgcn.methods.frame.model import FilterEnergy
from pgcn.methods.frame.settings import FilterSettings

RESTARTS = 0.05
"""Chance of a persistent chain to start anew."""


class FilterTrainer(NetTrainer):
    """A stage is a scale. Its chains start from noise at scale 0, and above from a pool of samples of the scale below.

    The pool is drawn once, when the stage begins: the scales below do not change any more.
    """

    settings: FilterSettings

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.pool = self.noise(self.settings.pool)
        self.ends = self.noise(self.settings.chains)

    def new_net(self, scale: int) -> ScaleEnergy:
        """The initial net of a scale, fitted to the range of its filters' responses to the image."""
        net = super().new_net(scale)
        assert isinstance(net, FilterEnergy)
        net.fit(self.scales[scale])
        return net

    def new_optimizer(self, net: ScaleEnergy) -> torch.optim.Optimizer:
        """Steepest ascent, as published: Adam would move the heights of empty bins as far as those of full ones."""
        return torch.optim.SGD(net.parameters(), lr=self.settings.learning_rate, momentum=self.settings.momentum)

    def iterate(self) -> Learned:
        """Chains, then one step of the learned weights."""
        learned = self.update(self.stage, self._start())
        self.ends = learned.synthesized
        return learned

    def begin_stage(self) -> None:
        """Draw the pool from the scale below."""
        scale = self.stage
        self.pool = resize(self.chain(self.pool, scale - 1, self.settings.steps_in_sampling), self.sizes[scale])
        self.ends = self._fresh()
        if self.settings.warm_start:
            self.nets[scale].load_state_dict(
                {**self.nets[scale].state_dict(), **dict(self.nets[scale - 1].named_parameters())}
            )

    def _fresh(self) -> Tensor:
        count = self.settings.chains
        if self.stage == 0:
            return self.noise(count)
        return self.pool[torch.randint(len(self.pool), (count,), generator=self.generator, device=self.pool.device)]

    def _start(self) -> Tensor:
        fresh = self._fresh()
        if self.settings.start == "fresh":
            return fresh
        anew = torch.rand(len(fresh), 1, 1, 1, generator=self.generator, device=fresh.device) < RESTARTS
        return torch.where(anew, fresh, self.ends)

    def more_tensors(self) -> dict[str, Tensor]:
        """The pool, and the persistent chains."""
        return {"pool": self.pool, "ends": self.ends}

    def load_more(self, tensors: dict[str, Tensor]) -> None:
        """The pool, and the persistent chains."""
        self.pool, self.ends = tensors["pool"], tensors["ends"]
