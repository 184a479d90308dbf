"""Learning: scale after scale, coarse to fine, by alternating short chains and updates of the weights.

One update at scale s: synthesize by a chain from a start, recover by a chain from the coarser recovery, and
step Adam on

    [mean f(syn) - mean f(obs)] + recovery_weight · [mean f(rec) - mean f(obs)].

Images whose pyramids have the same sizes can be learned side by side, as a stack: each with its own weights,
chains, random numbers and loss, in convolutions grouped by image. What an image learns does not depend on the
others in its stack, but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.scales import check_image, image_pyramid, resize, scale_sizes, thin_problem
from pgcn.patchgencn.cuda_graph import CudaGraphed
from pgcn.patchgencn.energy import EnergyNet, FusedLangevin, Weights, crop, energies, energy_gradient, is_fused, pad
from pgcn.patchgencn.flops import scale_operations
from pgcn.patchgencn.langevin import langevin, normal_stack
from pgcn.patchgencn.sampling import Gradient, recover_start, recovery_chain
from pgcn.patchgencn.starts import ChainStarts
from pgcn.settings import Settings, Step

DIVERGED = 2.0
"""Squared recovery error, summed over channels and averaged over pixels, above which a training has failed.

Where the start of the recovery chain is itself far from the image, as with dithered pictures, `BEYOND_START` counts.
"""

BEYOND_START = 1.5
"""Recovery error, in multiples of that of the chain's start, up to which no training has failed.

A start that knows nothing of a picture of full contrast has an error of 3, a chain that has run away one of 6.
"""

STILL = 1e-6
"""The most any value moves in a recovery chain whose net is dead: its units saturated, its gradient zero."""

RECORDS = 100
"""Records of the training curves for each scale."""


class DivergenceError(ArithmeticError):
    """Training left the numbers it can come back from. Start again with another seed and a smaller step."""


@dataclass(frozen=True)
class Progress:
    """Where a training is, after an update.

    `done` is the share of all the work, in [0, 1], by operations. `figures` holds the update's figures, one
    dictionary for each image of the stack, where the update was one that is recorded, and is empty otherwise.
    """

    scale: int
    scales: int
    iteration: int
    iterations: int
    done: float
    figures: list[dict[str, float]] = field(default_factory=list)

    @property
    def scale_finished(self) -> bool:
        """Whether this was the scale's last update."""
        return self.iteration == self.iterations


class Trainer:
    """Trains the nets of one image's pyramid, or of B images side by side, image b with seed `seeds[b]`.

    `images` are `(1, 3, H, W)` in [-1, 1], each at its own size. Raises `ValueError` for anything else, and
    where their pyramids do not have the same sizes.
    """

    def __init__(
        self, images: Sequence[Tensor], settings: Settings, seeds: Sequence[int], device: str | torch.device = "cpu"
    ) -> None:
        images = [check_image(image).to(device) for image in images]
        self.settings = settings
        self.seeds = list(seeds)
        if problem := thin_problem(images[0].shape[2], images[0].shape[3], settings):
            raise ValueError(f"the image {problem}")
        self.sizes = scale_sizes(images[0].shape[2], images[0].shape[3], settings)
        if any(scale_sizes(x.shape[2], x.shape[3], settings) != self.sizes for x in images):
            raise ValueError("images that are trained side by side have pyramids of the same sizes")
        pyramids = [image_pyramid(image, self.sizes) for image in images]
        self.observed = [torch.cat(scale, dim=1) for scale in zip(*pyramids, strict=True)]
        self.generators = [
            torch.Generator(device=image.device).manual_seed(seed) for image, seed in zip(images, seeds, strict=True)
        ]
        self.failed: dict[int, DivergenceError] = {}
        """Images of the stack whose training failed. They stay in it, so that the others' arithmetic stays the same."""
        self.on_alive: Callable[[], None] = lambda: None
        """Called now and then within long updates: a sign of life for who watches."""
        self.positions: Tensor | None = None
        """How much each position of the present scale counts in the loss, `(1, 1, H, W)`; None: all the same."""
        self.nets: list[EnergyNet] = []
        self.frozen: list[Weights] = []
        self.scale = 0
        self._work = [scale_operations(scale, self.sizes, settings) for scale in range(len(self.sizes))]
        self.begin_scale()

    def begin_scale(self) -> None:
        """A new net, a new optimizer, no starts yet, and the recovery of the scale below."""
        self.net = self.new_net()
        self.optimizer = self.new_optimizer()
        self.iteration = 0
        self.starts = ChainStarts(self.frozen, self.sizes, self.settings, self.generators)
        self.recovery_start = self._recovery_start()
        self.recovered = pad(self.recovery_start)
        self.rate: float | Tensor = torch.zeros((), device=self.recovered.device) if self.recovered.is_cuda else 0.0
        self._loss_weights = {due: loss_weights(self.settings, due).to(self.recovered) for due in (False, True)}
        self._graphs: dict[tuple[bool, bool], CudaGraphed[tuple[Tensor, Tensor]]] = {}

    def new_net(self) -> EnergyNet:
        """The net that the present scale starts from."""
        net = EnergyNet(wide=self.settings.is_wide(max(self.sizes[self.scale])), generators=self.generators)
        if self.settings.warm_start and self.nets and self.nets[-1].channels == net.channels:
            net.load_state_dict(self.nets[-1].state_dict())
        return net

    def new_optimizer(self) -> torch.optim.Adam:
        """Adam over the present net: each number on its own, so a stack is trained as its images alone would be."""
        return torch.optim.Adam(
            self.net.parameters(),
            lr=self.settings.learning_rate,
            betas=(0.5, 0.999),
            fused=True,
            capturable=self.observed[0].is_cuda,
        )

    def _recovery_start(self) -> Tensor:
        if self.scale == 0:
            return recover_start(self.observed[0])
        gradient = energy_gradient(self.frozen[-1], self.settings.precision)
        return resize(crop(recovery_chain(self.recovery_start, gradient, self.settings)), self.sizes[self.scale])

    def observed_of(self, image: int) -> list[Tensor]:
        """One image of the stack at every scale: `(1, 3, *sizes[s])`."""
        return [scale[:, 3 * image : 3 * image + 3] for scale in self.observed]

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

        Raises `DivergenceError` when every image has failed. The state may be taken between any two updates.
        """
        while not self.finished:
            yield self.update()

    def update(self) -> Progress:
        """One synthesis, one recovery where it is due, one step of Adam."""
        settings, scale = self.settings, self.scale
        iterations = self.iterations
        due = self.iteration % settings.recovery_every == 0
        rate = settings.learning_rate_at(self.iteration, iterations)
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

        start = self.starts.draw(settings.chains, self.on_alive)
        noise = self._noise(start, settings.sigma(self.iteration, scale))
        f, synthesized = self._step(due, noise is not None)(start, noise)
        self.iteration += 1

        figures: list[dict[str, float]] = []
        if self.iteration % max(1, iterations // RECORDS) == 0 or self.iteration == iterations:
            errors = self._check()
            f_synthesized, f_observed = f[: settings.chains].mean(0), f[settings.chains]
            columns = {
                "loss": self._loss_weights[due] @ f,
                "energy_synthesized": f_synthesized,
                "energy_observed": f_observed,
                "recovery_error": errors,
                "synthesized_std": torch.stack([x.std() for x in crop(synthesized).split(3, dim=1)]),
                "learning_rate": torch.full_like(f_observed, rate),
            }
            rows = torch.stack([*columns.values()], dim=1).tolist()
            figures = [dict(zip(columns, row, strict=True)) for row in rows]
        progress = Progress(scale, len(self.sizes), self.iteration, iterations, self.done, figures)
        if self.iteration == iterations:
            self._end_scale()
        return progress

    def _noise(self, start: Tensor, sigma: float) -> Tensor | None:
        """σε for every step of the synthesis, `(K, chains, B·3, H + 10, W + 10)`."""
        if sigma == 0:
            return None
        steps, like, draw = self.settings.steps_at(self.scale), pad(start), normal_stack(self.generators)
        if is_fused(start):  # one call for each image, not one for each step too
            noise = draw(like.expand(steps, *like.shape).flatten(0, 1)).view(steps, *like.shape)
        else:
            noise = torch.stack([draw(like) for _ in range(steps)])
        stds = [step.noise_std for step in self.settings.chain(steps, sigma)]
        return noise.mul_(noise.new_tensor(stds).view(-1, 1, 1, 1, 1))

    def _step(self, due: bool, noisy: bool) -> Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]:
        """What an update does to the net, given a start: as it is, or on a GPU as one graph for each kind of update."""

        def step(start: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
            return self._learn(start, noise, due)

        if self.positions is not None or not is_fused(self.net.kernels[0]):
            return step
        graph = self._graphs.setdefault((due, noisy), CudaGraphed())
        return lambda start, noise: graph(step, start, noise)

    def _learn(self, start: Tensor, noise: Tensor | None, due: bool) -> tuple[Tensor, Tensor]:
        """Chains and a step of Adam. Mean f of synthesized, observed and recovered images `(n, B)`, and the first."""
        settings, observed = self.settings, self.observed[self.scale]
        self.net.update_norms()
        weights = self.net.weights()
        gradient = energy_gradient(weights, settings.precision)
        synthesized, recovered = self._chains(start, noise, gradient, due)
        images = [synthesized, pad(observed)]
        if recovered is not None:
            images.append(recovered)
            self.recovered.copy_(recovered)
        together, counts = torch.cat(images), self._loss_weights[due]
        if isinstance(gradient, FusedLangevin) and self.positions is None:
            f, by_weights = gradient.energies(together, counts)
        else:
            f, by_weights = energies(together, counts, weights, settings.precision, self.positions)
        self.net.set_gradients(by_weights)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.step()
        return f, synthesized

    def _chains(
        self, start: Tensor, noise: Tensor | None, gradient: Gradient, due: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Synthesis, and recovery where it is due: side by side for as many steps as they share."""
        settings, synthesized = self.settings, pad(start)
        # The noise comes with its σ already.
        std = 0.0 if noise is None else 1.0
        steps = [Step(size, std) for size, _ in settings.chain(settings.steps_at(self.scale), 0.0)]
        recovery_steps = settings.chain(settings.recovery_steps, 0.0)

        def go(x: Tensor, steps: Sequence[Step], noise: Tensor | None) -> Tensor:
            of_step = iter(noise) if noise is not None else iter(())
            return langevin(x, gradient, steps, lambda _: next(of_step))

        if not due:
            return go(synthesized, steps, noise), None
        together = shared(steps, recovery_steps)
        # No noise in recovery: zeros, for the chain that comes after the synthesized ones.
        joint = None if noise is None else F.pad(noise[:together], (0, 0, 0, 0, 0, 0, 0, 1))
        both = go(torch.cat([synthesized, pad(self.recovery_start)]), steps[:together], joint)
        synthesized, recovered = both[:-1], both[-1:]
        synthesized = go(synthesized, steps[together:], None if noise is None else noise[together:])
        return synthesized, go(recovered, recovery_steps[together:], None)

    def _check(self) -> Tensor:
        """The recovery errors `(B,)`; one that is too large, or a chain that never moved, marks its image as failed.

        Weights that are not finite show here too, at the next recovery. As the published code does, this looks
        now and then, and at the end of a scale. Raises `DivergenceError` when no image is left.
        """
        observed = self.observed[self.scale]
        errors = recovery_errors(crop(self.recovered), observed)
        bounds = (BEYOND_START * recovery_errors(self.recovery_start, observed)).clamp_min(DIVERGED)
        moves = largest_move(pad(self.recovery_start), self.recovered)
        rows = zip(errors.tolist(), bounds.tolist(), moves.tolist(), strict=True)
        for image, (error, bound, moved) in enumerate(rows):
            if image in self.failed:
                continue
            where = f"(scale {self.scale}, iteration {self.iteration})"
            if not (error <= bound and bound < math.inf):  # NaN is above any bound
                self.failed[image] = DivergenceError(
                    f"Training diverged {where}: the recovery error is {error:.3g}, above {bound:.3g}."
                )
            elif moved <= STILL:
                self.failed[image] = DivergenceError(
                    f"Training collapsed {where}: the net's gradient is zero, and its chains stay where they start."
                )
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
        """Share of all the work that is done, in [0, 1]."""
        if self.finished:
            return 1.0
        here = self._work[self.scale] * self.iteration / self.iterations
        return (sum(self._work[: self.scale]) + here) / sum(self._work)


def loss_weights(settings: Settings, due: bool) -> Tensor:
    """What each mean f counts in the loss: the synthesized, the observed, the recovered where it is there."""
    weight = settings.recovery_weight if due else 0.0
    synthesized = [1 / settings.chains] * settings.chains
    return torch.tensor([*synthesized, -1 - weight, *([weight] if due else [])])


def shared(steps: Sequence[Step], others: Sequence[Step]) -> int:
    """How many first steps are of equal size in both."""
    equal = [a.size == b.size for a, b in zip(steps, others, strict=False)]
    return [*equal, False].index(False)


def recovery_errors(recovered: Tensor, observed: Tensor) -> Tensor:
    """Squared difference, summed over channels and averaged over pixels, of each image of a stack.

    `(1, B·3, H, W)` both, in [-1, 1]; the errors are `(B,)`.
    """
    errors: Tensor = (recovered - observed).square().unflatten(1, (-1, 3)).sum(2)
    return errors.mean((0, 2, 3))


def largest_move(start: Tensor, end: Tensor) -> Tensor:
    """The largest change of any value, of each image of a stack: `(1, B·3, H, W)` both; `(B,)`."""
    moves: Tensor = (end - start).abs().unflatten(1, (-1, 3))
    return moves.amax((0, 2, 3, 4))
