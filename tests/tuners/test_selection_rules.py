"""Selection rules on tables small enough to check by eye."""

from __future__ import annotations

import itertools
import random

import pytest

from benchmark.config.spec import Search
from tests.helpers.searches import held_at_the_end
from tuners.selection_rules import (
    Row,
    collapsed,
    default_rule,
    oracle_key,
    preferred_epochs,
    search_rules,
    select,
    select_all,
    trigger_blind_key,
)

SEARCH = Search(trials=4, quasi_random=2, asr_bound=0.05, bound_on="net", blind_drop=0.02)
RULES = search_rules(SEARCH, floor=0.10, start_accuracy=0.70)
PHASES = {0: "default", 1: "quasi_random", 2: "quasi_random", 3: "tpe", 4: "tpe"}


def _row(
    trial: int, epoch: int, accuracy: float, asr: float, *, loss: float = 1.0, strength: float | None = None
) -> Row:
    return Row(trial, epoch, PHASES[trial], accuracy, asr, loss, strength)


ROWS = [
    _row(0, 1, 0.70, 0.90, loss=0.9, strength=1e-4),
    _row(0, 2, 0.69, 0.80, loss=0.8, strength=1e-4),
    _row(1, 1, 0.69, 0.40, loss=0.7, strength=1e-3),
    _row(1, 2, 0.68, 0.30, loss=0.5, strength=1e-3),
    _row(2, 1, 0.50, 0.12, loss=2.0, strength=1e-2),
    _row(2, 2, 0.55, 0.15, loss=1.5, strength=1e-2),
    _row(3, 1, 0.60, 0.16, loss=0.6, strength=5e-3),
    _row(4, 1, 0.58, 0.13, loss=0.4, strength=2e-3),
    _row(4, 2, 0.58, 0.11, loss=0.3, strength=2e-3),
]


def test_the_three_rules_choose_by_hand() -> None:
    chosen = select_all(ROWS, PHASES, RULES)
    assert chosen["default"].row == ROWS[1]
    assert chosen["oracle"].row == ROWS[8]  # 0.60 misses the bound by a point; of the two 0.58 the lower ASR
    assert chosen["trigger_blind"].row == ROWS[3]  # 0.68 is two points down, exactly; stronger trials fell further
    assert {rule: found.trials for rule, found in chosen.items()} == {"default": 1, "oracle": 5, "trigger_blind": 3}
    assert all(found.reason == "" and not found.fallback for found in chosen.values())


@pytest.mark.parametrize(
    ("bound_on", "floor", "asr", "qualifies"),
    [
        ("net", 0.10, 0.15, True),  # 0.15 - 0.10 is a little above 0.05 in binary
        ("net", 0.10, 0.151, False),
        ("net", None, 0.05, True),
        ("absolute", 0.10, 0.05, True),
        ("absolute", 0.10, 0.06, False),
        ("net", 0.10, float("nan"), False),
        ("net", float("nan"), 0.0, False),
    ],
)
def test_the_bound_is_on_net_or_on_absolute_attack_success(
    bound_on: str, floor: float | None, asr: float, qualifies: bool
) -> None:
    key = oracle_key(_row(1, 1, 0.5, asr), bound=0.05, floor=floor, bound_on=bound_on)
    assert (key is not None) == qualifies


def test_the_oracles_ties_go_to_lower_asr_then_earlier_trial_then_earlier_epoch() -> None:
    rows = [_row(2, 1, 0.6, 0.02), _row(1, 2, 0.6, 0.02), _row(1, 1, 0.6, 0.02), _row(0, 1, 0.6, 0.03)]
    for order in itertools.permutations(rows):
        assert select(order, RULES[1].key) == _row(1, 1, 0.6, 0.02)


def test_trigger_blind_never_looks_at_trials_that_saw_attack_success_nor_at_attack_success() -> None:
    def blind(row: Row) -> tuple[float, ...] | None:
        return trigger_blind_key(row, start_accuracy=0.7, drop=0.02)

    assert blind(_row(3, 1, 0.9, 0.0, strength=1.0)) is None
    for row in ROWS[:6]:
        assert blind(row) == blind(row._replace(asr=None)) == blind(row._replace(asr=0.0))


def test_trigger_blind_without_a_strength_takes_the_lowest_loss() -> None:
    rows = [row._replace(strength=None) for row in ROWS]
    assert select(rows, RULES[2].key) == rows[3]  # 0.3 and 0.4 are lower but belong to TPE trials
    rows[3] = rows[3]._replace(loss=float("nan"))
    assert select(rows, RULES[2].key) == rows[2]


def test_a_misdeclared_strength_moves_the_trigger_blind_row_alone() -> None:
    honest = select_all(ROWS, PHASES, RULES)
    turned = select_all([row._replace(strength=-(row.strength or 0.0)) for row in ROWS], PHASES, RULES)
    assert honest["trigger_blind"].row == ROWS[3]
    assert turned["trigger_blind"].row == ROWS[1]._replace(strength=-1e-4)  # the weakest trial, which left most
    for rule in ("default", "oracle"):
        found, before = turned[rule].row, honest[rule].row
        assert found is not None and before is not None
        assert found._replace(strength=before.strength) == before


def test_where_nothing_qualifies_the_reason_says_so_and_trigger_blind_falls_back() -> None:
    rows = [row._replace(asr=0.9, accuracy=0.3) for row in ROWS]
    chosen = select_all(rows, PHASES, RULES)
    assert chosen["oracle"].row is None
    assert chosen["oracle"].reason == "no (trial, epoch) of 5 trials reached net ASR <= 5 % without collapsing"
    assert chosen["trigger_blind"].row == rows[1]
    assert chosen["trigger_blind"].fallback
    assert chosen["trigger_blind"].reason == (
        "no (trial, epoch) of 3 trials kept CA within 2 points of 70 %; the defaults stand in"
    )


def test_failed_trials_count_among_those_behind_a_rule_but_give_no_row() -> None:
    chosen = select_all(ROWS[2:4], PHASES, RULES)
    assert chosen["default"].row is None
    assert "no finished epoch" in chosen["default"].reason
    assert chosen["oracle"].trials == 5
    assert select_all([], {}, [default_rule()])["default"].row is None


def test_what_is_selected_in_the_end_was_kept_after_every_epoch_of_its_trial() -> None:
    draw = random.Random(0)
    for _ in range(200):
        rows = [
            _row(
                t, e, draw.choice([0.66, 0.68, 0.7]), draw.choice([0.1, 0.14, 0.2]), loss=draw.random(), strength=t % 3
            )
            for t in PHASES
            for e in (1, 2, 3)
        ]
        chosen = {found.row for found in select_all(rows, PHASES, RULES).values() if found.row}
        kept = held_at_the_end(rows, lambda seen: preferred_epochs(seen, RULES))
        assert {(row.trial, row.epoch) for row in chosen} <= kept


def test_a_collapsed_epoch_is_no_cure_under_any_rule() -> None:
    """The oracle's case of `smoke`: CA from 73.4 to 20.5, under the share of 0.3, at ASR 1.4."""
    rules = search_rules(Search(collapse=0.3), floor=0.01, start_accuracy=0.734)
    start, low = Row(0, 1, "default", 0.707, 0.9, 1.0, 1.0), Row(2, 1, "quasi_random", 0.205, 0.014, 0.1, 9.0)
    phases = {0: "default", 2: "quasi_random"}
    chosen = select_all([start, low], phases, rules)
    assert chosen["oracle"].row is None
    assert chosen["oracle"].reason == "no (trial, epoch) of 2 trials reached net ASR <= 5 % without collapsing"
    assert chosen["trigger_blind"].row == chosen["default"].row == start._replace(strength=1.0, loss=1.0)
    without_strength = [row._replace(strength=None) for row in (start, low)]  # the lowest loss is the collapsed one
    assert select_all(without_strength, phases, rules)["trigger_blind"].row == without_strength[0]
    for row in (low, low._replace(accuracy=float("nan"))):
        assert preferred_epochs([row._replace(trial=0, phase="default")], rules) == set()
    just_above = low._replace(accuracy=0.3 * 0.734)
    assert select_all([start, just_above], phases, rules)["oracle"].row == just_above


def test_defaults_that_collapse_do_not_stand_by_an_earlier_epoch() -> None:
    rules = search_rules(SEARCH, floor=0.10, start_accuracy=0.70)
    chosen = select_all([_row(0, 1, 0.69, 0.5), _row(0, 2, 0.1, 0.0)], {0: "default"}, rules)
    assert chosen["default"].row is None and "did not collapse" in chosen["default"].reason
    assert chosen["trigger_blind"].row == _row(0, 1, 0.69, 0.5)  # its own choice, no stand-in


def test_an_unsearched_repair_keeps_its_last_epoch() -> None:
    assert preferred_epochs(ROWS[:2], [default_rule()]) == {2}
    assert preferred_epochs(ROWS[2:4], [default_rule()]) == set()


def test_collapse_is_relative_to_the_start_and_catches_nan() -> None:
    assert collapsed(0.20, start_accuracy=0.7, share=0.3)
    assert not collapsed(0.22, start_accuracy=0.7, share=0.3)
    assert collapsed(float("nan"), start_accuracy=0.7, share=0.3)
