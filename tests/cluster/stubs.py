"""Workers that train nothing, for a real Ray: it starts them in a second, where torch takes several."""

import os
import time
from types import SimpleNamespace

import ray

from pgcn_jobs.run_folder.commit import publish, read_commit


def done(attempt, anothers=False):
    """An `Outcome`, without the imports of one."""
    known = {"state": "committed", "wall_s": 0.3, "metrics": {}, "failure": None, "spoiled": False}
    return SimpleNamespace(attempt=attempt, anothers=anothers, **known)


class Stub:
    """Does each job in a moment, and can say where it is."""

    def __init__(self, *arguments):
        self._attempt = None

    def train(self, specs, attempts):
        self._attempt = attempts[0]
        time.sleep(0.3)
        self._attempt = None
        return [done(attempt) for attempt in attempts]

    @ray.method(concurrency_group="watch")
    def heartbeat(self):
        node = ray.get_runtime_context().get_node_id()
        now = {"silent_s": 0.0, "progress": None, "rate": 0.0}
        return SimpleNamespace(pid=os.getpid(), node=node, attempt=self._attempt, **now)

    @ray.method(concurrency_group="watch")
    def gpus(self):
        return ray.get_gpu_ids()

    @ray.method(concurrency_group="watch")
    def stop(self):
        """It is soon done."""


class Slow(Stub):
    """Takes as long over a job as a machine does to start."""

    def train(self, specs, attempts):
        time.sleep(3)
        return super().train(specs, attempts)


class Committer(Stub):
    """Looks for a commit as a worker does, and leaves one."""

    def __init__(self, store, *arguments):
        super().__init__()
        self._store = store

    def train(self, specs, attempts):
        (spec,), (attempt,) = specs, attempts
        standing = read_commit(self._store, spec.job_id)
        if standing is None:
            super().train(specs, attempts)
            standing = publish(self._store, spec.job_id, attempt, {"log.txt": b""}, {})
        return [done(attempt, anothers=standing.attempt != attempt)]


class Broken(Stub):
    """As with a driver of the GPU that torch does not like."""

    def __init__(self, *arguments):
        raise RuntimeError("planted")


class Holder:
    """Somebody else's, who holds cores."""

    def holds(self):
        """Once it does."""
