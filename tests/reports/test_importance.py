"""Which hyper-parameters a search hung on."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest

from reports.grid import Names, search_rows
from reports.importance import FEWEST, importance


def searched(count: int, *, by: str = "learning_rate", others: bool = True) -> pd.DataFrame:
    """A search whose trials lose attack success with one field, and two epochs of each."""
    rng, rows = np.random.default_rng(0), []
    for trial in range(count):
        values = {"learning_rate": 10 ** rng.uniform(-4, -2), "ssl_weight": 2 ** rng.uniform(-1, 3)}
        share = (np.log10(values["learning_rate"]) + 4) / 2 if by == "learning_rate" else np.log2(values[by]) / 4 + 0.25
        shown = values if others else {by: values[by]}
        rows += [
            {
                "trial": trial,
                "epoch": epoch,
                "parameters": json.dumps(shown),
                "validation_accuracy": 0.8,
                "validation_asr": 1 - share / epoch,
                "collapsed": False,
            }
            for epoch in (1, 2)
        ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("by", ["learning_rate", "ssl_weight"])
def test_the_field_that_decides_has_nearly_all_of_it_and_shares_add_up(by: str) -> None:
    found = importance(searched(24, by=by))
    assert next(iter(found)) == by
    assert found[by] > 0.85
    assert sum(found.values()) == pytest.approx(1)


def test_an_epoch_that_collapsed_is_worth_nothing() -> None:
    trials = searched(24)
    rates = trials["parameters"].map(lambda text: json.loads(text)["ssl_weight"])
    fallen = trials.assign(validation_asr=0.5, collapsed=rates > 2)
    assert next(iter(importance(fallen))) == "ssl_weight"


def test_nothing_is_said_where_nothing_can_be_said() -> None:
    assert importance(searched(FEWEST - 1)) == {}
    assert importance(searched(FEWEST, others=False)) == {}
    assert importance(searched(FEWEST).assign(validation_asr=0.5)) == {}
    assert importance(searched(FEWEST).assign(validation_asr=np.nan)) == {}
    assert importance(searched(FEWEST).iloc[:0]) == {}
    assert importance(searched(FEWEST - 1).assign(parameters="")) == {}


@pytest.mark.parametrize(
    "text", ["no JSON", "[1, 2]", '{"other": 1}', '{"learning_rate": {}, "ssl_weight": 1}', "null"]
)
def test_parameters_that_are_not_told_alike_break_no_board(text: str) -> None:
    trials = searched(FEWEST)
    assert importance(trials) != {}
    last = trials["trial"] == trials["trial"].max()
    assert importance(trials.assign(parameters=trials["parameters"].mask(last, text))) == {}
    assert importance(trials.assign(parameters=None)) == {}


def test_a_choice_counts_as_any_other_field() -> None:
    trials = searched(24)
    named = [json.loads(text) for text in trials["parameters"]]
    kinds = ["low" if one["learning_rate"] < 1e-3 else "high" for one in named]
    texts = [
        json.dumps({"kind": kind, "ssl_weight": one["ssl_weight"]}) for kind, one in zip(kinds, named, strict=True)
    ]
    asr = [0.9 if kind == "low" else 0.1 for kind in kinds]
    assert next(iter(importance(trials.assign(parameters=texts, validation_asr=asr)))) == "kind"


def test_the_board_says_it_of_each_search_and_of_none_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"order": 0, "status": "ok"} | dict.fromkeys(("objective", "attack", "repair", "model"), "x") | {"seed": 0}
    trials = searched(24).assign(**axes)
    names = Names(*(defaultdict(str) for _ in Names._fields))
    (row,) = search_rows(trials, names)
    assert row.mattered.startswith("learning_rate ")
    assert row.mattered.count("%") == 2
    monkeypatch.setattr("reports.grid.MOST", 0)
    (row,) = search_rows(trials, names)
    assert row.mattered == ""
