"""A cloud on one machine: Ray's autoscaler, v1 or v2, over its fake provider, whose nodes are raylets here.

`ray.cluster_utils.AutoscalingCluster` is not used: the file that it reads is not in the wheel, and it stops every Ray
on the machine, whoever's it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.cluster.raylets import free_port

HEAD = "f" * 51 + "00000"  # the id that the fake provider gives its head
PROVIDER = {
    "type": "external",
    "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
    "use_node_id_as_ip": True,  # since nodes share an address
    "disable_node_updaters": True,
    "disable_launch_config_check": True,
}
EMPTY = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands"),
    *("cluster_synced_files", "rsync_exclude", "rsync_filter"),
)


class FakeCloud:
    """A head without CPU and GPU, and workers of one type from zero; a context manager. GPUs are pretended."""

    def __init__(self, folder: Path, worker: dict[str, int], *, max_workers: int, idle_s: float, version: int) -> None:
        """`folder` needs a short path, since sockets lie in it; `version`: of the autoscaler, 1 or 2."""
        self._folder, self._version = folder, version
        self.address = f"127.0.0.1:{free_port()}"
        provider = PROVIDER | {"gcs_address": self.address, "launch_multiple": True, "head_node_id": HEAD}
        head = {"resources": {"CPU": 0, "GPU": 0}, "node_config": {}, "max_workers": 0}
        self.cluster: dict[str, Any] = {
            "cluster_name": "fake",
            "max_workers": max_workers,
            "idle_timeout_minutes": idle_s / 60,
            "provider": provider,
            "auth": {"ssh_user": "nobody"},
            **{key: [] for key in EMPTY},  # nothing is typed or copied; for this type Ray has no defaults
            "file_mounts": {},
            "file_mounts_sync_continuously": False,
            "upscaling_speed": 1.0,
            "head_node_type": "ray.head.default",
            "available_node_types": {
                "ray.head.default": head,
                "gpu": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": max_workers},
            },
        }

    def __enter__(self) -> FakeCloud:
        file = self._folder / "cluster.json"
        file.write_text(json.dumps(self.cluster))
        environment = os.environ | {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
            "RAY_enable_autoscaler_v2": str(self._version - 1),
            "RAY_TMPDIR": str(self._folder),  # also how its processes are found again
        }
        options = {
            "node-ip-address": "127.0.0.1",
            "port": self.address.rpartition(":")[2],
            "dashboard-port": free_port(),
            "num-cpus": 0,
            "num-gpus": 0,
            "object-store-memory": 100 << 20,
            "autoscaling-config": file,
            "temp-dir": self._folder,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        ray = Path(sys.executable).with_name("ray")
        subprocess.run([ray, "start", "--head", *words], env=environment, check=True, capture_output=True)
        return self

    def __exit__(self, *_: object) -> None:
        while left := self._processes():
            for number in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.2)

    def _processes(self) -> list[int]:
        mark, found = f"RAY_TMPDIR={self._folder}\0".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def nodes(self) -> int:
        """How many workers there are."""
        lines = [(Path("/proc") / str(number) / "cmdline") for number in self._processes()]
        raylets = 0
        for line in lines:
            with contextlib.suppress(OSError):
                raylets += line.read_bytes().split(b"\0")[0].endswith(b"/raylet")
        return raylets - 1  # without the head's
