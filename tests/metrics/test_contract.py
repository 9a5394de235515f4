"""Metrics keep the contract of their kind."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import benchmark.metrics
from benchmark.testing.check import check_method
from benchmark.types import Metric

pytestmark = pytest.mark.unit


def metric_classes() -> list[type[Metric]]:
    modules = [importlib.import_module(f"benchmark.metrics.{item.name}") for item in _files()]
    own = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Metric) and value.__module__ == module.__name__
    ]
    return sorted(own, key=lambda cls: cls.name)


def _files() -> list[pkgutil.ModuleInfo]:
    return list(pkgutil.iter_modules(benchmark.metrics.__path__))


@pytest.mark.parametrize("cls", metric_classes(), ids=lambda cls: cls.name)
def test_metrics_keep_their_contract(cls: type[Metric]) -> None:
    assert [result for result in check_method(cls) if not result.ok] == []
