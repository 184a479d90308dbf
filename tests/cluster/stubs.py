"""Workers that train nothing, for a real Ray: it starts them in a second, where torch takes several."""

import os
import time
from types import SimpleNamespace

import ray


class Stub:
    """Does each job in a moment, and can say where it is."""

    def __init__(self, *arguments):
        self._lease = None

    def train(self, specs, attempts):
        self._lease = attempts[0]
        time.sleep(0.3)
        self._lease = None
        done = {"state": "committed", "wall_s": 0.3, "figures": {}, "failure": None, "spoiled": False}
        return [SimpleNamespace(attempt=attempt, **done) for attempt in attempts]

    @ray.method(concurrency_group="watch")
    def pulse(self):
        node = ray.get_runtime_context().get_node_id()
        return SimpleNamespace(pid=os.getpid(), node=node, lease=self._lease, silent_s=0.0, progress=None, rate=0.0)

    @ray.method(concurrency_group="watch")
    def gpus(self):
        return ray.get_gpu_ids()

    @ray.method(concurrency_group="watch")
    def stop(self):
        """It is soon done."""


class Broken(Stub):
    """As with a driver of the GPU that torch does not like."""

    def __init__(self, *arguments):
        raise RuntimeError("planted")


class Holder:
    """Somebody else's, who holds cores."""

    def holds(self):
        """Once it does."""
