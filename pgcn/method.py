"""The interface of a training method: its settings and work, a training with its states, and a trained model.

Jobs, tasks and the gallery use methods by these protocols alone. The registry is `pgcn.methods`; `docs/extending.md`
has a new method as an example.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from pgcn.imaging.channels import Channels
from pgcn.imaging.noise import Draw
from pgcn.imaging.scales import Size
from pgcn.method_settings import MethodSettings


class DivergenceError(ArithmeticError):
    """The training diverged or collapsed. Another seed and a smaller step size may succeed."""


@dataclass(frozen=True)
class Progress:
    """The state of a training after an iteration.

    `done` is the share of all operations that are done, in [0, 1]. `metrics` holds one dictionary for each image of
    the batch where the iteration is a recorded one, and is empty otherwise.
    """

    scale: int
    scales: int
    iteration: int
    iterations: int
    done: float
    metrics: list[dict[str, float]] = field(default_factory=list)

    @property
    def scale_finished(self) -> bool:
        """True after the last iteration of a scale."""
        return self.iteration == self.iterations


@dataclass(frozen=True)
class ChainOptions:
    """Options of one chain at one scale. None means: as in sampling.

    - `steps`: number of steps.
    - `last`: only the last steps, the shortest ones, of a chain that has at least as many as in sampling; not with
      `steps`.
    - `noise_std`: σ of the noise of a step of mean length, in units of [-1, 1].
    - `draw`: source of standard normal noise; without it, state i draws from a generator of seed i.
    - `after`: applied to the states `(N, C, H, W)` after each step, to clamp known pixels for example.
    - `wrap`: the image is a torus, whose opposite sides meet.
    - `frames`: states are frames of a clip. At exact scales each begins with the matches of the frame before, and all
      have the same random numbers.
    - `from_noise`: the states began as noise, as samples do. A model with a generator may draw these by it.
    """

    steps: int | None = None
    last: int | None = None
    noise_std: float | None = None
    draw: Draw | None = None
    after: Callable[[Tensor], Tensor] | None = None
    wrap: bool = False
    frames: bool = False
    from_noise: bool = False


AfterStep = Callable[[Tensor, int], Tensor]
"""Applied to the states `(N, C, H, W)` after each step at a scale: clamps known pixels, for example."""

AS_SAMPLED = ChainOptions()
"""The chain of plain sampling."""


class Model(Protocol):
    """A trained generative model of one image, as tasks, jobs and the gallery may use it.

    Images are `(N, C, H, W)` in [-1, 1], of the channels that `channels` describes. Scale 0 is the coarsest; `sizes`
    has one entry for each scale.
    """

    @property
    def settings(self) -> MethodSettings:
        """The settings of its training, whose class names the method."""

    @property
    def channels(self) -> Channels:
        """The description of the C channels of the model's images."""

    @property
    def sizes(self) -> list[Size]:
        """Trained sizes (height, width), px, coarsest first."""

    @property
    def parameters(self) -> int:
        """Number of learned parameters of all scales."""

    @property
    def learned(self) -> int:
        """Number of learned scales, the coarsest ones; those above are exact, and bound their memory themselves."""

    @property
    def device(self) -> torch.device:
        """The device of the model's tensors, where its inputs have to be."""

    @property
    def halo(self) -> int:
        """Distance, px, up to which a pixel's gradient depends on other pixels."""

    def sample(
        self, n: int = 1, size: Size | None = None, *, seed: int = 0, start_scale: int = 0, start: Tensor | None = None
    ) -> Tensor:
        """Draw `n` samples `(n, 3, H, W)`, as `samples`, at the finest scale."""

    def samples(
        self, n: int, size: Size | None = None, *, seed: int = 0, start_scale: int = 0, start: Tensor | None = None
    ) -> Iterator[list[Tensor]]:
        """Draw `n` samples in batches: for each batch, the ends of its chains at every scale, finest last."""

    def refine(self, x: Tensor, scale: int, options: ChainOptions = AS_SAMPLED) -> Tensor:
        """Run one chain of `scale` from `x` `(N, C, H, W)`, of any size; returns its end, of the same shape."""

    def ascend(
        self,
        x: Tensor,
        sizes: Sequence[Size],
        first: int = 0,
        options: ChainOptions = AS_SAMPLED,
        after: AfterStep | None = None,
    ) -> Iterator[Tensor]:
        """Run the chains of scales `first` to the last of `sizes` from `x` `(N, C, h, w)`; yields the end of each.

        Each starts from the resized end below it. `sizes` are those of scales 0 to the last one that is wanted.
        `after` is applied to the start of each chain too; `options.after` is not used.
        """

    def gradient(self, scale: int) -> Callable[[Tensor], Tensor]:
        """∇ₓ(-energy) at `scale`: maps `(N, C, H, W)` to the same shape."""

    def reconstruct(self) -> list[Tensor]:
        """The image reconstructed from its coarsest scale: `(1, C, *sizes[s])` for every scale."""

    def energy(self, image: Tensor, sizes: Sequence[Size] | None = None) -> list[Tensor]:
        """Energy of `image` `(1, C, h, w)` at every position and scale, `(H, W)` each; lower is more like the image.

        The image is resized to `sizes`, by default the trained ones.
        """

    def to(self, device: str | torch.device) -> Model:
        """The same model on another device."""

    def to_files(self) -> dict[str, bytes]:
        """The model as files, contents by name: `scale-<s>.safetensors` and, beside them, `image.safetensors`.

        The header of `scale-0.safetensors` has the method's name and version as `algorithm`: "NAME-VERSION".
        """


class HistogramPair(NamedTuple):
    """The histograms of one statistic at one scale: of the image, and of samples.

    `edges` are the limits of B bins, rising, B + 1 of them; `observed` and `synthesized` are B shares each, of sum 1:
    values beyond the edges count in the first or last bin.
    """

    name: str
    scale: int
    edges: list[float]
    observed: list[float]
    synthesized: list[float]


@runtime_checkable
class HasHistograms(Protocol):
    """A model that is learned from histograms, and can show them: an optional part of `Model`."""

    def histograms(self, observed: Sequence[Tensor], seed: int) -> list[HistogramPair]:
        """A few histograms of each learned scale: of `observed`, the image there, and of some samples."""


class LayoutError(ValueError):
    """A state has other tensors than this version of the trainer: it is of another version."""


State = tuple[dict[str, Tensor], dict[str, str]]
"""The state of one image's training: tensors, and text that says which training they belong to. Both fit one
safetensors file."""


class Trainer(Protocol):
    """The training of a model of one image, or of a batch of images that do not influence each other."""

    @property
    def failed(self) -> Mapping[int, DivergenceError]:
        """Images of the batch whose training failed, each with its error."""

    @property
    def finished(self) -> bool:
        """True when the training is complete."""

    def iterations(self) -> Iterator[Progress]:
        """Iterate until the training is complete, with the progress after each iteration.

        `state_dict` may be called between any two iterations. Raises `DivergenceError` when every image has failed.
        """

    def state_dict(self, image: int = 0) -> State:
        """Everything that the next iteration of one image depends on, as copies on the CPU."""

    def load_state_dicts(self, states: Sequence[State]) -> None:
        """Go to the position of `states`, one for each image; what follows is the same to the bit.

        Raises `ValueError` where a state belongs to another training, or they have different positions, and
        `LayoutError` where one has other tensors than this version writes; the trainer must not be used after that.
        """

    def model(self, image: int = 0) -> Model:
        """The model of one image as far as it is trained. Raises `ValueError` while there is none."""

    def observed(self, image: int = 0) -> list[Tensor]:
        """One image at every scale that `model` has: `(1, C, *sizes[s])`, unknown pixels filled."""


@dataclass(frozen=True)
class WorkPlan:
    """The work of a training, known before it begins.

    `learned` and `exact` are the sizes of the model's scales, px, coarsest first. `training` are the operations of the
    training (multiplications and additions), `sampling` those of the learned scales of one sample, `iterations` the
    number of all iterations. `windows` are the sizes that the learned scales are trained on where they are not whole.
    Images of as many channels with equal `batch` and equal settings may be trained as a batch; None: alone.
    """

    learned: list[Size]
    exact: list[Size]
    training: float
    sampling: float
    iterations: int
    batch: str | None = None
    windows: list[Size] = field(default_factory=list)

    @property
    def computed(self) -> list[Size]:
        """The sizes that the training computes on: of its windows, or of whole scales."""
        return self.windows or self.learned

    @property
    def sizes(self) -> list[Size]:
        """The sizes of all scales, coarsest first."""
        return [*self.learned, *self.exact]


class Method(Protocol):
    """A training method. Its settings are of the class `settings`; `presets` has at least draft, best and paper.

    `version` changes when the same image, settings and seed give another result. `summary` is one line for people,
    `paper` names the publication.
    """

    name: str
    version: int
    summary: str
    paper: str
    settings: type[MethodSettings]
    presets: Mapping[str, Any]

    def problem(self, height: int, width: int, settings: Any) -> str | None:
        """The problem of an image of this size, px, as the end of a sentence; None where it can be trained on."""

    def plan(self, height: int, width: int, settings: Any) -> WorkPlan:
        """The work of training on an image of this size, px."""

    def rate(self, sizes: Sequence[Size], settings: Any, device: str = "cpu", threads: int = 1) -> float:
        """Operations per second of a training with learned scales of these sizes, measured for some seconds."""

    def trainer(
        self,
        images: Sequence[Tensor],
        settings: Any,
        seeds: Sequence[int],
        *,
        mask: Tensor | None = None,
        device: str | torch.device = "cpu",
        channels: Sequence[Channels] | None = None,
    ) -> Trainer:
        """A training on images `(1, C, H, W)` in [-1, 1], a batch of them where their plans allow it.

        `channels` describes the channels of each image; None: RGB, or gray.

        Pixels where `mask` `(1, 1, H, W)` is 1 are unknown; an image with a mask is trained alone. Raises `ValueError`
        for images, or a mask, that cannot be trained on.
        """

    def position(self, state: State, settings: Any, seed: int, sizes: Sequence[Size]) -> Hashable:
        """The position of a state; states at equal positions may be loaded as a batch.

        `sizes` are those of the learned scales. Raises `ValueError` where the state belongs to another training.
        """

    def load(self, files: Mapping[str, bytes]) -> Model:
        """The inverse of `Model.to_files`. Raises `ValueError` where a file is missing, damaged or of another model."""

    def after_divergence(self, settings: Any) -> Any:
        """The settings of the next attempt, which also has another seed."""
