"""Pre-training through Ray Train: in local mode inside a warm worker, or in a worker group of several processes.

Checkpoints are ours, in the store's scratch folder, and serve both modes: local mode keeps none of its own. The run's
name is the content key; a finished run that is entered again notices that its artifact is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cloudpickle

from benchmark.config.plugins import Plugin, load_plugin
from benchmark.errors import UserError
from benchmark.stages.common import Tick
from benchmark.stages.graph import Cell
from benchmark.store.artifacts import Store

if TYPE_CHECKING:
    from benchmark.config.compute_options import ComputeOptions
    from benchmark.stages.common import Compute


def local_stage(store: Store, cell: Cell, compute: Compute, *, tick: Tick) -> None:
    """Pre-trains one model in this process under a TorchTrainer in local mode (`num_workers=0`)."""
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    from benchmark.stages.pretrain import pretrain_stage

    def loop() -> None:
        pretrain_stage(store, cell, compute, tick=tick)

    TorchTrainer(loop, scaling_config=ScalingConfig(num_workers=0)).fit()


def group_stage(
    store: Store, cell: Cell, compute: Compute, resources: ComputeOptions, plugins: tuple[Plugin, ...], *, tick: Tick
) -> None:
    """Pre-trains one model in a worker group: gloo on CPUs, nccl on GPUs. Runs in the driver."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchTrainer

    gpu = compute.device != "cpu"
    # the cell is opened by the loop itself, after the plugins that it may need are loaded
    config = {"plugins": plugins, "payload": cloudpickle.dumps((store, cell, compute))}
    tick("starting the worker group", 0.0)
    trainer = TorchTrainer(
        group_loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=gpu,
            resources_per_worker=None if gpu or not resources.cpus_per_slot else {"CPU": resources.cpus_per_slot},
        ),
        run_config=RunConfig(
            name=cell.keys.pretrain,
            storage_path=str(store.scratch("ray-train", cell.keys.pretrain).resolve()),
            failure_config=FailureConfig(max_failures=resources.max_failures, controller_failure_limit=2),
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        mistakes = [cause for cause in error.worker_failures.values() if isinstance(cause, UserError)]
        raise (mistakes[0] if mistakes else error) from None
    store.clear_scratch("ray-train", cell.keys.pretrain)


def group_loop(config: dict[str, Any]) -> None:
    """What each worker of a group runs."""
    for plugin in config["plugins"]:
        load_plugin(plugin)
    import ray.train
    import ray.train.torch
    import torch

    from benchmark.stages.common import Stopwatch
    from benchmark.stages.pretrain import pretrain, write_pretrained

    store, cell, compute = cloudpickle.loads(config["payload"])
    if store.has("pretrain", cell.keys.pretrain):
        return
    if cell.experiment.threads:
        torch.set_num_threads(cell.experiment.threads)
    device = str(ray.train.torch.get_device())

    def tick(what: str, share: float) -> None:
        ray.train.report({"what": what, "share": share})

    watch = Stopwatch()
    trained = pretrain(store, cell, compute._replace(device=device), tick=tick)
    if ray.train.get_context().get_world_rank() == 0:
        write_pretrained(store, cell, trained, wall_s=watch.seconds())
    ray.train.report({"what": "written", "share": 1.0})  # a barrier: nobody leaves before the artifact is there
