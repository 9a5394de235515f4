"""All measures of one model: every registered metric over its outcome tables. No model, no GPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from benchmark import registry
from benchmark.errors import must
from benchmark.metrics.outcomes import CLEAN
from benchmark.records import Measure
from benchmark.types import Metric


def registered() -> list[Metric]:
    """Every registered metric, with its default fields, by name."""
    found = [registry.method("metric", name)() for name in registry.names("metric")]
    return [metric for metric in found if isinstance(metric, Metric)]


def measures(
    tables: Iterable[pa.Table], *, target: int | None, metrics: Sequence[Metric] | None = None
) -> list[Measure]:
    """Reduces outcome tables to numbers.

    Args:
        tables: outcomes of one model: the clean condition and at most one triggered condition.
        target: class index of the attack's target, None without an attack.
        metrics: which metrics; None: every registered one.

    Returns:
        Measures in order of metric; each carries the version of its metric.

    Raises:
        UserError: if the tables hold more than one triggered condition.
    """
    outcomes = pa.concat_tables(tables).to_pandas()
    triggered = [condition for condition in outcomes["condition"].unique() if condition != CLEAN]
    if len(triggered) > 1:
        raise must("outcomes", "of at most one trigger", triggered, "reduce them one attack at a time")
    return [
        measure._replace(version=metric.version)
        for metric in (registered() if metrics is None else metrics)
        for measure in metric.measure(outcomes, target=target)
    ]
