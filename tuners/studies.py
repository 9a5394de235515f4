"""A search as an Optuna study, for Optuna's own tools: dashboard, plots, importances, further trials by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError, must, reason_of
from benchmark.quiet import quiet_optuna
from benchmark.types import Choices, Range
from tuners.queue import CellSearch, TrialResult
from tuners.search_space import distributions

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

Epochs = Sequence[tuple[float, float | None]]  # validation CA and ASR after each epoch
DIRECTIONS = ("maximize", "minimize")
NAMES = ("clean_accuracy", "attack_success_rate")  # of the values, on validation after the last epoch


def storage_at(url: str) -> BaseStorage:
    """Opens a storage of Optuna.

    Args:
        url: of a database, as SQLAlchemy writes it, e.g. `sqlite:///studies.db`; else the file of a journal.

    Raises:
        UserError: it cannot be opened.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        if "://" in url:
            return RDBStorage(url)
        if not Path(url).absolute().parent.is_dir():
            raise OSError("its folder is not there")
        return JournalStorage(JournalFileBackend(url))
    except Exception as error:  # each database's driver has errors of its own
        remedy = "give e.g. sqlite:///studies.db, or a file"
        raise UserError(
            f"--storage: {url} must be a storage that Optuna opens ({reason_of(error)}); {remedy}"
        ) from None


def export(storage: BaseStorage, searches: Mapping[str, CellSearch], epochs: Mapping[tuple[str, int], Epochs]) -> None:
    """Writes searches as studies of two objectives: clean accuracy up, attack success down.

    Args:
        storage: takes them.
        searches: name of the study -> search, with its ended trials.
        epochs: (name, trial) -> its measured epochs, which stand beside the values as a user attribute.

    Raises:
        UserError: a study of that name is there already; nothing is written then.
    """
    import optuna

    there = {study.study_name for study in storage.get_all_studies()}
    for name in searches:
        if name in there:
            raise must("--storage", "without a study of that name", name, "name another, or delete the study there")
    with quiet_optuna():
        for name, search in searches.items():
            study = optuna.create_study(storage=storage, study_name=name, directions=DIRECTIONS)
            study.set_metric_names(list(NAMES))
            study.set_user_attr("cell", search.cell)
            study.add_trials(
                frozen(trial, search.space, epochs.get((name, trial.trial), ())) for trial in search.finished
            )


def frozen(trial: TrialResult, space: Mapping[str, Range | Choices], epochs: Epochs = ()) -> FrozenTrial:
    """A trial as Optuna keeps it: COMPLETE with both numbers, PRUNED where it collapsed, else FAIL."""
    from optuna.trial import TrialState, create_trial

    values = [math.nan if value is None else value for value in (trial.accuracy, trial.asr)]
    whole = trial.status == "ok" and all(math.isfinite(value) for value in values)
    ended = TrialState.PRUNED if trial.status == "collapsed" else TrialState.FAIL
    told = {"trial": trial.trial, "phase": trial.phase, "round": trial.round, "status": trial.status}
    told |= {"reason": trial.reason, "wall_s": trial.wall_s, "epochs": [list(epoch) for epoch in epochs]}
    return create_trial(
        state=TrialState.COMPLETE if whole else ended,
        params=dict(trial.parameters),
        distributions=_holding(trial.parameters, distributions(space)),
        values=values if whole else None,
        user_attrs=told,
    )


def _holding(parameters: Mapping[str, Any], known: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """The search's distributions, widened to a method's defaults where these lie outside."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, value in parameters.items():
        inside = known[name]
        if isinstance(inside, (FloatDistribution, IntDistribution)) and isinstance(value, (int, float)):
            low, high = min(inside.low, value), max(inside.high, value)
            # no logarithm holds zero or less; a default of that kind stands on a plain scale
            inside = type(inside)(low, high, log=inside.log and low > 0)  # type: ignore[arg-type]
        elif isinstance(inside, CategoricalDistribution) and value not in inside.choices:
            inside = CategoricalDistribution((*inside.choices, value))
        found[name] = inside
    return found
