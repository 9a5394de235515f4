"""What detectors found: filters on pairs, detectors of triggered images and of attacked models."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from reports.compile import Results, compile_suite
from reports.statistics import auroc
from tests.helpers import fake_zoo


def test_filters_and_what_they_leave(zoo: Results) -> None:
    found = fake_zoo.found_in(zoo)
    groups = {(group.objective, group.attack): group for group in found.filters}
    badnet = groups["MMCL", "BadNet"]
    assert badnet.about == "340 poisoned of 17\u202f000 pairs; undefended CA 71.2, ASR 97.0"
    lines = {line.detector: line for line in badnet.lines}
    dao = lines["DAO"].numbers
    assert (dao["auroc"].text, dao["poisons_left_at_5pct"].text) == ("0.985", "22")
    assert dao["poisons_left_at_5pct"].tooltip == "of 340"
    assert (dao["retrained_asr"].text, dao["retrained_asr"].note) == ("7.8", "−89.2")
    assert lines["DAO"].note == "retrained without 5 %"
    assert lines["SLOF"].numbers["retrained_asr"].text == "–"
    assert [line.detector for line in groups["MMCL", "clean twin"].lines] == ["DAO"]
    off = groups["MMCL", "WaNet (grid=4)"].off
    assert off is not None and off.status == "attack did not plant"
    assert badnet.off is None


def test_detectors_of_images_and_their_false_alarms(zoo: Results) -> None:
    found = fake_zoo.found_in(zoo)
    assert "clean twin" not in {group.attack for group in found.inputs}
    group = next(group for group in found.inputs if (group.objective, group.attack) == ("MMCL", "BadNet"))
    strip = group.lines[0].numbers
    assert [strip[name].text for name in ("auroc", "tpr_at_1pct_fpr", "realised_fpr_at_1pct")] == [
        "0.660",
        "16.0",
        "1.3",
    ]
    assert strip["false_alarms"].tooltip.startswith("26 of 2000; 95 % Wilson interval")
    lost = next(group for group in found.inputs if (group.objective, group.attack) == ("MMCL+SSL", "WaNet (grid=224)"))
    assert (lost.lines[0].status, lost.lines[0].reason) == ("missing", "no record in this store")
    assert lost.off is None  # the other detector has numbers


def test_models_are_judged_against_their_twins(zoo: Results) -> None:
    (judge,) = fake_zoo.found_in(zoo).models
    scored = zoo.detections[zoo.detections["suspicion"].notna()]
    expected = roc_auc_score(scored["attack"] != "none", scored["suspicion"])
    assert judge.auroc.sort == pytest.approx(expected)
    assert judge.counts == ("9 of 11 attacked models called suspicious, 0 of 2 clean twins; target named 7 of 9 times")
    verdicts = {(one.objective, one.attack): one for one in judge.verdicts}
    assert (verdicts["MMCL", "TDPA"].flagged, verdicts["MMCL", "TDPA"].right) == ("not suspicious", False)
    assert (verdicts["MMCL", "clean twin"].flagged, verdicts["MMCL", "clean twin"].right) == ("not suspicious", True)
    assert verdicts["MMCL", "SIG"].target == "another class"
    assert verdicts["MMCL", "WaNet (grid=4)"].status == "attack did not plant"


def test_no_model_judged_is_no_score_of_nothing(zoo: Results) -> None:
    waiting = zoo.detections.assign(suspicion=math.nan, status="missing")
    (judge,) = fake_zoo.found_in(zoo._replace(detections=waiting)).models
    assert (judge.auroc.sort, judge.counts) == (None, "No model has been judged")


def test_auroc_equals_scikit_learn() -> None:
    positives, negatives = [0.3, 0.5, 0.5, 0.9], [0.1, 0.5, 0.4]
    expected = roc_auc_score([1] * 4 + [0] * 3, positives + negatives)
    assert auroc(positives, negatives) == pytest.approx(expected)
    assert math.isnan(auroc([], negatives))


def test_several_seeds_are_means_without_intervals(tmp_path: Path) -> None:
    found = compile_suite(fake_zoo.make_store(tmp_path, seeds=(0, 1)), "zoo")
    groups = fake_zoo.found_in(found).inputs
    number = groups[0].lines[0].numbers["tpr_at_1pct_fpr"]
    assert (number.text, number.note, number.tooltip) == ("16.0", "", "mean over 2 seeds")
