"""Specifications: what is refused and how it is said, `--set` paths, and the grid of a suite."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.config.registry import build
from benchmark.config.spec import Experiment, Grid, ModelSpec, Suite, override, validated
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.engine import plan
from benchmark.errors import UnknownNameError, UserError
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.types import Choices, Range, Training

pytestmark = pytest.mark.unit


def suite() -> Suite:
    return Suite(
        name="small",
        data=Shapes(),
        objectives=(MMCL(), MMCLSSL()),
        attacks=(BadNet(target="ring"), BadNet(target="star", size=4), Blended(target="star")),
        repairs=(FineTuning(), CleanCLIP()),
        searched=frozenset({"cleanclip"}),
        spaces={"cleanclip": {"learning_rate": Range(1e-4, 1e-2, True)}},
        seeds=(0, 1),
    )


# --- the grid --------------------------------------------------------------------------------------------------


def test_grid_adds_the_controls_and_keeps_board_order() -> None:
    cells = suite().experiments()
    assert len(cells) == 2 * 2 * (1 + 3) * (1 + 2)
    first = [(cell.seed, cell.objective.name, cell.attack, cell.repair) for cell in cells[:2]]
    assert first == [(0, "mmcl", None, None), (0, "mmcl", None, FineTuning())]
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def test_only_attacked_cells_of_searched_repairs_are_searched() -> None:
    searched = [cell for cell in suite().experiments() if cell.search]
    assert len(searched) == 2 * 2 * 3
    assert {cell.repair.name for cell in searched if cell.repair} == {"cleanclip"}
    assert all(cell.attack for cell in searched)
    assert all(cell.space == {"learning_rate": Range(1e-4, 1e-2, True)} for cell in searched)
    assert all(cell.space == {} for cell in suite().experiments() if not cell.search)


def test_further_grids_stand_on_the_same_ground_and_no_cell_twice() -> None:
    more = Grid(objectives=(MMCL(),), attacks=(BadNet(target="ring", captions="real"),))
    other = Grid(
        model=ModelSpec(name="tiny-vit"), objectives=(MMCL(),), attacks=(BadNet(target="ring"),), repairs=(CleanCLIP(),)
    )
    own, grown = suite(), Suite(**{**dict(suite()), "also": (more, other)})
    cells, added = own.experiments(), []
    for seed in (0, 1):
        part = [cell for cell in grown.experiments() if cell.seed == seed]
        first = [cell for cell in cells if cell.seed == seed]
        assert part[: len(first)] == first
        added += part[len(first) :]
    shown = [(cell.model.name, cell.attack.label if cell.attack else "", bool(cell.repair)) for cell in added[:5]]
    assert shown == [  # the clean twin of the first further grid is a cell of the suite's own
        ("tiny-resnet", "badnet(captions=real,target=ring)", False),
        ("tiny-vit", "", False),
        ("tiny-vit", "", True),
        ("tiny-vit", "badnet(target=ring)", False),
        ("tiny-vit", "badnet(target=ring)", True),
    ]
    assert not any(cell.search for cell in added)
    assert [item.label for item in grown.methods("repair")] == ["fine-tuning", "cleanclip"]
    changed = override(grown, {"data.num_rows": "50", "also.1.pretrain.epochs": "2", "also.0.attacks.badnet.size": "4"})
    assert {cell.data.num_rows for cell in changed.experiments() if isinstance(cell.data, Shapes)} == {50}
    assert {cell.pretrain.epochs for cell in changed.experiments() if cell.model.name == "tiny-vit"} == {2}
    assert plan._protocol(changed.model_dump(mode="json"))["also.1.pretrain"]["epochs"] == 2
    assert changed.also[0].attacks[0].label == "badnet(captions=real,size=4,target=ring)"


def test_experiments_print_and_compare() -> None:
    one = suite().experiments()[-1]
    assert one == suite().experiments()[-1]
    assert isinstance(one, Experiment)
    dumped = one.model_dump(mode="json")
    assert dumped["attack"]["strength"] == 0.2  # fields of the subclass are written, not those of the base only
    assert dumped["space"] == {"learning_rate": [1e-4, 1e-2, True]}
    with pytest.raises(ValidationError):
        one.seed = 3  # type: ignore[misc]


# --- --set -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "read"),
    [
        ("pretrain.epochs", "3", lambda s: s.pretrain.epochs == 3),
        ("pretrain.norm_group", "8", lambda s: s.pretrain.norm_group == 8),
        ("data.num_rows", "900", lambda s: s.data == Shapes(num_rows=900)),
        ("model.name", "tiny-vit", lambda s: s.model == ModelSpec(name="tiny-vit")),
        ("attacks.badnet.size", "7", lambda s: [getattr(a, "size", None) for a in s.attacks] == [7, 7, None]),
        ("attacks.1.size", "7", lambda s: [getattr(a, "size", None) for a in s.attacks] == [16, 7, None]),
        ("attacks.blended.pattern", "stripes", lambda s: s.attacks[2].pattern == "stripes"),
        ("objectives.mmcl-ssl.ssl_weight", "2", lambda s: s.objectives[1].ssl_weight == 2),
        ("seeds", "[4, 5]", lambda s: s.seeds == (4, 5)),
        ("gate.min_asr", "0.5", lambda s: s.gate.min_asr == 0.5),
        ("title", "two words", lambda s: s.title == "two words"),
        (
            "spaces.cleanclip.learning_rate",
            "[0.001, 0.002, true]",
            lambda s: s.spaces["cleanclip"]["learning_rate"] == Range(0.001, 0.002, True),
        ),
    ],
)
def test_set_reaches_every_part(path: str, text: str, read: Any) -> None:
    changed = override(suite(), {path: text})
    assert read(changed)
    assert type(changed.data) is Shapes  # methods keep their class
    assert changed != suite()


def test_set_takes_several_and_leaves_the_suite_alone() -> None:
    before = suite()
    changed = override(before, {"pretrain.epochs": "3", "pretrain.batch_size": "32"})
    assert (changed.pretrain.epochs, changed.pretrain.batch_size) == (3, 32)
    assert before == suite()


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("pretrain.epoch", "3", "--set pretrain.epoch: unknown field 'epoch'; did you mean epochs or eps?"),
        ("pretran.epochs", "3", "--set pretran.epochs: unknown field 'pretran'; did you mean pretrain or"),
        ("attacks.badnte.size", "3", "--set attacks.badnte.size: unknown entry 'badnte'; did you mean badnet?"),
        ("attacks.7.size", "3", "--set attacks.7.size: unknown entry '7'; known: badnet, blended"),
        ("seeds.first", "3", "--set seeds.first: unknown entry 'first'"),
        (
            "pretrain.epochs",
            "-1",
            "--set pretrain.epochs must be greater than or equal to 0, got -1; change it with --set or in the suite",
        ),
        ("pretrain.epochs", "many", "--set pretrain.epochs must be a valid integer, unable to parse"),
        ("pretrain.epochs.more", "1", "--set pretrain.epochs.more: 'more' has no parts; drop it from the path"),
        ("attacks.badnet.pattern", "dots", "--set attacks.badnet.pattern must be 'uniform', 'clamped', 'checkerboard'"),
        ("attacks.badnet.poison_rate", "1.5", "--set attacks.badnet.poison_rate must be less than 1, got 1.5"),
        ("search.bound_on", "both", "--set search.bound_on must be text that should match pattern"),
        ("evaluation.path", "x", "--set evaluation.path: 'path' has no parts"),
    ],
)
def test_mistakes_in_set_are_one_line_that_names_the_place(path: str, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        override(suite(), {path: text})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# --- fields ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (Training, {"epochs": -1}, "suite.epochs must be greater than or equal to 0, got -1; "),
        (Training, {"learning_rate": float("nan")}, "suite.learning_rate must be "),
        (Training, {"batchsize": 8}, "suite: unknown field 'batchsize'; did you mean batch_size or"),
        (Training, {"zzz": 8}, "suite: unknown field 'zzz'; known: batch_size, beta1, beta2"),
        (BadNet, {}, "suite.target must be given; set it with --set or in the suite"),
        (BadNet, {"target": ""}, "suite.target must be text that should have at least 1 character, got ''"),
        (
            ModelSpec,
            {"pretrained": "openai", "weights": "w.safetensors"},
            "suite must be given one start at most: pretrained, weights or start_from",
        ),
        (Shapes, {"min_size": 0.9, "max_size": 0.5}, "suite must be of min_size at most max_size"),
    ],
)
def test_bad_fields_are_one_line(model: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        validated(model, fields, place="suite")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_unknown_names_suggest_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="unknown attack 'badnets'; did you mean badnet"):
        build("attack", "badnets", {"target": "ring"})
    with pytest.raises(UserError, match="attack badnet: unknown field 'sise'; did you mean size"):
        build("attack", "badnet", {"target": "ring", "sise": 4})
    assert build("attack", "badnet", {"target": "ring", "size": 4}) == BadNet(target="ring", size=4)


def test_unknown_fields_inside_are_found_in_their_own_model() -> None:
    with pytest.raises(UserError, match="small: unknown field 'epoch'; did you mean epochs"):
        validated(Suite, {**dict(suite()), "pretrain": {"epoch": 3}}, place="small")


def test_ranges_and_choices_stand_beside_their_fields() -> None:
    (field,) = [item for item in CleanCLIP.model_fields["learning_rate"].metadata if isinstance(item, Range)]
    assert field == Range(1e-6, 1e-3, log=True)
    cell = suite().experiments()[-1].model_copy(update={"space": {"variant": Choices(("as_intended",))}})
    assert cell.space["variant"] == Choices(("as_intended",))
