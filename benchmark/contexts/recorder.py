"""What the engine records of a run: measured epochs, kept weights, findings. No method is handed this."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from benchmark.contexts.defense import MethodInputs
from benchmark.errors import Refused
from benchmark.evaluation.evaluate import Condition, HeldOut, validate
from benchmark.models.clip import ClipModel, save_delta
from benchmark.store import schemas
from benchmark.training.loop import EpochEnd

Row = dict[str, Any]


class Collapsed(RuntimeError):
    """Validation accuracy fell so low that the rest of the trial is not worth its compute."""


class Report(NamedTuple):
    """How epochs are measured and which weights are kept."""

    validation: HeldOut
    conditions: tuple[Condition, ...]  # clean, and the trigger where there is an attack
    folder: Path
    base_key: str
    progress: Callable[[EpochEnd], None]
    keep: Callable[[Sequence[Row]], set[int]] = lambda rows: set()  # epochs whose weights a selection rule prefers
    watch: Callable[[ClipModel], None] = lambda model: None  # looks at each model before it is measured
    start_accuracy: float | None = None  # of the model as it came in; None: no collapse stopping
    collapse: float = 0.0  # share of it below which a trial ends


class EpochRecorder:
    """Measures epochs, keeps the weights that a rule may select, and writes both down."""

    def __init__(self, report: Report, resources: MethodInputs) -> None:
        self.report, self._resources = report, resources
        self.rows: list[Row] = []  # of `schemas.EPOCHS`
        self.refusal = ""  # why nothing of this run may be chosen

    @property
    def count(self) -> int:
        """Measured epochs so far."""
        return len(self.rows)

    def forget(self, *, after: int) -> None:
        """Drops the epochs of a training that is tried again with smaller micro-batches."""
        del self.rows[after:]

    def measure(self, epoch: int, model: ClipModel, *, training_loss: float, learning_rate: float) -> None:
        """Measures an epoch on validation and keeps its weights where a selection rule now prefers them.

        Raises:
            Refused: this model, or one before it, is no repair of the one that was given.
            Collapsed: validation accuracy fell below the suite's share of the start.
        """
        report = self.report
        self._watch(model)
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

    def _watch(self, model: ClipModel) -> None:
        """Whatever the method does with the error, a refusal stands, and no epoch of the run may be chosen."""
        try:
            if not self.refusal:
                self.report.watch(model)
        except Refused as error:
            self.refusal = str(error)
            for row in self.rows:
                self._drop(row["epoch"])
            self.rows.clear()
        if self.refusal:
            raise Refused(self.refusal)

    def measure_result(self, model: ClipModel) -> None:
        """Measures what a repair returned that reported nothing on its way."""
        if not self.rows:
            self.measure(1, model, training_loss=math.nan, learning_rate=math.nan)

    def _keep(self, epoch: int, model: ClipModel) -> None:
        folder, keep = self.report.folder, self.report.keep(self.rows)
        if epoch in keep:
            base = {"artifact": self.report.base_key}
            save_delta(model, folder, name=weights_name(epoch), base=base, of=self._resources.model)
        for row in self.rows:
            if row["epoch"] not in keep:
                self._drop(row["epoch"])

    def _drop(self, epoch: int) -> None:
        """Removes the weights of an epoch."""
        for suffix in (".safetensors", ".json"):
            (self.report.folder / (weights_name(epoch) + suffix)).unlink(missing_ok=True)

    def write(self, findings: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the table of measured epochs and the tensors among the findings; returns the other findings."""
        folder = self.report.folder
        pq.write_table(pa.Table.from_pylist(self.rows, schema=schemas.EPOCHS), folder / "epochs.parquet")
        tensors = {name: value for name, value in findings.items() if isinstance(value, torch.Tensor)}
        if tensors:
            found = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            save_file(found, folder / "findings.safetensors")
        return {name: value for name, value in findings.items() if name not in tensors}


def weights_name(epoch: int) -> str:
    """Stem of the files that hold the weights after an epoch."""
    return f"epoch-{epoch:04d}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
