"""The table: every kind of fault, and how often it is put in."""

from __future__ import annotations

from tests.chaos import cluster_faults, local_faults, ray_faults, store_faults
from tests.chaos.attempt import GROUP, LOCAL, RAY
from tests.chaos.fault import Fault

FAULTS = (
    Fault("driver", LOCAL, 5, local_faults.killed),
    Fault("interrupt", LOCAL, 4, local_faults.interrupted),
    Fault("stopped", LOCAL, 2, local_faults.stopped_driver),
    Fault("disk", LOCAL, 3, local_faults.full_disk, "mount"),
    Fault("byte", LOCAL, len(local_faults.FILES), local_faults.flipped_byte),
    Fault("torn", LOCAL, 2, local_faults.torn_file),
    Fault("checkpoint", LOCAL, 2, local_faults.torn_checkpoint),
    Fault("attempt", LOCAL, 6, local_faults.deleted_attempt),
    Fault("drivers", LOCAL, 3, local_faults.two_drivers),
    Fault("clock", LOCAL, 2, local_faults.clock_back),
    Fault("store", LOCAL, 3, store_faults.outage),
    Fault("ray-driver", RAY, 2, local_faults.killed),
    Fault("ray-interrupt", RAY, 2, local_faults.interrupted),
    Fault("ray-worker", RAY, 3, ray_faults.worker),
    Fault("ray-tune", RAY, 1, ray_faults.tune_actor),
    Fault("ray-progress", RAY, 1, ray_faults.progress),
    Fault("ray-raylet", RAY, 1, ray_faults.raylet),
    Fault("ray-head", RAY, 1, ray_faults.head),
    Fault("ray-stopped", RAY, 2, ray_faults.stopped_worker),
    Fault("ray-slow", RAY, 1, ray_faults.slow_worker),
    Fault("group-worker", GROUP.how, 2, ray_faults.group_worker, calm=GROUP),
    Fault("group-stopped", GROUP.how, 1, ray_faults.group_stopped, calm=GROUP),
    Fault("node", (), 1, cluster_faults.node),
    Fault("node-search", (), 1, cluster_faults.node_search),
    Fault("node-group", (), 2, cluster_faults.node_group, calm=GROUP),
    Fault("head", (), 1, cluster_faults.head_restarted),
    Fault("job", (), 2, cluster_faults.job),
)
