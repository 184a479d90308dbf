"""Course of a long training of one scale, without and with a bound of the curvature of f.

`python -m benchmarks.curvature [--image 06-cat.jpg] [--side 18] [--iterations 1600] [--bounds 0 2] [--strip FILE]`
prints a table: iterations, mean f of synthesized minus observed image, and the largest curvature of f at the observed
one, in units of 4/step_size. The strip has a row of samples for each bound, the image at its left.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.pictures import photograph, strip
from benchmarks.sample_metrics import with_patch_swd
from benchmarks.trained import markdown
from pgcn import DivergenceError, Pyramid, Settings, Trainer, make_settings
from pgcn.patchgencn.curvature import hessian_product
from pgcn.patchgencn.energy import EnergyNet, energy_gradient, pad

ROWS, POWER_STEPS = 10, 12


def curvature(net: EnergyNet, observed: Tensor, settings: Settings) -> float:
    """The largest curvature of f at `observed` `(1, 3, H, W)`, in units of 4/step_size, by power iteration."""
    gradient, x = energy_gradient(net.weights()), pad(observed)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for _ in range(POWER_STEPS):
        direction = hessian_product(gradient, x, direction / direction.norm())
    return float(direction.norm()) * settings.step_size / 4


def course(image: Tensor, settings: Settings) -> tuple[list[list[str]], str, list[Tensor]]:
    """Rows of iteration, difference of f and curvature; the metrics of the samples; the image and samples."""
    trainer = Trainer([image], settings, [0])
    rows: list[list[str]] = []
    with contextlib.suppress(DivergenceError):
        for progress in trainer.iterations():
            if progress.metrics and progress.iteration % (progress.iterations // ROWS) == 0:
                one = progress.metrics[0]
                gap = one["energy_synthesized"] - one["energy_observed"]
                sharp = curvature(trainer.nets[-1] if trainer.finished else trainer.net, trainer.observed[0], settings)
                rows.append([str(progress.iteration), f"{gap:.3f}", f"{sharp:.2f}"])
    if not trainer.finished:
        return rows, str(trainer.failed[0]), [trainer.observed[0]]
    pyramid, observed = Pyramid.trained(trainer), trainer.observed[0]
    samples = pyramid.sample(6, seed=100)
    found = with_patch_swd(samples, pyramid.reconstruct()[-1], observed)
    names = ("frechet_vgg22", "frechet_vgg33", "copy", "diversity", "recovery_error")
    return rows, ", ".join(f"{name} {found[name]:.3f}" for name in names), [observed, *samples]


def main() -> None:
    """Print the table, and save the strip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="06-cat.jpg")
    parser.add_argument("--side", type=int, default=18)
    parser.add_argument("--iterations", type=int, default=1600)
    parser.add_argument("--bounds", type=float, nargs="+", default=[0.0, 2.0])
    parser.add_argument("--strip", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    strips = []
    for bound in asked.bounds:
        changes = {"max_size": asked.side, "scales": 1, "iterations": asked.iterations, "max_curvature": bound}
        settings = make_settings("small", changes)
        rows, found, images = course(photograph(asked.image, asked.side), settings)
        print(f"max_curvature {bound:g}: {found}\n", flush=True)
        print(markdown(["iteration", "f(syn) - f(obs)", "curvature, 4/step_size"], rows), "\n", flush=True)
        strips.append(strip(images))
    if asked.strip:
        whole = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)))
        for index, one in enumerate(strips):
            whole.paste(one, (0, index * one.height))
        whole.save(asked.strip)


if __name__ == "__main__":
    main()
