"""Lower bound of a preset's time on this machine, and the share of the peak that is reached.

`python -m benchmarks.roofline [--device cpu] [--threads N] [--preset draft …]`. The floor is the operations of a
training divided by the speed of a large matrix product here. Bytes are those of activations beyond the caches: a bound
only for activations that do not fit. Measured seconds are extrapolated from a few iterations of each scale.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import torch

from benchmarks.machine import GIGA, describe, reached_bytes, reached_operations
from benchmarks.pictures import photograph
from pgcn import Trainer, make_settings
from pgcn.imaging.scales import Size
from pgcn.patchgencn.energy import NARROW, WIDE
from pgcn.patchgencn.flops import energy_operations, training_operations
from pgcn.patchgencn.weights import PAD
from pgcn.settings import PRESETS, Settings

VALUE_BYTES = 4
TOUCHES = 5
"""Of an activation in one step: written, read by the next layer, read for ELU'; its gradient written and read."""


@dataclass(frozen=True)
class Floor:
    """Cost of one preset for one image: operations, bytes, and seconds, extrapolated from `updates` per scale."""

    preset: str
    size: Size
    operations: float
    bytes: float
    seconds: float

    def row(self, rate: float, bandwidth: float) -> str:
        """A line of the table."""
        least, moved = self.operations / rate, self.bytes / bandwidth
        work = f"{self.operations / 1e12:.2f} | {self.bytes / 1e12:.2f}"
        times = f"{least:.0f} | {moved:.0f} | {self.seconds:.0f} | {least / self.seconds:.0%}"
        return f"| `{self.preset}` | {self.size[1]}x{self.size[0]} | {work} | {times} |"


HEADER = (
    "| preset | px | 10¹² operations | 10¹² bytes | floor, s | if no cache helped, s | measured, s | share reached |\n"
    "|---|---|---|---|---|---|---|---|"
)


def activation_bytes(size: Size, *, wide: bool) -> float:
    """Bytes of activations that one Langevin step touches, forward and backward."""
    total = 0
    for layer, channels in enumerate((WIDE if wide else NARROW)[:-1]):
        border = 2 * (PAD - 1 - layer)
        total += channels * (size[0] + border) * (size[1] + border)
    return float(TOUCHES * VALUE_BYTES * total)


def training_bytes(sizes: list[Size], settings: Settings) -> float:
    """Like `training_operations`, with bytes of a step instead of its operations."""
    per_operation = []
    for size in sizes:
        wide = settings.is_wide(max(size))
        per_operation.append(activation_bytes(size, wide=wide) / (2 * energy_operations(size, wide=wide)))
    return training_operations(sizes, settings) * sum(per_operation) / len(per_operation)


def measure(preset: str, device: str, updates: int = 6) -> Floor:
    """Cost of a preset on a bundled photograph, from a few iterations of each scale. Pools count by operations."""
    settings = make_settings(preset)
    few = settings.model_copy(update={"pool_size": min(settings.pool_size, 2)})
    image = photograph(side=settings.max_size)
    trainer = Trainer([image], few, [0], device)
    seconds = 0.0
    for scale in range(len(trainer.sizes)):
        trainer.iterate()  # starts are drawn here
        began = time.perf_counter()
        for _ in range(updates):
            trainer.iterate()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds += (time.perf_counter() - began) / updates * settings.iterations_at(scale)
        trainer.iteration = settings.iterations_at(scale) - 1
        trainer.iterate()  # the scale's last: the next one begins
    operations = training_operations(trainer.sizes, settings)
    return Floor(preset, trainer.sizes[-1], operations, training_bytes(trainer.sizes, settings), seconds)


def table(device: str, presets: list[str]) -> str:
    """The machine's line and a row for each preset, as Markdown."""
    rate, bandwidth = reached_operations(device), reached_bytes(device)
    reached = f"{rate / GIGA:.0f}·10⁹ operations a second in a matrix product"
    reached += f", {bandwidth / GIGA:.1f}·10⁹ bytes a second in a copy"
    rows = [measure(preset, device).row(rate, bandwidth) for preset in presets]
    return "\n".join([f"{describe(device)}: {reached}.\n", HEADER, *rows])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--preset", action="append", choices=list(PRESETS))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(table(asked.device, asked.preset or list(PRESETS)))


if __name__ == "__main__":
    main()
