"""A trial runs: the repair with the trial's values, as any other repair, keeping what its search may choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.stages.kept import beside
from benchmark.stages.keys import defend_key
from benchmark.stages.settings import own_settings
from benchmark.stages.trial import SearchCell, Tick, keeper, repair_of
from benchmark.store.artifacts import Store
from benchmark.types import Repair
from tuners.queue import TrialReport


def run_trial(
    store: Store, searched: SearchCell, config: Mapping[str, Any], *, compute: Any, tick: Tick
) -> TrialReport:
    """Runs a trial in this process; its artifact is in the store afterwards."""
    from benchmark.stages.work.defend import DefendInputs, defend_stage

    cell = searched.cell
    repair = repair_of(cell, config["parameters"])
    keep, anew = _kept(store, searched, config, repair)
    inputs = DefendInputs(searched.start_accuracy, keep, anew)
    try:
        with own_settings(defend_key(cell, repair)):
            facts = defend_stage(store, cell, repair, inputs, compute, tick=tick)
    finally:
        store.release_files()
    wanted = ("status", "accuracy", "asr", "reason", "wall_s")
    return {name: facts[name] for name in wanted}  # type: ignore[return-value]


def _kept(store: Store, searched: SearchCell, config: Mapping[str, Any], repair: Repair) -> tuple[Any, bool]:
    """Which epochs' weights the trial keeps, and whether it is to be run although its artifact is there."""
    experiment = searched.cell.experiment
    if experiment.search and experiment.search.front_strips:
        return beside(store, searched, config)
    return keeper(experiment, repair, start_accuracy=searched.start_accuracy, floor=searched.floor), False
