"""Starts of models that are another suite's clean models: from `suite:NAME` to the content key of the artifact."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.config import registry
from benchmark.config.pretraining import OUTSIDE_OBJECTIVE, SUITE, ModelSpec, OutsideSpec
from benchmark.config.spec import Experiment, Suite
from benchmark.errors import must

TwinKey = Callable[[Experiment], str]  # key of the clean pre-trained model of an experiment
Known = dict[tuple[ModelSpec, str, int], ModelSpec]  # model, objective and seed -> the model with its start's key
PLACE = "model.start_from"


def with_starts(experiment: Experiment, twin_key: TwinKey, known: Known, *, asks_outside: bool) -> Experiment:
    """An experiment whose starts are content keys, its own and that of a model from outside.

    Args:
        experiment: as the suite spells it out.
        twin_key: gives the key of a start.
        known: starts that were found before; grows.
        asks_outside: whether one of its methods asks for a model from outside; what trains it is left out else.

    Raises:
        UserError: an unknown suite, or one without a clean model of this architecture and objective that starts fresh.
    """
    own = _resolved(experiment, experiment.model, experiment.objective.name, twin_key, known)
    outside = None
    if asks_outside:
        given = experiment.outside or OutsideSpec(model=experiment.model, pretrain=experiment.pretrain)
        model = _resolved(experiment, given.model, OUTSIDE_OBJECTIVE, twin_key, known)
        outside = OutsideSpec(model=model, pretrain=given.pretrain)
    same = outside is None or (outside.model, outside.pretrain) == (own, experiment.pretrain)
    found = None if same else outside
    if own is experiment.model and found is experiment.outside:
        return experiment
    return experiment.model_copy(update={"model": own, "outside": found})


def _named(model: ModelSpec) -> bool:
    return (model.start_from or "").startswith(SUITE)


def _resolved(experiment: Experiment, model: ModelSpec, objective: str, twin_key: TwinKey, known: Known) -> ModelSpec:
    if not _named(model):
        return model
    place = (model, objective, experiment.seed)
    if place not in known:
        start = twin_key(_clean_model(experiment, model, objective))
        known[place] = model.model_copy(update={"start_from": start})
    return known[place]


def _clean_model(experiment: Experiment, model: ModelSpec, objective: str) -> Experiment:
    """The clean pre-training of the suite that a start names, of the same architecture, objective and seed."""
    suite: Suite = registry.suite((model.start_from or "").removeprefix(SUITE))()
    seeded = suite.model_copy(update={"seeds": (experiment.seed,)})
    found = [
        item
        for item in seeded.experiments()
        if item.attack is None and item.repair is None and item.detector is None
        if (item.model.name, item.objective.name) == (model.name, objective) and not _named(item.model)
    ]
    if len(found) != 1:
        rule = f"a suite with one clean {model.name} of {objective} that starts from no suite"
        raise must(PLACE, rule, f"{len(found)} in {model.start_from}", "name another suite, or give the key")
    return _same_files(found[0], experiment)


def _same_files(start: Experiment, experiment: Experiment) -> Experiment:
    """The start on the files that this run reads, where both suites name the same data set: a path is the machine's."""
    path = getattr(experiment.data, "path", None)
    if path is None or start.data.name != experiment.data.name:
        return start
    return start.model_copy(update={"data": start.data.model_copy(update={"path": path})})
