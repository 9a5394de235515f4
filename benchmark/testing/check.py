"""`check_method`: runs every contract check of one method class and reports each; what `backstop check` shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.errors import CRASHES, UserError, reason_of
from benchmark.testing.common import common_checks, example
from benchmark.testing.contract import Broken, Check, CheckResult, Checks
from benchmark.types import BaseAttack, Dataset, Detector, Method, Metric, Objective, Repair

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
        of_kind += [_run(check) for check in _device_checks(method)]
    return [*results, *of_kind]


def _run(check: Check) -> CheckResult:
    """Whatever a method under test raises is a finding, so that every exception becomes a result."""
    try:
        return CheckResult(check.name, True, check.run())
    except Broken as error:
        return CheckResult(check.name, False, str(error))
    except CRASHES as error:
        return CheckResult(check.name, False, reason_of(error))


def _kind_checks(method: Method) -> Checks:
    """Imported where they are used, so that a metric is checked without loading open_clip."""
    match method:
        case BaseAttack():
            from benchmark.testing.attack import attack_checks

            yield from attack_checks(method)
        case Objective():
            from benchmark.testing.objective import objective_checks

            yield from objective_checks(method)
        case Repair():
            from benchmark.testing.repair import repair_checks

            yield from repair_checks(method)
        case Detector():
            from benchmark.testing.detector import detector_checks

            yield from detector_checks(method)
        case Dataset():
            from benchmark.testing.dataset import dataset_checks

            yield from dataset_checks(method)
        case Metric():
            from benchmark.testing.metric import metric_checks

            yield from metric_checks(method)
        case _:
            return


def _device_checks(method: Method) -> Checks:
    if isinstance(method, BaseAttack | Objective | Repair | Detector):
        from benchmark.testing.on_device import device_checks

        yield from device_checks(method)
