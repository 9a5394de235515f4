"""What a repair may use besides: the training loop, and reports that tell it nothing.

What is measured of the trigger stays with the engine (`contexts.recorder`): a method that saw attack success could
stop where it is low, and the rules that never look at it would no longer be blind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmark.contexts.defense import GatedContext, MethodInputs
from benchmark.contexts.recorder import EpochRecorder
from benchmark.data.pools import TrainingPool
from benchmark.models.clip import ClipModel, as_clip
from benchmark.store.keys import derive_seed
from benchmark.training.loop import EpochEnd, LoopOptions, train
from benchmark.training.oom import retry_with_smaller_micro_batch
from benchmark.types import Card, Model, Objective, Pool, Training


class _Record(NamedTuple):
    """What the engine's recorder is asked for, as closures: no attribute of a context leads to what it measured."""

    measure: Callable[[int, ClipModel, float, float], None]  # epoch, model, training loss, learning rate
    forget: Callable[[int], None]  # epochs after so many
    num_measured: Callable[[], int]
    progress: Callable[[EpochEnd], None]


def _record(recorder: EpochRecorder) -> _Record:
    def measure(epoch: int, model: ClipModel, training_loss: float, learning_rate: float) -> None:
        recorder.measure(epoch, model, training_loss=training_loss, learning_rate=learning_rate)

    return _Record(
        measure,
        lambda count: recorder.forget(after=count),
        lambda: recorder.count,
        lambda end: recorder.report.progress(end),
    )


class GatedRepairContext(GatedContext):
    """The engine's side of `types.RepairContext`."""

    def __init__(
        self, card: Card, inputs: MethodInputs, recorder: EpochRecorder, *, seed: int, options: LoopOptions
    ) -> None:
        super().__init__(card, inputs, seed=seed)
        self._record, self._options, self._fits = _record(recorder), options, 0
        self.findings: dict[str, Any] = {}  # the method's own

    def fit(
        self,
        model: Model,
        pairs: Pool,
        objective: Objective,
        training: Training,
        *,
        rows: np.ndarray | None = None,
        report: bool = True,
    ) -> ClipModel:
        """Trains a copy of the model with the one training loop, reports every epoch if asked, returns the copy."""
        start_from, pool, inherited = as_clip(model), _trainable(pairs), None
        if training.optimizer_state == "inherit":
            inherited, before = self._ask("optimizer_state")
            kept = {name: getattr(before, name) for name in ("weight_decay", "beta1", "beta2", "eps")}
            training = training.model_copy(update=kept)
        needs_reference = any(view.endswith("_reference") for view in objective.views)
        reference = self.reference if needs_reference else None
        self._fits += 1
        earlier = self._record.num_measured()

        def on_epoch(end: EpochEnd, now: ClipModel) -> None:
            self._record.progress(end)
            if report:
                self.report(earlier + end.epoch, now, training_loss=end.loss, learning_rate=end.learning_rate)

        seed = derive_seed(self.seed, "fit", self._fits)

        def run(micro_batch: int | None) -> ClipModel:
            self._record.forget(earlier)
            copy = start_from.clone()
            options = self._options._replace(on_epoch=on_epoch, micro_batch=micro_batch)
            start = {"inherited": inherited, "rows": rows, "reference": reference}
            train(copy, pool, objective, training, seed=seed, options=options, **start)
            return copy

        return retry_with_smaller_micro_batch(
            run, batch_size=training.batch_size, micro_batch=self._options.micro_batch
        )

    def report(
        self, epoch: int, model: Model, *, training_loss: float = math.nan, learning_rate: float = math.nan
    ) -> None:
        """Has an epoch measured on validation and its weights kept where a selection rule prefers them now.

        Raises:
            Collapsed: validation accuracy fell below the suite's share of the start.
        """
        self._record.measure(epoch, as_clip(model), training_loss, learning_rate)

    def note(self, **findings: Any) -> None:
        """Keeps what the method found on its way: numbers and texts for the facts, tensors beside them."""
        self.findings |= findings


def _trainable(pairs: Pool) -> TrainingPool:
    if not isinstance(pairs, TrainingPool):
        raise TypeError(f"a method must train on a pool of its context, got {type(pairs).__name__}; see `ctx.pairs`")
    return pairs
