"""Distillation: a generator of each trained scale learns where its chains end, so that a sample needs no chain.

Without noise the end of a chain is a function of its start u. At each scale, coarse to fine, a pool of starts and of
the ends of their chains is drawn once, and the generator g learns the ends by least squares, g(u) → end: the MCMC
teaching of cooperative learning (`pgcn.generator`) after the energy is trained. Of a chain with noise (`noise`
langevin), g learns the mean end. The starts of the next scale are ends of chains and outputs of g in turn, enlarged:
so g learns from what it will see, and to mend the errors of the generator below.

The chain of scale 0 takes noise to one of many layouts, and g, where it cannot tell which, to their mean: its samples
are softer and less diverse than those of chains. docs/trainer.md has metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pgcn.generator import GeneratorNet
from pgcn.heartbeat import beat
from pgcn.imaging.noise import noise_start, normal_batch
from pgcn.imaging.normals import applied
from pgcn.imaging.scales import resize
from pgcn.method import ChainOptions, DivergenceError, Progress, State
from pgcn.patchgencn.flops import distillation_operations, pool_of_starts, taught_starts
from pgcn.patchgencn.resume import joined, load_optimizer, optimizer_tensors
from pgcn.patchgencn.sampling import refine
from pgcn.patchgencn.trainer import RECORDS, Trainer

RATE, FINAL_RATE = 2e-3, 1e-4
"""Learning rates of Adam at the first and, after a linear fall, at the last iteration of a scale."""

AT_ONCE = 2**15
"""Pixels of states whose chains run together, at least one state: a bound of memory."""


class Distillation:
    """The generators of the trained nets of `trainer`, a batch of B images: image b draws from its generator alone.

    A stage is a scale of `settings.distil` iterations; stages count on from the scales of the training.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.frozen, self.sizes, self.settings, self.rule = (
            trainer.frozen,
            trainer.sizes,
            trainer.settings,
            trainer.rule,
        )
        self.randoms, self.inputs, self.count = trainer.generators, trainer.inputs, len(trainer.seeds)
        self.failed = trainer.failed
        self.nets: list[GeneratorNet] = []
        """The trained generators."""
        self.scale, self.iteration = 0, 0
        self.starts: Tensor | None = None
        """The pool of starts of this scale `(P, B·C, H, W)`; None before the first iteration."""
        self._work = [distillation_operations(scale, self.sizes, self.settings) for scale in range(len(self.sizes))]

    @property
    def finished(self) -> bool:
        """True when all generators are trained."""
        return self.scale == len(self.sizes)

    @property
    def work_done(self) -> float:
        """Operations that are done."""
        if self.finished:
            return sum(self._work)
        return sum(self._work[: self.scale]) + self._work[self.scale] * self.iteration / self.settings.distil

    def iterations(self) -> Iterator[Progress]:
        """Iterate until all generators are trained; `Progress.done` is the share of this alone."""
        while not self.finished:
            yield self.iterate()

    def iterate(self) -> Progress:
        """One step of Adam. Raises `DivergenceError` when every image has failed."""
        beat()
        if self.starts is None:
            count = pool_of_starts(self.sizes[0])
            noise = [noise_start(self.sizes[0], [g], count, self.inputs) for g in self.randoms]
            self._begin_scale(applied(self.rule, torch.cat(noise, 1)))
        assert self.starts is not None
        u, ends = self._drawn()
        rate = RATE + (FINAL_RATE - RATE) * self.iteration / self.settings.distil
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        errors = self.net.teach(u, None, ends)
        self.optimizer.step()
        self.iteration += 1
        stage, iterations = len(self.sizes) + self.scale, self.settings.distil
        metrics: list[dict[str, float]] = []
        if self.iteration % max(1, iterations // RECORDS) == 0 or self.iteration == iterations:
            self._check(errors)
            metrics = [{"teaching_error": error, "learning_rate": rate} for error in errors.tolist()]
        if self.iteration == iterations:
            self._end_scale()
        done = self.work_done / sum(self._work)
        iteration = iterations if self.iteration == 0 else self.iteration
        return Progress(stage, 2 * len(self.sizes), iteration, iterations, done, metrics)

    def _begin_scale(self, starts: Tensor) -> None:
        """A new generator, and the ends of the chains from `starts`."""
        self.starts, self.iteration = starts, 0
        self._new_net()
        options = ChainOptions(draw=normal_batch(self.randoms), after=self.rule)
        together = max(1, AT_ONCE // (starts.shape[-2] * starts.shape[-1]))
        net, scale = self.frozen[self.scale], self.scale
        self.ends = torch.cat([refine(x, net, self.settings, scale, options) for x in starts.split(together)])

    def _new_net(self) -> None:
        self.net = GeneratorNet(self.inputs, 0, self.randoms)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=RATE, fused=True)

    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Some starts and their ends, drawn for each image by its own generator."""
        assert self.starts is not None
        count = taught_starts(self.sizes[self.scale])
        drawn = [torch.randint(len(self.starts), (count,), generator=g, device=g.device) for g in self.randoms]
        parts = zip(self.starts.chunk(self.count, 1), self.ends.chunk(self.count, 1), drawn, strict=True)
        u, ends = zip(*((start[at], end[at]) for start, end, at in parts), strict=True)
        return torch.cat(u, 1), torch.cat(ends, 1)

    def _check(self, errors: Tensor) -> None:
        """Mark images whose errors are no numbers. Raises `DivergenceError` when no image is left."""
        where = f"(scale {self.scale}, iteration {self.iteration})"
        for image in (~errors.isfinite()).nonzero().flatten().tolist():
            error = DivergenceError(f"Distillation diverged {where}: the generator's error is no number.")
            self.failed.setdefault(image, error)
        if len(self.failed) == self.count:
            raise self.failed[0]

    def _end_scale(self) -> None:
        """The next scale's starts: ends of chains and outputs of the generator in turn, enlarged."""
        assert self.starts is not None
        self.nets.append(self.net)
        self.scale, self.iteration = self.scale + 1, 0
        if self.finished:
            return
        count = pool_of_starts(self.sizes[self.scale])
        chained, made = self.ends[:count].clone(), applied(self.rule, self.net(self.starts[1:count:2]))
        chained[1::2] = made
        self._begin_scale(applied(self.rule, resize(chained, self.sizes[self.scale])))

    # States.

    def into(self, state: State, image: int) -> State:
        """The state of one image of the finished trainer with the distillation's own tensors and position."""
        own, channels = slice(image, image + 1), slice(self.inputs * image, self.inputs * (image + 1))
        tensors: dict[str, Tensor] = {}
        if self.starts is not None:
            nets = self.nets if self.finished else [*self.nets, self.net]
            for scale, net in enumerate(nets):
                tensors |= {f"fast.{scale}.{name}": value[own] for name, value in net.state_dict().items()}
            if not self.finished:
                tensors |= {"starts": self.starts[:, channels], "ends": self.ends[:, channels]}
                tensors |= optimizer_tensors(self.optimizer, image)
        text = {"scale": str(len(self.sizes) + self.scale), "iteration": str(self.iteration)}
        copies = {name: value.detach().clone().contiguous().cpu() for name, value in tensors.items()}
        return state[0] | copies, state[1] | text

    def load(self, states: Sequence[State], scale: int, iteration: int) -> None:
        """Go to the position of states of `into`. Raises `LayoutError` where they have other tensors."""
        self.nets, self.starts = [], None
        self.scale, self.iteration = scale, iteration
        if scale == 0 and "starts" not in states[0][0]:
            return
        random = [generator.get_state() for generator in self.randoms]
        for at in range(min(scale + 1, len(self.sizes))):
            self._load_net(at, states)
            if at < scale:
                self.nets.append(self.net)
        for generator, state in zip(self.randoms, random, strict=True):
            generator.set_state(state)  # new nets have drawn their first weights
        self.starts = torch.empty(0)
        if not self.finished:
            like = self.net.biases[0].new_empty(0, self.inputs * self.count, *self.sizes[scale])
            self.starts, self.ends = joined(states, "starts", like, dim=1), joined(states, "ends", like, dim=1)
            load_optimizer(self.optimizer, states)

    def _load_net(self, scale: int, states: Sequence[State]) -> None:
        self._new_net()
        own = self.net.state_dict()
        self.net.load_state_dict({name: joined(states, f"fast.{scale}.{name}", like) for name, like in own.items()})
