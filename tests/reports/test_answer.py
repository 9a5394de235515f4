"""The answer in words: a number and a direction only where several seeds agree, attacks that disagree said as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.store.artifacts import Store
from reports import style
from reports.answer import Answer, answers, reading
from reports.areas import BOUNDS, Bound
from reports.board import write_board
from reports.compile import Results, compile_suite
from reports.curves import cost_curve, mean_curves
from reports.statistics import Change, paired_gap
from tests.helpers import fake_suite
from tests.helpers.fake_suite import BADNET, BLENDED, OBJECTIVES, names

NET = Bound(0.05, net=True)
NO_STORE = Store(Path("no") / "store")  # made-up records have no outcomes
DIRECTIONS = ("harder", "easier")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    cells = fake_suite.grid((BADNET, BLENDED), (0, 1, 2))
    return fake_suite.make_store(tmp_path_factory.mktemp("seeds"), cells)


@pytest.fixture(scope="module")
def seeds(store: Store) -> Results:
    return compile_suite(store, "demo")


def answer_of(results: Results) -> Answer:
    (found,) = answers(NO_STORE, results, names(results), NET)
    return found


def said(values: dict[str, list[tuple[float, float]]], results: Results) -> str:
    """What is said of areas under both objectives: a list over seeds for each attack."""
    changes = {
        (objective, attack, seed): Change(area, float("nan"), False, "")
        for attack, pairs in values.items()
        for seed, pair in enumerate(pairs)
        for objective, area in zip(OBJECTIVES, pair, strict=True)
    }
    gap = paired_gap(changes, repair="cleanclip", objectives=OBJECTIVES, selection="front")
    return " ".join(reading(gap, names(results)))


def test_three_seeds_that_agree_give_a_direction(seeds: Results) -> None:
    text = said({BADNET: [(0.9, 0.7), (0.92, 0.71), (0.88, 0.69)]}, seeds)
    text = text.replace("\u00a0", " ")
    assert "90.0 % of what would be ideal could be had after MMCL, 70.0 % after MMCL+SSL: here, repair was" in text
    assert "harder after MMCL+SSL" in text
    assert "easier after MMCL+SSL" in said({BADNET: [(0.7, 0.9), (0.71, 0.92), (0.69, 0.88)]}, seeds)


def test_seeds_that_scatter_give_none_and_say_what_they_could_have_found(seeds: Results) -> None:
    text = said({BADNET: [(0.9, 0.8), (0.8, 0.85), (0.85, 0.8)]}, seeds)
    assert "includes zero: this suite does not tell them apart" in text
    assert "With 3 seeds that differ as these do, a gap of " in text
    assert not any(word in text for word in DIRECTIONS)


def test_two_seeds_that_scatter_could_have_found_nothing(seeds: Results) -> None:
    assert "With 2 seeds that differ as these do, no gap would be found" in said(
        {BADNET: [(0.9, 0.8), (0.7, 0.9)]}, seeds
    )


def test_one_seed_gives_neither_number_nor_direction(results: Results) -> None:
    text = said({BADNET: [(0.9, 0.5)], BLENDED: [(0.8, 0.4)]}, results)
    assert text.startswith("BadNet: 90.0 after MMCL, 50.0 after MMCL+SSL; Blended: 80.0")
    assert "One seed: no direction" in text and "disagree" not in text
    assert "The attacks disagree in sign" in said({BADNET: [(0.9, 0.5)], BLENDED: [(0.4, 0.8)]}, results)
    assert "One seed: no direction" in text and not any(word in text for word in DIRECTIONS)
    found = answer_of(results)
    assert (found.number, found.interval, found.basis) == ("", "", "")
    assert {line.interval for line in found.gaps} == {""}


def test_attacks_that_disagree_are_not_averaged(seeds: Results) -> None:
    text = said(
        {BADNET: [(0.9, 0.5), (0.9, 0.51), (0.9, 0.52)], BLENDED: [(0.5, 0.6), (0.5, 0.62), (0.5, 0.61)]}, seeds
    )
    assert "The attacks disagree in sign: there is no one answer" in text
    assert not any(word in text for word in DIRECTIONS)


def test_what_is_in_no_mean_is_named(seeds: Results) -> None:
    nan = float("nan")
    text = said(
        {BADNET: [(0.9, 0.7), (0.9, 0.72), (0.9, nan)], BLENDED: [(0.9, 0.7), (0.92, 0.71), (0.88, 0.69)]}, seeds
    )
    assert text.endswith("BadNet is in no mean: 2 of 3 seeds have it under both objectives.")
    text = said({BADNET: [(0.9, 0.7), (0.92, 0.71), (nan, 0.7)]}, seeds)
    assert text.endswith("Seed 2: no cell that counts.")
    text = said({BADNET: [(0.9, 0.7), (0.92, 0.71)], BLENDED: [(nan, 0.7), (nan, 0.7)]}, seeds)
    assert text.endswith("Blended is in no mean: no seed has it under both objectives.")


def test_the_table_has_starts_areas_cuts_and_counts(seeds: Results) -> None:
    found = answer_of(seeds)
    assert [(line.attack, line.objective) for line in found.lines] == [
        (attack, objective) for attack in ("BadNet", "Blended") for objective in ("MMCL", "MMCL+SSL")
    ]
    line = found.lines[0]
    accuracy = np.mean([0.712 - 0.013 * seed for seed in range(3)])
    assert line.start.startswith(f"{100 * accuracy:.1f} / ")
    cells = [found.searched["mmcl", BADNET, seed] for seed in range(3)]
    assert line.area == f"{100 * np.mean([cell.area for cell in cells]):.1f}"
    assert line.epochs == f"{sum(cell.epochs_within for cell in cells)} of {sum(cell.epochs for cell in cells)}"
    assert line.none == "0 of 3" and line.notes == ""
    gap = found.gap.by_attack[BADNET]
    values = [found.searched["mmcl", BADNET, s].area - found.searched["mmcl-ssl", BADNET, s].area for s in range(3)]
    assert gap.estimate == pytest.approx(np.mean(values))


def test_a_cell_without_an_epoch_within_the_bound_is_counted_and_in_no_mean(results: Results) -> None:
    found = answer_of(results)
    (line,) = [line for line in found.lines if (line.attack, line.objective) == ("BadNet", "MMCL+SSL")]
    hostile = [line for line in found.lines if line.notes]
    assert line.cuts[0] in ("none met it",) or line.cuts[0][0] in "+−±"
    assert any("attack did not plant" in other.notes for other in hostile)


def test_a_suite_that_keeps_no_front_has_no_answer(seeds: Results) -> None:
    protocol = seeds.suite["protocol"] | {"search": seeds.suite["protocol"]["search"] | {"front": 0}}
    assert answers(NO_STORE, seeds._replace(suite=dict(seeds.suite) | {"protocol": protocol}), names(seeds), NET) == []


def test_the_figure_shows_a_line_for_each_objective_over_what_the_answer_rests_on(seeds: Results) -> None:
    found = answer_of(seeds)
    used = frozenset((pair.attack, pair.seed) for pair in found.gap.used)
    curves = mean_curves(found.searched, used, "mmcl")
    assert curves.shape == (3, len(BOUNDS))
    assert curves.mean() == pytest.approx(found.gap.overall.first, abs=0.01)
    figure = cost_curve(found)
    (axes,) = figure.axes
    assert len(axes.lines) == 2 and len(axes.collections) == 2  # a band each, over the seeds
    assert figure.get_figwidth() == style.COLUMN_WIDTH


def test_the_page_says_the_answer_first_and_the_tables_have_it(store: Store, tmp_path: Path) -> None:
    page = write_board(store, "demo", tmp_path).read_text(encoding="utf-8")
    assert page.index('<section id="answer"') < page.index('<section id="gap"')
    assert (tmp_path / "figures" / "repair-cost.pdf").is_file()
    found = answer_of(compile_suite(store, "demo"))
    tables = (tmp_path / "tables.md").read_text(encoding="utf-8")
    for line in found.lines:
        assert f"| {line.attack} | {line.objective} | {line.start} | {line.cost} | {line.area} |" in tables
