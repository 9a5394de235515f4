"""What trials keep beside one another: all that the cell chooses at the end, in whatever order they end."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute
from benchmark.stages.kept import beside, without_lost
from benchmark.stages.keys import defend_key
from benchmark.stages.trial import SearchCell, describe, epochs_of, repair_of, rows_of
from benchmark.stages.work.defend import DefendInputs, defend_stage
from benchmark.store import schemas
from benchmark.store.artifacts import Store
from tests.helpers.finished import searched
from tuners.front import front_of, front_rows
from tuners.queue import Proposal, recover
from tuners.selection_rules import preferred_rows, search_rules

pytestmark = pytest.mark.unit
TRIALS, EPOCHS, START = 20, 12, 0.7


def made(trials: int = TRIALS) -> SearchCell:
    cell = searched(trials=trials, quasi_random=trials, front=8, front_strips=8)
    return SearchCell(cell, START, 0.05)


def proposals(of: SearchCell) -> list[Proposal]:
    """Every trial of the search."""
    found: list[Proposal] = []
    recover(describe(of, lambda key: None), lambda proposal: found.append(proposal))
    return found


def measured(trial: int) -> list[dict]:
    """Made-up epochs: ASR falls at a cost in CA that differs from trial to trial."""
    draw = random.Random(trial)
    worth = draw.uniform(0.3, 1.0)
    return [
        {
            "epoch": epoch,
            "validation_accuracy": START * (1 - (1 - worth) * epoch / EPOCHS) + draw.uniform(-0.02, 0.02),
            "validation_asr": max(0.0, 1 - draw.uniform(0.5, 1.5) * epoch / EPOCHS),
            "validation_loss": draw.uniform(1, 2),
        }
        for epoch in range(1, EPOCHS + 1)
    ]


def finish(store: Store, of: SearchCell, proposal: Proposal) -> int:
    """Runs a trial as the engine does, without a model; how many weights it kept."""
    key = defend_key(of.cell, repair_of(of.cell, proposal.parameters))
    keep, anew = beside(store, of, proposal.config())
    assert anew is False or store.has("defend", key)
    epochs = measured(proposal.trial)
    draft = store.draft("defend", key)
    kept = keep(epochs)
    for epoch in kept:
        draft.path(f"epoch-{epoch:04d}.safetensors").write_bytes(b"weights")
    table = pa.Table.from_pylist(epochs, schema=schemas.EPOCHS)
    pq.write_table(table, draft.path("epochs.parquet"))
    last = epochs[-1]
    numbers = {"accuracy": last["validation_accuracy"], "asr": last["validation_asr"]}
    draft.commit({"status": "ok", "reason": "", "wall_s": 1.0} | numbers)
    return len(kept)


def chosen(store: Store, of: SearchCell) -> set[tuple[str, int]]:
    """Artifact and epoch of all that the cell chooses of what has ended."""
    ended = describe(of, lambda key: store.facts("defend", key)).finished
    keys = {item.trial: defend_key(of.cell, repair_of(of.cell, item.parameters)) for item in ended}
    rows = []
    for item in ended:
        strength = repair_of(of.cell, item.parameters).learning_rate  # type: ignore[attr-defined]
        rows += rows_of(epochs_of(store, keys[item.trial]), trial=item.trial, phase=item.phase, strength=strength)
    search = of.cell.experiment.search
    assert search is not None
    numbers = {"floor": of.floor, "start_accuracy": of.start_accuracy}
    found = [*preferred_rows(rows, search_rules(search, **numbers)), *front_rows(rows, front_of(search, **numbers))]
    return {(keys[row.trial], row.epoch) for row in found}


def lost(store: Store, of: SearchCell) -> set[tuple[str, int]]:
    """Of these, what has no weights."""
    return {
        (key, epoch)
        for key, epoch in chosen(store, of)
        if f"epoch-{epoch:04d}.safetensors" not in (store.find("defend", key) or of).hashes  # type: ignore[union-attr]
    }


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_order_nothing_that_is_chosen_is_lost(seed: int, tmp_path: Path) -> None:
    store, of = Store(tmp_path), made()
    trials = proposals(of)
    random.Random(seed).shuffle(trials)
    kept = sum(finish(store, of, proposal) for proposal in trials)
    assert len(chosen(store, of)) > 5
    assert lost(store, of) == set()
    assert kept < 40  # of 252; each trial with a front of its own would keep 154


def test_more_trials_go_on_and_what_fewer_would_choose_is_run_again(tmp_path: Path) -> None:
    store, few, many = Store(tmp_path), made(6), made(TRIALS)
    for proposal in proposals(few):
        finish(store, few, proposal)
    done = {proposal.trial for proposal in proposals(few)}
    for proposal in proposals(many):
        if proposal.trial not in done:
            finish(store, many, proposal)
    assert lost(store, many) == set()  # extended: the earlier trials were not run again
    assert without_lost(store, many, describe(many, lambda key: store.facts("defend", key))).finished

    other = Store(tmp_path / "other")
    for proposal in reversed(proposals(many)):
        finish(other, many, proposal)
    assert lost(other, few)  # the larger search beat them
    opened = describe(few, lambda key: other.facts("defend", key))
    left = without_lost(other, few, opened)
    again = {item.trial for item in opened.finished} - {item.trial for item in left.finished}
    assert again
    for proposal in proposals(few):
        if proposal.trial in again:
            assert beside(other, few, proposal.config())[1]
            finish(other, few, proposal)
    assert lost(other, few) == set()


def test_a_trial_with_the_values_of_the_defaults_keeps_what_the_defaults_do(tmp_path: Path) -> None:
    store, of = Store(tmp_path), made()
    defaults = proposals(of)[0]
    twice = defaults._replace(trial=7, round=2, phase="quasi_random")
    keep, anew = beside(store, of, twice.config())
    assert not anew
    # beaten everywhere, so that nothing but the rule that takes the defaults wants it
    last = measured(0)[-1] | {"validation_accuracy": 0.35 * START, "validation_asr": 1.0}
    assert EPOCHS in keep([*measured(0)[:-1], last])
    other = proposals(of)[1]
    assert EPOCHS not in beside(store, of, other.config())[0]([*measured(0)[:-1], last])


def test_trials_of_such_a_search_are_runs_of_their_own() -> None:
    def key(cell: Cell) -> str:
        assert cell.experiment.repair is not None
        return defend_key(cell, cell.experiment.repair)

    plain, whole = searched(trials=4, front=8), searched(trials=9, front=12)
    assert key(plain) == key(whole) != key(made().cell)


def test_a_trial_that_lacks_weights_is_run_although_it_is_there(tmp_path: Path) -> None:
    store, of = Store(tmp_path), made()
    repair = of.cell.experiment.repair
    assert repair is not None
    store.draft("defend", defend_key(of.cell, repair)).commit({"status": "ok"})

    def run(anew: bool) -> dict:
        inputs = DefendInputs(None, lambda rows: set(), anew)
        return defend_stage(store, of.cell, repair, inputs, Compute(), tick=lambda *_: None)

    assert run(False) == {"status": "ok"}
    with pytest.raises(LookupError, match="pretrain"):  # it looks for its model
        run(True)
