"""A training on one image with one net a scale: iterations, checks for divergence, and states.

A method's own trainer has one iteration, `iterate`. The base runs its stages, by default one for each scale, coarse to
fine; seeds all random numbers with one generator; and keeps everything that the next iteration depends on in a state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from pgcn.heartbeat import beat
from pgcn.imaging.channels import Channels, of_tensor, unit_rule
from pgcn.imaging.holes import filled, hole_at
from pgcn.imaging.masks import check_mask
from pgcn.imaging.noise import noise_start, normal_batch
from pgcn.imaging.normals import applied
from pgcn.imaging.scales import check_image, image_pyramid, resize
from pgcn.learned_pyramid import exact_scales
from pgcn.method import DivergenceError, LayoutError, Progress, State
from pgcn.methods.base.energy import ScaleEnergy
from pgcn.methods.base.model import NetPyramid, trained_sizes
from pgcn.methods.base.settings import NetSettings
from pgcn.methods.base.states import check_own, load_optimizer, optimizer_tensors, training_text
from pgcn.patchgencn.langevin import langevin
from pgcn.tensor_files import under

if TYPE_CHECKING:
    from pgcn.methods.base.method import NetMethod

RECORDS = 100
"""Recorded iterations of each stage, for the training curves."""

SATURATED = 0.5
"""Share of a synthesized image's values at the bounds -1 and 1, above the image's own share, that is a divergence."""

STILL = 1e-6
"""Largest change of any value by a chain whose net is dead: its gradient is zero."""


class Learned(NamedTuple):
    """The result of one update of a net: the chains' ends `(n, C, H, W)`, and the mean f of them and of the image."""

    synthesized: Tensor
    f_synthesized: Tensor
    f_observed: Tensor


class NetTrainer(ABC):
    """The training of one image `(1, C, H, W)` in [-1, 1]; a `pgcn.method.Trainer` of a batch of one.

    `channels` describes its C channels; None: RGB, or gray. With `mask` `(1, 1, H, W)`, its pixels are filled smoothly,
    and left out of the loss. Raises `ValueError` for an image or mask that cannot be trained on.
    """

    def __init__(
        self,
        method: NetMethod[Any],
        image: Tensor,
        settings: Any,
        seed: int,
        mask: Tensor | None = None,
        device: str | torch.device = "cpu",
        channels: Channels | None = None,
    ) -> None:
        image = check_image(image)
        self.channels = of_tensor(image) if channels is None else channels
        if mask is not None:
            mask = check_mask(mask)
            if image.shape[-2:] != mask.shape[-2:]:
                raise ValueError(f"the mask is {tuple(mask.shape[-2:])} px and the image {tuple(image.shape[-2:])}")
            image = filled(image, mask)
        self.method, self.settings, self.seed = method, settings, seed
        self.image = image.to(device)
        self.known = None if mask is None else (1 - mask).to(device)
        self.sizes = method.sizes(image.shape[2], image.shape[3], settings)
        self.rule = unit_rule([self.channels])
        """The rule that normals have unit length; None where there are none."""
        self.scales = [applied(self.rule, scale) for scale in image_pyramid(self.image, self.sizes)]
        """The image at every learned scale, `(1, C, *sizes[s])`."""
        self.generator = torch.Generator(device=self.image.device).manual_seed(seed)
        self.nets: list[ScaleEnergy] = [self.new_net(scale) for scale in range(len(self.sizes))]
        self.optimizers = [self.new_optimizer(net) for net in self.nets]
        self.counts = method.iterations(settings, self.sizes)
        self.stage, self.iteration = 0, 0
        self.failed: dict[int, DivergenceError] = {}

    # Abstract: each method's own part.

    @abstractmethod
    def iterate(self) -> Learned:
        """One iteration of the present stage: chains, and updates of nets by `update`."""

    def begin_stage(self) -> None:  # noqa: B027
        """Called after a stage is complete, before the next one, and not after the last."""

    def trained(self) -> int:
        """The number of scales that are trained, or usable: by default those of complete stages."""
        return self.stage

    def more_tensors(self) -> dict[str, Tensor]:
        """Further tensors that the next iteration depends on, as persistent chains."""
        return {}

    def load_more(self, tensors: dict[str, Tensor]) -> None:  # noqa: B027
        """Take the `more_tensors` of a state."""

    # Parts of the trainer.

    def new_net(self, scale: int) -> ScaleEnergy:
        """The initial net of a scale, on this trainer's device."""
        generator, channels = self.generator, self.image.shape[1]
        return self.method.net(scale, self.sizes, self.settings, channels, generator).to(self.image.device)

    def new_optimizer(self, net: ScaleEnergy) -> torch.optim.Optimizer:
        """The optimizer of a net."""
        return torch.optim.Adam(net.parameters(), lr=self.settings.learning_rate, betas=(self.settings.momentum, 0.999))

    @property
    def rate(self) -> float:
        """The learning rate of this iteration."""
        rate: float = self.settings.learning_rate_at(self.iteration, self.counts[self.stage])
        return rate

    def noise(self, count: int) -> Tensor:
        """`count` starts of chains at scale 0: gray noise, `(count, C, *sizes[0])`."""
        return noise_start(self.sizes[0], [self.generator], count, self.image.shape[1])

    def chain(self, x: Tensor, scale: int, steps: int | None = None, noise_std: float | None = None) -> Tensor:
        """The end of a chain of a scale with its present net; sends a heartbeat."""
        settings: NetSettings = self.settings
        gradient, draw = self.nets[scale].gradient(), normal_batch([self.generator])
        return langevin(applied(self.rule, x), gradient, settings.chain(steps, noise_std), draw, self.rule)

    def update(self, scale: int, start: Tensor, observed: Tensor | None = None) -> Learned:
        """One update of a scale's net: chains from `start`, then a step of Adam on mean f(syn) - mean f(obs).

        `observed` `(m, C, H, W)` takes the place of the image. Raises `DivergenceError` where the chains' ends show
        that the training has failed; the checks cost little, and run at each update.
        """
        beat()
        net = self.nets[scale]
        net.begin_iteration()
        synthesized = self.chain(start, scale)
        image = self.scales[scale] if observed is None else observed
        self._check(start, synthesized, image, scale)
        return self.learn(scale, synthesized, image)

    def learn(self, scale: int, synthesized: Tensor, observed: Tensor) -> Learned:
        """A step of Adam on mean f(synthesized) - mean f(observed)."""
        images = torch.cat([synthesized, observed])
        n, m = len(synthesized), len(observed)
        coefficients = torch.tensor([1 / n] * n + [-1 / m] * m, device=images.device)
        f = self.nets[scale].learn(images, coefficients, self.positions(scale))
        optimizer = self.optimizers[scale]
        for group in optimizer.param_groups:
            group["lr"] = self.rate
        optimizer.step()
        return Learned(synthesized, f[:n].mean(), f[n:].mean())

    def positions(self, scale: int) -> Tensor | None:
        """Weights of a scale's positions in the loss, `(1, 1, H, W)` with mean 1; None without a mask."""
        if self.known is None:
            return None
        known = 1 - hole_at(1 - self.known, self.sizes[scale])
        return known / known.mean().clamp_min(1e-6)

    def _check(self, start: Tensor, end: Tensor, image: Tensor, scale: int) -> None:
        where = f"(scale {scale}, iteration {self.iteration + 1})"
        extremes = float((end.abs() > 0.999).float().mean() - (image.abs() > 0.999).float().mean())
        if not bool(end.isfinite().all()):
            raise DivergenceError(f"Training diverged {where}: chains end at values that are no numbers.")
        if extremes > SATURATED:
            raise DivergenceError(f"Training diverged {where}: {extremes:.0%} of a sample is black, white or pure.")
        if float((end - start).abs().max()) <= STILL:
            raise DivergenceError(f"Training collapsed {where}: the net's gradient is zero, its chains stay in place.")

    # A `pgcn.method.Trainer`.

    @property
    def finished(self) -> bool:
        """True when all stages are complete."""
        return self.stage == len(self.counts)

    @property
    def done(self) -> float:
        """Share of all iterations that are done, in [0, 1]."""
        return (sum(self.counts[: self.stage]) + self.iteration) / sum(self.counts)

    def iterations(self) -> Iterator[Progress]:
        """Iterate until all stages are complete. Raises `DivergenceError` when the training has failed."""
        while not self.finished:
            try:
                learned = self.iterate()
            except DivergenceError as error:
                self.failed[0] = error
                raise
            yield self._after(learned)

    def _after(self, learned: Learned) -> Progress:
        count, rate = self.counts[self.stage], self.rate
        self.iteration += 1
        metrics = []
        if self.iteration % max(1, count // RECORDS) == 0 or self.iteration == count:
            metrics = [self.metrics(learned, rate)]
        progress = Progress(self.stage, len(self.counts), self.iteration, count, self.done, metrics)
        if self.iteration == count:
            self.stage, self.iteration = self.stage + 1, 0
            if not self.finished:
                self.begin_stage()
        return progress

    def metrics(self, learned: Learned, rate: float) -> dict[str, float]:
        """The metrics of a recorded iteration, by name."""
        syn, obs = float(learned.f_synthesized), float(learned.f_observed)
        std = float(learned.synthesized.std())
        return {
            "loss": syn - obs,
            "energy_synthesized": syn,
            "energy_observed": obs,
            "synthesized_std": std,
            "learning_rate": rate,
        }

    def state_dict(self, image: int = 0) -> State:
        """Everything that the next iteration depends on, as copies on the CPU."""
        tensors: dict[str, Tensor] = {"generator": self.generator.get_state()}
        for scale, (net, optimizer) in enumerate(zip(self.nets, self.optimizers, strict=True)):
            tensors |= {f"net.{scale}.{name}": value for name, value in net.state_dict().items()}
            tensors |= optimizer_tensors(optimizer, f"adam.{scale}.")
        tensors |= {f"more.{name}": value for name, value in self.more_tensors().items()}
        text = training_text(self.method.name, self.settings, self.seed, self.sizes)
        text |= {"scale": str(self.stage), "iteration": str(self.iteration)}
        return {name: value.detach().clone().contiguous().cpu() for name, value in tensors.items()}, text

    def load_state_dicts(self, states: Sequence[State]) -> None:
        """Go to the position of the one state. Raises `ValueError` where it belongs to another training.

        Raises `LayoutError` where it has other tensors than this version writes.
        """
        (state,) = states
        self.stage, self.iteration = check_own(state, self.method.name, self.settings, self.seed, self.sizes)
        try:
            self._load(state[0])
        except (KeyError, RuntimeError) as error:
            raise LayoutError(f"this checkpoint has other tensors than this version writes: {error}") from None

    def _load(self, tensors: dict[str, Tensor]) -> None:
        for scale, (net, optimizer) in enumerate(zip(self.nets, self.optimizers, strict=True)):
            net.load_state_dict(under(tensors, f"net.{scale}."))
            load_optimizer(optimizer, tensors, f"adam.{scale}.")
        self.load_more({name: value.to(self.image.device) for name, value in under(tensors, "more.").items()})
        self.generator.set_state(tensors["generator"])

    def model(self, image: int = 0) -> NetPyramid:
        """The model with the scales that are trained. Raises `ValueError` while there is none."""
        count = len(self.sizes) if self.finished else self.trained()
        if count == 0:
            raise ValueError("no scale is trained yet")
        exact = exact_scales(self.image, self.settings, self.known, self.channels) if self.finished else None
        sizes = trained_sizes(self.sizes[:count], exact)
        nets, start = self.nets[:count], self.scales[0]
        return self.method.model(self.method, self.settings, self.seed, sizes, nets, start, exact, self.channels)

    def observed(self, image: int = 0) -> list[Tensor]:
        """The image at every scale that `model` has: `(1, C, *sizes[s])`."""
        return [*self.scales[: self.model().learned], *self.model().observed_scales()]

    def below(self, x: Tensor, scale: int) -> Tensor:
        """The start of a chain at `scale` from the ends `x` of scale 0's starts: chains of all scales below it."""
        for at in range(scale):
            x = resize(self.chain(resize(x, self.sizes[at]), at), self.sizes[at + 1])
        return x
