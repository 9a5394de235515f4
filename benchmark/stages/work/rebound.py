"""`rebound`: one fine-tuning of a model on clean pairs, with the model measured on test after given steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config.protocol import Readouts
from benchmark.data.pools import CachedPool, TrainingPool, open_split
from benchmark.errors import Diverged, NotApplicable
from benchmark.evaluation.evaluate import Condition, HeldOut, evaluate
from benchmark.evaluation.measure import measures
from benchmark.metrics.attack_success_rate import AttackSuccessRate
from benchmark.metrics.clean_accuracy import CleanAccuracy
from benchmark.metrics.poisoned_accuracy import PoisonedAccuracy
from benchmark.models import model_transforms
from benchmark.models.clip import ClipModel
from benchmark.models.projections import ProjectionsOnly
from benchmark.objectives.mmcl import MMCL
from benchmark.stages import measuring
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute, Stopwatch, Tick, required
from benchmark.stages.environment import numerics
from benchmark.stages.evaluations import ModelRef
from benchmark.stages.rebounds import Trajectory, rebound_key
from benchmark.stages.work.defend import load_repaired
from benchmark.stages.work.method_inputs import conditions_of, held_out
from benchmark.stages.work.rebound_pairs import drawn, rows_without, target_names
from benchmark.stages.work.weights import load_pretrained
from benchmark.store import schemas
from benchmark.store.artifacts import Store
from benchmark.store.keys import derive_seed
from benchmark.training.loop import LoopOptions, train
from benchmark.training.oom import retry_with_smaller_micro_batch
from benchmark.types import Pass, Plan, PlanContext, State, Training

ZERO_SHOT = Readouts(probe=False, knn=False, retrieval=False, similarity_samples=0)
METRICS = (CleanAccuracy(), AttackSuccessRate(), PoisonedAccuracy())
OUTCOMES = pa.schema([("step", pa.int32()), *schemas.OUTCOMES])


class ConstantMMCL(MMCL):
    """The CLIP loss at one rate all the way, so that a trajectory of fewer steps is the beginning of a longer one."""

    learning_rate: float

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        """One pass over all pairs."""
        return Plan((Pass(loss=self.loss, learning_rate=self.learning_rate),), state)


class Judge(NamedTuple):
    """How a cell looks at a model."""

    cell: Cell
    test: HeldOut
    conditions: tuple[Condition, ...]  # clean, and the trigger
    facts: dict[str, Any]  # of the set that judges
    batch_size: int

    def outcomes(self, model: ClipModel) -> pa.Table:
        """Zero-shot, in the form in which the cell's attack shows."""
        attack = self.cell.experiment.attack
        form = attack.transform if attack else None
        found = evaluate(
            model_transforms.apply(form, model) if form else model,
            self.test,
            self.conditions,
            class_names=self.facts["class_names"],
            templates=self.facts["evaluation_templates"],
            readouts=ZERO_SHOT,
            clean=None,
            target=None,
            batch_size=self.batch_size,
        )
        return pa.concat_tables(found.outcomes.values())


Looks = dict[int, list[pa.Table]]  # step -> outcomes, in the order of the judges


class _Reached(Exception):
    """The last step is done."""


def rebound_stage(
    store: Store, cells: Sequence[Cell], model: ModelRef, trajectory: Trajectory, compute: Compute, *, tick: Tick
) -> None:
    """Writes the trajectory of one model, once for each cell whose trigger it is judged by.

    Raises:
        NotApplicable: fewer pairs are left than one batch has, or than were asked for.
        LookupError: something of the cells is not in the store.
    """
    watch, first = Stopwatch(), cells[0]
    judges = [_judge(store, cell, compute) for cell in cells]
    data = required(store, "data", first.keys.data)
    split, names = open_split(data.folder, data.facts, "clean"), target_names(store, first)
    pairs = _pairs(split, trajectory, names, data.facts["class_names"], seed=first.experiment.splits.seed)
    start = _load(store, model).to(compute.device)
    last = trajectory.steps[-1]

    def run(micro_batch: int | None) -> tuple[Looks, str]:
        looks: Looks = {}

        def look(step: int, now: ClipModel) -> None:
            tick(f"step {step}/{last}", step / last)
            looks[step] = [judge.outcomes(now) for judge in judges]

        seed = derive_seed(first.experiment.seed, "rebound")
        options = LoopOptions(micro_batch=micro_batch, prefetch=compute.prefetch)
        return looks, fine_tune(start, pairs, trajectory, look, seed=seed, options=options)

    micro_batch = compute.micro_batch
    looks, reason = retry_with_smaller_micro_batch(run, batch_size=trajectory.batch_size, micro_batch=micro_batch)
    facts = {
        "model": model._asdict(),
        "trajectory": trajectory.model_dump(mode="json"),
        "seed": first.experiment.seed,
        "pairs": pairs.num_rows,
        "pairs_left_out": split.num_rows - pairs.num_rows,
        "words": names if trajectory.without_target else [],
        "status": "failed" if reason else "ok",
        "reason": reason,
        "wall_s": watch.seconds() / len(cells),
    }
    for place, judge in enumerate(judges):
        own = {step: tables[place] for step, tables in looks.items()}
        _write(store, judge, rebound_key(judge.cell, model, trajectory), own, facts | numerics(compute))


def fine_tune(
    start: ClipModel,
    pairs: TrainingPool,
    trajectory: Trajectory,
    look: Callable[[int, ClipModel], None],
    *,
    seed: int,
    options: LoopOptions,
) -> str:
    """Fine-tunes a copy, and shows it to `look` after each step that is asked for.

    Returns:
        "" where all steps were done, else why they ended before.
    """
    model = ProjectionsOnly(start) if trajectory.scope == "projection" else start.clone()
    last, rate, batch_size = trajectory.steps[-1], trajectory.learning_rate, trajectory.batch_size
    epochs = ceil(last / pairs.num_steps(batch_size))
    training = Training(epochs=epochs, batch_size=batch_size, learning_rate=rate, warmup_steps=0)

    def on_step(step: int, now: ClipModel) -> None:
        if step in trajectory.steps:
            _check(now, step)
            look(step, now)
        if step == last:
            raise _Reached

    look(0, model)
    try:
        objective = ConstantMMCL(learning_rate=rate)
        train(model, pairs, objective, training, seed=seed, options=options._replace(on_step=on_step))
    except _Reached:
        return ""
    except Diverged as error:
        return str(error)
    raise AssertionError(f"{epochs} epochs must have {last} steps")


def _check(model: ClipModel, step: int) -> None:
    """Of NaN no class is the nearest, yet one would be read out."""
    for name, weight in model.network.state_dict().items():
        if not weight.isfinite().all():
            raise Diverged(f"after {step} steps {name} holds what is no number; lower the learning rate")


def _pairs(
    split: CachedPool, trajectory: Trajectory, names: Iterable[str], class_names: Sequence[str], *, seed: int
) -> CachedPool:
    left = rows_without(split, names if trajectory.without_target else (), class_names)
    rows = drawn(left, trajectory.rows, seed=seed)
    wanted = max(trajectory.rows or 0, trajectory.batch_size)
    if len(rows) < wanted:
        told = f"{len(rows)} of {split.num_rows} are left without the target's word"
        raise NotApplicable(
            f"a rebound needs {wanted} clean pairs, and {told}; lower rebound.rows or rebound.batch_size"
        )
    return split.part(rows)


def _load(store: Store, model: ModelRef) -> ClipModel:
    if model.stage == "defend":
        return load_repaired(store, model.key, model.epoch or 0)
    return load_pretrained(store, model.key)


def _judge(store: Store, cell: Cell, compute: Compute) -> Judge:
    evaluation = required(store, "data", cell.keys.evaluation)
    conditions = conditions_of(store, cell, evaluation)
    return Judge(cell, held_out(evaluation, "test"), conditions, evaluation.facts, compute.evaluation_batch)


def _write(store: Store, judge: Judge, key: str, looks: dict[int, pa.Table], facts: dict[str, Any]) -> None:
    cell, attack = judge.cell, judge.cell.experiment.attack
    target, numbers, outcomes = measuring.target_index(store, cell), [], []
    for step, table in looks.items():
        found = measures([table], target=target, metrics=METRICS)
        numbers += [{"step": step} | measuring.finite(item) for item in found]
        steps = pa.repeat(pa.scalar(step, pa.int32()), table.num_rows)
        outcomes.append(table.add_column(0, OUTCOMES.field("step"), steps))
    draft = store.draft("rebound", key)
    pq.write_table(pa.Table.from_pylist(numbers, schema=schemas.REBOUND), draft.path("rebound.parquet"))
    pq.write_table(pa.concat_tables(outcomes), draft.path("outcomes.parquet"))
    of = {
        "attack": attack.to_dict() if attack else None,
        "poison": cell.keys.poison,
        "target": target,
        "transform": attack.transform if attack else None,
        "data": cell.keys.data,
        "evaluation": cell.keys.evaluation,
    }
    draft.commit(facts | of)
