"""A training method in a hundred lines: one net a scale, coarse to fine, each trained on noisy copies of the image.

The energies are those of patches; a chain at scale s starts from the image itself at scale s - 1, made larger and
noisy, and not from the chains of the scales below. So all scales are trained alike, and no pool of starts is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field

from pgcn.imaging.scales import Size, resize
from pgcn.methods.base import NetMethod, NetSettings, NetTrainer, PatchEnergy
from pgcn.methods.base.trainer import Learned


class Settings(NetSettings):
    """The settings of the base, and the noise of the starts. Each field has a description: `pgcn methods` prints it."""

    method: ClassVar[str] = "ladder"

    start_noise: float = Field(0.1, ge=0, le=1, description="σ of noise on the starts above scale 0")


class Trainer(NetTrainer):
    """One iteration; the base has stages, states, resume, heartbeats and the checks for divergence."""

    settings: Settings

    def iterate(self) -> Learned:
        """Chains from noise or from the image below, then one step of Adam: see `NetTrainer.update`."""
        scale = self.stage
        if scale == 0:
            return self.update(0, self.noise(self.settings.chains))
        below = resize(self.scales[scale - 1], self.sizes[scale])
        start = below.expand(self.settings.chains, -1, -1, -1)
        noise = torch.randn(start.shape, generator=self.generator, device=start.device)
        return self.update(scale, (start + self.settings.start_noise * noise).clamp(-1, 1))

    def begin_stage(self) -> None:
        """Each net begins as the trained one below it."""
        self.nets[self.stage].load_state_dict(self.nets[self.stage - 1].state_dict())


DRAFT = Settings(detail="exact", layout_patch=15, max_size=512, min_size=12, scales=4, iterations=200)


class Ladder(NetMethod[Settings]):
    """The method: its names, presets, and the net of a scale."""

    name = Settings.method
    version = 1  # raise it when the same image, settings and seed give another result
    summary = "one patch energy a scale, each trained from noisy copies of the image"
    paper = "an example of docs/extending.md"
    settings = Settings
    training = Trainer
    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": DRAFT,
        "best": DRAFT.model_copy(update={"max_size": 2048, "scales": 5, "iterations": 800}),
        "paper": Settings(),
    }

    def net(
        self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: torch.Generator
    ) -> PatchEnergy:
        """The initial net of a scale: five 3×3 convolutions."""
        return PatchEnergy(channels, wide=max(sizes[scale]) >= 64, generator=generator)


METHOD = Ladder()
