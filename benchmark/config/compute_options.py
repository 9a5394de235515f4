"""Where and how fast a run computes: what may not change results."""

from __future__ import annotations

from benchmark.config.time_limits import TimeLimits
from benchmark.types import Count, Frozen


class ComputeOptions(Frozen):
    """Where and how fast: never part of a key. `workers` above 1 starts a Ray Train worker group per model."""

    workers: Count = 1
    concurrency: int | None = None  # models and trials at once; None: from the cluster's CPUs or GPUs
    cpus_per_slot: float | None = None
    gpus_per_slot: float | None = None
    micro_batch: int | None = None
    checkpoint_epochs: Count = 1
    address: str | None = None  # of a running Ray cluster; None: RAY_ADDRESS, else a local one
    max_failures: int = 2
    time_limits: TimeLimits = {}  # seconds that a task may take, by stage
