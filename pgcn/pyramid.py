"""The trained pyramid of PatchGenCN: the energy networks of all scales, and their samples, chains and files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from pgcn.exact.draw import resized
from pgcn.exact.scales import FILE as EXACT_FILE
from pgcn.exact.scales import ExactScales
from pgcn.imaging.channels import RGB, Channels, unit_rule
from pgcn.imaging.noise import noise_start, normal_each, seeded
from pgcn.imaging.normals import UnitNormals, applied, then
from pgcn.imaging.scales import Size, ascend, check_image, exact_sizes, resize, resize_on_torus, sizes_for
from pgcn.method import AS_SAMPLED, AfterStep, ChainOptions
from pgcn.patchgencn.energy import crop, energy, energy_gradient, pad
from pgcn.patchgencn.sampling import recover_start, recovery_options, refine
from pgcn.patchgencn.trainer import Trainer
from pgcn.patchgencn.weights import PAD, Weights
from pgcn.settings import Settings
from pgcn.tasks.methods import TaskMethods
from pgcn.tensor_files import read_header, read_tensors, to_bytes

ALGORITHM = "patchgencn-1"
"""The method and its version, which changes when the same image, settings and seed give another result."""

BATCH, BATCH_PIXELS = 16, 2**20
"""Most samples in a batch, and most pixels of all of them: bounds of memory, which change samples only by rounding."""


@dataclass(frozen=True)
class Pyramid(TaskMethods):
    """The energy functions of one image, scale 0 the coarsest: a `pgcn.method.Model`.

    `nets` are spectrally normalized weights (batches of one) of the learned scales, `exact` the exact scales above
    them, `sizes` the sizes (height, width) of all of them, px, and `observed` is the image at scale 0,
    `(1, C, H₀, W₀)` in [-1, 1], where reconstruction starts. `channels` describes the C channels of its images.
    """

    settings: Settings
    seed: int
    sizes: list[Size]
    nets: list[Weights]
    observed: Tensor
    exact: ExactScales | None = None
    channels: Channels = RGB

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
        whole = trainer.images[image]
        channels = trainer.channels[image]
        above = exact_sizes(whole.shape[2], whole.shape[3], trainer.settings) if trainer.finished else []
        if above:
            exact = ExactScales.of(whole, above, trainer.settings, trainer.known, channels)
        return Pyramid(trainer.settings, trainer.seeds[image], [*sizes, *above], nets, observed, exact, channels)

    @property
    def parameters(self) -> int:
        """The number of learned parameters of all scales."""
        return sum(t.numel() for net in self.nets for t in (*net.kernels, *net.biases))

    @property
    def learned(self) -> int:
        """The number of learned scales; those above are exact."""
        return len(self.nets)

    @property
    def device(self) -> torch.device:
        """The device of the weights, where inputs have to be."""
        return self.observed.device

    @cached_property
    def _rule(self) -> UnitNormals | None:
        """The rule that normals have unit length; None for an image without normals."""
        return unit_rule([self.channels])

    @property
    def halo(self) -> int:
        """Distance, px, up to which a pixel's gradient depends on other pixels."""
        return 2 * PAD

    def sample(
        self,
        n: int = 1,
        size: Size | None = None,
        *,
        seed: int = 0,
        start_scale: int = 0,
        start: Tensor | None = None,
    ) -> Tensor:
        """Draw `n` samples: `(n, C, H, W)` in [-1, 1].

        `size` is (H, W), any size and aspect ratio; by default the trained one. Sample i depends on `seed` + i alone,
        except for rounding. A `start_scale` above 0 begins there from `start`, an image `(1, C, h, w)`, or from the
        reconstructed image: samples are nearer to the image, and less diverse.

        Raises `ValueError` for an impossible size or scale.
        """
        batches = self.samples(n, size, seed=seed, start_scale=start_scale, start=start)
        return torch.cat([stages[-1] for stages in batches])

    def samples(
        self,
        n: int,
        size: Size | None = None,
        *,
        seed: int = 0,
        start_scale: int = 0,
        start: Tensor | None = None,
    ) -> Iterator[list[Tensor]]:
        """As `sample`, in batches of bounded memory: for each batch, the chains' ends at every scale, finest last."""
        if n < 1:
            raise ValueError(f"the number of samples is 1 or more, not {n}")
        if not 0 <= start_scale < len(self.sizes):
            raise ValueError(f"start_scale is 0 to {len(self.sizes) - 1} for this pyramid, not {start_scale}")
        output = size or self.sizes[-1]
        if min(output) < 1:
            raise ValueError(f"a size has at least one pixel a side, not {output[0]}x{output[1]}")
        sizes = sizes_for(output, self.sizes)
        together = max(1, min(BATCH, BATCH_PIXELS // (output[0] * output[1])))
        return (
            self._batch(seeded(seed + at, min(together, n - at)), sizes, start_scale, start)
            for at in range(0, n, together)
        )

    def _batch(
        self, generators: list[torch.Generator], sizes: list[Size], start_scale: int, start: Tensor | None
    ) -> list[Tensor]:
        draw = normal_each(generators)
        if start_scale == 0 and start is None:
            begin = noise_start(sizes[0], generators, channels=self.channels.count).to(self.device)
        else:
            begin = (
                check_image(start, self.channels.count).to(self.device)
                if start is not None
                else self._below(start_scale)
            )
            begin = begin.expand(len(generators), -1, -1, -1)
            # A little noise, without which all chains from one start would end at the same image.
            noise = draw(resize(begin, sizes[start_scale]))
            begin = (resize(begin, sizes[start_scale]) + 0.1 * noise).clamp(-1, 1)
        return list(self.ascend(begin, sizes, start_scale, ChainOptions(draw=draw)))

    def ascend(
        self,
        x: Tensor,
        sizes: Sequence[Size],
        first: int = 0,
        options: ChainOptions = AS_SAMPLED,
        after: AfterStep | None = None,
    ) -> Iterator[Tensor]:
        """The results of scales `first` to the last of `sizes`, as `pgcn.method.Model`; exact ones carry matches."""
        options = replace(options, draw=options.draw or normal_each(seeded(0, len(x))))
        learned, rule = len(self.nets), self._rule

        def clamp(state: Tensor, scale: int) -> Tensor:
            return applied(rule, state if after is None else after(state, scale))

        def chain(y: Tensor, scale: int) -> Tensor:
            if after is None:
                return self.refine(applied(rule, y), scale, options)
            return self.refine(clamp(y, scale), scale, replace(options, after=lambda state: after(state, scale)))

        for end in ascend(x, sizes[:learned], chain, first, resize_on_torus if options.wrap else resize):
            x = end
            yield end
        if self.exact is None or len(sizes) <= max(first, learned):
            return
        above = max(first - learned, 0)
        if first > learned or (first == learned and tuple(x.shape[-2:]) != tuple(sizes[first - 1])):
            x = applied(rule, resized(x, sizes[first - 1], options.wrap))

        def clamp_exact(state: Tensor, scale: int) -> Tensor:
            return clamp(state, scale + learned)

        if first == 0:
            x = self.exact.settled(x, self.sizes[learned - 1], options, lambda state: clamp_exact(state, -1))
        clamped = None if after is None and rule is None else clamp_exact
        for end in self.exact.ascend(x, sizes[learned + above :], above, options, clamped):
            yield applied(rule, end)  # a scale without steps is a plain resize

    def _below(self, scale: int) -> Tensor:
        """The start of the reconstruction at `scale`, before it is resized."""
        return self.observed if scale == 0 else self._reconstructed(scale)[-1]

    def refine(self, x: Tensor, scale: int, options: ChainOptions = AS_SAMPLED) -> Tensor:
        """Run one chain of `scale` from `x` `(N, C, H, W)` in [-1, 1], of any size; its end has the same shape.

        At an exact scale the detail of `x` is drawn again, and its low frequencies stay.
        """
        options = replace(options, after=then(options.after, self._rule))
        if scale < len(self.nets):
            return refine(x, self.nets[scale], self.settings, scale, options)
        assert self.exact is not None
        (height, width), (h, w) = self.sizes[scale - 1], self.sizes[scale]
        below = max(1, round(x.shape[2] * height / h)), max(1, round(x.shape[3] * width / w))
        return self.exact.refine(x, scale - len(self.nets), below, options)

    def gradient(self, scale: int) -> Callable[[Tensor], Tensor]:
        """∇ₓΣf, which is ∇ₓ(-energy), at `scale`: maps `(N, C, H, W)` in a zero border to the same shape."""
        if scale >= len(self.nets):
            exact, above = self.exact, scale - len(self.nets)
            assert exact is not None
            return lambda x: exact.gradient(x, above)
        gradient = energy_gradient(self.nets[scale], self.settings.precision)
        return lambda x: crop(gradient(pad(x)))

    def reconstruct(self) -> list[Tensor]:
        """The image reconstructed from its coarsest scale by chains without noise: `(1, C, *sizes[s])` for each s."""
        return self._reconstructed(len(self.sizes))

    def _reconstructed(self, scales: int) -> list[Tensor]:
        options = recovery_options(self.settings)
        start = recover_start(self.observed)
        ends = list(self.ascend(start, self.sizes[: min(scales, self.learned)], 0, options))
        if scales > self.learned:
            ends += self.ascend(ends[-1], self.sizes[:scales], self.learned)
        return ends

    def observed_scales(self) -> list[Tensor]:
        """The image at every exact scale, `(1, C, *sizes[s])`; empty without exact scales."""
        return [] if self.exact is None else self.exact.observed()

    def energy(self, image: Tensor, sizes: Sequence[Size] | None = None) -> list[Tensor]:
        """The energy -f of `image` `(1, C, h, w)` at every position and scale: `(H, W)` each.

        Lower is more like the trained image's patches. The image is resized to `sizes`, by default the trained ones.
        """
        image = check_image(image, self.channels.count).to(self.device)
        scaled = [applied(self._rule, resize(image, size)) for size in sizes or self.sizes]
        with torch.no_grad():
            maps = [-energy(pad(each), net)[0, 0] for each, net in zip(scaled, self.nets, strict=False)]
            if self.exact is not None:
                maps += [self.exact.energy(each, scale) for scale, each in enumerate(scaled[self.learned :])]
        return maps

    def to(self, device: str | torch.device) -> Pyramid:
        """The same pyramid on another device."""
        nets = [net.to(device) for net in self.nets]
        exact = None if self.exact is None else self.exact.to(device)
        return Pyramid(self.settings, self.seed, self.sizes, nets, self.observed.to(device), exact, self.channels)

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
            exact = None
            if EXACT_FILE in files or header.get("exact"):
                _check_same(EXACT_FILE, files[EXACT_FILE], header)
                exact = ExactScales.from_file(files[EXACT_FILE], settings, channels)
                sizes = sizes + exact.sizes
            return Pyramid(settings, int(header["seed"]), sizes, nets, observed, exact, channels)
        except KeyError as error:
            raise ValueError(f"a pyramid's files are incomplete: {error.args[0]} is missing") from None
        except (TypeError, IndexError):  # JSON of another kind
            raise ValueError("the text in a pyramid's files is not that of a pyramid") from None

    def save(self, path: str | Path) -> None:
        """Write the files to a folder, which is created where it does not exist."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.to_files().items():
            (folder / name).write_bytes(data)

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
