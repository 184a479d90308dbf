"""The model of methods with fixed filters: a pyramid that has histograms of its filters' responses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pgcn.imaging.noise import noise_start, normal_each, seeded
from pgcn.method import ChainOptions, HistogramPair
from pgcn.methods.base import NetPyramid, ScaleEnergy
from pgcn.methods.frame.settings import FilterSettings

SAMPLES, BINS = 8, 24
"""Samples and bins of the histograms that people see."""


class FilterEnergy(ScaleEnergy):
    """A `ScaleEnergy` with fixed filters, whose learned part is fitted to the range of their responses."""

    @abstractmethod
    def fit(self, image: Tensor) -> None:
        """Take the ranges of all responses from those to `image` `(1, C, H, W)`."""

    @abstractmethod
    def shown_responses(self, x: Tensor) -> Mapping[str, Tensor]:
        """The responses of a few filters to `x` `(N, C, H, W)`, by name, for histograms."""


class FilterPyramid(NetPyramid):
    """The trained model; a `pgcn.method.HasHistograms`."""

    settings: FilterSettings

    def chain(self, x: Tensor, scale: int, options: ChainOptions) -> Tensor:
        """As `NetPyramid.chain`; by default with the steps of sampling."""
        if options.steps is None and options.last is None:
            options = replace(options, steps=self.settings.steps_in_sampling)
        return super().chain(x, scale, options)

    def histograms(self, observed: Sequence[Tensor], seed: int) -> list[HistogramPair]:
        """Histograms of a few filters at each learned scale: of `observed`, and of `SAMPLES` samples from `seed` on."""
        generators = seeded(seed, SAMPLES)
        start = noise_start(self.sizes[0], generators, channels=self.channels.count).to(self.device)
        ends = self.ascend(start, self.sizes[: self.learned], 0, ChainOptions(draw=normal_each(generators)))
        found = []
        for scale, (image, samples) in enumerate(zip(observed, ends, strict=True)):
            net = self.nets[scale]
            assert isinstance(net, FilterEnergy)
            with torch.no_grad():
                own, drawn = net.shown_responses(image), net.shown_responses(samples)
            found += [histogram_pair(name, scale, own[name], drawn[name]) for name in own]
        return found


def histogram_pair(name: str, scale: int, observed: Tensor, synthesized: Tensor) -> HistogramPair:
    """The histograms of two sets of responses, of any shape, over the range of the first."""
    low, high = float(observed.min()), float(observed.max())
    high = max(high, low + 1e-6)

    def shares(x: Tensor) -> list[float]:
        counts = torch.histc(x.float().cpu().clamp(low, high), BINS, low, high)
        return [round(share, 6) for share in (counts / counts.sum()).tolist()]

    edges = torch.linspace(low, high, BINS + 1, dtype=torch.float64).tolist()
    return HistogramPair(name, scale, edges, shares(observed), shares(synthesized))
