"""What data alone decide, found before anything is computed: rows, classes, targets, batches, image sizes, poison.

No row is decoded, and no torch is loaded. A set that lies on a hub is judged by what its fields declare.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal, NamedTuple

from benchmark.config.pretraining import OutsideSpec
from benchmark.config.protocol import Splits
from benchmark.config.spec import Experiment, ModelSpec
from benchmark.data.source_checks import alike, check_class_names
from benchmark.data.splits import assign_splits, is_streamed, num_outside, pretrain_size
from benchmark.errors import must
from benchmark.models.architectures import image_size, is_resnet
from benchmark.stages.cells import Cell
from benchmark.stages.once import Once
from benchmark.stages.outside import asks_outside, methods_of
from benchmark.store.artifacts import Store
from benchmark.text import target_index
from benchmark.types import Attack, Dataset
from benchmark.types.source import Outline
from tuners.search_space import check_strength

MOSTLY = 0.5  # above this share of poisoned pairs, a rate is hardly meant


class Outlook(NamedTuple):
    """What an experiment will meet, as far as it is known without reading its data."""

    pretrain_rows: int | None  # pairs to pre-train on; None: not known yet
    outside_rows: int | None  # pairs for a model from outside; None: none asks for one, or not known yet
    class_names: tuple[str, ...] | None  # of the evaluation; () where there are none; None: not known yet


def check_data(experiments: Iterable[Experiment]) -> None:
    """Refuses what cannot run, or cannot mean anything, on these data.

    Raises:
        UserError: the first mistake, with place, rule, value and remedy.
    """
    once = Once()
    for experiment in experiments:
        outlook = _outlook(experiment, once)
        _check_classes(experiment, outlook, once)
        _check_training(experiment, outlook)
        _check_attack(experiment, outlook)
        _check_repair(experiment)


def check_workers(experiments: Iterable[Experiment], workers: int) -> None:
    """Refuses a number of workers that a batch, or the part of it that one worker holds, cannot be cut into.

    Args:
        experiments: of the cells that are asked for.
        workers: that pre-train one model together.

    Raises:
        UserError: the first mistake, with place, rule, value and remedy.
    """
    if workers == 1:
        return
    for trained in chain.from_iterable(map(_trained, experiments)):
        batch, group = trained.pretrain.batch_size, trained.pretrain.norm_group
        if batch % workers:
            raise must("--workers", f"a divisor of pretrain.batch_size {batch}", workers, "change one of them")
        own = batch // workers
        resnet = is_resnet(trained.model.name)
        if resnet and own == 1:
            raise must("--workers", f"at most {batch // 2} ({trained.model.name} has BatchNorm)", workers, "lower it")
        if resnet and (group is None or own % group):
            rule = f"a divisor of the {own} pairs of each of {workers} workers ({trained.model.name} has BatchNorm)"
            remedy = f"add --set pretrain.norm_group={own}, which gives one worker and many the same model"
            raise must("pretrain.norm_group", rule, group, remedy)


def _trained(experiment: Experiment) -> Iterator[Experiment | OutsideSpec]:
    """What a cell pre-trains: its own models, and one from outside where somebody asks for it."""
    yield experiment
    if experiment.outside and any(map(asks_outside, methods_of(experiment))):
        yield experiment.outside


def check_starts(cells: Iterable[Cell], store: Store) -> None:
    """Refuses a start that is not in the store though a model is still to be made of it, before anything is computed.

    Raises:
        UserError: names the first key.
    """
    for start in sorted({model.start_from or "" for model in _unmade(cells, store, "start_from")}):
        if not store.has("pretrain", start):
            remedy = "run the suite that makes it on this store first, or give its store with --from"
            raise must("model.start_from", f"a pretrain artifact in store {store.root}", start, remedy)


def published_models(cells: Iterable[Cell], store: Store) -> list[ModelSpec]:
    """Those of the models that are still to be made which start from published weights."""
    return list(dict.fromkeys(_unmade(cells, store, "pretrained")))


def _unmade(cells: Iterable[Cell], store: Store, field: Literal["start_from", "pretrained"]) -> list[ModelSpec]:
    """The models whose specification gives a field, of those pre-trainings that the store has not."""
    asked: dict[str, ModelSpec] = {}  # thousands of cells share a model, and the store is asked for few
    for cell in cells:
        experiment, keys = cell.experiment, cell.keys
        asked[keys.pretrain] = experiment.model
        if keys.outside:
            asked[keys.outside] = experiment.outside.model if experiment.outside else experiment.model
    return [model for key, model in asked.items() if getattr(model, field) and not store.has("pretrain", key)]


def doubts(experiments: Iterable[Experiment]) -> list[str]:
    """What can run but is hardly meant, a line each; nothing that `check_data` refuses."""
    once = Once()
    found = [line for experiment in experiments for line in _doubts(experiment, once)]
    return list(dict.fromkeys(found))


def _outlook(experiment: Experiment, once: Once) -> Outlook:
    """Opens the data of an experiment, once for all that share them.

    Raises:
        UserError: files, columns or splits that are not there, or too few rows.
    """
    asked = any(asks_outside(method) for method in methods_of(experiment))
    item = experiment
    return once(_look, item.data, item.evaluation, item.splits, item.model.name, asked)


def _look(data: Dataset, evaluation: Dataset | None, splits: Splits, model: str, asked: bool) -> Outlook:
    side = image_size(model)
    found = data.outline(image_size=side)
    rows = _pretrain_rows(data, splits, found) if found else splits.pretrain
    outside = num_outside(found, splits, data) if found and asked else None
    if evaluation is None:
        return Outlook(rows, outside, found and found.class_names)
    judged = evaluation.outline(image_size=side)
    if judged:
        assign_splits(judged, splits, pretrain="none", place=evaluation.name)
    return Outlook(rows, outside, judged and judged.class_names)


def _pretrain_rows(data: Dataset, splits: Splits, found: Outline) -> int:
    """Draws the splits, as the data stage will."""
    streamed = is_streamed(data)
    drawn = assign_splits(found, splits, pretrain="streamed" if streamed else "drawn", place=data.name)
    if "pretrain" in drawn:
        return len(drawn["pretrain"])
    held_out = {*drawn, *found.fixed_splits}
    kept = sum(len(found.fixed_splits.get(name, drawn.get(name, ()))) for name in held_out)
    return pretrain_size(found.num_rows - kept, splits)


def _check_classes(experiment: Experiment, outlook: Outlook, once: Once) -> None:
    names, place = outlook.class_names, "evaluation" if experiment.evaluation else "data"
    if names is None:
        return
    if len(names) < 2:  # every cell is judged by zero-shot classification
        remedy = "choose a label_column with more" if names else "name one with labels as the suite's `evaluation`"
        raise must(place, "a set with at least two classes, to be evaluated on", names, remedy)
    once(check_class_names, names, place)


def _check_training(experiment: Experiment, outlook: Outlook) -> None:
    training = experiment.pretrain
    batch, rows, group = training.batch_size, outlook.pretrain_rows, training.norm_group
    if rows is not None and batch > rows:
        raise must("pretrain.batch_size", f"at most the {rows} pre-training pairs", batch, "lower it")
    if outlook.outside_rows is not None and batch > outlook.outside_rows:
        rule = f"at most the {outlook.outside_rows} pairs of the model from outside"
        raise must("pretrain.batch_size", rule, batch, "lower it, or give more rows that no split has")
    if group is not None and batch % group:
        rule = f"a divisor of the batch of {batch}"
        raise must("pretrain.norm_group", rule, group, "change one of them: a smaller last group would skew BatchNorm")
    if not training.epochs and not _started(experiment):
        remedy = "raise it, or name a start: model.pretrained, model.weights or model.start_from"
        raise must("pretrain.epochs", "at least 1 for a model without a start", 0, remedy)


def _started(experiment: Experiment) -> bool:
    model = experiment.model
    return bool(model.pretrained or model.weights or model.start_from)


def _check_attack(experiment: Experiment, outlook: Outlook) -> None:
    attack = experiment.attack
    if attack is None:
        return
    attack.check_image_size(image_size(experiment.model.name))
    if outlook.pretrain_rows is not None:
        attack.check_rows(outlook.pretrain_rows)
    if attack.target_name is not None and outlook.class_names:
        target_index(attack.target_name, outlook.class_names, place=f"attacks.{attack.name}.target")


def _check_repair(experiment: Experiment) -> None:
    repair, clean = experiment.repair, experiment.splits.clean
    if repair is None:
        return
    check_strength(repair)
    place, asked, left = f"repairs.{repair.name}", repair.num_clean_pairs, repair.num_poisons_left
    if (asked or left) and "clean_pairs" not in repair.needs:
        field = "num_clean_pairs" if asked else "num_poisons_left"
        raise must(f"{place}.{field}", "left out by a repair without clean pairs", asked or left, "drop it")
    if asked and asked > clean:
        raise must(f"{place}.num_clean_pairs", f"at most splits.clean {clean}", asked, "lower it, or raise that")
    held = asked or clean
    if left >= held:
        raise must(f"{place}.num_poisons_left", f"below the {held} clean pairs", left, "lower it")
    if left and experiment.attack and not isinstance(experiment.attack, Attack):
        rule = f"0 under {experiment.attack.name}, which poisons no share of the pairs"
        raise must(f"{place}.num_poisons_left", rule, left, "leave one of them out")
    batch = getattr(repair, "batch_size", 0)
    if repair.whole_batches and batch > held:
        raise must(f"{place}.batch_size", f"at most the {held} clean pairs", batch, "lower it, or raise splits.clean")


def _doubts(experiment: Experiment, once: Once) -> Iterable[str]:
    outlook = _outlook(experiment, once)
    attack, rows = experiment.attack, outlook.pretrain_rows
    if isinstance(attack, Attack) and rows is not None:
        count = attack.num_poisoned(rows)
        if count == 1 or count > MOSTLY * rows:
            yield f"attacks.{attack.name}: poison_rate {attack.poison_rate:g} poisons {count} of {rows} pairs"
    if isinstance(attack, Attack) and not experiment.pretrain.epochs:
        yield f"attacks.{attack.name}: pretrain.epochs is 0, so that nothing is ever trained on its pairs"
    if same := once(alike, outlook.class_names or ()):  # ImageNet's usual names have two missiles, and sunglasses twice
        yield f"class names that several classes share, which zero-shot cannot tell apart: {', '.join(same)}"
