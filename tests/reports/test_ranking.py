"""The rank of repairs: bands, ties and tests over seeds, and that no way of leaving work out wins anything."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.board import write_board
from reports.cards import Card, Cards
from reports.compile import JUDGED, Frame, compile_suite
from reports.grid import Names
from reports.ranking import Scored, holm, one_sided, rank, rankings, scored
from tests.helpers import fake_suite
from tests.helpers.fake_suite import BADNET, BLENDED
from tests.helpers.recompute import table_data

NAMES = Names({"mmcl": "MMCL"}, {"easy": "Easy", "hard": "Hard"}, {label: label.upper() for label in "abc"})
CARD = Card(needs=("clean_pairs",))


def repair(label: str, net: np.ndarray, lost: float = 0.0) -> Scored:
    """(seeds,) net ASR of one cell a seed."""
    column = net[:, None]
    return Scored(label, column, np.full_like(column, lost), column, len(net), len(net))


def rows(repair: str, net: dict[tuple[str, int], float | str], *, lost: float = 0.0, pairs: int = 100) -> Frame:
    """Rows of one repair under MMCL: (attack, seed) -> net ASR, or the status that it has instead."""
    rule = "undefended" if repair == "none" else "default"
    made = []
    for (attack, seed), value in net.items():
        off = isinstance(value, str)
        numbers = {f"{JUDGED}clean_accuracy": 0.7, f"{JUDGED}net_asr": value, f"{JUDGED}poisoned_accuracy": 0.5}
        axes = {"objective": "mmcl", "attack": attack, "repair": repair, "seed": seed, "selection": rule, "void": ""}
        made.append(
            axes
            | {"status": value if off else "ok", "accuracy_lost": math.nan if off else lost, "clean_pairs": pairs}
            | {name: math.nan if off else number for name, number in numbers.items()}
        )
    return pd.DataFrame(made)


START = rows("none", {(attack, seed): 0.9 for attack in ("easy", "hard") for seed in (0, 1, 2)})


def values(easy: float, hard: float | str, *, step: float = 0.01) -> dict[tuple[str, int], float | str]:
    """Net ASR of three seeds that differ a little."""
    found: dict[tuple[str, int], float | str] = {("easy", seed): easy + step * seed for seed in (0, 1, 2)}
    return found | {("hard", s): hard if isinstance(hard, str) else hard + step * (s % 2) for s in (0, 1, 2)}


def table(*more: Frame, cards: dict[str, Card] | None = None) -> list[tuple[str, str, str, str]]:
    """(rank, title, net, coverage) of the one table."""
    own = cards or dict.fromkeys("abc", CARD)
    (found,) = rankings(pd.concat([START, *more], ignore_index=True), NAMES, Cards(repair=own))
    return [(row.rank, row.title, row.net, row.coverage) for row in found.rows]


def test_tests_agree_with_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.3, 0.1, 6), rng.normal(0.2, 0.1, 6)
    assert one_sided(a - b) == pytest.approx(stats.ttest_rel(a, b, alternative="greater").pvalue)
    assert one_sided(np.array([0.3])) == one_sided(np.array([0.3, 0.3])) == one_sided(np.zeros(5)) == 1.0
    assert one_sided(np.full(3, 0.3)) == 0.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]  # .01 < .05/3, .03 > .05/2
    assert holm([0.01, 0.04, 0.02]) == [True, True, True]
    assert holm([]) == []


def test_what_seeds_tell_apart_gets_another_rank_and_the_rest_shares_one() -> None:
    noise = np.array([0.0, 0.01, 0.02, 0.005, 0.015])
    low, same, high = (repair(label, base + noise[::turn]) for label, base, turn in
                       (("a", 0.1, 1), ("b", 0.101, -1), ("c", 0.6, 1)))  # fmt: skip
    ranks, alike = rank([high, low, same])
    assert ranks == [2, 1, 1]
    assert alike == [[], [2], [1]]


def test_accuracy_comes_before_the_backdoor() -> None:
    noise = np.array([0.0, 0.01, 0.02])
    scores = [repair("cures", 0.0 + noise, lost=0.3), repair("keeps", 0.5 + noise), repair("between", noise, lost=0.04)]
    assert rank(scores)[0] == [3, 1, 2]
    assert [one.band for one in scores] == [2, 0, 1]
    assert repair("edge", noise, lost=0.02).band == 0


def test_a_constant_predictor_stands_behind_no_repair() -> None:
    constant = rows("a", values(0.0, 0.0), lost=0.6)
    assert [title for _, title, *_ in table(constant)] == ["no repair", "A"]


def test_leaving_the_hard_attack_out_wins_nothing() -> None:
    honest = rows("a", values(0.1, 0.5))
    skips = rows("b", values(0.1, "not_applicable"))
    found = table(honest, skips)
    assert [title for _, title, *_ in found] == ["A", "B", "no repair"]
    assert {title: coverage for _, title, _, coverage in found} == {"A": "6 of 6", "B": "3 of 6", "no repair": "6 of 6"}
    assert found[1][2] == "50.5"  # (11 % on the easy one, and the 90 % that are there without it on the hard one) / 2


def test_a_seed_that_crashed_lowers_coverage_and_counts_as_not_repaired() -> None:
    crashed = values(0.1, 0.1) | {("hard", 2): "failed"}
    found = scored(pd.concat([START, rows("a", crashed)], ignore_index=True), "a")
    assert found is not None
    assert (found.covered, found.planted) == (5, 6)
    assert found.net[2].tolist() == pytest.approx([0.12, 0.9])


def test_a_repair_that_does_nothing_shares_the_rank_of_no_repair() -> None:
    found = table(rows("a", dict.fromkeys(values(0, 0), 0.9)), rows("b", values(0.1, 0.1)))
    assert [(place, title) for place, title, *_ in found] == [("1", "B"), ("2", "no repair"), ("2", "A")]


def test_below_the_floor_is_no_deeper_cure() -> None:
    found = table(rows("a", values(-0.4, -0.4)), rows("b", values(0.0, 0.0, step=0.0)))
    assert {title: net for _, title, net, _ in found if title in "AB"} == {"A": "0.0", "B": "0.0"}


def test_an_attack_that_one_seed_lost_is_told_and_counts_where_it_planted() -> None:
    start = START.copy()
    start.loc[(start["attack"] == "hard") & (start["seed"] == 1), "status"] = "attack_did_not_plant"
    cells = pd.concat([start, rows("a", values(0.1, 0.5))], ignore_index=True)
    (found,) = rankings(cells, NAMES, Cards(repair={"a": CARD}))
    assert found.lost == "Hard after MMCL (seed 1)"
    assert {row.coverage for row in found.rows} == {"5 of 5"}


def test_who_asks_for_more_stands_in_another_table_and_oracles_in_none() -> None:
    cells = pd.concat(
        [START, rows("a", values(0.1, 0.1)), rows("b", values(0.2, 0.2), pairs=900), rows("c", values(0.0, 0.0))],
        ignore_index=True,
    )
    cards = {"a": CARD, "b": CARD, "c": Card(needs=("trigger",))}
    found = rankings(cells, NAMES, Cards(repair=cards))
    titles = [(one.title, [row.title for row in one.rows]) for one in found]
    assert titles == [("with 100 clean pairs", ["A", "no repair"]), ("with 900 clean pairs", ["B", "no repair"])]
    more = rankings(cells, NAMES, Cards(repair=cards | {"b": Card(needs=("clean_pairs", "labels"))}))
    assert [one.title for one in more] == ["with 100 clean pairs", "with 900 clean pairs and labels"]


def test_one_seed_ranks_nothing() -> None:
    cells = pd.concat([START, rows("a", values(0.1, 0.1))], ignore_index=True)
    (found,) = rankings(cells[cells["seed"] == 0], NAMES, Cards(repair={"a": CARD}))
    assert [(row.rank, row.alike) for row in found.rows] == [("", ""), ("", "")]


def test_where_nothing_planted_there_is_no_row() -> None:
    cells = pd.concat([START.assign(status="attack_did_not_plant"), rows("a", values(0.1, 0.1))], ignore_index=True)
    (found,) = rankings(cells, NAMES, Cards(repair={"a": CARD}))
    assert found.rows == []


def test_the_page_has_the_table_of_a_suite_of_three_seeds(tmp_path: Path) -> None:
    cells = fake_suite.grid((BADNET, BLENDED), (0, 1, 2))
    store = fake_suite.make_store(tmp_path / "store", cells)
    page = write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")
    results = compile_suite(store, "demo")
    found = rankings(results.cells, fake_suite.names(results), results.cards)
    (ranked,) = found
    assert [(row.rank, row.title) for row in ranked.rows] == [
        ("1", "CleanCLIP"),
        ("2", "MMCL fine-tuning"),
        ("3", "BatchNorm only"),
        ("4", "no repair"),
    ]
    assert (
        page.index('<section id="answer"') < page.index('<section id="methods-table"') < page.index('<section id="gap"')
    )
    tables = (tmp_path / "board" / "tables.md").read_text(encoding="utf-8")
    (group,) = table_data(page)["groups"]
    assert [(row["rank"], row["label"]) for row in group["rows"]] == [(row.rank, row.label) for row in ranked.rows]
    for row in ranked.rows:
        assert f"<strong>{row.net}</strong>" in page and f"| {row.rank} | {row.title} | {row.net} |" in tables
