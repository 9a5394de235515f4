"""Several raylets on one machine, which join and leave while a run goes on, through Ray's own `Cluster`."""

from __future__ import annotations

import socket
from typing import Any

from benchmark.engine.ray_token import set_token

AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


class Raylets:
    """A head and nodes; a context manager. The head has no CPU where none is given, as in cluster.yaml."""

    def __init__(self, *, dashboard: bool = True, **head: Any) -> None:
        """`dashboard`: Train asks it what is left of a group, and it takes jobs. `head`: `cpus`, `gpus` of the head."""
        set_token()
        from ray.cluster_utils import Cluster

        # the monitor rents nodes, of which there are none
        shown = {"include_dashboard": dashboard, "dashboard_port": free_port(), "no_monitor": True}
        self._cluster = Cluster(initialize_head=True, head_node_args={**_resources(**head), **shown})
        self.address: str = self._cluster.address

    def __enter__(self) -> Raylets:
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()

    def add(self, **resources: Any) -> Any:
        """A node that joins; its handle."""
        return self._cluster.add_node(**_resources(**resources))

    def remove(self, node: Any) -> None:
        """A node that is lost: nothing on it gets to say goodbye."""
        self._cluster.remove_node(node, allow_graceful=False)


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _resources(*, cpus: int = 0, gpus: int = 0) -> dict[str, Any]:
    has = {"num_cpus": cpus, "num_gpus": gpus, "object_store_memory": 100 << 20}
    # nobody reads the logs; a raylet waits for ports that its agents choose, for too short a time on a busy machine
    return has | {"include_log_monitor": False} | {name: free_port() for name in AGENT_PORTS}
