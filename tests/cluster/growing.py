"""A real Ray cluster that grows: Ray's own autoscaler, whose machines are raylets on this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from ray.autoscaler.v2.sdk import get_cluster_status

from tests.cluster.machines import RayCluster, running, short_folder

AT_MOST = 3
"""Machines beside the head, of one core each."""

_HEAD = "f" * 51 + "00000"  # the node id that the provider takes the head to have


class GrowingCluster(RayCluster):
    """A head without cores, and its autoscaler; `AutoscalingCluster.start` of Ray would end all Ray that is here."""

    def _more_of_the_head(self) -> list[str]:
        machine = {"CPU": 1, "object_store_memory": 80_000_000}
        config = {
            "cluster_name": "growing",
            "max_workers": AT_MOST,
            "idle_timeout_minutes": 0.1,
            "provider": {
                # By its class: by its name, it would read a file that Ray's wheel does not have.
                "type": "external",
                "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
                "gcs_address": self.address,
                "head_node_id": _HEAD,
                "launch_multiple": True,
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "available_node_types": {
                "machine": {"resources": machine, "node_config": {}, "min_workers": 0, "max_workers": AT_MOST},
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            },
            "head_node_type": "ray.head.default",
            # Ray's own defaults are in that file, too.
            "setup_commands": [],
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "cluster_synced_files": [],
        }
        file = self._folder / "autoscaler.json"
        file.write_text(json.dumps(config))
        return [f"--autoscaling-config={file}"]

    def waiting(self) -> int:
        """Number of waiting tasks and workers, as the autoscaler sees them."""
        demand = get_cluster_status(self.address).resource_demands.ray_task_actor_demand
        return sum(by_count.count for shape in demand for by_count in shape.bundles_by_count)

    def grown(self) -> int:
        """Machines that are there beside the head."""
        status = get_cluster_status(self.address)
        return len(status.active_nodes) + len(status.idle_nodes) - 1


@contextmanager
def growing_cluster() -> Iterator[GrowingCluster]:
    """A head alone, that may grow by `AT_MOST` machines. There is no token."""
    env = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    with short_folder() as folder, running(GrowingCluster(folder, env, job_server=False)) as cluster:
        yield cluster
