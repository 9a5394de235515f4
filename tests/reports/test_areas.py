"""The normalised front area of searched cells, by hand and against the curve that it is the mean height of."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reports.areas import BOUNDS, Bound, Searched, area_values, searched_cells
from reports.compile import Frame, Results
from tests.helpers import fake_suite
from tests.helpers.fake_suite import BADNET, BLENDED, OBJECTIVES

NET = Bound(0.05, net=True)


def points(*rows: tuple[float, float, float, float]) -> Frame:
    """Points of (test CA, test net ASR, validation CA, validation ASR); the floor on validation is .03."""
    names = ["clean_accuracy", "net_asr", "validation_accuracy", "validation_asr"]
    return pd.DataFrame(rows, columns=names).assign(validation_floor=0.03)


def cell(own: Frame, *, reason: str = "") -> Searched:
    """A cell whose undefended model has CA .8 and net ASR .9."""
    return Searched(0.8, 0.9, own, 4, 2, 20, 5, reason)


def test_the_area_by_hand() -> None:
    own = points((0.6, 0.4, 0.6, 0.4), (0.4, -0.1, 0.4, 0.02))
    # .4 of CA from net ASR 0 (clipped) to .4, .6 from .4 to .9, .8 above
    assert cell(own).area == pytest.approx((0.4 * 0.4 + 0.6 * 0.5 + 0.8 * 0.1) / 0.8)
    assert cell(points()).area == pytest.approx(0.1)  # what the undefended model has by itself


def test_the_area_is_the_mean_height_of_the_curve() -> None:
    rng = np.random.default_rng(3)
    own = points(*[(a, b, a, b) for a, b in rng.uniform(0.2, 0.9, (9, 2))])
    found = cell(own)
    kept = found.kept()
    assert kept.shape == BOUNDS.shape and (np.diff(kept) >= 0).all()
    assert kept.mean() == pytest.approx(found.area, abs=0.01)
    assert kept[-1] == max(0.8, own["clean_accuracy"].max()) / 0.8


def test_what_test_shows_counts_and_not_what_validation_saw() -> None:
    better = points((0.6, 0.4, 0.9, 0.0))
    worse = points((0.6, 0.4, 0.1, 0.9))
    assert cell(better).area == cell(worse).area


def test_a_cut_is_chosen_on_validation_and_read_on_test() -> None:
    own = points((0.5, 0.3, 0.7, 0.07), (0.72, 0.0, 0.6, 0.03), (0.1, 0.0, 0.75, 0.2))
    found = cell(own)
    assert found.cut(NET).value == pytest.approx(0.5 / 0.8 - 1)  # .07 - .03 is within .05, and has the higher CA there
    assert found.cut(Bound(0.05, net=False)).value == pytest.approx(0.72 / 0.8 - 1)
    assert found.cut(Bound(0.02, net=False)) == (-1.0, 0.0, True, "")


def test_a_cell_that_nothing_can_be_said_of_has_no_area() -> None:
    found = cell(points((0.6, 0.4, 0.6, 0.4)), reason="attack_did_not_plant")
    assert math.isnan(found.area)
    assert found.cut(NET).reason == "attack_did_not_plant"
    (value,) = area_values({("mmcl", "badnet", 0): found}).values()
    assert (math.isnan(value.value), value.reason) == (True, "attack_did_not_plant")


def found_in(results: Results, **changed: Frame) -> dict[tuple[str, str, int], Searched]:
    frames = {"cells": results.cells, "fronts": results.fronts, "trials": results.trials} | changed
    return searched_cells(**frames, repair="cleanclip", objectives=OBJECTIVES, bound=NET)


def test_cells_are_found_with_their_fronts_and_what_met_the_bound(results: Results) -> None:
    found = found_in(results)
    assert list(found)[:2] == [("mmcl", BADNET, 0), ("mmcl-ssl", BADNET, 0)]
    good = found["mmcl", BADNET, 0]
    own = results.trials[(results.trials["objective"] == "mmcl") & (results.trials["attack"] == BADNET)]
    counted = own[own["validation_asr"] - own["validation_floor"] <= 0.05]
    assert (good.trials, good.epochs) == (9, 36)
    assert (good.trials_within, good.epochs_within) == (counted["trial"].nunique(), len(counted))
    assert 0 < good.trials_within < 9
    on_front = fake_suite.front_points(fake_suite.find(fake_suite.broken()[0], "mmcl", BADNET, "cleanclip"))
    assert len(good.points) == len(on_front) > 3
    seen = {(row["trial"], row["epoch"]): row["measures"][0]["value"] for row in on_front}
    rows = good.points[["trial", "epoch", "clean_accuracy"]].itertuples(index=False)
    assert {(trial, epoch): value for trial, epoch, value in rows} == seen


def test_every_reason_why_there_is_no_area(results: Results) -> None:
    found = found_in(results)
    assert found["mmcl", BLENDED, 0].reason == "attack_did_not_plant"
    # no epoch met the bound there, and its record keeps no front: what the undefended model has is what is left
    assert found["mmcl-ssl", BADNET, 0].reason == ""
    hit = results.cells["selection"] == "undefended"
    lost = results.cells.assign(net_asr=results.cells["net_asr"].mask(hit))
    assert found_in(results, cells=lost)["mmcl", BADNET, 0].reason == "no floor"
    bare = found_in(results, fronts=results.fronts.iloc[:0])
    assert bare["mmcl", BADNET, 0].reason == "its front was not measured on test"
    assert found_in(results, cells=results.cells[~hit])["mmcl", BADNET, 0].reason == "not in the suite"


def test_a_bound_that_is_not_given_is_met_by_nothing() -> None:
    assert not Bound(None, net=True).met(points((0.6, 0.0, 0.6, 0.0))).any()


def test_the_bound_takes_rounding_as_every_rule_does() -> None:
    row = SimpleNamespace(asr=0.30, floor=0.25)
    own = points((0.6, 0.0, 0.6, row.asr)).assign(validation_floor=row.floor)
    assert NET.met(own).all()
