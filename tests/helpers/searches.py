"""What tests of searches share: all trials in this process, and the weights that a trial holds epoch after epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tuners.queue import CellSearch, Searches, TrialReport, TrialResult
from tuners.search import run_locally
from tuners.selection_rules import Row


def run_search_locally(
    cells: Sequence[CellSearch],
    execute: Callable[[dict[str, Any]], TrialReport],
    *,
    progress: Callable[[TrialResult], None] | None = None,
) -> dict[str, list[TrialResult]]:
    """Runs all trials one after another: what a search on Ray must end with. Cell -> its trials, sorted by trial."""
    searches = Searches(cells)
    while (proposal := searches.ask()) is not None:
        result = run_locally(proposal, execute)
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
