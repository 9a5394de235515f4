"""Canonical JSON, golden content keys, and what does and does not move a key."""

from __future__ import annotations

import math
import pickle
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field

from benchmark.stages.evaluations import evaluate_key, own_conditions
from benchmark.stages.keys import _detect_key, cells_of
from benchmark.stages.cells import outside_cell, trained_split
from benchmark.stages.keys import defend_key, search_key
from benchmark.attacks.badclip_l import BadCLIPL
from benchmark.attacks.badnet import BadNet
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.detectors.clipscore import CLIPScore, CLIPScoreOutside
from benchmark.detectors.dao import DAO
from benchmark.detectors.slof import SLOF
from benchmark.stages.cells import Cell
from benchmark.store.keys import KEY_LENGTH, canonical_json, content_key, derive_seed, digest
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.repairs.shrink_and_perturb import ShrinkAndPerturb
from benchmark.config.compute_options import ComputeOptions
from benchmark.config.spec import ModelSpec, Search, Splits, Suite
from benchmark.types import Range, Training

pytestmark = pytest.mark.unit


def test_canonical_json_is_one_text_for_equal_values() -> None:
    assert canonical_json({"b": (1, 2.0), "a": {"x": None, "y": True}}) == '{"a":{"x":null,"y":true},"b":[1,2]}'
    assert canonical_json(1e-5) == "1e-05"
    assert canonical_json({"c", "a"}) == '["a","c"]'
    assert canonical_json("ä") == '"ä"'
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON compliant"):
            canonical_json({"rate": bad})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"rate": 0.05, "weight": 1.0}, '{"rate":0.05,"weight":1}'),
        ([1e15, -0.0, 1e-7, 2.5e20, 10.05], "[1000000000000000,0,1e-07,2.5e+20,10.05]"),
        ({2: "b", 10: "a"}, '{"10":"a","2":"b"}'),
        ({True: 1, None: 2}, '{"None":2,"True":1}'),
        ({"said": "1.0 and more"}, '{"said":"1.0 and more"}'),
        ({"some": frozenset({2.0, 1})}, '{"some":[1,2]}'),
        (MappingProxyType({"a": (1.0,)}), '{"a":[1]}'),
    ],
)
def test_canonical_json_writes_whole_floats_as_integers_and_keys_as_text(value: Any, text: str) -> None:
    assert canonical_json(value) == text


def test_golden_digests() -> None:
    assert digest("backstop") == "6e6025c5164a4cae099d3bc318b49ca9"
    assert content_key("poison", 1, {"rate": 0.01, "size": 16.0}, ["aa", "bb"]) == "6323b89035543fc2be859c78d2496497"
    assert derive_seed(0, "poison", 3) == 2877302248637606767
    assert len(digest("")) == KEY_LENGTH


def test_every_part_of_a_key_counts() -> None:
    parts: list[tuple[Any, ...]] = [
        ("poison", 1, {"a": 1}, ["x", "y"]),
        ("pretrain", 1, {"a": 1}, ["x", "y"]),
        ("poison", 2, {"a": 1}, ["x", "y"]),
        ("poison", 1, {"a": 2}, ["x", "y"]),
        ("poison", 1, {"a": 1}, ["y", "x"]),
        ("poison", 1, {"a": 1}, ["x"]),
    ]
    assert len({content_key(*part) for part in parts}) == len(parts)


def test_seeds_differ_by_part_and_fit_63_bits() -> None:
    seeds = [derive_seed(0), derive_seed(1), derive_seed(0, "a"), derive_seed(0, "a", 1), derive_seed(0, "a1")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def smoke_of_the_first_day() -> Suite:
    """The suite `smoke` as it was first written; a copy, so that tuning the suite moves no golden key."""
    return Suite(
        name="smoke",
        data=Shapes(),
        splits=Splits(pretrain=5000, clean=1000, validation=800, test=1200),
        model=ModelSpec(name="tiny-resnet"),
        pretrain=Training(epochs=10, batch_size=128, learning_rate=2e-3, warmup_steps=40),
        objectives=(MMCL(), MMCLSSL()),
        attacks=(BadNet(target="ring", poison_rate=0.04, size=5, pattern="checkerboard"),),
        repairs=(FineTuning(epochs=4, learning_rate=3e-4, warmup_steps=8), CleanCLIP(epochs=4, warmup_steps=8)),
        searched=frozenset({"cleanclip"}),
        search=Search(trials=8, quasi_random=4, round_size=2, startup_trials=4),
        spaces={"cleanclip": {"learning_rate": Range(1e-4, 5e-3, log=True)}},
    )


def cell(suite: Suite | None = None) -> Cell:
    """MMCL+SSL, BadNet, CleanCLIP: the last cell."""
    return cells_of(suite or smoke_of_the_first_day())[-1]


def test_golden_keys_of_a_smoke_cell() -> None:
    """A key that moves without a raised version throws every stored result away."""
    found = cell()
    assert found.keys._asdict() == {
        "data": "9994b039d99fb3db358f80e94f6e6a60",
        "evaluation": "9994b039d99fb3db358f80e94f6e6a60",
        "poison": "bb67c366c6a617c35af6398507e4eaa7",
        "pretrain": "9905296eef55de61604d4dadbcd4605e",
        "twin": "ce5e2aba7cb9dddfbb5a893631a63d0e",
        "record": "f92156d85ce7a46dd72dbd7ab3fcc5e5",
        "outside": None,
        "outside_data": None,
        "detect": None,
        "retrained": None,
    }
    assert found.experiment.repair is not None
    assert defend_key(found, found.experiment.repair) == "93c97ccde5ee94895992749f53a3ca53"
    assert search_key(found) == "0988cf36bef86648d683cef8bd888465"
    clean, triggered = own_conditions(found)
    keys = [
        evaluate_key(found, item, split="test", model=found.keys.pretrain, epoch=None)
        for item in (clean, triggered)
    ]
    assert keys == ["bc55730fbfcde3208a85a23f253850c8", "a16bb14bb017c4ea496f070c9bba3384"]


def test_a_model_from_outside_is_shared_and_counts_where_it_is_asked_for() -> None:
    suite = smoke_of_the_first_day()
    asking = suite.model_copy(update={"detectors": (CLIPScore(), CLIPScoreOutside()), "objectives": (MMCL(),)})
    *_, plain, outside = cells_of(asking)
    assert plain.keys.outside is None and outside.keys.outside is not None
    assert outside.keys.poison == plain.keys.poison  # the attack did not ask
    attack = BadCLIPL(target="ring")
    cells = cells_of(asking.model_copy(update={"attacks": (attack,)}))
    assert {item.keys.outside for item in cells if item.experiment.attack} == {outside.keys.outside}
    other = outside._replace(keys=outside.keys._replace(outside="another"))
    keys = [_detect_key(item.experiment, item.keys, CLIPScoreOutside()) for item in (outside, other)]
    assert keys[0] == outside.keys.detect != keys[1]


def test_a_model_from_outside_has_pairs_of_its_own_and_moves_nobody_elses_keys() -> None:
    suite = smoke_of_the_first_day()
    suite = suite.model_copy(update={"objectives": (MMCL(),), "detectors": (CLIPScore(),)})
    before = cells_of(suite)
    after = cells_of(suite.model_copy(update={"detectors": (CLIPScore(), CLIPScoreOutside())}))
    assert [item.keys for item in after if not item.keys.outside] == [item.keys for item in before]
    asking = after[-1]
    assert asking.keys.pretrain == before[-1].keys.pretrain  # the same poisoned model
    trained = outside_cell(asking)
    assert trained.keys.data == asking.keys.outside_data not in (None, asking.keys.data)
    assert (trained_split(trained), trained_split(asking)) == ("outside", "pretrain")


@pytest.mark.parametrize(("pretrain", "moves"), [(5000, False), (None, True)])
def test_reserved_pairs_move_a_data_key_where_they_change_what_is_left(pretrain: int | None, moves: bool) -> None:
    suite = smoke_of_the_first_day()
    without, reserved = (
        suite.model_copy(update={"splits": Splits(pretrain=pretrain, outside=outside)}) for outside in (0, 500)
    )
    assert (cell(without).keys.data != cell(reserved).keys.data) == moves


def test_cells_share_what_they_have_in_common() -> None:
    cells = cells_of(smoke_of_the_first_day())
    assert len(cells) == 2 * 2 * 3
    assert len({item.keys.record for item in cells}) == len(cells)
    assert len({item.keys.data for item in cells}) == 1
    assert len({item.keys.poison for item in cells} - {None}) == 1  # the same poison for both objectives
    assert len({item.keys.pretrain for item in cells}) == 4  # one model serves every repair
    assert {item.keys.twin for item in cells} <= {item.keys.pretrain for item in cells}


class GrownBadNet(BadNet):
    """BadNet of a later day: one more field."""

    opacity: Annotated[float, Field(ge=0, le=1)] = 1.0


class GrownTraining(Training):
    """Training of a later day."""

    ema: float = 0.0


class NewBadNet(BadNet):
    """BadNet whose results changed."""

    version: ClassVar[int] = 2


def test_a_field_added_at_its_default_leaves_the_keys() -> None:
    fields = {"target": "ring", "poison_rate": 0.04, "size": 5, "pattern": "checkerboard"}
    suite = smoke_of_the_first_day()
    old = cell(suite).keys
    grown = suite.model_copy(
        update={"attacks": (GrownBadNet(**fields),), "pretrain": GrownTraining(**dict(suite.pretrain))}
    )
    new = cell(grown).keys
    assert (new.data, new.poison, new.pretrain) == (old.data, old.poison, old.pretrain)
    used = suite.model_copy(update={"attacks": (GrownBadNet(**fields, opacity=0.5),)})
    assert cell(used).keys.poison != old.poison
    assert cell(used).keys.twin == old.twin
    raised = suite.model_copy(update={"attacks": (NewBadNet(**fields),)})
    assert cell(raised).keys.poison != old.poison


def test_a_mended_choice_moves_the_keys_of_those_who_chose_it() -> None:
    """Results of these were other numbers once, and are never to be found again."""
    assert CleanCLIP().identity() == {"name": "cleanclip", "version": 1, "fields": {}}
    assert CleanCLIP(variant="as_released").identity()["value_versions"] == {"variant=as_released": 2}
    assert ShrinkAndPerturb(variant="as_released").identity()["value_versions"] == {"variant=as_released": 2}
    assert "value_versions" not in DAO(indexing="exact").identity()
    assert SLOF(reference="images_and_captions").identity()["value_versions"] == {"reference=images_and_captions": 2}


def test_a_mended_schedule_moves_the_pre_trainings_that_follow_it() -> None:
    suite = smoke_of_the_first_day()
    released = suite.model_copy(update={"pretrain": suite.pretrain.model_copy(update={"schedule": "as_released"})})
    mended = cell(released).keys
    assert mended.pretrain != "f2943be50ca9789860f930449633eeaf"  # its key while the warm-up was one step behind
    assert mended.record != "97187011ede717704b19023761a15948"


def test_only_what_depends_on_a_change_moves() -> None:
    suite = smoke_of_the_first_day()
    old = cell(suite)
    seeded = cell(suite.model_copy(update={"seeds": (1,)})).keys
    assert seeded.data == old.keys.data
    assert seeded.poison != old.keys.poison
    trained = cell(suite.model_copy(update={"pretrain": Training(epochs=11)})).keys
    assert trained.poison == old.keys.poison
    assert trained.pretrain != old.keys.pretrain
    repair = CleanCLIP(epochs=4, warmup_steps=8, ssl_weight=2.0)
    repaired = cell(suite.model_copy(update={"repairs": (repair,)}))
    assert repaired.keys.pretrain == old.keys.pretrain
    assert old.experiment.repair is not None
    assert defend_key(repaired, repair) != defend_key(old, old.experiment.repair)
    renamed = cell(suite.model_copy(update={"name": "other", "title": "Other"})).keys
    assert renamed == old.keys  # suites share results


def test_threads_are_in_the_keys_of_all_that_torch_computes_where_a_suite_gives_them() -> None:
    suite = smoke_of_the_first_day()
    old, one, two = (cell(suite.model_copy(update={"threads": threads})) for threads in (None, 1, 2))
    assert old.keys == cell(suite).keys
    assert {item.keys.data for item in (old, one, two)} == {old.keys.data}  # decoding is exact
    for name in ("poison", "pretrain", "twin", "record"):
        assert len({getattr(item.keys, name) for item in (old, one, two)}) == 3
    assert old.experiment.repair is not None
    assert len({defend_key(item, old.experiment.repair) for item in (old, one, two)}) == 3
    assert len({search_key(item) for item in (old, one, two)}) == 1  # the same points


def test_resources_are_no_part_of_an_experiment() -> None:
    experiment = cell().experiment
    assert not set(ComputeOptions.model_fields) & set(type(experiment).model_fields)
    assert not set(ComputeOptions.model_fields) & set(Training.model_fields)


def test_identity_of_a_plugin_holds_its_source() -> None:
    class Plugin(MMCL):
        name: ClassVar[str] = "plugin"

    assert Plugin().identity() == {"name": "plugin", "version": 1, "fields": {}}
    Plugin.plugin_source_hash = "abc"  # type: ignore[attr-defined]
    assert Plugin().identity() == {"name": "plugin", "version": 1, "fields": {}, "source": "abc"}


def test_equal_methods_have_one_identity_and_label() -> None:
    written = BadNet(target="ring", size=16, poison_rate=0.01)
    assert written.identity()["fields"] == {"target": "ring"}
    assert written.label == "badnet(target=ring)"
    again = pickle.loads(pickle.dumps(written))
    assert (again, again.identity()) == (written, written.identity())
