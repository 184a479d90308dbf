"""PatchGenCN: patch energies at every scale, learned coarse to fine, with short chains and a recovery chain.

Zheng, Xie and Li, "Patchwise Generative ConvNet: Training Energy-Based Models from a Single Natural Image for Internal
Learning", CVPR 2021. The training is `pgcn.patchgencn.trainer`, the model `pgcn.Pyramid`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pgcn.imaging.channels import Channels
from pgcn.imaging.scales import Size, exact_sizes, learned_sizes, thin_problem
from pgcn.method import DivergenceError, Progress, State, WorkPlan
from pgcn.patchgencn.distillation import Distillation
from pgcn.patchgencn.flops import sampling_operations, training_operations
from pgcn.patchgencn.masked_trainer import MaskedTrainer
from pgcn.patchgencn.rate import training_rate
from pgcn.patchgencn.resume import resume_point
from pgcn.patchgencn.trainer import Trainer
from pgcn.patchgencn.windows import window_size
from pgcn.pyramid import ALGORITHM, Pyramid
from pgcn.settings import PRESETS, Settings


class PatchTraining:
    """A `pgcn.method.Trainer` of PatchGenCN."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.distillation: Distillation | None = None
        """The generators' training, once that of the energies is complete; None before, and without `distil`."""
        self._begin_distillation()

    def _begin_distillation(self) -> None:
        if self.trainer.finished and self.trainer.settings.distil and self.distillation is None:
            self.distillation = Distillation(self.trainer)

    @property
    def failed(self) -> Mapping[int, DivergenceError]:
        """Images of the batch whose training failed."""
        return self.trainer.failed

    @property
    def finished(self) -> bool:
        """True when the finest learned scale, and with `distil` the last generator, is trained."""
        return self.trainer.finished and (self.distillation is None or self.distillation.finished)

    def iterations(self) -> Iterator[Progress]:
        """Iterate until everything is trained: the energies coarse to fine, then with `distil` their generators."""
        settings, sizes = self.trainer.settings, self.trainer.sizes
        if not settings.distil:
            yield from self.trainer.iterations()
            return
        share = sum(self.trainer.work) / training_operations(sizes, settings)
        for progress in self.trainer.iterations():
            self._begin_distillation()
            yield replace(progress, scales=2 * len(sizes), done=share * progress.done)
        assert self.distillation is not None
        for progress in self.distillation.iterations():
            yield replace(progress, done=share + (1 - share) * progress.done)

    def state_dict(self, image: int = 0) -> State:
        """Everything that the next iteration of one image depends on, as copies."""
        state = self.trainer.state_dict(image)
        return state if self.distillation is None else self.distillation.into(state, image)

    def load_state_dicts(self, states: Sequence[State]) -> None:
        """Go to the iteration at which the states were taken."""
        scales = len(self.trainer.sizes)
        at = {(int(text["scale"]), int(text["iteration"])) for _, text in states}
        scale, iteration = max(at)
        if not self.trainer.settings.distil or scale < scales or len(at) > 1:
            self.trainer.load_state_dicts(states)
            return
        finished = {"scale": str(scales), "iteration": "0"}
        self.trainer.load_state_dicts([(tensors, text | finished) for tensors, text in states])
        self.distillation = Distillation(self.trainer)
        self.distillation.load(states, scale - scales, iteration)

    def model(self, image: int = 0) -> Pyramid:
        """The pyramid of one image, with the scales that are trained; its generators once all are."""
        pyramid = Pyramid.trained(self.trainer, image)
        if self.distillation is None or not self.distillation.finished:
            return pyramid
        return replace(pyramid, generators=[net.of(image) for net in self.distillation.nets])

    def observed(self, image: int = 0) -> list[Tensor]:
        """One image at every scale of its pyramid."""
        return self.trainer.observed_of(image) + self.model(image).observed_scales()


class PatchGenCN:
    """The method; see `pgcn.method.Method`."""

    name = Settings.method
    version = int(ALGORITHM.rpartition("-")[2])
    summary = "patch energies at every scale, learned coarse to fine; finer scales from the image's own patches"
    paper = "Zheng, Xie, Li: Patchwise Generative ConvNet, CVPR 2021"
    settings = Settings
    presets: Mapping[str, Settings] = PRESETS

    def problem(self, height: int, width: int, settings: Settings) -> str | None:
        """The problem of an image that is too thin."""
        return thin_problem(height, width, settings)

    def plan(self, height: int, width: int, settings: Settings) -> WorkPlan:
        """The work of training on an image of this size; images with the same learned sizes can be a batch."""
        learned = learned_sizes(height, width, settings)
        return WorkPlan(
            learned=learned,
            exact=exact_sizes(height, width, settings),
            training=training_operations(learned, settings),
            sampling=sampling_operations(learned, settings),
            iterations=sum(settings.iterations_at(scale) + settings.distil for scale in range(len(learned))),
            batch=str(learned),
            windows=[window_size(size, settings) for size in learned],
        )

    def rate(self, sizes: Sequence[Size], settings: Settings, device: str = "cpu", threads: int = 1) -> float:
        """Operations per second of a training with learned scales of these sizes."""
        return training_rate(sizes, settings, device, threads)

    def trainer(
        self,
        images: Sequence[Tensor],
        settings: Settings,
        seeds: Sequence[int],
        *,
        mask: Tensor | None = None,
        device: str | torch.device = "cpu",
        channels: Sequence[Channels] | None = None,
    ) -> PatchTraining:
        """A training on images with the same learned sizes, or on one image with a mask."""
        if mask is None:
            return PatchTraining(Trainer(images, settings, seeds, device, channels))
        if len(images) > 1:
            raise ValueError("images with holes are trained alone")
        own = None if channels is None else channels[0]
        return PatchTraining(MaskedTrainer(images[0], mask, settings, seeds[0], device, own))

    def position(self, state: State, settings: Settings, seed: int, sizes: Sequence[Size]) -> Hashable:
        """The scale and iteration of a state."""
        return resume_point(state, settings, seed, sizes)

    def load(self, files: Mapping[str, bytes]) -> Pyramid:
        """The pyramid in these files."""
        return Pyramid.from_files(files)

    def after_divergence(self, settings: Settings) -> Settings:
        """Half the step size: training is deterministic, and an unchanged retry would diverge again."""
        return settings.model_copy(update={"step_size": settings.step_size / 2})


METHOD = PatchGenCN()
