"""The model of a method with one net a scale: chains, energies and files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pgcn.exact.scales import FILE as EXACT_FILE
from pgcn.exact.scales import ExactScales
from pgcn.imaging.channels import RGB, Channels
from pgcn.imaging.noise import normal_each, seeded
from pgcn.imaging.scales import Size
from pgcn.learned_pyramid import LearnedPyramid
from pgcn.method import ChainOptions
from pgcn.methods.base.energy import Gradient, ScaleEnergy
from pgcn.methods.base.settings import NetSettings
from pgcn.patchgencn.langevin import langevin
from pgcn.patchgencn.sampling import recover_start
from pgcn.settings import Step
from pgcn.tensor_files import read_header, read_tensors, to_bytes

if TYPE_CHECKING:
    from pgcn.methods.base.method import NetMethod


@dataclass(frozen=True, eq=False)
class NetPyramid(LearnedPyramid):
    """The energies of one image: `nets` of the learned scales, with `exact` scales above them."""

    method: NetMethod[Any]
    settings: NetSettings
    seed: int
    sizes: list[Size]
    nets: list[ScaleEnergy]
    observed: Tensor
    exact: ExactScales | None = None
    channels: Channels = RGB

    @property
    def parameters(self) -> int:
        """The number of learned parameters of all scales."""
        return sum(parameter.numel() for net in self.nets for parameter in net.parameters())

    @property
    def learned(self) -> int:
        """The number of learned scales; those above are exact."""
        return len(self.nets)

    @property
    def halo(self) -> int:
        """Distance, px, up to which a pixel's gradient depends on other pixels."""
        return max(net.halo for net in self.nets)

    def chain(self, x: Tensor, scale: int, options: ChainOptions) -> Tensor:
        """Run one chain of a learned scale from `x` `(N, C, H, W)`; its end has the same shape."""
        gradient = self.learned_gradient(scale)
        if options.wrap:
            gradient = on_torus(gradient, self.nets[scale].halo)
        steps, draw = self.steps(scale, options), options.draw or normal_each(seeded(0, len(x)))
        if options.after is None:
            return langevin(x, gradient, steps, draw)
        for step in steps:
            x = options.after(langevin(x, gradient, [step], draw)).clamp(-1, 1)
        return x

    def steps(self, scale: int, options: ChainOptions) -> list[Step]:
        """The steps of a chain of a learned scale: by default the same at all scales."""
        return chain_steps(self.settings, options)

    def learned_gradient(self, scale: int) -> Callable[[Tensor], Tensor]:
        """∇ₓΣf of a learned scale: maps `(N, C, H, W)` to the same shape."""
        return self.nets[scale].gradient()

    def learned_energy(self, x: Tensor, scale: int) -> Tensor:
        """-f of `x` `(1, C, H, W)` at every pixel of a learned scale, `(H, W)`."""
        return self.nets[scale].energy(x)[0]

    def recovery(self) -> tuple[Tensor, ChainOptions]:
        """The image at three quarters of its coarsest size, and chains without noise."""
        return recover_start(self.observed), ChainOptions(noise_std=0.0)

    def to(self, device: str | torch.device) -> NetPyramid:
        """The same pyramid on another device; the nets of this one move too."""
        nets = [net.to(device) for net in self.nets]
        exact = None if self.exact is None else self.exact.to(device)
        return replace(self, nets=nets, observed=self.observed.to(device), exact=exact)

    def to_files(self) -> dict[str, bytes]:
        """The pyramid as safetensors objects: a file for each learned scale, and the image of exact scales."""
        header = {
            "algorithm": f"{self.method.name}-{self.method.version}",
            "settings": self.settings.model_dump_json(),
            "seed": str(self.seed),
            "sizes": json.dumps(self.sizes[: self.learned]),
            "channels": self.channels.to_json(),
        } | ({} if self.exact is None else {"exact": "image"})
        files = {}
        for scale, net in enumerate(self.nets):
            tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
            tensors |= {"observed": self.observed} if scale == 0 else {}
            files[f"scale-{scale}.safetensors"] = to_bytes(tensors, header | {"scale": str(scale)})
        if self.exact is not None:
            files[EXACT_FILE] = self.exact.to_file({name: header[name] for name in ("settings", "seed")})
        return files


def load_pyramid(method: NetMethod[Any], files: Mapping[str, bytes]) -> NetPyramid:
    """The inverse of `NetPyramid.to_files`. Raises `ValueError` where a file is missing, damaged or of another one."""
    try:
        header = read_header(files["scale-0.safetensors"])
        sizes = [(int(h), int(w)) for h, w in json.loads(header["sizes"])]
        settings = method.settings.model_validate_json(header["settings"])
        channels = Channels.from_json(header["channels"])
        tensors = [_tensors(files, f"scale-{scale}.safetensors", header) for scale in range(len(sizes))]
        observed, nets = tensors[0]["observed"], []
        for scale, own in enumerate(tensors):
            net = method.net(scale, sizes, settings, channels.count, torch.Generator().manual_seed(0))
            _load(net, {name.removeprefix("net."): value for name, value in own.items() if name.startswith("net.")})
            nets.append(net)
        exact = None
        if EXACT_FILE in files or header.get("exact"):
            _check_same(EXACT_FILE, files[EXACT_FILE], header)
            exact = ExactScales.from_file(files[EXACT_FILE], settings, channels)
        all_sizes = sizes + ([] if exact is None else exact.sizes)
        return method.model(method, settings, int(header["seed"]), all_sizes, nets, observed, exact, channels)
    except KeyError as error:
        raise ValueError(f"a pyramid's files are incomplete: {error.args[0]} is missing") from None


def _tensors(files: Mapping[str, bytes], name: str, header: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of one file. Raises `ValueError` where it is of another pyramid, or has infinite values."""
    _check_same(name, files[name], header)
    tensors = read_tensors(files[name])
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError(f"{name} has weights that are not finite numbers")
    return tensors


def _check_same(name: str, data: bytes, header: Mapping[str, str]) -> None:
    own = read_header(data)
    if (own["settings"], own["seed"]) != (header["settings"], header["seed"]):
        raise ValueError(f"{name} belongs to another pyramid than scale-0.safetensors")


def _load(net: ScaleEnergy, values: Mapping[str, Tensor]) -> None:
    try:
        net.load_state_dict(dict(values))
    except RuntimeError:
        raise ValueError("a scale has weights of the wrong shape") from None


def chain_steps(settings: NetSettings, options: ChainOptions) -> list[Step]:
    """The steps of a chain with these options."""
    if options.last is not None:
        count = max(options.last, settings.langevin_steps)
        return settings.chain(count, options.noise_std)[-options.last :] if options.last else []
    return settings.chain(options.steps, options.noise_std)


def on_torus(gradient: Gradient, halo: int) -> Gradient:
    """∇Σf of images whose opposite sides meet: `halo` px of the opposite side surround the image."""

    def wrapped(x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        rows, columns = (_around(side, halo, x.device) for side in (height, width))
        return gradient(x[..., rows[:, None], columns])[..., halo : halo + height, halo : halo + width]

    return wrapped


def _around(side: int, halo: int, device: torch.device) -> Tensor:
    return torch.arange(-halo, side + halo, device=device) % side


def trained_sizes(sizes: Sequence[Size], exact: ExactScales | None) -> list[Size]:
    """The sizes of learned scales, then those of exact ones."""
    return [*sizes, *([] if exact is None else exact.sizes)]
