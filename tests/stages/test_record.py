"""The gate: which attacks count as planted, on absolute and on net attack success."""

from __future__ import annotations

import math

import pytest

from benchmark.config.spec import Gate
from benchmark.stages.measuring import planted
from benchmark.types import Measure
from suites import cifar10, cifar10_zoo, kinds, smoke


def measured(asr: float, floor: float, accuracy: float = 0.7, transform: str = "") -> list[Measure]:
    numbers = {"attack_success_rate": asr, "net_asr": asr - floor}
    found = [Measure(name + transform, "zero_shot", value, -1, 100, 1) for name, value in numbers.items()]
    return [*found, Measure("clean_accuracy", "zero_shot", accuracy, -1, 100, 1)]


TWIN = [Measure("clean_accuracy", "zero_shot", 0.72, -1, 100, 1)]


@pytest.mark.parametrize(
    ("asr", "floor", "on", "expected"),
    [
        (0.85, 0.02, "net", ""),
        (0.80, 0.75, "absolute", ""),  # a trigger that names the target without any poison
        (0.80, 0.75, "net", "undefended net ASR 0.050, the gate asks for 0.8"),
        (0.79, 0.0, "absolute", "undefended ASR 0.790, the gate asks for 0.8"),
        (1.0, math.nan, "net", "undefended net ASR nan, the gate asks for 0.8"),
        (0.85, 0.05, "net", ""),  # 0.7999999999999999 in binary
    ],
)
def test_an_attack_plants_by_the_suites_measure(asr: float, floor: float, on: str, expected: str) -> None:
    assert planted(measured(asr, floor), TWIN, Gate(min_asr_on=on)) == expected


def test_a_rate_that_is_no_number_plants_nothing_even_where_everything_else_does() -> None:
    assert planted(measured(1.0, math.nan), TWIN, Gate(min_asr=0.0, min_asr_on="net")) != ""
    assert planted(measured(1.0, 0.0, math.nan), TWIN, Gate(min_asr=0.0)) != ""


def test_a_loss_of_accuracy_that_is_just_allowed_is_allowed() -> None:
    assert planted(measured(1.0, 0.0, accuracy=0.70), TWIN, Gate(max_accuracy_drop=0.02)) == ""
    assert "0.060 below the clean twin" in planted(measured(1.0, 0.0, accuracy=0.66), TWIN, Gate())


def test_an_attack_that_waits_for_a_transform_is_judged_under_it() -> None:
    both = [*measured(0.1, 0.02), *measured(0.95, 0.02, transform="@int8")]
    assert planted(both, TWIN, Gate(min_asr_on="net"), transform="int8") == ""
    assert "net ASR 0.080" in planted(both, TWIN, Gate(min_asr_on="net"))


def test_the_suites_gate_on_what_they_mean() -> None:
    suites = (smoke, cifar10, cifar10_zoo, kinds)
    gates = {module.suite().name: module.suite().gate for module in suites}
    assert {name: (gate.min_asr_on, gate.min_asr) for name, gate in gates.items()} == {
        "smoke": ("net", 0.8),
        "cifar10": ("net", 0.8),
        "cifar10-zoo": ("net", 0.6),
        "kinds": ("absolute", 0.0),  # every attack counts, also one that lowers the rate of its target
    }
