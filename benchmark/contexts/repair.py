"""What a repair may use besides: the training loop, and reports that keep the weights a selection rule prefers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from benchmark.contexts.defense import GatedContext, MethodInputs
from benchmark.data.pools import Pool
from benchmark.evaluation.evaluate import Condition, HeldOut, validate
from benchmark.models.clip import ClipModel, save_delta
from benchmark.store import schemas
from benchmark.store.keys import derive_seed
from benchmark.training.loop import EpochEnd, LoopOptions, train
from benchmark.training.oom import retry_with_smaller_micro_batch
from benchmark.types import Card, Objective, Training

Row = dict[str, Any]


class Collapsed(RuntimeError):
    """Validation accuracy fell so low that the rest of the trial is not worth its compute."""


class Report(NamedTuple):
    """How epochs are measured and which weights are kept."""

    validation: HeldOut
    conditions: tuple[Condition, ...]  # clean, and the trigger where there is an attack
    keep: Callable[[Sequence[Row]], set[int]]  # epochs whose weights a selection rule prefers
    start_accuracy: float | None  # of the model as it came in; None: no collapse stopping
    collapse: float
    folder: Path
    base_key: str
    progress: Callable[[EpochEnd], None]


class GatedRepairContext(GatedContext):
    """The engine's side of `types.RepairContext`."""

    def __init__(self, card: Card, resources: MethodInputs, report: Report, *, seed: int, options: LoopOptions) -> None:
        super().__init__(card, resources, seed=seed)
        self._report, self._options, self._fits = report, options, 0
        self.rows: list[Row] = []
        self.findings: dict[str, Any] = {}

    def fit(
        self,
        model: ClipModel,
        pairs: Pool,
        objective: Objective,
        training: Training,
        *,
        rows: np.ndarray | None = None,
        report: bool = True,
    ) -> ClipModel:
        """Trains a copy of the model with the one training loop, reports every epoch if asked, returns the copy."""
        inherited = None
        if training.optimizer_state == "inherit":
            inherited, before = self._need("optimizer_state")()
            kept = {name: getattr(before, name) for name in ("weight_decay", "beta1", "beta2", "eps")}
            training = training.model_copy(update=kept)
        needs_reference = any(view.endswith("_reference") for view in objective.views)
        reference = self.reference if needs_reference else None
        self._fits += 1
        earlier = len(self.rows)

        def on_epoch(end: EpochEnd, now: ClipModel) -> None:
            self._report.progress(end)
            if report:
                self.report(earlier + end.epoch, now, training_loss=end.loss, learning_rate=end.learning_rate)

        seed = derive_seed(self.seed, "fit", self._fits)

        def run(micro_batch: int | None) -> ClipModel:
            del self.rows[earlier:]
            copy = model.clone()
            options = self._options._replace(on_epoch=on_epoch, micro_batch=micro_batch)
            start = {"inherited": inherited, "rows": rows, "reference": reference}
            train(copy, pairs, objective, training, seed=seed, options=options, **start)
            return copy

        return retry_with_smaller_micro_batch(
            run, batch_size=training.batch_size, micro_batch=self._options.micro_batch
        )

    def report(
        self, epoch: int, model: ClipModel, *, training_loss: float = math.nan, learning_rate: float = math.nan
    ) -> None:
        """Measures an epoch on validation and keeps the weights that a selection rule now prefers.

        Raises:
            Collapsed: validation accuracy fell below the suite's share of the start.
        """
        report = self._report
        found = validate(
            model,
            report.validation,
            report.conditions,
            class_names=self._resources.class_names,
            templates=self._resources.templates,
            batch_size=512,
        )
        row: Row = {
            "epoch": epoch,
            "validation_accuracy": found.accuracy,
            "validation_accuracy_total": found.total,
            "validation_asr": found.asr,
            "validation_asr_total": found.asr_total,
            "validation_poisoned_accuracy": found.poisoned_accuracy,
            "validation_loss": found.loss,
            "training_loss": _finite(training_loss),
            "learning_rate": _finite(learning_rate),
        }
        self.rows.append(row)
        self._keep(epoch, model)
        start = report.start_accuracy
        if start is not None and found.accuracy < report.collapse * start:
            raise Collapsed(f"validation accuracy {found.accuracy:.3f} after epoch {epoch}, {start:.3f} at the start")

    def note(self, **findings: Any) -> None:
        """Keeps what the method found on its way: numbers and texts for the facts, tensors beside them."""
        self.findings |= findings

    def _keep(self, epoch: int, model: ClipModel) -> None:
        folder, keep = self._report.folder, self._report.keep(self.rows)
        if epoch in keep:
            base = {"artifact": self._report.base_key}
            save_delta(model, folder, name=weights_name(epoch), base=base, of=self._resources.model)
        for row in self.rows:
            if row["epoch"] not in keep:
                for suffix in (".safetensors", ".json"):
                    (folder / (weights_name(row["epoch"]) + suffix)).unlink(missing_ok=True)

    def write(self) -> dict[str, Any]:
        """Writes the table of measured epochs and the tensors that were noted; returns the other findings."""
        folder = self._report.folder
        pq.write_table(pa.Table.from_pylist(self.rows, schema=schemas.EPOCHS), folder / "epochs.parquet")
        tensors = {name: value for name, value in self.findings.items() if isinstance(value, torch.Tensor)}
        if tensors:
            found = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            save_file(found, folder / "findings.safetensors")
        return {name: value for name, value in self.findings.items() if name not in tensors}


def weights_name(epoch: int) -> str:
    """Stem of the files that hold the weights after an epoch."""
    return f"epoch-{epoch:04d}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
