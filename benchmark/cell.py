"""One model of a suite that was run, attacked or clean, with its data: to try methods on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmark.errors import UserError, must
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute, required
from benchmark.stages.keys import keys_of
from benchmark.stages.once import Once
from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.config.spec import Experiment
    from benchmark.evaluation.evaluate import Condition, HeldOut
    from benchmark.models.clip import ClipModel
    from benchmark.stages.work.detect import Detection
    from benchmark.types import Detector, Measure, Method, Metric, Model, Repair


class OpenCell:
    """One model of a suite, attacked or clean, with what the suite's methods see of it.

    Methods run in this process, with the cell's own seeds: a repair gives what a run of the suite would. No record
    is written; `run` does that.
    """

    def __init__(self, store: Store, cell: Cell, device: str | None = None) -> None:
        self.store, self._cell = store, cell
        self.device = device or _device()

    def __repr__(self) -> str:
        return f"<{self.name} of store {self.store.root} on {self.device}>"

    @property
    def name(self) -> str:
        """Objective, attack, seed."""
        experiment = self.experiment
        return f"{experiment.objective.label} × {_attack(experiment)}, seed {experiment.seed}"

    @property
    def experiment(self) -> Experiment:
        """The cell in full."""
        return self._cell.experiment

    def model(self) -> ClipModel:
        """The model as it was trained, attacked or clean, in evaluation mode; a new copy each time."""
        from benchmark.stages.work.weights import load_pretrained

        return load_pretrained(self.store, self._cell.keys.pretrain).to(self.device).eval()

    def images(self, split: str = "test") -> HeldOut:
        """Images, labels, captions and ids of the split "clean", "validation" or "test", without any trigger.

        Raises:
            UserError: no such split, or one that is not kept decoded.
        """
        from benchmark.stages.work.method_inputs import held_out

        keys = self._cell.keys
        return held_out(self._artifact("data", keys.data if split == "clean" else keys.evaluation), split)

    @property
    def trigger(self) -> Condition:
        """The attack's trigger: `trigger.apply(images, ids)` stamps (B, 3, H, W) uint8 images; `trigger.target`.

        Raises:
            UserError: the clean twin has none.
        """
        clean, *attacks = self._conditions()
        if not attacks:
            raise UserError(
                f"{self.name} must be attacked to have a trigger, got the {clean.name} twin; name an attack"
            )
        return attacks[0]

    def evaluate(self, model: Model | None = None) -> pd.DataFrame:
        """Measures a model on the test split, clean and under the cell's attack, as the suite would.

        Args:
            model: what to measure, e.g. what `repair` gave; None: the cell's own.

        Returns:
            One row per number: name, readout, value, count (-1: no proportion), total, version. `net_asr` is the
            attack's success above `floor`, that of the clean twin.
        """
        import pandas as pd

        from benchmark.metrics import AttackSuccessRate
        from benchmark.models.clip import as_clip
        from benchmark.models.model_transforms import apply
        from benchmark.stages.evaluations import transforms
        from benchmark.stages.measuring import floor_and_net, under
        from benchmark.stages.work.weights import load_pretrained
        from benchmark.types import Measure

        own, twin = as_clip(model or self.model()), load_pretrained(self.store, self._cell.keys.twin).to(self.device)
        conditions, found = self._conditions(), []
        for form in (None, *transforms(self._cell)):
            measured = self._measured(apply(form, own) if form else own, conditions)
            if len(conditions) > 1:
                floors = self._measured(apply(form, twin) if form else twin, conditions[1:], [AttackSuccessRate()])
                measured = [*measured, *floor_and_net(measured, floors)]
            found += [item._replace(name=under(item.name, form)) for item in measured]
        return pd.DataFrame(found, columns=Measure._fields)

    def repair(self, repair: Repair) -> ClipModel:
        """Runs a repair on the cell's model; the repaired model after its last epoch.

        Raises:
            UserError: it is no repair.
            NotApplicable: the repair cannot run on this cell.
            CardError: it asks for what its card does not name.
        """
        from benchmark.models.clip import as_clip
        from benchmark.stages.work.defend import NOTHING_KEPT, repair_context
        from benchmark.types import Repair

        if not isinstance(repair, Repair):
            raise must("repair", "a repair with its fields", repair, "e.g. cell.repair(CleanCLIP(epochs=1))")
        model, compute, cell = self.model(), Compute(self.device), self._with(repair=repair)
        base = cell.keys.pretrain
        with TemporaryDirectory() as folder:
            parts = (repair.own_card, NOTHING_KEPT, compute, Path(folder), model, _untold)
            context, _ = repair_context(self.store, cell, *parts, base=base, repair=repair)
            return as_clip(repair.repair(model, context)).eval()

    def detect(self, detector: Detector) -> Detection:
        """Runs a detector on the cell's model: its `scores` with what is true beside them, or its `finding`.

        Raises:
            NotApplicable: the detector cannot run on this cell.
            CardError: it asks for what its card does not name.
        """
        from benchmark.stages.work.detect import detect

        return detect(self.store, self._with(detector=detector), detector, Compute(self.device))

    def _with(self, **defense: Method) -> Cell:
        """The cell with a defense, whose model from outside must be in the store where its card asks for one."""
        experiment = self.experiment.model_copy(update=defense)
        cell = Cell(experiment, keys_of(experiment, Once()))
        (method,) = defense.values()
        if cell.keys.outside and not self.store.has("pretrain", cell.keys.outside):
            what = f"the clean model from outside that {method.card.title} asks for"
            raise UserError(
                f"{what} must be in store {self.store.root}, got none; run the suite with {method.name} in it"
            )
        return cell

    def _artifact(self, stage: str, key: str) -> Artifact:
        return required(self.store, stage, key)

    def _conditions(self) -> Sequence[Condition]:
        from benchmark.stages.work.method_inputs import conditions_of

        return conditions_of(self.store, self._cell, self._artifact("data", self._cell.keys.evaluation))

    def _measured(
        self, model: ClipModel, conditions: Sequence[Condition], metrics: Sequence[Metric] | None = None
    ) -> list[Measure]:
        """What the given metrics, or all, say of a model."""
        from benchmark.evaluation.evaluate import evaluate
        from benchmark.evaluation.measure import measures
        from benchmark.stages.measuring import target_index

        facts = self._artifact("data", self._cell.keys.evaluation).facts
        found = evaluate(
            model,
            self.images("test"),
            conditions,
            class_names=facts["class_names"],
            templates=facts["evaluation_templates"],
            readouts=self.experiment.readouts,
            clean=self.images("clean"),
            target=None,
            batch_size=Compute(self.device).evaluation_batch,
        )
        return measures(found.outcomes.values(), target=target_index(self.store, self._cell), metrics=metrics)


def _attack(experiment: Experiment) -> str:
    return experiment.attack.label if experiment.attack else "clean"


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _untold(what: str, share: float) -> None:
    """What runs here is not watched."""
