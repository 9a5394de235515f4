"""`--set` reaches every part of a suite, `--add` grows its grid, and what is wrong is one line that names the place."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.config.overrides import add, override
from benchmark.config.spec import ModelSpec, Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.errors import UserError
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.par import PAR
from benchmark.types import Range
from tests.config.suites import suite

pytestmark = pytest.mark.unit


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
        ("threads", "2", lambda s: {cell.threads for cell in s.experiments()} == {2}),
        ("data.max_count", "3", lambda s: s.data == Shapes(max_count=3)),
        ("search.front", "12", lambda s: {cell.search.front for cell in s.experiments() if cell.search} == {12}),
        ("gate.min_asr", "0.5", lambda s: s.gate.min_asr == 0.5),
        ("data", "shapes:num_rows=900", lambda s: s.data == Shapes(num_rows=900)),
        ("evaluation", "shapes:num_rows=90,min_size=0.4", lambda s: s.evaluation == Shapes(num_rows=90, min_size=0.4)),
        ("repairs", "par:epochs=2", lambda s: s.repairs == (PAR(epochs=2),)),
        ("objectives", '["mmcl-ssl:ssl_weight=2"]', lambda s: s.objectives == (MMCLSSL(ssl_weight=2),)),
        (
            "repairs",
            '["par", {"name": "par", "version": 2, "fields": {"epochs": 2}}]',
            lambda s: s.repairs == (PAR(), PAR(epochs=2)),
        ),
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
    assert Suite.from_dict(changed.to_dict()) == changed
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
        ("seeds", "[-1]", "--set seeds.0 must be greater than or equal to 0, got -1; "),
        ("seeds", "[9223372036854775808]", "--set seeds.0 must be less than 9223372036854775808, got 9"),
        ("threads", "100000", "--set threads must be less than or equal to 1024, got 100000; "),
        ("seeds", "[0, 0]", "--set seeds must be distinct: equal seeds give equal cells, got [0, 0]; "),
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
        ("objectives", '["mmcl", "frob"]', "--set objectives.1: unknown objective 'frob'; did you mean roclip?"),
        ("model", '{"nme": "tiny-vit"}', "--set model: unknown field 'nme'; did you mean name"),
        (
            "spaces.cleanclip.learning_rate",
            '{"low": 1, "high": 0}',
            "--set spaces.cleanclip.learning_rate.Range: Range must have low below high, got low 1.0 and high 0.0; ",
        ),
        ("evaluation.path", "x", "--set evaluation.path: 'path' has no parts"),
    ],
)
def test_mistakes_in_set_are_one_line_that_names_the_place(path: str, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        override(suite(), {path: text})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["repair", "defense", "defence"])
def test_add_grows_the_grid_by_one_method(kind: str) -> None:
    grown = add(suite(), f"{kind}=par:epochs=2")
    assert grown.repairs[-1] == PAR(epochs=2)
    assert len(grown.experiments()) == len(suite().experiments()) * 4 // 3
    assert add(suite(), f"{kind}=PAR:epochs=2") == grown  # the class's name names it too


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("par", "--add must be KIND=NAME[:FIELD=VALUE,…], got 'par'; e.g. --add repair=par"),
        ("par:epochs=2", "--add must be KIND=NAME[:FIELD=VALUE,…], got 'par:epochs=2'; e.g. --add repair=par:epochs=2"),
        ("atack=badnet", "--add atack=badnet: unknown kind 'atack'; did you mean attack?"),
        ("attack=badnt", "unknown attack 'badnt'; did you mean badnet"),
        ("attack=badnet", "--add attack=badnet:target must be given; write --add attack=badnet:target=…"),
        ("repair=par:epochs=many", "--add repair=par:epochs must be a valid integer, unable to parse"),
        ("repair=par:epoch=2", "--add repair=par: unknown field 'epoch'; did you mean epochs"),
        ("repair=par:epochs", "--add repair=par must be FIELD=VALUE, got 'epochs'; e.g. par:FIELD=VALUE"),
        ("repair=fine-tuning", "--add repair=fine-tuning must make a cell, got none; suite small has it already"),
        ("dataset=shapes", "--add must be KIND=NAME with a KIND of attack, repair, detector, objective, metric, got"),
    ],
)
def test_mistakes_in_add_are_one_line_that_names_the_place(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        add(suite(), text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_is_added_where_nothing_is_defended_is_refused() -> None:
    bare = suite().model_copy(update={"defended_objectives": frozenset()})
    with pytest.raises(UserError, match="must make a cell, got none; suite small has it already, or defends none"):
        add(bare, "repair=par")
