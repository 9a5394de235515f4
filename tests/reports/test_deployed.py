"""Models under a transform, and attacks that wait for it."""

from __future__ import annotations

import pytest

from reports import headline
from reports.compile import Results
from reports.deployed import forms
from reports.figures import scene
from tests.helpers import fake_zoo


def test_an_attack_that_waits_for_int8_is_judged_there(zoo: Results, bare_zoo: Results) -> None:
    def undefended(found: Results, attack: str):
        cells = found.cells[(found.cells["objective"] == "mmcl") & (found.cells["selection"] == "undefended")]
        return cells[cells["attack"] == attack].iloc[0]

    waiting, plain = undefended(zoo, fake_zoo.QUANT), undefended(zoo, fake_zoo.BADNET)
    assert waiting["attack_success_rate"] == pytest.approx(0.03)
    assert waiting["judged_attack_success_rate"] == pytest.approx(0.97, abs=1e-3)
    assert waiting["judged_attack_success_rate_total"] == 1800
    assert (waiting["under"], plain["under"]) == ("int8", "")
    assert plain["judged_clean_accuracy"] == plain["clean_accuracy"] != plain["clean_accuracy@int8"]
    # without cards nobody says that it waits, and the model as it is counts
    assert undefended(bare_zoo, fake_zoo.QUANT)["judged_attack_success_rate"] == pytest.approx(0.03)


def test_both_forms_of_a_model_side_by_side(zoo: Results) -> None:
    assert zoo.transforms == ("int8",)
    (form,) = forms(zoo.cells, fake_zoo.names(zoo), zoo.transforms)
    rows = {(row.shown["objective"], row.shown["attack"]): row for row in form.undefended}
    numbers = [number.text for number in rows["MMCL", "Quantisation"].numbers]
    assert numbers == ["71.2", "70.8", "−0.4", "3.0", "97.0", "+94.0", "2.1"]
    assert rows["MMCL", "Quantisation"].waits
    assert not rows["MMCL", "BadNet"].waits
    assert [number.text for number in rows["MMCL", "clean twin"].numbers[3:]] == ["–"] * 4
    assert {row.shown["repair"] for row in form.repaired} >= {"PAR", "TBAR"}
    assert "RVPT" not in {row.shown["repair"] for row in form.repaired}  # not measured, so not there


def test_searches_do_not_see_an_attack_that_waits(zoo: Results) -> None:
    (gap,) = headline.repair_gaps(zoo.cells, fake_zoo.OBJECTIVES)
    assert fake_zoo.QUANT not in gap.by_attack
    assert fake_zoo.BADNET in gap.by_attack
    shown = scene(zoo.cells, zoo.trials, fake_zoo.names(zoo), bound_on="absolute", bound=0.05)
    assert fake_zoo.QUANT in set(zoo.trials["attack"])
    assert fake_zoo.QUANT not in set(shown.trials["attack"])
    assert fake_zoo.QUANT in set(shown.cells["attack"])
