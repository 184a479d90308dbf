"""Machines of a Ray cluster and the workers that they hold. A snapshot is good for about a second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ray

from pgcn_cluster.ray_cluster.compat import draining_nodes
from pgcn_cluster.scheduler.resources import Resources

EPSILON = 1e-6


@dataclass(frozen=True)
class Machines:
    """`staying`: resources of each machine that takes jobs, by Ray's names; `leaving`: ids of nodes being drained."""

    staying: tuple[Mapping[str, float], ...] = ()
    leaving: frozenset[str] = frozenset()

    def holds(self, resources: Resources) -> int:
        """Number of workers of the same resources that fit, each on one machine."""
        return sum(_fits(machine, resources) for machine in self.staying)

    def hold(self, all_of: Iterable[Resources]) -> bool:
        """True where workers of several resources fit, by sums over all machines."""
        each = list(all_of)
        return bool(
            sum(one.cpus for one in each) <= self._total("CPU") + EPSILON
            and sum(one.gpus for one in each) <= self._total("GPU") + EPSILON
            and sum(self.memory(one) for one in each) <= self._total("memory")
        )

    def memory(self, resources: Resources) -> int:
        """Bytes to ask of Ray: never more than the largest machine has, since that would wait for ever."""
        if resources.memory is None:
            return 0
        return int(min(resources.memory, max((machine.get("memory", 0.0) for machine in self.staying), default=0.0)))

    def _total(self, name: str) -> float:
        return sum(machine.get(name, 0.0) for machine in self.staying)


def machines_now() -> Machines:
    """Read the cluster's table of machines. A machine that died stays in it for some seconds.

    Raises `ConnectionError` where this process's own machine is gone for Ray: no answer would ever come here.
    """
    leaving = draining_nodes()
    alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    if ray.get_runtime_context().get_node_id() not in alive:
        raise ConnectionError("Ray on the machine of this command has ended.")
    return Machines(tuple(has for node, has in alive.items() if node not in leaving), leaving)


def _fits(machine: Mapping[str, float], resources: Resources) -> int:
    fits = [machine.get("CPU", 0.0) / resources.cpus]
    if resources.gpus:
        fits.append(machine.get("GPU", 0.0) / resources.gpus)
    return int(min(fits) + EPSILON)
