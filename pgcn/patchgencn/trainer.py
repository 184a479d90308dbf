"""Training of a pyramid: scale after scale, coarse to fine, by alternating short chains and steps of Adam.

One iteration at scale s: synthesize by a chain from a start, recover by a chain from the coarser recovery, and
step Adam on

    [mean f(syn) - mean f(obs)] + recovery_weight · [mean f(rec) - mean f(obs)].

Images whose pyramids have the same sizes can be trained as a batch: each with its own weights, chains, random numbers
and loss, in convolutions grouped by image. The result of an image does not depend on the others in its batch, except
for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pgcn.fused import is_fused
from pgcn.imaging.channels import Channels, of_tensor, unit_rule
from pgcn.imaging.normals import applied
from pgcn.imaging.scales import check_image, image_pyramid, learned_sizes, resize, thin_problem
from pgcn.method import DivergenceError, Progress, State
from pgcn.patchgencn import curvature
from pgcn.patchgencn.cuda_graph import CudaGraphed
from pgcn.patchgencn.energy import RGB_CHANNELS, EnergyNet, FusedLangevin, crop, energies, energy_gradient
from pgcn.patchgencn.flops import scale_operations
from pgcn.patchgencn.loss import check_recovery, loss_weights, metric_rows
from pgcn.patchgencn.resume import (
    common_resume_point,
    joined,
    load_optimizer,
    optimizer_tensors,
    training_text,
)
from pgcn.patchgencn.sampling import Gradient, recover_start, recovery_options, refine
from pgcn.patchgencn.starts import ChainStarts
from pgcn.patchgencn.training_chains import chain_noise, training_chains
from pgcn.patchgencn.weights import Weights
from pgcn.patchgencn.windows import Windows
from pgcn.settings import Settings

RECORDS = 100
"""Recorded iterations of each scale, for the training curves."""


class Trainer:
    """Trains the nets of one image's pyramid, or of a batch of B images, image b with seed `seeds[b]`.

    `images` are `(1, C, H, W)` in [-1, 1], each at its own size, of the same number of channels; `channels` describes
    those of each, by default as `pgcn.imaging.channels.of_tensor`. Raises `ValueError` for anything else, and where
    their pyramids do not have the same sizes.
    """

    def __init__(
        self,
        images: Sequence[Tensor],
        settings: Settings,
        seeds: Sequence[int],
        device: str | torch.device = "cpu",
        channels: Sequence[Channels] | None = None,
    ) -> None:
        self.channels = list(channels) if channels is not None else [of_tensor(image) for image in images]
        """The description of each image's channels."""
        self.inputs = self.channels[0].count
        """C, the number of channels of every image."""
        self.rule = unit_rule(self.channels)
        """The rule that normals of the batch have unit length; None where there are none."""
        images = [check_image(image, self.inputs).to(device) for image in images]
        self.settings = settings
        self.seeds = list(seeds)
        if problem := thin_problem(images[0].shape[2], images[0].shape[3], settings):
            raise ValueError(f"the image {problem}")
        self.sizes = learned_sizes(images[0].shape[2], images[0].shape[3], settings)
        if any(learned_sizes(x.shape[2], x.shape[3], settings) != self.sizes for x in images):
            raise ValueError("images that are trained as a batch have learned scales of the same sizes")
        self.images = images
        """The images as they were given, each at its own size: exact scales are made from them."""
        self.known: Tensor | None = None
        """`(1, 1, H, W)`, 1 where the images' pixels are known; None: everywhere."""
        pyramids = [image_pyramid(image, self.sizes) for image in images]
        self.observed = [applied(self.rule, torch.cat(scale, dim=1)) for scale in zip(*pyramids, strict=True)]
        self.generators = [
            torch.Generator(device=image.device).manual_seed(seed) for image, seed in zip(images, seeds, strict=True)
        ]
        self.failed: dict[int, DivergenceError] = {}
        """Images of the batch whose training failed. They stay in it, so that the others' arithmetic stays the same."""
        self.positions: Tensor | None = None
        """Weights of positions of the present scale in the loss, `(1, 1, H, W)`; None: all equal."""
        self.nets: list[EnergyNet] = []
        self.frozen: list[Weights] = []
        self.scale = 0
        self.work = [scale_operations(scale, self.sizes, settings) for scale in range(len(self.sizes))]
        """Operations of each scale."""
        self.begin_scale()

    def begin_scale(self) -> None:
        """Begin a scale: a new net, a new optimizer, no starts yet, and the recovery of the scale below."""
        self.net = self.new_net()
        self.optimizer = self.new_optimizer()
        self.iteration = 0
        self.starts = ChainStarts(self.frozen, self.sizes, self.settings, self.generators, self.inputs, self.rule)
        self.windows = Windows(self.scale, self.sizes[self.scale], self.settings, self.seeds)
        self.recovery_start = self._recovery_start()
        self.recovery_places = self.windows.places
        self.recovered = self.windows.cut(self.recovery_start)
        largest = self.settings.largest_curvature
        self.bound = curvature.CurvatureBound(largest, len(self.seeds), self.recovered) if largest else None
        self.rate: float | Tensor = torch.zeros((), device=self.recovered.device) if self.recovered.is_cuda else 0.0
        self._loss_weights = {due: loss_weights(self.settings, due).to(self.recovered) for due in (False, True)}
        self._graphs: dict[tuple[bool, bool], CudaGraphed[tuple[Tensor, Tensor]]] = {}
        self._gradient: Gradient | None = None

    def new_net(self) -> EnergyNet:
        """The initial net of the present scale."""
        wide = self.settings.is_wide(max(self.sizes[self.scale]))
        net = EnergyNet(wide=wide, generators=self.generators, inputs=self.inputs)
        if self.settings.warm_start and self.nets and self.nets[-1].channels == net.channels:
            net.load_state_dict(self.nets[-1].state_dict())
        return net

    def new_optimizer(self) -> torch.optim.Adam:
        """Adam over the present net: it treats each number on its own, so a batch trains as its images alone would."""
        return torch.optim.Adam(
            self.net.parameters(),
            lr=self.settings.learning_rate,
            betas=(0.5, 0.999),
            fused=True,
            capturable=self.observed[0].is_cuda,
        )

    def _recovery_start(self) -> Tensor:
        if self.scale == 0:
            return applied(self.rule, recover_start(self.observed[0]))
        below, options = self.scale - 1, replace(recovery_options(self.settings), after=self.rule)
        end = refine(self.recovery_start, self.frozen[below], self.settings, below, options)
        return applied(self.rule, resize(end, self.sizes[self.scale]))

    def observed_of(self, image: int) -> list[Tensor]:
        """One image of the batch at every scale: `(1, C, *sizes[s])`."""
        return [scale[:, self._own(image)] for scale in self.observed]

    def _own(self, image: int) -> slice:
        """The channels of one image of the batch."""
        return slice(self.inputs * image, self.inputs * (image + 1))

    # One iteration.

    @property
    def finished(self) -> bool:
        """True when the finest scale is trained."""
        return self.scale == len(self.sizes)

    def iterations(self) -> Iterator[Progress]:
        """Iterate until the finest scale is trained, with the progress after each iteration.

        Raises `DivergenceError` when every image has failed. `state_dict` may be called between any two iterations.
        """
        while not self.finished:
            yield self.iterate()

    def iterate(self) -> Progress:
        """One synthesis, one recovery where it is due, one step of Adam."""
        settings, scale = self.settings, self.scale
        iterations = settings.iterations_at(scale)
        due = self.iteration % settings.recovery_every == 0
        rate = settings.learning_rate_at(self.iteration, iterations)
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

        start = self.windows.cut_starts(*self.starts.draw(settings.chains), self.iteration)
        noise = chain_noise(start, scale, settings.sigma(self.iteration, scale), settings, self.generators)
        observed, recovery_start = self.windows.cut(self.observed[scale]), None
        if due:
            recovery_start, self.recovery_places = self.windows.cut(self.recovery_start), self.windows.places
        f, synthesized = self._step(due, noise is not None)(start, noise, observed, recovery_start)
        if self.bound and self.iteration % curvature.EVERY == 0:
            self.bound.apply(self.net, synthesized[:1], observed)
        self.iteration += 1

        metrics: list[dict[str, float]] = []
        if self.iteration % max(1, iterations // RECORDS) == 0 or self.iteration == iterations:
            metrics = self._metrics(f, synthesized, self._loss_weights[due], rate)
        progress = Progress(scale, len(self.sizes), self.iteration, iterations, self.done, metrics)
        if self.iteration == iterations:
            self._end_scale()
        return progress

    def _metrics(self, f: Tensor, synthesized: Tensor, weights: Tensor, rate: float) -> list[dict[str, float]]:
        """The metrics of this iteration, for each image, after the checks for divergence."""
        errors = self._check()
        return metric_rows(f, crop(synthesized), weights, errors, rate)

    def _step(self, due: bool, noisy: bool) -> Callable[..., tuple[Tensor, Tensor]]:
        """`_learn`: on a GPU a graph of it, one for each kind of iteration."""
        if self.positions is not None or not is_fused(self.net.kernels[0]) or self.inputs != RGB_CHANNELS:
            return self._learn
        graph = self._graphs.setdefault((due, noisy), CudaGraphed())
        return lambda *inputs: graph(self._learn, *inputs)

    def _learn(
        self, start: Tensor, noise: Tensor | None, observed: Tensor, recovery_start: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Chains and a step of Adam, on images with their border; the recovery chain where its start is given.

        Returns the mean f of synthesized, observed and recovered images `(n, B)`, and the synthesized images.
        """
        settings, due = self.settings, recovery_start is not None
        self.net.update_norms()
        weights = self.net.weights()
        gradient = energy_gradient(weights, settings.precision, self._gradient)
        if not start.is_cuda:
            self._gradient = gradient
        synthesized, recovered = training_chains(
            start, noise, recovery_start, gradient, self.scale, settings, self.rule
        )
        images = [synthesized, observed]
        if recovered is not None:
            images.append(recovered)
            self.recovered.copy_(recovered)
        together, counts = torch.cat(images), self._loss_weights[due]
        if isinstance(gradient, FusedLangevin) and self.positions is None:
            f, by_weights = gradient.energies(together, counts)
        else:
            positions = None if self.positions is None else crop(self.windows.cut(self.positions))
            f, by_weights = energies(together, counts, weights, settings.precision, positions)
        self.net.set_gradients(by_weights)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.step()
        return f, synthesized

    def _check(self) -> Tensor:
        """The recovery errors `(B,)`; images whose training has failed by them are marked.

        As in the published code, this runs now and then, and at the end of a scale. Raises `DivergenceError` when no
        image is left.
        """
        where = f"(scale {self.scale}, iteration {self.iteration})"
        places = self.recovery_places
        start = self.windows.cut(self.recovery_start, places)
        observed = crop(self.windows.cut(self.observed[self.scale], places))
        errors, failed = check_recovery(start, self.recovered, observed, where, len(self.seeds))
        self.failed = failed | self.failed
        if len(self.failed) == len(self.seeds):
            raise self.failed[0]
        return errors

    def _end_scale(self) -> None:
        """Freeze this scale's net, and begin the next."""
        self.net.update_norms()
        self.nets.append(self.net)
        self.frozen.append(self.net.weights())
        self.scale += 1
        if not self.finished:
            self.begin_scale()

    @property
    def done(self) -> float:
        """Share of all operations that are done, in [0, 1]."""
        if self.finished:
            return 1.0
        here = self.work[self.scale] * self.iteration / self.settings.iterations_at(self.scale)
        return (sum(self.work[: self.scale]) + here) / sum(self.work)

    # States.

    def state_dict(self, image: int = 0) -> State:
        """Everything that the next iteration of one image depends on, as copies."""
        own, channels = slice(image, image + 1), self._own(image)
        tensors: dict[str, Tensor] = {"generator": self.generators[image].get_state()}
        for scale, net in enumerate(self.nets if self.finished else [*self.nets, self.net]):
            tensors |= {f"net.{scale}.{name}": value[own] for name, value in net.state_dict().items()}
        if not self.finished:
            tensors |= self.starts.tensors(image)
            tensors["recovery_start"] = self.recovery_start[:, channels]
            tensors["recovered"] = self.recovered[:, channels]
            if not self.windows.whole:
                tensors["recovery_places"] = torch.tensor([self.recovery_places[image]])
            tensors |= optimizer_tensors(self.optimizer, image) | (self.bound.tensors(image) if self.bound else {})
        text = training_text(self.settings, self.seeds[image], self.sizes) | {
            "scale": str(self.scale),
            "iteration": str(self.iteration),
            "used": str(self.starts.used),
        }
        return {name: value.detach().clone().contiguous().cpu() for name, value in tensors.items()}, text

    def load_state_dicts(self, states: Sequence[State]) -> None:
        """Go to the iteration at which the states were taken, one state for each image of the batch.

        Raises `ValueError` where a state belongs to another training, or they stand at different iterations, and
        `LayoutError` where one has other tensors than this version writes; the trainer must not be used after that.
        """
        scale, iteration, used = common_resume_point(states, self.settings, self.seeds, self.sizes)
        self.nets, self.frozen = [], []
        for at in range(scale):
            self._load_net(at, states)
            self.nets.append(self.net)
            self.frozen.append(self.net.weights())
        self.scale = scale
        if not self.finished:
            self.begin_scale()
            self._load_net(scale, states)
            self.optimizer = self.new_optimizer()
            load_optimizer(self.optimizer, states)
            self.starts.load(states)
            if self.bound:
                self.bound.load(states)
            self.recovery_start = joined(states, "recovery_start", self.recovery_start, dim=1)
            self.recovered = joined(states, "recovered", self.recovered, dim=1)
            if not self.windows.whole:
                places = joined(states, "recovery_places", torch.tensor(self.recovery_places)).tolist()
                self.recovery_places = [(row, column) for row, column in places]
        self.iteration = iteration
        self.starts.used = used
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(joined([state], "generator", generator.get_state()))

    def _load_net(self, scale: int, states: Sequence[State]) -> None:
        self.scale = scale
        self.net = self.new_net()
        own = self.net.state_dict()
        self.net.load_state_dict({name: joined(states, f"net.{scale}.{name}", like) for name, like in own.items()})
