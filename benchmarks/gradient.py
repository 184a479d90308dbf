"""Time of ∇Σf by autograd, written out, and by Winograd, on one CPU core: `python benchmarks/gradient.py`.

Prints milliseconds per gradient, the minimum of several alternating rounds, and their ratios to autograd.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pgcn.patchgencn.energy import EnergyNet, energy, energy_gradient, pad
from pgcn.patchgencn.weights import Weights

ROUNDS, CALLS = 7, 20


def milliseconds(call: Callable[[], Tensor]) -> float:
    """Mean CPU time of one call, over `CALLS`."""
    began = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - began) / CALLS * 1e3


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("net     size     autograd  written out  ratio  Winograd  ratio")
    for wide, size in [(False, (22, 28)), (False, (25, 33)), (False, (48, 64)), (True, (48, 64)), (True, (96, 128))]:
        weights = EnergyNet(wide=wide, generators=[torch.Generator().manual_seed(0)]).weights()
        x = pad(torch.rand(1, 3, *size) * 2 - 1)
        os.environ["PGCN_PLAIN"] = "1"
        written = energy_gradient(weights)
        del os.environ["PGCN_PLAIN"]
        winograd = energy_gradient(weights)

        def plain(x: Tensor = x, weights: Weights = weights) -> Tensor:
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(energy(leaf, weights).sum(), leaf)[0]

        calls: list[Callable[[], Tensor]] = [plain, partial(written, x), partial(winograd, x)]
        for call in calls:
            call()
        times = [[milliseconds(call) for call in calls] for _ in range(ROUNDS)]
        slow, quick, quicker = (min(column) for column in zip(*times, strict=True))
        name = "wide" if wide else "narrow"
        print(
            f"{name:7} {size[0]}x{size[1]:<6} {slow:7.2f}  {quick:11.2f}  {quick / slow:5.2f}  {quicker:8.2f}  "
            f"{quicker / slow:5.2f}"
        )


if __name__ == "__main__":
    main()
