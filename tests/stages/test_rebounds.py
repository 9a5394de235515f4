"""Keys of trajectories, and which weights a rebound begins with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.rebound import Rebound as Asked
from benchmark.errors import NotApplicable
from benchmark.stages.cells import Cell
from benchmark.stages.evaluations import ModelRef
from benchmark.stages.keys import cells_of
from benchmark.stages.node import Ended, Node, Workplace
from benchmark.stages.rebound import Rebound
from benchmark.stages.rebounds import Trajectory, controls, rebound_key
from benchmark.stages.record import write_record
from benchmark.stages.repaired import Repaired, chosen_weights
from benchmark.stages.selection import Selected
from benchmark.store.artifacts import Store
from tests.helpers import finished, rebounds

pytestmark = pytest.mark.unit
ONE = Trajectory(steps=(0, 5), batch_size=16, rows=None, without_target=True, scope="full", learning_rate=1e-3)
RATES = {"learning_rates": (1e-3, 1e-4)}


def nodes(cell: Cell, asked: Asked = rebounds.ASKED, seeds: tuple[int, ...] = (0,)) -> list[Node]:
    """What `repaired` asks for a cell."""
    return list(Repaired(asked.model_copy(update=RATES), seeds).nodes(cell, lambda _: 0))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return rebounds.finish(tmp_path / "store", rebounds.suite())


@pytest.fixture
def cell() -> Cell:
    return rebounds.repaired(rebounds.suite())


def test_golden_key_of_a_trajectory(cell: Cell) -> None:
    assert rebound_key(cell, ModelRef("defend", "0" * 32, 5), ONE) == "aa924c3d2bfdf96f6a6efdfc9fe70baa"


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", (0, 6)), ("batch_size", 8), ("rows", 40), ("without_target", False), ("scope", "projection")],
)
def test_every_field_of_a_trajectory_is_in_its_key(field: str, value: Any, cell: Cell) -> None:
    model = ModelRef("defend", "a" * 32, 5)
    other = ONE.model_copy(update={field: value})
    assert rebound_key(cell, model, other) != rebound_key(cell, model, ONE)


def test_weights_trigger_and_seed_are_in_a_key_and_the_repair_is_not(cell: Cell) -> None:
    cells = cells_of(rebounds.suite())
    undefended = next(one for one in cells if one.keys.pretrain == cell.keys.pretrain and not one.experiment.repair)
    model, other_seed = controls(cell)[0], rebounds.repaired(rebounds.suite(seeds=(3,)))
    own = rebound_key(cell, model, ONE)
    assert rebound_key(undefended, model, ONE) == own  # so that all repairs share their controls
    others = {
        rebound_key(cell, ModelRef("defend", model.key, 1), ONE),
        rebound_key(cell, ModelRef("defend", model.key, 2), ONE),
        rebound_key(cell._replace(keys=cell.keys._replace(poison="b" * 32)), model, ONE),
        rebound_key(cell._replace(experiment=other_seed.experiment), model, ONE),
    }
    assert len(others | {own}) == 5


def test_it_is_asked_of_repaired_cells_under_attack_in_the_seeds_that_are_asked_for() -> None:
    cells = cells_of(rebounds.suite())
    asked = [(one.experiment.seed, one.experiment.attack is not None) for one in cells if nodes(one)]
    assert asked == [(0, True)]
    assert [node.ref for node in nodes(rebounds.repaired(rebounds.suite()))] != []


def test_a_searched_cell_is_asked_for_every_rule_and_another_for_its_default() -> None:
    searched = finished.searched(trials=2, quasi_random=1)
    asked = Asked(selections=("default", "oracle"))
    assert [node.arguments[1] for node in nodes(searched, asked)] == ["default", "oracle"]
    assert [node.arguments[1] for node in nodes(rebounds.repaired(rebounds.suite()), asked)] == ["default"]


def test_weights_lead_to_their_trajectories_and_those_of_both_controls(store: Store, cell: Cell) -> None:
    (node,) = nodes(cell)
    facts = node.stage.run((node,), Workplace(store))
    assert facts == {"model": rebounds.weights(cell)}
    later = list(node.stage.then(node, Ended("ok", facts=facts)))
    assert {one.stage.name for one in later} == {"rebound"}
    models = [one.arguments[1] for one in later]
    assert models == [model for model in (rebounds.weights(cell), *controls(cell)) for _ in range(2)]
    assert [one.key for one in node.stage.ahead(node, store) or ()] == [one.key for one in later]


def test_before_the_record_a_plan_counts_as_many_with_the_controls_own_names(tmp_path: Path, cell: Cell) -> None:
    (node,) = nodes(cell)
    early = list(node.stage.ahead(node, Store(tmp_path / "empty")) or ())
    store = rebounds.finish(tmp_path / "store", rebounds.suite())
    late = list(node.stage.ahead(node, store) or ())
    assert len(early) == len(late) == 6
    assert [one.key for one in early[2:]] == [one.key for one in late[2:]]
    assert {one.key for one in early[:2]}.isdisjoint(one.key for one in late)
    assert sum(one.work for one in early) == sum(one.work for one in late) > 0


@pytest.mark.parametrize("status", ["repair_failed", "attack_did_not_plant"])
def test_a_rule_that_chose_nothing_leads_to_nothing(status: str, tmp_path: Path, cell: Cell) -> None:
    store = Store(tmp_path)
    write_record(store, cell, "made-up", [Selected("default", status)], environment={})
    (node,) = nodes(cell)
    facts = node.stage.run((node,), Workplace(store))
    assert facts == {"model": None}
    assert list(node.stage.then(node, Ended("ok", facts=facts))) == []


def test_a_record_that_is_to_be_tried_again_leads_to_nothing(tmp_path: Path, cell: Cell) -> None:
    store = Store(tmp_path)
    assert chosen_weights(store, cell, "default") is None
    write_record(store, cell, "made-up", [Selected("default", "failed", "a crash")], environment={})
    assert chosen_weights(store, cell, "default") is None


GONE = {
    "defend": "the repaired weights are",
    "pretrain": "the models that were repaired are",
    "data": "the prepared pairs are",
    "poison": "the triggers are",
}


@pytest.mark.parametrize("stage", GONE)
def test_what_is_gone_is_said_in_one_line(stage: str, store: Store, cell: Cell) -> None:
    assert store.local_root
    shutil.rmtree(store.local_root / stage)
    (node,) = nodes(cell)
    with pytest.raises(NotApplicable, match=f"{GONE[stage]} not in this store; to fine-tune them, name a store"):
        node.stage.run((node,), Workplace(store))
    assert list(node.stage.ahead(node, store) or ()) == []  # nothing that could be made


def test_weights_that_were_dropped_are_gone_though_their_artifact_is_there(store: Store, cell: Cell) -> None:
    model = rebounds.weights(cell)
    shutil.rmtree(store.root + f"/defend/{model.key}")
    store.draft("defend", model.key).commit({"status": "ok", "epochs": 5})
    (node,) = nodes(cell)
    with pytest.raises(NotApplicable, match="the repaired weights are not in this store"):
        node.stage.run((node,), Workplace(store))


def test_one_fine_tuning_of_a_twin_serves_attacks_with_one_target() -> None:
    same, other = (
        rebounds.suite().model_copy(update={"attacks": (finished.ATTACK, finished.ATTACK.model_copy(update=fields))})
        for fields in ({"size": 3}, {"target": "star"})
    )

    def twins(suite: Any) -> list[Node]:
        attacked = [one for one in cells_of(suite) if one.experiment.repair and one.experiment.attack]
        return [Rebound().node(one, controls(one)[1], ONE) for one in attacked if not one.experiment.seed]

    first, second = twins(same)
    assert first.batch == second.batch and first.key != second.key
    assert len({one.batch for one in twins(other)}) == 2
