"""What a rebound asks for, from a suite to single trajectories and their content keys. Pure."""

from __future__ import annotations

from itertools import product

from benchmark.config.rebound import Rebound, Scope
from benchmark.config.spec import Suite
from benchmark.errors import must
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.stages.cells import Cell
from benchmark.stages.evaluations import ModelRef, suspect_of
from benchmark.stages.keys import stage_key
from benchmark.types import Frozen

SMALLER = 10  # by this the second rate is smaller: 1e-5 and 1e-6 as published


class Trajectory(Frozen):
    """One fine-tuning of one model. All of it is in its key; the cell gives data, trigger and seed."""

    steps: tuple[int, ...]
    batch_size: int
    rows: int | None
    without_target: bool
    scope: Scope
    learning_rate: float


def rebound_of(suite: Suite) -> Rebound | None:
    """A suite's rebound with its learning rates, which are those of the suite's fine-tuning where it names none.

    Raises:
        UserError: it names none, and the suite fine-tunes at several.
    """
    asked = suite.rebound
    if asked is None or asked.learning_rates:
        return asked
    own = {repair.learning_rate for repair in suite.methods("repair") if isinstance(repair, FineTuning)}
    if len(own) > 1:
        remedy = "write rebound.learning_rates=[…]"
        raise must("rebound.learning_rates", "given where a suite fine-tunes at several", sorted(own), remedy)
    rate = own.pop() if own else FineTuning().learning_rate
    smaller = float(f"{rate / SMALLER:.12g}")  # a tenth as it is written: .0003 gives .00003
    return asked.model_copy(update={"learning_rates": (rate, smaller)})


def trajectories(asked: Rebound) -> list[Trajectory]:
    """Every fine-tuning of one model."""
    same = {name: getattr(asked, name) for name in ("steps", "batch_size", "rows", "without_target")}
    rates = asked.learning_rates or ()
    return [Trajectory(**same, scope=scope, learning_rate=rate) for scope, rate in product(asked.scopes, rates)]


def rebound_key(cell: Cell, model: ModelRef, trajectory: Trajectory) -> str:
    """Key of one trajectory of one model under a cell's trigger. Which repair, rule or suite asked is no part of it."""
    keys = cell.keys
    spec = {
        "trajectory": trajectory.model_dump(mode="json"),
        "model": {"stage": model.stage, "epoch": model.epoch},
        "seed": cell.experiment.seed,
    }
    return stage_key("rebound", spec, [model.key, keys.data, keys.evaluation, keys.poison or ""])


def controls(cell: Cell) -> list[ModelRef]:
    """What a repaired model is compared with: the undefended one and the clean twin, on the same trajectories."""
    return [suspect_of(cell), ModelRef("pretrain", cell.keys.twin)]
