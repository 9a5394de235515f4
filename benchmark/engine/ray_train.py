"""Pre-training through Ray Train: in local mode inside a warm worker, or in a worker group of several processes.

Checkpoints are ours, in the store's scratch folder, and serve both modes: local mode keeps none of its own. The run's
name is the content key; a finished run that is entered again notices that its artifact is there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cloudpickle

from benchmark.config.plugins import Plugin, load_plugin
from benchmark.engine.ray_pulse import BEAT_S, MOST_MISSED
from benchmark.engine.task import Task, TaskResult, execute
from benchmark.errors import UserError
from benchmark.stages.node import Node, Workplace
from benchmark.stages.pretrain import Pretrain

if TYPE_CHECKING:
    from benchmark.config.compute_options import ComputeOptions
    from benchmark.stages.common import Compute
    from benchmark.store.artifacts import Store


class LocalTraining(Pretrain):
    """Pre-trains one model in a warm worker under a TorchTrainer in local mode (`num_workers=0`)."""

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Trains in this process."""
        from ray.train import ScalingConfig
        from ray.train.torch import TorchTrainer

        from benchmark.stages.work.pretrain import pretrain_stage

        def loop() -> None:
            pretrain_stage(at.store, nodes[0].arguments[0], at.compute, tick=at.tick)

        TorchTrainer(loop, scaling_config=ScalingConfig(num_workers=0)).fit()
        return {}


class GroupTraining(Pretrain):
    """Pre-trains one model in a worker group: gloo on CPUs, nccl on GPUs."""

    def __init__(
        self, resources: ComputeOptions, plugins: tuple[Plugin, ...], *, cpus: float = 1.0, gpus: float = 0.0
    ) -> None:
        """Each worker has `cpus` and `gpus`."""
        self._resources, self._plugins, self._cpus, self._gpus = resources, plugins, cpus, gpus

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Starts the group, and waits for it."""
        from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
        from ray.train.torch import TorchTrainer

        (cell,), resources = nodes[0].arguments, self._resources
        path, file_system = at.store.arrow_scratch("ray-train", cell.keys.pretrain)  # every node of the group sees it
        # the cell is opened by the loop itself, after the plugins that it may need are loaded
        config = {"plugins": self._plugins, "payload": cloudpickle.dumps((at.store, cell, at.compute))}
        at.tick("starting the worker group", 0.0)
        each = {"CPU": self._cpus} | ({"GPU": self._gpus} if self._gpus else {})
        trainer = TorchTrainer(
            group_loop,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=resources.workers, use_gpu=bool(self._gpus), resources_per_worker=each
            ),
            run_config=RunConfig(
                name=cell.keys.pretrain,
                storage_path=path,
                storage_filesystem=file_system,
                failure_config=FailureConfig(max_failures=resources.max_failures, controller_failure_limit=2),
            ),
        )
        try:
            trainer.fit()
        except WorkerGroupError as error:
            mistakes = [cause for cause in error.worker_failures.values() if isinstance(cause, UserError)]
            raise (mistakes[0] if mistakes else error) from None
        at.store.clear_scratch("ray-train", cell.keys.pretrain)
        return {}


def group_loop(config: dict[str, Any]) -> None:
    """What each worker of a group runs."""
    for plugin in config["plugins"]:
        load_plugin(plugin)
    import ray.train
    import ray.train.torch
    import torch

    from benchmark.stages.common import Stopwatch
    from benchmark.stages.settings import own_settings
    from benchmark.stages.work.pretrain import pretrain, write_pretrained

    store, cell, compute = cloudpickle.loads(config["payload"])
    if store.has("pretrain", cell.keys.pretrain):
        return
    if cell.experiment.threads:
        torch.set_num_threads(cell.experiment.threads)
    device = str(ray.train.torch.get_device())

    def tick(what: str, share: float) -> None:
        ray.train.report({"what": what, "share": share})

    watch = Stopwatch()
    with own_settings(cell.keys.pretrain):
        trained = pretrain(store, cell, compute._replace(device=device), tick=tick)
    if ray.train.get_context().get_world_rank() == 0:
        write_pretrained(store, cell, trained, compute, wall_s=watch.seconds())
    ray.train.report({"what": "written", "share": 1.0})  # a barrier: nobody leaves before the artifact is there


def run_group(task: Task, store: Store, compute: Compute, ticks: Any) -> TaskResult:
    """A task of `GroupTraining`, in a process of its own beside the driver, so that groups run side by side."""

    # a node may have to be rented first; Train gives it a minute
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "1800")
    # a process that is stopped holds up all; Train waits for ten minutes before it starts the group again
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", f"{BEAT_S * MOST_MISSED:g}")

    def tick(what: str, share: float) -> None:
        ticks.tick.remote(task.key, task.label, task.work, what, share)

    return execute(task, Workplace(store, compute, tick))
