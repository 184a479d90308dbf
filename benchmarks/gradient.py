"""Time of the hand-written ∇Σf against autograd, on one CPU core: `python benchmarks/gradient.py`.

Prints milliseconds per gradient, the minimum of several alternating rounds, and their ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from pgcn.patchgencn.energy import EnergyNet, energy, energy_gradient, pad

ROUNDS, CALLS = 7, 20


def milliseconds(call: Callable[[], Tensor]) -> float:
    """Mean time of one call, over `CALLS`."""
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - began) / CALLS * 1e3


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("net     size     autograd  hand-written ratio")
    for wide, size in [(False, (25, 33)), (False, (48, 64)), (True, (48, 64)), (True, (96, 128))]:
        weights = EnergyNet(wide=wide, generators=[torch.Generator().manual_seed(0)]).weights()
        x = pad(torch.rand(1, 3, *size) * 2 - 1)
        written = energy_gradient(weights)

        def plain(x: Tensor = x, weights: object = weights) -> Tensor:
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(energy(leaf, weights).sum(), leaf)[0]  # type: ignore[arg-type]

        def fast(x: Tensor = x, written: Callable[[Tensor], Tensor] = written) -> Tensor:
            return written(x)

        plain(), fast()
        times = [(milliseconds(plain), milliseconds(fast)) for _ in range(ROUNDS)]
        slow, quick = (min(column) for column in zip(*times, strict=True))
        name = "wide" if wide else "narrow"
        print(f"{name:7} {size[0]}x{size[1]:<6} {slow:7.2f}  {quick:11.2f}  {quick / slow:5.2f}")


if __name__ == "__main__":
    main()
