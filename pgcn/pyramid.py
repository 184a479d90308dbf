"""A trained pyramid: the nets of all scales, and what is asked of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pgcn.imaging.scales import Size, check_image, resize, sizes_for
from pgcn.patchgencn.energy import Weights, energy, pad
from pgcn.patchgencn.langevin import normal_each
from pgcn.patchgencn.sampling import ascend, noise_start, recover, seeded
from pgcn.patchgencn.trainer import Progress, Trainer
from pgcn.settings import Settings, make_settings
from pgcn.tasks.methods import TaskMethods
from pgcn.tensor_files import read_header, read_tensors, to_bytes

ALGORITHM = "patchgencn-1"
"""Changes when the same image, settings and seed give another result."""

BATCH, BATCH_PIXELS = 16, 2**20
"""Samples that share a chain, and their pixels together: bounds memory, changes no sample but by rounding."""


@dataclass(frozen=True)
class Pyramid(TaskMethods):
    """The energy functions of one image, scale 0 the coarsest.

    `nets` are spectrally normalized weights (stacks of one), `sizes` the trained sizes (height, width),
    `observed` the image at scale 0, `(1, 3, H₀, W₀)` in [-1, 1], which recovery starts from.
    """

    settings: Settings
    seed: int
    sizes: list[Size]
    nets: list[Weights]
    observed: Tensor

    @staticmethod
    def trained(trainer: Trainer, image: int = 0) -> Pyramid:
        """The pyramid of one image of a trainer, as far as its scales are trained; at least one must be."""
        count = len(trainer.frozen)
        if count == 0:
            raise ValueError("no scale is trained yet")
        nets = [weights.of(image) for weights in trainer.frozen]
        observed = trainer.observed_of(image)[0]
        return Pyramid(trainer.settings, trainer.seeds[image], trainer.sizes[:count], nets, observed)

    @property
    def parameters(self) -> int:
        """Numbers learned, over all scales."""
        return sum(t.numel() for net in self.nets for t in (*net.kernels, *net.biases))

    def sample(
        self,
        n: int = 1,
        size: Size | None = None,
        *,
        seed: int = 0,
        start_scale: int = 0,
        start: Tensor | None = None,
    ) -> Tensor:
        """Draw `n` samples: `(n, 3, H, W)` in [-1, 1].

        `size` is (H, W), any size and aspect ratio (default: the trained one). Sample i depends on
        `seed` + i alone, up to rounding. `start_scale` above 0 begins there from `start`, an image
        `(1, 3, h, w)`, or from the recovered image: nearer to the picture, less diverse.

        Raises `ValueError` for a size or scale that cannot be.
        """
        batches = self.batches(n, size, seed=seed, start_scale=start_scale, start=start)
        return torch.cat([stages[-1] for stages in batches])

    def batches(
        self,
        n: int,
        size: Size | None = None,
        *,
        seed: int = 0,
        start_scale: int = 0,
        start: Tensor | None = None,
    ) -> Iterator[list[Tensor]]:
        """As `sample`, a few at a time, in order, in bounded memory: the chains' ends at every scale, finest last."""
        if n < 1:
            raise ValueError(f"the number of samples is 1 or more, not {n}")
        if not 0 <= start_scale < len(self.nets):
            raise ValueError(f"start_scale is 0 to {len(self.nets) - 1} for this pyramid, not {start_scale}")
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
        device = self.observed.device
        if start_scale == 0 and start is None:
            begin = noise_start(sizes[0], generators).to(device)
        else:
            begin = check_image(start).to(device) if start is not None else self._below(start_scale)
            begin = begin.expand(len(generators), -1, -1, -1)
            # Chains from one start would end as one picture: a little noise tells them apart.
            noise = normal_each(generators)(resize(begin, sizes[start_scale]))
            begin = (resize(begin, sizes[start_scale]) + 0.1 * noise).clamp(-1, 1)
        return list(ascend(begin, self.nets, sizes, self.settings, normal_each(generators), start_scale))

    def _below(self, scale: int) -> Tensor:
        """What a chain at `scale` starts from when the image itself is recovered."""
        if scale == 0:
            return self.observed
        return list(recover(self.observed, self.nets[:scale], self.sizes, self.settings))[-1]

    def recover(self) -> list[Tensor]:
        """The image recovered from its coarsest scale: `(1, 3, H, W)` at every scale."""
        return list(recover(self.observed, self.nets, self.sizes, self.settings))

    def energy(self, image: Tensor) -> list[Tensor]:
        """f at every position and scale: `(H, W)` each, of `image` `(1, 3, h, w)` brought to that scale's size.

        Higher is more like the trained image's patches.
        """
        image = check_image(image).to(self.observed.device)
        with torch.no_grad():
            return [
                energy(pad(resize(image, size)), net)[0, 0] for size, net in zip(self.sizes, self.nets, strict=True)
            ]

    def to(self, device: str | torch.device) -> Pyramid:
        """The same pyramid on a device."""
        nets = [net.to(device) for net in self.nets]
        return Pyramid(self.settings, self.seed, self.sizes, nets, self.observed.to(device))

    # Files: one a scale, each saying what it is.

    def to_files(self) -> dict[str, bytes]:
        """The pyramid as safetensors objects, `scale-<s>.safetensors` each, settings in their headers."""
        files = {}
        for scale, net in enumerate(self.nets):
            tensors = {f"kernel.{i}": k[0] for i, k in enumerate(net.kernels)}
            tensors |= {f"bias.{i}": b[0] for i, b in enumerate(net.biases)}
            if scale == 0:
                tensors["observed"] = self.observed
            header = {
                "algorithm": ALGORITHM,
                "settings": self.settings.model_dump_json(),
                "seed": str(self.seed),
                "sizes": json.dumps(self.sizes),
                "scale": str(scale),
            }
            files[f"scale-{scale}.safetensors"] = to_bytes(tensors, header)
        return files

    @staticmethod
    def from_files(files: Mapping[str, bytes]) -> Pyramid:
        """The inverse of `to_files`. Raises `ValueError` where a file is missing, damaged or of another model."""
        try:
            header = read_header(files["scale-0.safetensors"])
            sizes = [(int(h), int(w)) for h, w in json.loads(header["sizes"])]
            settings = Settings.model_validate_json(header["settings"])
            nets = []
            observed = None
            for scale in range(len(sizes)):
                data = files[f"scale-{scale}.safetensors"]
                own = read_header(data)
                if (own["settings"], own["seed"]) != (header["settings"], header["seed"]):
                    raise ValueError(f"scale-{scale}.safetensors belongs to another pyramid than scale-0.safetensors")
                tensors = read_tensors(data)
                layers = sum(name.startswith("kernel.") for name in tensors)
                nets.append(
                    Weights(
                        tuple(tensors[f"kernel.{i}"][None] for i in range(layers)),
                        tuple(tensors[f"bias.{i}"][None] for i in range(layers)),
                    )
                )
                if scale == 0:
                    observed = tensors["observed"]
            assert observed is not None
        except KeyError as error:
            raise ValueError(f"a pyramid's files are incomplete: {error.args[0]} is missing") from None
        return Pyramid(settings, int(header["seed"]), sizes, nets, observed)

    def save(self, path: str | Path) -> None:
        """Write the files to a folder, made if it is not there."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.to_files().items():
            (folder / name).write_bytes(data)

    @staticmethod
    def load(path: str | Path) -> Pyramid:
        """Read what `save` wrote. Raises `ValueError` where the folder holds no whole pyramid."""
        return Pyramid.from_files({p.name: p.read_bytes() for p in Path(path).glob("scale-*.safetensors")})


def fit(
    image: Tensor,
    preset: str = "draft",
    seed: int = 0,
    *,
    settings: Settings | None = None,
    device: str | torch.device = "cpu",
    on_progress: Callable[[Progress], None] | None = None,
) -> Pyramid:
    """Train a pyramid on one image `(1, 3, H, W)` in [-1, 1].

    `settings` wins over `preset`. `on_progress` is called after every update. Raises `ValueError` for a bad
    image or an unknown preset, `DivergenceError` where training fails.
    """
    return train_out(Trainer([image], settings or make_settings(preset), [seed], device), on_progress)


def train_out(trainer: Trainer, on_progress: Callable[[Progress], None] | None = None) -> Pyramid:
    """Make all updates of one image's trainer: its pyramid. Raises `DivergenceError` where training fails."""
    for progress in trainer.updates():
        if on_progress:
            on_progress(progress)
    return Pyramid.trained(trainer)
