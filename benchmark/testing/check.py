"""`check_method`: runs every contract check of one method class and reports each; what `backstop check` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmark.errors import UserError
from benchmark.testing.common import common_checks, example
from benchmark.testing.contract import Broken, Check, CheckResult, Checks
from benchmark.types import Method

__all__ = ["CheckResult", "check_method"]


def check_method(cls: type[Method], fields: Mapping[str, Any] | None = None) -> list[CheckResult]:
    """Checks one method against the contract of all methods and that of its kind.

    Trains models of a few thousand weights on drawn shapes where the kind needs it; under 20 s on one core.

    Args:
        cls: the method's class.
        fields: fields to build it with; required fields that the kit knows (`target`) may be left out.

    Returns:
        One result per check, in order. Where the method cannot be built, the checks of its kind are left out; where
        its kind's contract is broken, so is that of devices, which would end at the same fault.
    """
    given = dict(fields or {})
    results = [_run(check) for check in common_checks(cls, given)]
    try:
        method = example(cls, given)
    except (UserError, Broken):
        return results  # "builds" has failed and says why
    of_kind = [_run(check) for check in _kind_checks(method)]
    if all(result.ok for result in of_kind):
        of_kind += [_run(check) for check in _on_device(method)]
    return [*results, *of_kind]


def _run(check: Check) -> CheckResult:
    """Whatever a method under test raises is a finding, so that every exception becomes a result."""
    try:
        return CheckResult(check.name, True, check.run())
    except Broken as error:
        return CheckResult(check.name, False, str(error))
    except Exception as error:
        return CheckResult(check.name, False, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _kind_checks(method: Method) -> Iterator[Check]:
    makers: dict[str, Callable[[], Callable[[Any], Checks]]] = {
        "attack": _attack,
        "objective": _objective,
        "repair": _repair,
        "detector": _detector,
        "dataset": _dataset,
        "metric": _metric,
    }
    if method.kind in makers:
        yield from makers[method.kind]()(method)


def _on_device(method: Method) -> Checks:
    if method.kind in ("attack", "objective", "repair", "detector"):
        from benchmark.testing.on_device import device_checks

        yield from device_checks(method)


# Imported where they are used, so that a metric is checked without loading open_clip.


def _attack() -> Callable[[Any], Checks]:
    from benchmark.testing.attack import attack_checks

    return attack_checks


def _objective() -> Callable[[Any], Checks]:
    from benchmark.testing.objective import objective_checks

    return objective_checks


def _repair() -> Callable[[Any], Checks]:
    from benchmark.testing.repair import repair_checks

    return repair_checks


def _detector() -> Callable[[Any], Checks]:
    from benchmark.testing.detector import detector_checks

    return detector_checks


def _dataset() -> Callable[[Any], Checks]:
    from benchmark.testing.dataset import dataset_checks

    return dataset_checks


def _metric() -> Callable[[Any], Checks]:
    from benchmark.testing.metric import metric_checks

    return metric_checks
