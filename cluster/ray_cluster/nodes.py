"""The machines that a Ray cluster has now, and what they hold. A look at them is good for about a second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ray

from cluster.scheduler.queue import Resources

EPSILON = 1e-6


@dataclass(frozen=True)
class Machines:
    """`staying`: what each machine that takes jobs has, by Ray's names; `leaving`: nodes that are being drained."""

    staying: tuple[Mapping[str, float], ...] = ()
    leaving: frozenset[str] = frozenset()

    def holds(self, need: Resources) -> int:
        """How many workers of one need fit, each on one machine."""
        return sum(_fits(machine, need) for machine in self.staying)

    def hold(self, needs: Iterable[Resources]) -> bool:
        """Whether workers of several needs fit, as far as sums tell."""
        needs = list(needs)
        return bool(
            sum(need.cpus for need in needs) <= self._total("CPU") + EPSILON
            and sum(need.gpus for need in needs) <= self._total("GPU") + EPSILON
            and sum(self.memory(need) for need in needs) <= self._total("memory")
        )

    def memory(self, need: Resources) -> int:
        """Bytes to ask of Ray: never more than the largest machine has, which would wait for ever."""
        if need.memory is None:
            return 0
        return int(min(need.memory, max((machine.get("memory", 0.0) for machine in self.staying), default=0.0)))

    def _total(self, name: str) -> float:
        return sum(machine.get(name, 0.0) for machine in self.staying)


def machines_now() -> Machines:
    """Look at the cluster. One that died is missed only after some seconds: Ray's table has it until then.

    Raises `ConnectionError` where this process's own machine is gone for Ray: no answer would ever come here.
    """
    # The only way to hear of a drain, which Ray's own libraries use too: the public table of nodes has no word for it.
    leaving = frozenset(ray._private.state.state.get_draining_nodes())
    alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    if ray.get_runtime_context().get_node_id() not in alive:
        raise ConnectionError("Ray on the machine of this command has ended.")
    return Machines(tuple(has for node, has in alive.items() if node not in leaving), leaving)


def _fits(machine: Mapping[str, float], need: Resources) -> int:
    fits = [machine.get("CPU", 0.0) / need.cpus]
    if need.gpus:
        fits.append(machine.get("GPU", 0.0) / need.gpus)
    return int(min(fits) + EPSILON)
