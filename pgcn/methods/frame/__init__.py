"""FRAME: filters, random fields and maximum entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from pgcn.imaging.scales import Size
from pgcn.methods.base import NetMethod, ScaleEnergy
from pgcn.methods.frame.energy import FrameEnergy
from pgcn.methods.frame.training import FilterSettings, FilterTrainer


class Settings(FilterSettings):
    """Settings of FRAME."""

    method: ClassVar[str] = "frame"

    longest_wavelength: int = Field(4, ge=2, le=64, description="px; Gabor filters have wavelengths 2, 4, … to this one")
    orientations: int = Field(4, ge=1, le=64, description="directions of Gabor filters at each wavelength")
    bins: int = Field(15, ge=4, le=256, description="bins of a filter's histogram, and heights of its potential")


class Trainer(FilterTrainer):
    """The training; bins are placed by the image."""

    def new_net(self, scale: int) -> ScaleEnergy:
        """The initial net of a scale, its bins around the responses of the image."""
        net = super().new_net(scale)
        assert isinstance(net, FrameEnergy)
        net.fit(self.scales[scale])
        return net


_draft = Settings(
    detail="exact",
    layout_patch=15,
    max_size=512,
    min_size=12,
    scales=4,
    iterations=150,
    learning_rate=0.02,
    final_learning_rate=0.002,
)


class Frame(NetMethod[Settings]):
    """The method; see the module."""

    name = Settings.method
    summary = "fixed Gabor filters, learned potentials of their responses"
    paper = "Zhu, Wu, Mumford: Filters, Random Fields and Maximum Entropy, IJCV 1998"
    settings = Settings
    training = Trainer

    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": _draft,
        "best": _draft.model_copy(update={"max_size": 2048, "scales": 5, "iterations": 400}),
        "paper": Settings(),
    }

    def net(
        self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: Any
    ) -> FrameEnergy:
        """The filters, with potentials of zero."""
        return FrameEnergy(
            channels,
            longest=settings.longest_wavelength,
            orientations=settings.orientations,
            bins=settings.bins,
            reference=settings.reference,
        )


METHOD = Frame()
