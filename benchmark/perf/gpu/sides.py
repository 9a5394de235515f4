"""The sides of the GPU's bench: our loop, the bare step on resident tensors, and open_clip's own training epoch."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmark.config.spec import ModelSpec
from benchmark.data.pools import CachedPool
from benchmark.models.clip import ClipModel, build
from benchmark.objectives.mmcl import MMCL
from benchmark.perf.training import BareStep, Resident, plain, resident
from benchmark.training.loop import EpochEnd, LoopOptions, train
from benchmark.training.optimizer import adamw
from benchmark.types import Objective, Training

WORDS = ("red", "blue", "small", "large", "circle", "square", "star", "ring", "left", "right", "photo", "drawing")
PREFETCH = 2  # as stages have it on a GPU
Action = Callable[[], None]


class Sizes(NamedTuple):
    """How much is measured."""

    models: tuple[str, ...]
    batch: int  # global; halved until it fits
    pairs: int
    epochs: int  # the first one warms up


class Bench(NamedTuple):
    """One model and objective on one device."""

    model: str
    objective: Objective
    training: Training
    pool: CachedPool
    device: str

    def fresh(self) -> ClipModel:
        """A new model on the device."""
        return build(ModelSpec(name=self.model), seed=0).to(self.device)


def random_pairs(count: int, size: int) -> CachedPool:
    """Noise of `size` pixels with captions of four words; speed does not depend on what is seen."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    captions = [" ".join(rng.choice(WORDS, 4)) for _ in range(count)]
    return CachedPool(images, captions, None)


def now(device: str) -> float:
    """Seconds of a clock, once the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turn_with_loop(bench: Bench, others: Sequence[Action], *, micro_batch: int | None = None) -> list[list[float]]:
    """Seconds of every epoch of our loop, then of each other side, which take turns; the first epoch is left out."""
    times: list[list[float]] = [[] for _ in range(1 + len(others))]
    began = now(bench.device)

    def on_epoch(end: EpochEnd, _: ClipModel) -> None:
        nonlocal began
        times[0].append(now(bench.device) - began)
        for column, action in zip(times[1:], others, strict=True):
            began = now(bench.device)
            action()
            column.append(now(bench.device) - began)
        began = now(bench.device)

    options = LoopOptions(micro_batch=micro_batch, prefetch=PREFETCH, on_epoch=on_epoch)
    train(bench.fresh(), bench.pool, bench.objective, bench.training, seed=0, options=options)
    return [column[1:] for column in times]


def prepared(bench: Bench) -> list[Resident]:
    """The batches of an epoch on the device, ready for the towers."""
    return resident(bench.pool, bench.fresh(), bench.objective.views, batch_size=bench.training.batch_size)


def bare_epoch(bench: Bench, batches: Sequence[Resident]) -> Action:
    """Forward, backward and step over resident batches."""
    step = BareStep(bench.objective, bench.training, ModelSpec(name=bench.model), bench.device)

    def epoch() -> None:
        for batch in batches:
            step(batch)

    return epoch


def open_clip_epoch(bench: Bench, batches: Sequence[Resident]) -> Action:
    """open_clip's `train_one_epoch` with its own loss over resident batches; MMCL alone."""
    from open_clip.loss import ClipLoss
    from open_clip_train.train import train_one_epoch

    assert isinstance(bench.objective, MMCL)
    network = plain(bench.fresh()).network
    network.output_dict = True  # type: ignore[assignment]
    data = {"train": _Data(batches)}
    options = Namespace(
        device=bench.device,
        precision="amp_bf16" if bench.device == "cuda" else "fp32",
        batch_size=bench.training.batch_size,
        log_every_n_steps=len(batches),
        **{"accum_freq": 1, "rank": 0, "local_rank": 0, "world_size": 1, "grad_clip_norm": None},
        **dict.fromkeys(("distill", "horovod", "wandb", "log_local"), False),
        skip_scheduler=True,
    )
    optimizer, loss = adamw(network, bench.training), ClipLoss()

    def epoch() -> None:
        train_one_epoch(network, data, loss, 0, optimizer, None, None, None, options)

    return epoch


class _Data:
    """Resident batches as open_clip's loop reads them."""

    def __init__(self, batches: Sequence[Resident]) -> None:
        self.dataloader = self
        self._batches = [(batch.images, batch.tokens) for batch in batches]
        self.num_batches, self.num_samples = len(batches), sum(batch.num_pairs for batch in batches)

    def set_epoch(self, epoch: int) -> None:
        """The batches are alike in every epoch."""

    def __iter__(self) -> Any:
        return iter(self._batches)
