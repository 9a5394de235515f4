"""Workers: two of one thread each against one of one thread: a model's pre-training, and a suite's independent nodes.

The first lines are about one model in a worker group of Ray Train: the later half of its epochs, since the actors that
Train starts beside the group take a core for the first ones. A group's step has two waits, which a small batch feels
and a large one hides. The last line is about slots, which share the nodes of a suite: from its first task to its last.
Start-up stands apart in both.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmark.config.compute_options import ComputeOptions
from benchmark.perf.report import Line, Settings, at_least, paired
from benchmark.perf.runs import timed

WORKERS, LIMIT = 2, 1.6
PAIRS, EPOCHS, TURNS = 5120, 20, 2
SMALL, LARGE = (
    128,
    1024,
)  # of `smoke`, told for information; and one whose steps hide what two processes tell each other
# four models on one set, which wait for nothing but that set; their outcomes come with them
MODELS = {
    "splits.pretrain": 2560,
    "splits.clean": 128,
    "splits.validation": 128,
    "splits.test": 128,
    "data.num_rows": 3000,
    "pretrain.epochs": 8,
    "gate.min_asr": 0.0,
    "gate.min_asr_on": "absolute",
    "gate.max_accuracy_drop": 1.0,
    "threads": 1,
}
ONLY = {"repair": "none", "attack": ("clean", "badnet")}


def run(settings: Settings) -> list[Line]:
    """Both readings of "two workers": a group that trains one model, and two slots."""
    if (os.cpu_count() or 1) < WORKERS:
        return [Line(f"not measured: this machine has no {WORKERS} cores", "", "", None)]
    return [*_groups(settings), _slots()]


def _groups(settings: Settings) -> list[Line]:
    """One Ray for all, since its start is not measured; the two sides take turns."""
    from benchmark.engine.ray_cluster import connect
    from benchmark.engine.ray_token import set_token

    set_token()
    import ray

    connect(ComputeOptions(workers=WORKERS))
    try:
        with tempfile.TemporaryDirectory() as folder:
            return [_group_line(batch_size, settings.data, Path(folder)) for batch_size in (SMALL, LARGE)]
    finally:
        ray.shutdown()


def _group_line(batch_size: int, data: Path | None, folder: Path) -> Line:
    times: dict[int, list[float]] = {1: [], WORKERS: []}
    for turn in range(TURNS):
        for workers, found in times.items():
            found.append(_epoch_s(workers, batch_size, data, folder / f"{batch_size}-{workers}-{turn}"))
    pair, steps = paired(times[1], times[WORKERS]), PAIRS // batch_size
    name = f"one model, batch {batch_size}, {WORKERS} workers over 1 (steps/s)"
    sides = f"{steps / pair.baseline:.1f}", f"{steps / pair.ours:.1f}"
    if batch_size == SMALL:
        return Line(name, *sides, pair.ratio)
    return at_least(name, *sides, ratio=pair.ratio, limit=LIMIT)


def _epoch_s(workers: int, batch_size: int, data: Path | None, folder: Path) -> float:
    """The median of the later half of a group's epochs."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    config = {"batch_size": batch_size, "data": data, "pairs": PAIRS, "epochs": EPOCHS}
    trainer = TorchTrainer(
        epochs_of_a_worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name=folder.name, storage_path=str(folder.parent)),
    )
    found: Any = trainer.fit().return_value
    return statistics.median(found[EPOCHS // 2 :])


def epochs_of_a_worker(config: dict[str, Any]) -> list[float]:
    """What each worker of a group runs: the loop of a pre-training; seconds of its epochs."""
    import torch

    from benchmark.config.spec import ModelSpec
    from benchmark.models.clip import build
    from benchmark.objectives.mmcl import MMCL
    from benchmark.perf.photos import decoded, load_photos
    from benchmark.training.loop import LoopOptions, train
    from benchmark.types import Training

    torch.set_num_threads(1)
    ends: list[float] = []
    options = LoopOptions(on_epoch=lambda end, _: ends.append(end.wall_s))
    size = config["batch_size"]
    training = Training(
        epochs=config["epochs"], batch_size=size, learning_rate=1e-3, norm_group=size // WORKERS
    )  # one result whatever the world size
    pool = decoded(load_photos(config["data"], config["pairs"]))
    train(build(ModelSpec(), seed=0), pool, MMCL(), training, seed=0, options=options)
    return ends


def _slots() -> Line:
    times: dict[int, list[float]] = {1: [], WORKERS: []}
    for _ in range(TURNS):
        for count, found in times.items():
            slots = ComputeOptions(concurrency=count, cpus_per_slot=1)
            found.append(timed(MODELS, ONLY, options=slots).wall_s)
    pair = paired(times[1], times[WORKERS])
    name = f"four models of a suite, {WORKERS} slots over 1 (s)"
    return at_least(name, f"{pair.baseline:.1f}", f"{pair.ours:.1f}", ratio=pair.ratio, limit=LIMIT)
