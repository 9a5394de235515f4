"""THE training loop, for every objective and every repair. No Ray in it.

What it computes depends on the specification alone: order, augmentation and learning rate are functions of (seed,
epoch, row, step), BatchNorm of `norm_group`, the loss of the global batch. Workers, micro-batches and interruptions
change the time it takes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from benchmark.data.pools import TrainingPool, prefetch
from benchmark.errors import Diverged, must
from benchmark.models.clip import MAX_LOG_SCALE, ClipModel
from benchmark.store.keys import derive_seed
from benchmark.training import checkpoint, lowest
from benchmark.training.epoch_context import EpochContext
from benchmark.training.exchange import own_shard, world_size
from benchmark.training.optimizer import adamw, learning_rate, optimizer_tensors, restore_optimizer
from benchmark.training.step import Stepper, backward, forward_only, make_stepper
from benchmark.training.views import IMAGE_VIEWS, TEXT_VIEWS, make_inputs
from benchmark.types import Objective, Pass, Plan, State, Training


class EpochEnd(NamedTuple):
    """What the loop reports after an epoch."""

    epoch: int  # 1-based
    epochs: int
    loss: float  # mean over the epoch's steps; NaN where nothing was learnt
    learning_rate: float  # of the last step
    images: int  # forward views of images, over all workers
    wall_s: float


class LoopOptions(NamedTuple):
    """What may not change results: memory, checkpoints, and who listens."""

    micro_batch: int | None = None  # samples per forward on one worker; None: all at once
    checkpoint_folder: Path | None = None
    checkpoint_epochs: int = 1
    share_checkpoint: checkpoint.Share | None = None  # where other machines find it
    prefetch: int = 0  # batches prepared ahead by a thread; pays on a GPU
    on_epoch: Callable[[EpochEnd, ClipModel], None] | None = None  # may raise to stop
    on_step: Callable[[int, ClipModel], None] | None = None  # told after so many steps; may raise to stop
    # measures an epoch's model, which is left as it is; asked where the training takes its lowest validation loss
    validation_loss: Callable[[ClipModel], float] | None = None


DEFAULT_OPTIONS = LoopOptions()


class Trained(NamedTuple):
    """A trained model, its optimiser's tensors, and a row per epoch."""

    model: ClipModel
    optimizer: dict[str, torch.Tensor]
    history: list[dict[str, float]]


def train(
    model: ClipModel,
    pool: TrainingPool,
    objective: Objective,
    training: Training,
    *,
    seed: int,
    options: LoopOptions = DEFAULT_OPTIONS,
    inherited: dict[str, torch.Tensor] | None = None,
    rows: np.ndarray | None = None,
    reference: ClipModel | None = None,
) -> Trained:
    """Trains `model` in place.

    Args:
        model: what to train; several workers pass equal models.
        pool: the pairs.
        objective: what to minimise.
        training: epochs, global batch, schedule.
        seed: root of order, augmentation and the objective's own draws.
        options: what may not change results.
        inherited: optimiser tensors to start from (`optimizer_state="inherit"`).
        rows: (n,) int64 rows of the pool to train on; None: all.
        reference: a frozen model whose embeddings of the plain views the objective may ask for.

    Raises:
        UserError: a batch that does not fit pool, workers or norm groups; bf16 asked for on a CPU.
        Diverged: the loss is not finite.
    """
    own = _own_parameters(objective, model, seed)
    stepper = _check_and_prepare(model, pool, objective, training, options, rows)
    loop = _Loop(stepper._replace(reference=reference, parameters=own), pool, training, seed, options)
    if inherited is not None:
        restore_optimizer(model.network, loop.optimizer, inherited, own)
    now, best = _start(loop, objective, options.checkpoint_folder)
    for epoch in range(now.epoch, training.epochs_run):
        began = time.perf_counter()
        model.train()
        plan = objective.plan(epoch, now.state, EpochContext(model, pool, seed, training, epoch))
        now, done = loop.epoch(plan, now, rows)
        end = _epoch_end(epoch, training, done.losses, loop.rate, done.views, began)
        now.history.append({"epoch": end.epoch, "loss": end.loss, "learning_rate": end.learning_rate})
        if options.validation_loss and training.take != "last":
            now.history[-1]["validation_loss"] = options.validation_loss(model)
            best = lowest.better(best, model.network.state_dict(), loop.optimizer_tensors(), now.history)
        if options.checkpoint_folder and (end.epoch % options.checkpoint_epochs == 0 or end.epoch == end.epochs):
            _save(options.checkpoint_folder, loop, now, best=best, share=options.share_checkpoint)
        if options.on_epoch:
            options.on_epoch(end, model)
    return Trained(model, lowest.take(model, best) if best else loop.optimizer_tensors(), now.history)


class _Position(NamedTuple):
    """Where a training stands, between two epochs."""

    epoch: int  # whole epochs that are done
    step: int
    history: list[dict[str, float]]
    state: State  # the objective's


class _Done(NamedTuple):
    """What one epoch did."""

    losses: list[torch.Tensor]  # one a step
    views: int  # forward views of images, over all workers


def _start(loop: _Loop, objective: Objective, folder: Path | None) -> tuple[_Position, lowest.Tensors]:
    """The beginning, or what the last checkpoint restores; with it the best epoch so far, where one is taken."""
    model, own = loop.stepper.model, loop.stepper.parameters
    state = objective.initial_state(embed_dim=model.embed_dim, seed=derive_seed(loop.seed, "objective"))
    saved = checkpoint.load(folder) if folder else None
    if saved is None:
        return _Position(0, 0, [], _on(model, state)), {}
    model.network.load_state_dict(saved.network)
    own.load_state_dict(saved.parameters)
    restore_optimizer(model.network, loop.optimizer, saved.optimizer, own)
    return _Position(saved.epoch, saved.step, saved.history, _on(model, saved.objective)), saved.best


def _on(model: ClipModel, state: State) -> State:
    return {name: value.to(model.device) for name, value in state.items()}


def _own_parameters(objective: Objective, model: ClipModel, seed: int) -> nn.ParameterDict:
    initial = objective.initial_parameters(embed_dim=model.embed_dim, seed=seed)
    return nn.ParameterDict({name: nn.Parameter(value) for name, value in _on(model, initial).items()})


def _within(one_pass: Pass, rows: np.ndarray | None) -> Pass:
    """A pass over no other rows than those that are trained on."""
    if rows is None:
        return one_pass
    return one_pass._replace(rows=rows if one_pass.rows is None else np.intersect1d(one_pass.rows, rows))


class _Loop:
    """The steps of one pass after another."""

    def __init__(
        self, stepper: Stepper, pool: TrainingPool, training: Training, seed: int, options: LoopOptions
    ) -> None:
        self.stepper, self.pool, self.training = stepper, pool, training
        self.optimizer = adamw(stepper.model.network, training, stepper.parameters)
        self.seed, self.prefetch, self.on_step, self.rate = seed, options.prefetch, options.on_step, 0.0
        self.shard = own_shard()

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """The optimiser's state by name."""
        return optimizer_tensors(self.stepper.model.network, self.optimizer, self.stepper.parameters)

    def epoch(self, plan: Plan, start: _Position, rows: np.ndarray | None) -> tuple[_Position, _Done]:
        """Runs the passes of one epoch over no other rows than those that are trained on."""
        state, step, views = _on(self.stepper.model, plan.state), start.step, 0
        losses: list[torch.Tensor] = []
        batch_size = self.training.batch_size
        for one_pass in (_within(item, rows) for item in plan.passes):
            state, step = self.run(one_pass, state, epoch=start.epoch, step=step, losses=losses)
            steps = self.pool.num_steps(batch_size, one_pass.rows)
            seen = {"image", "image_augmented"} & one_pass.views if self.training.learning_rate else {"image"}
            views += steps * batch_size * len(seen)
        return _Position(start.epoch + 1, step, start.history, state), _Done(losses, views)

    def run(
        self, one_pass: Pass, state: State, *, epoch: int, step: int, losses: list[torch.Tensor]
    ) -> tuple[State, int]:
        """Runs one pass; appends each step's loss; returns the objective's state and the step count."""
        training, model = self.training, self.stepper.model
        learns = training.learning_rate > 0
        views = one_pass.views if learns else one_pass.views & {"image"}
        frozen = training.text_augmentation == "frozen"
        per_epoch = self.pool.num_steps(training.batch_size, one_pass.rows)
        batches = self.pool.epoch(
            seed=self.seed, epoch=epoch, batch_size=training.batch_size, rows=one_pass.rows, shard=self.shard
        )
        inputs_of = (
            make_inputs(
                batch,
                views,
                model,
                seed=self.seed,
                epoch=epoch,
                text_frozen=frozen,
                augmentations=one_pass.augmentations,
                labels=self.pool.labels,
            )
            for batch in batches
        )
        for done, inputs in enumerate(prefetch(inputs_of, self.prefetch) if self.prefetch else inputs_of):
            if learns:
                self.rate = self._rate(one_pass, done / per_epoch, step, per_epoch)
                loss, state = backward(self.stepper, inputs, one_pass, state)
                self._update(one_pass)
                losses.append(loss)
            else:
                forward_only(self.stepper, inputs)
            step += 1
            if self.on_step:
                self.on_step(step, model)
        return state, step

    def _rate(self, one_pass: Pass, share: float, step: int, per_epoch: int) -> float:
        if one_pass.learning_rate is None:
            return learning_rate(self.training, step, steps_per_epoch=per_epoch)
        return one_pass.learning_rate(share) if callable(one_pass.learning_rate) else one_pass.learning_rate

    def _update(self, one_pass: Pass) -> None:
        network = self.stepper.model.network
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        if one_pass.trainable is not None:
            for name, parameter in network.named_parameters():
                if not one_pass.trainable(name):
                    parameter.grad = None  # AdamW skips it, decay included
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            network.logit_scale.clamp_(0, MAX_LOG_SCALE)  # type: ignore[union-attr,operator]


def _check_and_prepare(
    model: ClipModel,
    pool: TrainingPool,
    objective: Objective,
    training: Training,
    options: LoopOptions,
    rows: np.ndarray | None,
) -> Stepper:
    world, batch, group = world_size(), training.batch_size, training.norm_group
    available = pool.num_rows if rows is None else len(rows)
    if training.take != "last" and options.validation_loss is None:
        remedy = "only pre-training has validation pairs of its own"
        raise must("training.take", "last where a method trains", training.take, remedy)
    if batch > available:
        raise must("training.batch_size", f"at most the {available} pairs there are", batch, "lower it")
    if batch % world:
        raise must("training.batch_size", f"a multiple of the {world} workers", batch, "change it or the workers")
    local = batch // world
    micro = min(options.micro_batch or local, local)
    on_gpu = model.device.type != "cpu"
    if training.precision == "bf16" and not on_gpu:
        raise must("training.precision", "auto or fp32 on a CPU", "bf16", "it would be slower; use auto")
    stepper = make_stepper(
        model,
        norm_group=group,
        micro_batch=micro if micro < local else None,
        autocast=on_gpu and training.precision != "fp32",
        one_tower=not (objective.views & set(IMAGE_VIEWS) and objective.views & set(TEXT_VIEWS)),
    )
    if stepper.norms and micro < batch and (group is None or micro % group):
        raise must(
            "training.norm_group",
            f"a divisor of the {micro} samples that one forward holds (the model has BatchNorm)",
            group,
            "set it, so that one worker and many give the same model",
        )
    return stepper


def _epoch_end(
    epoch: int, training: Training, losses: list[torch.Tensor], rate: float, views: int, began: float
) -> EpochEnd:
    mean = float(torch.stack(losses).mean()) if losses else math.nan  # waits for the device, so the time is whole
    if losses and not math.isfinite(mean):
        raise Diverged(f"the loss is not finite in epoch {epoch + 1}; lower the learning rate")
    return EpochEnd(epoch + 1, training.epochs_run, mean, rate, views, time.perf_counter() - began)


def _save(folder: Path, loop: _Loop, now: _Position, *, best: lowest.Tensors, share: checkpoint.Share | None) -> None:
    if loop.shard.rank == 0:
        network, own = loop.stepper.model.network, loop.stepper.parameters
        parts = (network.state_dict(), loop.optimizer_tensors(), now.state, own.state_dict(), best)
        checkpoint.save(folder, checkpoint.Snapshot(now.epoch, now.step, now.history, *parts), share=share)
    if loop.shard.world > 1:
        dist.barrier()
