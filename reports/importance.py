"""Which hyper-parameters a search's outcome hung on: functional ANOVA (Hutter et al., ICML 2014), by Optuna."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmark.quiet import quiet_optuna
from benchmark.stats import hypervolume
from reports.compile import Frame

FEWEST = 16  # trials; of fewer a forest learns what it likes
TREES = 16  # four times as many move a share by less than four points
MOST = 200  # searches of a board of which it is asked: each takes a twentieth of a second


def importance(trials: Frame) -> dict[str, float]:
    """Shares of the variance, over the searched space, of what single trials reach.

    A trial is worth the area of the square CA x (1 - ASR) that its epochs on validation dominate, those that collapsed
    left out.

    Args:
        trials: rows of one search, as in `Results.trials`.

    Returns:
        Field -> share, the largest first; shares add up to 1. Empty with fewer than `FEWEST` trials that measured
        something, with one field, where all trials are worth the same, and where their parameters are not told alike.
    """
    measured = trials[trials["validation_accuracy"].notna() & trials["validation_asr"].notna()]
    groups = list(measured.groupby("trial", sort=True))
    if len(groups) < FEWEST:
        return {}
    points = [_parameters(rows["parameters"].iloc[0]) for _, rows in groups]
    if any(point.keys() != points[0].keys() for point in points):
        return {}
    fields = [name for name in points[0] if len({repr(point[name]) for point in points}) > 1]
    areas = [hypervolume(_points(rows)) for _, rows in groups]
    if len(fields) < 2 or len(set(areas)) == 1:
        return {}
    return _shares([{name: point[name] for name in fields} for point in points], areas)


def _parameters(text: Any) -> dict[str, Any]:
    """A trial's fields; {} where the text is no JSON object of plain values."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return {}
    plain = isinstance(found, dict) and all(not isinstance(value, (dict, list)) for value in found.values())
    return found if plain else {}


def _points(rows: Frame) -> np.ndarray:
    kept = rows[~rows["collapsed"].astype(bool)]
    return kept[["validation_accuracy", "validation_asr"]].to_numpy(dtype=float)


def _shares(points: list[dict[str, Any]], areas: list[float]) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    with quiet_optuna():
        study, space = optuna.create_study(direction="maximize"), _space(points)
        study.add_trials(
            create_trial(params=point, distributions=space, value=area)
            for point, area in zip(points, areas, strict=True)
        )
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0))
    return {name: float(share) for name, share in found.items()}


def _space(points: list[dict[str, Any]]) -> dict[str, Any]:
    """The space that was searched, as far as trials went: numbers that span more than a decade on a log scale."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    space: dict[str, Any] = {}
    for name in points[0]:
        values = list(dict.fromkeys(point[name] for point in points))
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            low, high = float(min(values)), float(max(values))
            space[name] = FloatDistribution(low, high, log=low > 0 and high / low >= 10)
        else:
            space[name] = CategoricalDistribution(values)
    return space
