"""The trained pyramid of PatchGenCN: the energy networks of all scales, and their samples, chains and files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from pgcn.exact.scales import FILE as EXACT_FILE
from pgcn.exact.scales import ExactScales
from pgcn.generator import GeneratorNet, Sampling
from pgcn.heartbeat import beat
from pgcn.imaging.channels import RGB, Channels
from pgcn.imaging.scales import Size
from pgcn.learned_pyramid import LearnedPyramid, exact_scales
from pgcn.method import ChainOptions
from pgcn.patchgencn.energy import crop, energy, energy_gradient, pad
from pgcn.patchgencn.sampling import recover_start, recovery_options, refine
from pgcn.patchgencn.trainer import Trainer
from pgcn.patchgencn.weights import PAD, Weights
from pgcn.settings import Settings
from pgcn.tensor_files import read_header, read_tensors, to_bytes, under

ALGORITHM = "patchgencn-1"
"""The method and its version, which changes when the same image, settings and seed give another result."""


FAST = "generator."
"""Beginning of the names of a generator's tensors."""


@dataclass(frozen=True)
class Pyramid(LearnedPyramid):
    """The energy functions of one image, scale 0 the coarsest: a `pgcn.method.Model`.

    `nets` are spectrally normalized weights (batches of one) of the learned scales, `exact` the exact scales above
    them, `sizes` the sizes (height, width) of all of them, px, and `observed` is the image at scale 0,
    `(1, C, H₀, W₀)` in [-1, 1], where reconstruction starts. `channels` describes the C channels of its images.
    `generators` are those of the learned scales, coarsest first, where the training distilled them.
    """

    settings: Settings
    seed: int
    sizes: list[Size]
    nets: list[Weights]
    observed: Tensor
    exact: ExactScales | None = None
    channels: Channels = RGB
    generators: list[GeneratorNet] = field(default_factory=list)

    @staticmethod
    def trained(trainer: Trainer, image: int = 0) -> Pyramid:
        """The pyramid of one image of a trainer, with the scales that are trained. Raises `ValueError` if none is.

        Exact scales are there once all learned ones are.
        """
        count = len(trainer.frozen)
        if count == 0:
            raise ValueError("no scale is trained yet")
        nets = [weights.of(image) for weights in trainer.frozen]
        observed, sizes, exact = trainer.observed_of(image)[0], trainer.sizes[:count], None
        channels = trainer.channels[image]
        if trainer.finished:
            exact = exact_scales(trainer.images[image], trainer.settings, trainer.known, channels)
        above = [] if exact is None else exact.sizes
        return Pyramid(trainer.settings, trainer.seeds[image], [*sizes, *above], nets, observed, exact, channels)

    @staticmethod
    def untrained(image: Tensor, settings: Settings, channels: Channels = RGB) -> Pyramid:
        """A pyramid without a scale, for tasks that need none: the channels and the device of `image`."""
        return Pyramid(settings, 0, [], [], image, None, channels)

    @property
    def parameters(self) -> int:
        """The number of learned parameters of all scales."""
        generators = sum(t.numel() for net in self.generators for t in net.parameters())
        return generators + sum(t.numel() for net in self.nets for t in (*net.kernels, *net.biases))

    @property
    def learned(self) -> int:
        """The number of learned scales; those above are exact."""
        return len(self.nets)

    @property
    def halo(self) -> int:
        """Distance, px, up to which a pixel's gradient depends on other pixels."""
        return 2 * PAD

    @property
    def samplings(self) -> tuple[Sampling, ...]:
        """The ways of drawing samples: chains, and generators where there are any."""
        return ("generator", "chain") if self.generators else ("chain",)

    def chain(self, x: Tensor, scale: int, options: ChainOptions) -> Tensor:
        """Run one chain of a learned scale from `x` `(N, C, H, W)`; its end has the same shape.

        With the sampling `generator`, its generator draws the states of samples instead.
        """
        whole = options.steps is None and options.last is None
        if self.sampling == "generator" and options.from_noise and whole and scale < len(self.generators):
            beat()
            x = self.generators[scale](x, wrap=options.wrap)
            return x if options.after is None else options.after(x).clamp(-1, 1)
        return refine(x, self.nets[scale], self.settings, scale, options)

    def learned_gradient(self, scale: int) -> Callable[[Tensor], Tensor]:
        """∇ₓΣf of a learned scale: maps `(N, 3, H, W)` in a zero border to the same shape."""
        gradient = energy_gradient(self.nets[scale], self.settings.precision)
        return lambda x: crop(gradient(pad(x)))

    def learned_energy(self, x: Tensor, scale: int) -> Tensor:
        """-f of `x` `(1, 3, H, W)` at every position of a learned scale, `(H, W)`."""
        return -energy(pad(x), self.nets[scale])[0, 0]

    def recovery(self) -> tuple[Tensor, ChainOptions]:
        """The start of a reconstruction, `(1, 3, H₀, W₀)`, and the options of its chains, which have no noise."""
        return recover_start(self.observed), recovery_options(self.settings)

    def to(self, device: str | torch.device) -> Pyramid:
        """The same pyramid on another device."""
        nets = [net.to(device) for net in self.nets]
        exact = None if self.exact is None else self.exact.to(device)
        generators = [net.of(0).to(device) for net in self.generators]
        return replace(self, nets=nets, observed=self.observed.to(device), exact=exact, generators=generators)

    # Files: one for each learned scale, and the image for the exact ones.

    def to_files(self) -> dict[str, bytes]:
        """The pyramid as safetensors objects, with the settings in their headers.

        `scale-<s>.safetensors` for each learned scale, and `image.safetensors` where there are exact ones.
        """
        files = {}
        sizes = self.sizes[: len(self.nets)]
        for scale, net in enumerate(self.nets):
            tensors = {f"kernel.{i}": k[0] for i, k in enumerate(net.kernels)}
            tensors |= {f"bias.{i}": b[0] for i, b in enumerate(net.biases)}
            if self.generators:
                own = self.generators[scale].state_dict()
                tensors |= {f"{FAST}{name}": value for name, value in own.items()}
            if scale == 0:
                tensors["observed"] = self.observed
            header = {
                "algorithm": ALGORITHM,
                "settings": self.settings.model_dump_json(),
                "seed": str(self.seed),
                "sizes": json.dumps(sizes),
                "scale": str(scale),
            } | ({} if self.exact is None else {"exact": "image"})
            if self.channels != RGB:  # files of RGB are those of older versions, to the bit
                header["channels"] = self.channels.to_json()
            files[f"scale-{scale}.safetensors"] = to_bytes(tensors, header)
        if self.exact is not None:
            header = {"settings": self.settings.model_dump_json(), "seed": str(self.seed)}
            files[EXACT_FILE] = self.exact.to_file(header)
        return files

    @staticmethod
    def from_files(files: Mapping[str, bytes]) -> Pyramid:
        """The inverse of `to_files`. Raises `ValueError` where a file is missing, damaged or of another pyramid."""
        try:
            header = read_header(files["scale-0.safetensors"])
            sizes = [(int(h), int(w)) for h, w in json.loads(header["sizes"])]
            settings = Settings.model_validate_json(header["settings"])
            channels = Channels.from_json(header["channels"]) if "channels" in header else RGB
            observed = read_tensors(files["scale-0.safetensors"])["observed"]
            inputs = channels.count
            if observed.shape[-3:] != (inputs, *sizes[0]) or not observed.isfinite().all():
                raise ValueError(f"scale-0.safetensors does not hold an image of {sizes[0][1]}x{sizes[0][0]} px")
            nets = [_net(files[f"scale-{scale}.safetensors"], header, scale, inputs) for scale in range(len(sizes))]
            generators = _generators(files, len(sizes), inputs)
            exact = None
            if EXACT_FILE in files or header.get("exact"):
                _check_same(EXACT_FILE, files[EXACT_FILE], header)
                exact = ExactScales.from_file(files[EXACT_FILE], settings, channels)
                sizes = sizes + exact.sizes
            return Pyramid(settings, int(header["seed"]), sizes, nets, observed, exact, channels, generators)
        except KeyError as error:
            raise ValueError(f"a pyramid's files are incomplete: {error.args[0]} is missing") from None
        except (TypeError, IndexError):  # JSON of another kind
            raise ValueError("the text in a pyramid's files is not that of a pyramid") from None

    @staticmethod
    def load(path: str | Path) -> Pyramid:
        """Read the files of `save`. Raises `ValueError` where the folder holds no complete pyramid."""
        return Pyramid.from_files({p.name: p.read_bytes() for p in Path(path).glob("*.safetensors")})


def _check_same(name: str, data: bytes, header: Mapping[str, str]) -> None:
    """Raises `ValueError` where a file belongs to another pyramid than the one of `header`."""
    own = read_header(data)
    if (own["settings"], own["seed"]) != (header["settings"], header["seed"]):
        raise ValueError(f"{name} belongs to another pyramid than scale-0.safetensors")


def _net(data: bytes, header: Mapping[str, str], scale: int, inputs: int) -> Weights:
    """The weights in the file of one scale. Raises `ValueError` where it belongs to another pyramid than `header`."""
    _check_same(f"scale-{scale}.safetensors", data, header)
    tensors = read_tensors(data)
    layers = range(sum(name.startswith("kernel.") for name in tensors))
    kernels, biases = [tensors[f"kernel.{i}"] for i in layers], [tensors[f"bias.{i}"] for i in layers]
    _check_weights(f"scale-{scale}.safetensors", kernels, biases, inputs)
    return Weights(tuple(kernel[None] for kernel in kernels), tuple(bias[None] for bias in biases))


def _generators(files: Mapping[str, bytes], scales: int, inputs: int) -> list[GeneratorNet]:
    """The generators in the files of the scales; none in those of a training that did not distil.

    Raises `ValueError` for generators of some scales only, and for weights of no generator.
    """
    found = [under(read_tensors(files[f"scale-{scale}.safetensors"]), FAST) for scale in range(scales)]
    if not any(found):
        return []
    nets = []
    for scale, tensors in enumerate(found):
        net = GeneratorNet(inputs, 0, [torch.Generator()])
        own = net.state_dict()
        if {name: value.shape for name, value in tensors.items()} != {name: x.shape for name, x in own.items()}:
            raise ValueError(f"scale-{scale}.safetensors has a generator of the wrong shape")
        if not all(bool(value.isfinite().all()) for value in tensors.values()):
            raise ValueError(f"scale-{scale}.safetensors has a generator with weights that are not finite numbers")
        net.load_state_dict(tensors)
        nets.append(net)
    return nets


def _check_weights(name: str, kernels: Sequence[torch.Tensor], biases: Sequence[torch.Tensor], inputs: int) -> None:
    """Raises `ValueError` for weights of no network from `inputs` channels, or that are not finite: black images."""
    if len(kernels) != PAD:
        raise ValueError(f"{name} has weights of {len(kernels)} layers, and a network has {PAD}")
    channels = inputs
    for kernel, bias in zip(kernels, biases, strict=True):
        if kernel.shape != (len(kernel), channels, 3, 3) or bias.shape != kernel.shape[:1]:
            raise ValueError(f"{name} has weights of the wrong shape")
        if not (kernel.isfinite().all() and bias.isfinite().all()):
            raise ValueError(f"{name} has weights that are not finite numbers")
        channels = kernel.shape[0]
