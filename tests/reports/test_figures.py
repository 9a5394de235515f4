"""The figures: points, fronts, legends; three formats of equal bytes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Patch

from benchmark.stats import front
from reports import style
from reports.compile import Results, compile_suite
from reports.figures import gap_chart, scatter, scene
from reports.grid import Names, names_of, search_rows
from reports.headline import repair_gaps
from reports.labels import wrap
from tests.helpers import fake_suite
from tests.helpers.fake_suite import make_store, names
from tests.helpers.pages import page_of


def test_the_scatter_subtracts_the_floor_on_a_net_bound(results: Results) -> None:
    net = scene(results.cells, results.trials, names(results), bound_on="net", bound=0.05)
    absolute = scene(results.cells, results.trials, names(results), bound_on="absolute", bound=0.05)
    floors = absolute.trials["x"] - net.trials["x"]
    assert set(floors.round(6)) == {3.0}  # validation's own floor, which the rules subtract; test has 2.1 and 2.7
    (panel, *_) = scatter(net, fake_suite.OBJECTIVES).axes
    shaded = panel.patches[0].get_extents().transformed(panel.transData.inverted())
    assert (round(shaded.x0), round(shaded.x1)) == (-5, 5)
    assert net.bound == 5.0
    assert net.hidden == 0


def test_points_without_a_floor_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_suite, "VALIDATION_FLOOR", math.nan)
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))
    store = make_store(tmp_path / "store", cells)
    page = page_of(store, "demo", tmp_path / "board")
    assert "72 validation points are left out" in page


def fronts(panel: Axes) -> list[np.ndarray]:
    """The corners of every front of a panel."""
    lines = [found for found in panel.collections if isinstance(found, LineCollection)]
    return [np.asarray(segment) for found in lines for segment in found.get_segments()]


def test_panels_and_fronts(results: Results) -> None:
    shown = scene(results.cells, results.trials, names(results), bound_on="net", bound=0.05)
    figure = scatter(shown, fake_suite.OBJECTIVES)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["MMCL", "MMCL+SSL"]
    assert figure.get_figwidth() == style.PAGE_WIDTH
    own = shown.trials[(shown.trials["objective"] == "mmcl") & (shown.trials["attack"] == fake_suite.BADNET)]
    best = own.iloc[front(own[["validation_accuracy", "validation_asr"]].to_numpy())]
    drawn = fronts(figure.axes[0])[0]
    np.testing.assert_allclose(drawn[1::2], np.c_[drawn[2::2, 0], drawn[:-1:2, 1]])  # a value holds until the next
    np.testing.assert_allclose(drawn[::2], best.sort_values("x")[["x", "y"]].to_numpy())


def test_an_epoch_that_collapsed_is_drawn_and_on_no_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, start = fake_suite.trials, 0.7
    told = lambda entry: [{**row, "validation_start": start} for row in made(entry)]  # noqa: E731
    monkeypatch.setattr(fake_suite, "trials", told)
    search = {**fake_suite.PROTOCOL["search"], "collapse": 0.9}
    monkeypatch.setitem(fake_suite.PROTOCOL, "search", search)
    store = make_store(tmp_path / "store", fake_suite.grid((fake_suite.BADNET,), (0,)))
    found = compile_suite(store, "demo")
    fallen = found.trials["validation_accuracy"] < 0.9 * start
    assert 0 < fallen.sum() < len(fallen)
    shown = scene(found.cells, found.trials, names(found), bound_on="net", bound=0.05)
    axes = scatter(shown, fake_suite.OBJECTIVES).axes
    assert len(shown.trials) == len(found.trials)
    lowest = [line[:, 1].min() for panel in axes for line in fronts(panel)]
    assert min(lowest) >= 100 * 0.9 * start
    on_front = [(len(line) + 1) // 2 for panel in axes for line in fronts(panel)]
    assert [row.on_front for row in search_rows(found.trials, names(found))] == on_front
    page = page_of(store, "demo", tmp_path / "board")
    assert "points that collapsed (CA below 90 % of the start) are taken by no rule" in page


def test_all_points_with_one_mark_are_drawn_at_once_since_a_board_may_have_thousands(
    results: Results,
) -> None:
    cells = pd.concat([results.cells.assign(seed=seed) for seed in range(5)], ignore_index=True)
    shown = scene(cells, results.trials.iloc[:0], names(results), bound_on="net", bound=0.05)
    own = shown.cells[shown.cells["objective"] == "mmcl"]
    marks = own.assign(by=own["repair"].where(~own["searched"].astype(bool), own["selection"]))
    drawn = [points for points in scatter(shown, fake_suite.OBJECTIVES).axes[0].collections if points.get_zorder() == 5]
    assert len(drawn) == marks["by"].nunique()
    placed = np.concatenate([np.asarray(points.get_offsets()) for points in drawn])
    np.testing.assert_allclose(np.sort(placed, axis=0), np.sort(own[["x", "y"]].to_numpy(dtype=float), axis=0))


def test_every_repair_has_a_mark_and_a_name_in_the_legend_and_no_search_is_told_of_where_there_is_none(
    results: Results,
) -> None:
    cells = results.cells[results.cells["repair"].isin(["none", "fine-tuning"])]
    made = [cells[cells["repair"] == "none"]]
    made += [cells[cells["repair"] == "fine-tuning"].assign(repair=f"repair-{place}") for place in range(13)]
    shown = scene(pd.concat(made), results.trials.iloc[:0], Names({}, {}, {}), bound_on="net", bound=0.05)
    labels = {f"repair-{place}": f"Repair {place} (variant=as_released)" for place in range(13)}
    known = names(results)
    (legend,) = scatter(shown._replace(names=known._replace(repair=labels)), fake_suite.OBJECTIVES).legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert [text for text in texts if text.startswith("Repair")] == [
        f"Repair {place}\n(variant=as_released)" for place in range(13)
    ]
    assert not {"oracle", "trigger-blind", "default"} & set(texts)
    assert all(isinstance(handle, Patch) for handle in legend.legend_handles[:2])
    assert len({handle.get_marker() for handle in legend.legend_handles[3:16]}) == 13


def test_labels_in_figures_are_wrapped_before_they_are_cut() -> None:
    assert wrap("CleanCLIP (variant=as_released)", 24) == "CleanCLIP\n(variant=as_released)"
    assert wrap("MMCL", 16) == "MMCL"
    assert wrap("x" * 100, 16) == "x" * 31 + "…"


def test_figures_are_written_in_three_formats_and_equal_bytes(results: Results, tmp_path: Path) -> None:
    (gap,) = repair_gaps(results.cells, fake_suite.OBJECTIVES)
    first = style.save(gap_chart(gap, names(results)), tmp_path / "one" / "gap")
    second = style.save(gap_chart(gap, names(results)), tmp_path / "two" / "gap")
    assert [path.name for path in first] == ["gap.svg", "gap.png", "gap.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert gap_chart(gap, names(results)).get_figwidth() == style.COLUMN_WIDTH


def test_labels_with_dollars_and_markup_are_drawn_as_they_are(results: Results) -> None:
    cells = results.cells.assign(objective=results.cells["objective"].replace("mmcl", "$\\frac{<b>$"))
    shown = scene(cells, results.trials.iloc[:0], names_of(cells), bound_on="net", bound=None)
    figure = scatter(shown, ["$\\frac{<b>$"])
    svg = style.inline_svg(figure, 'about "it"', prefix="x")
    assert "$\\frac{&lt;b&gt;$" in svg
    assert 'aria-label="about &#34;it&#34;"' in svg
    assert "<style" not in svg
