"""What tests of searches share: searches, trials that follow from their parameters, and all of them in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmark.config.spec import Search
from benchmark.types import Choices, Range
from tuners.queue import CellSearch, Searches, TrialReport, TrialResult
from tuners.search import run_locally
from tuners.selection_rules import Row

SEARCH = Search(trials=6, quasi_random=2, round_size=2, startup_trials=2)
SPACE = {"rate": Range(1e-5, 1e-2, log=True), "mode": Choices(("a", "b"))}
DEFAULTS = {"rate": 1e-3, "mode": "a"}


def cells(count: int = 3) -> list[CellSearch]:
    """So many searches of six trials each."""
    return [CellSearch(f"cell-{i}", f"key-{i}", SEARCH, SPACE, DEFAULTS) for i in range(count)]


def execute(config: dict[str, Any]) -> TrialReport:
    """A trial whose numbers follow from its parameters; trial 3 of the second cell raises."""
    if (config["cell"], config["trial"]) == ("cell-1", 3):
        raise RuntimeError("the matrix is singular\nmore lines")
    rate = config["parameters"]["rate"]
    return {"status": "ok", "accuracy": 0.8 - 20 * rate, "asr": 0.9 - 80 * rate}


def plain(results: dict[str, list[TrialResult]]) -> dict[str, list[TrialResult]]:
    """Results without their times."""
    return {cell: [result._replace(wall_s=0.0) for result in found] for cell, found in results.items()}


def run_search_locally(
    wanted: Sequence[CellSearch],
    trial: Callable[[dict[str, Any]], TrialReport],
    *,
    progress: Callable[[TrialResult], None] | None = None,
) -> dict[str, list[TrialResult]]:
    """Runs all trials one after another: what a search on Ray must end with. Cell -> its trials, sorted by trial."""
    searches = Searches(wanted)
    while (proposal := searches.ask()) is not None:
        result = run_locally(proposal, trial)
        searches.tell(result)
        if progress is not None:
            progress(result)
    return searches.results()


def held_at_the_end(rows: Sequence[Row], preferred: Callable[[Sequence[Row]], set[int]]) -> set[tuple[int, int]]:
    """(trial, epoch) of the weights that trials hold which keep, after every epoch, what is preferred of their own."""
    kept: set[tuple[int, int]] = set()
    for trial in {row.trial for row in rows}:
        own = [row for row in rows if row.trial == trial]
        held: set[int] = set()
        for seen, row in enumerate(own, start=1):
            now = preferred(own[:seen])
            assert now <= held | {row.epoch}, "weights that were dropped cannot come back"
            held = now
        kept |= {(trial, epoch) for epoch in held}
    return kept
