"""What a repair may use, gated by its card: asking for what the card does not name is an error."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmark import records
from benchmark.clip import ClipModel, save_delta
from benchmark.evaluate import Condition, HeldOut, TextHead, text_head, validate
from benchmark.identity import derive_seed
from benchmark.memory import with_smaller_batches
from benchmark.pool import Pool
from benchmark.randomness import generator as seeded
from benchmark.train import EpochEnd, LoopOptions, train
from benchmark.types import Card, Objective, Training

Row = dict[str, Any]


class CardError(RuntimeError):
    """A method asked for something that its card does not name."""


class NotApplicable(RuntimeError):
    """A method cannot run on this cell; the text says why."""


class Collapsed(RuntimeError):
    """Validation accuracy fell so low that the rest of the trial is not worth its compute."""


class Resources(NamedTuple):
    """What there is; the card decides what a repair sees of it."""

    clean_pairs: Pool
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    reference: ClipModel
    optimizer_state: Callable[[], tuple[dict[str, torch.Tensor], Training]]
    suspect_pairs: Callable[[], Pool]
    trigger: Condition | None  # the true one, with its target; for declared oracles


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


class Context:
    """The engine's side of `RepairContext`."""

    def __init__(self, card: Card, resources: Resources, report: Report, *, seed: int, options: LoopOptions) -> None:
        self.card, self.seed = card, seed
        self._resources, self._report, self._options = resources, report, options
        self._fits, self.clean_pairs_used = 0, 0
        self._frozen: ClipModel | None = None
        self._generator = seeded(derive_seed(seed, "repair"))
        self.rows: list[Row] = []

    def _need(self, name: str, *, of: str | None = None) -> Any:
        """The resource `of` (default: of the same name), where the card names `name`."""
        if name not in self.card.needs:
            raise CardError(f"{self.card.title} asked for {name!r}, which its card does not name; add it to card.needs")
        return getattr(self._resources, of or name)

    @property
    def clean_pairs(self) -> Pool:
        """The defender's clean image-caption pairs."""
        pool = self._need("clean_pairs")
        self.clean_pairs_used = pool.num_rows
        return pool

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 labels of the clean pairs.

        Raises:
            NotApplicable: the set has captions only.
        """
        self._need("labels", of="clean_pairs")
        labels = self._resources.clean_pairs.labels
        if labels is None:
            raise NotApplicable(f"{self.card.title} needs labels of the clean pairs; this set has captions only")
        return labels

    @property
    def suspect_pairs(self) -> Pool:
        """The pairs that the model was pre-trained on, poison and all."""
        return self._need("suspect_pairs")()

    @property
    def trigger(self) -> Condition:
        """The true trigger and its target.

        Raises:
            NotApplicable: the model was not attacked.
        """
        found = self._need("trigger")
        if found is None:
            raise NotApplicable(f"{self.card.title} needs the true trigger; this model was not attacked")
        return found

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that the model will be asked about."""
        return self._need("class_names")

    @property
    def reference(self) -> ClipModel:
        """A frozen copy of the model as it came in."""
        frozen: ClipModel = self._frozen or self._need("reference").clone().eval()
        frozen.network.requires_grad_(False)
        self._frozen = frozen
        return frozen

    @property
    def generator(self) -> torch.Generator:
        """A CPU generator, seeded for this repair of this cell."""
        return self._generator

    def fit(self, model: ClipModel, pairs: Pool, objective: Objective, training: Training) -> ClipModel:
        """Trains a copy of the model with the one training loop, reports every epoch, and returns the copy."""
        inherited = None
        if training.optimizer_state == "inherit":
            inherited, before = self._need("optimizer_state")()
            kept = {name: getattr(before, name) for name in ("weight_decay", "beta1", "beta2", "eps")}
            training = training.model_copy(update=kept)
        self._fits += 1
        earlier = len(self.rows)

        def on_epoch(end: EpochEnd, now: ClipModel) -> None:
            self._report.progress(end)
            self.report(earlier + end.epoch, now, training_loss=end.loss, learning_rate=end.learning_rate)

        seed = derive_seed(self.seed, "fit", self._fits)

        def run(micro_batch: int | None) -> ClipModel:
            del self.rows[earlier:]
            copy = model.clone()
            options = self._options._replace(on_epoch=on_epoch, micro_batch=micro_batch)
            train(copy, pairs, objective, training, seed=seed, options=options, inherited=inherited)
            return copy

        return with_smaller_batches(run, batch_size=training.batch_size, micro_batch=self._options.micro_batch)

    def encode_images(self, model: ClipModel, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float32 in [0, 1] -> (B, D) L2-normalised."""
        return model.encode_images(images)

    def logits(self, model: ClipModel, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, C) zero-shot logits over the class names."""
        with torch.no_grad():
            head: TextHead = text_head(model, self.class_names, self._resources.templates)
        return model.logit_scale() * model.encode_images(images) @ head.weights.T

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

    def _keep(self, epoch: int, model: ClipModel) -> None:
        folder, keep = self._report.folder, self._report.keep(self.rows)
        if epoch in keep:
            base = {"artifact": self._report.base_key}
            save_delta(model, folder, name=weights_name(epoch), base=base, of=self._resources.reference)
        for row in self.rows:
            if row["epoch"] not in keep:
                for suffix in (".safetensors", ".json"):
                    (folder / (weights_name(row["epoch"]) + suffix)).unlink(missing_ok=True)

    def write_epochs(self) -> None:
        """Writes the table of measured epochs."""
        pq.write_table(pa.Table.from_pylist(self.rows, schema=records.EPOCHS), self._report.folder / "epochs.parquet")


def weights_name(epoch: int) -> str:
    """Stem of the files that hold the weights after an epoch."""
    return f"epoch-{epoch:04d}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Stopwatch:
    """Wall time of a stage."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._began
