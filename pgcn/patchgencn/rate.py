"""The speed of a training on this machine, from some iterations at the coarsest and the finest learned scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pgcn.imaging.scales import Size
from pgcn.patchgencn.flops import joint_rate, scale_operations, step_operations
from pgcn.patchgencn.trainer import Trainer
from pgcn.patchgencn.windows import window_size
from pgcn.settings import Settings
from pgcn.stopwatch import clock_for
from pgcn.threads import set_threads

SECONDS = 0.7
"""Time of a measurement at one scale, at least one iteration of each kind."""

MOST_OPERATIONS = 1e10
"""Operations of the chains of one measured iteration: longer ones have fewer steps than in the training."""


def training_rate(sizes: Sequence[Size], settings: Settings, device: str = "cpu", threads: int = 1) -> float:
    """Operations per second of a training with learned scales of these sizes, on this machine; takes some seconds.

    `threads` is the number of threads on a CPU.
    """
    with set_threads(threads):
        ends = [_rate(size, settings, device, threads) for size in dict.fromkeys((sizes[0], sizes[-1]))]
    works = [scale_operations(scale, list(sizes), settings) for scale in range(len(sizes))]
    units = [step_operations(window_size(size, settings), size, settings) for size in sizes]
    return joint_rate(works, units, ends[0], ends[-1])


def _rate(size: Size, settings: Settings, device: str, threads: int) -> float:
    """Operations per second of iterations on windows of a scale of `size`."""
    window = window_size(size, settings)
    step = step_operations(window, size, settings)
    most = max(1, int(MOST_OPERATIONS / step / settings.chains))
    wide = "wide" if settings.is_wide(max(size)) else "narrow"
    steps, recovery_steps = min(settings.langevin_steps, most), min(settings.recovery_steps, most)
    every = min(settings.recovery_every, 8)
    one = settings.model_copy(
        update={"detail": "learned", "scales": 1, "min_size": min(window), "max_size": max(window), "net_width": wide}
        | {"langevin_steps_init": steps, "recovery_steps": recovery_steps, "recovery_every": every}
        | {"iterations": 1_000_000, "distil": 0}
    )
    generator = torch.Generator().manual_seed(0)
    trainer = Trainer([torch.rand(1, 3, *window, generator=generator) * 2 - 1], one, [0], device)
    now = clock_for(device, threads)

    def seconds(count: int) -> float:
        began = now()
        for _ in range(count):
            trainer.iterate()
        if trainer.recovered.is_cuda:
            torch.cuda.synchronize()
        return now() - began

    seconds(every)  # compiles, where nothing is compiled yet
    each = seconds(every) / every
    count = every * max(1, round(SECONDS / each / every))
    return count * scale_operations(0, [window], one) / one.iterations_at(0) / seconds(count)
