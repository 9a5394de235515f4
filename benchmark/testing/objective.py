"""Contract of objectives: plans that the engine can run, and a finite loss of the global batch that reaches the towers.

Every pass of every epoch of a plan is tried, so that an objective of several stages is checked in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from benchmark.errors import Diverged, NotApplicable
from benchmark.rng import generator
from benchmark.testing.contract import Broken, Check, Checks, require, same_tensors
from benchmark.types import Augmentation, Features, Loss, Objective, Pass, Plan, State, Training
from benchmark.validation import validated

GLOBAL_BATCH, EMBED_DIM, NUM_ROWS = 24, 16, 96
PLANNED = Training(epochs=24, batch_size=GLOBAL_BATCH, warmup_steps=4)
_ENCODED = ("image", "text", "image_augmented", "text_augmented")
_REFERENCES = ("image_reference", "text_reference")
_IMAGE_POLICIES, _TEXT_POLICIES = ("none", "autoaugment", "simclr", "noise_cutout"), ("none", "eda")


class _PlanContext(NamedTuple):
    """What an objective may use when it plans an epoch: a pool of `num_rows` pairs and their scores."""

    num_rows: int = NUM_ROWS
    seed: int = 0
    training: Training = PLANNED

    def similarities(self, augmentation: Augmentation = "none") -> torch.Tensor:
        """(N,) float32: two clusters, in no order."""
        require(augmentation in _IMAGE_POLICIES, f"images can be augmented by {_IMAGE_POLICIES}, not {augmentation!r}")
        draws = torch.randn(self.num_rows, generator=generator(3))
        return (0.05 * draws + torch.where(torch.arange(self.num_rows) % 3 > 0, 0.6, 0.1)).clamp(-1, 1)


class _Tried(NamedTuple):
    """A pass of a plan, the epoch it is of, and the state before it."""

    epoch: int
    one_pass: Pass
    state: State

    @property
    def place(self) -> str:
        return f"epoch {self.epoch + 1}, views {', '.join(sorted(self.one_pass.views))}"

    def features(self, objective: Objective, *, order: torch.Tensor | None = None) -> Features:
        """What the loss would see of a batch of this pass."""
        rows = np.arange(NUM_ROWS) if self.one_pass.rows is None else self.one_pass.rows
        return hand_features(
            self.one_pass.views,
            order=order,
            rows=torch.from_numpy(np.sort(rows)[:GLOBAL_BATCH]),
            parameters=objective.initial_parameters(embed_dim=EMBED_DIM, seed=0),
        )


def objective_checks(objective: Objective) -> Checks:
    """The checks of one objective; stages of an objective that are too long for a check are cut short."""
    yield Check("losses are a Loss", lambda: _losses(objective))
    try:
        _losses(objective)
    except Exception:
        return  # the first check has failed and says why; every other would fail for that reason
    yield Check("plans passes", lambda: _plans(objective))
    yield Check("schedules give rates", lambda: _rates(objective))
    yield Check("loss is finite", lambda: _finite(objective))
    yield Check("gradient reaches the towers", lambda: _gradient(objective))
    yield Check("order of the batch does not matter", lambda: _permuted(objective))
    yield Check("features and state unmodified", lambda: _pure(objective))
    yield Check("own tensors are reproducible", lambda: _own_tensors(objective))
    yield Check("loss falls in training", lambda: _falls(objective))


def hand_features(
    views: frozenset[str],
    *,
    order: torch.Tensor | None = None,
    rows: torch.Tensor | None = None,
    parameters: Mapping[str, torch.Tensor] | None = None,
) -> Features:
    """Normalised embeddings (G, D) for the views asked for, leaves that take gradients.

    Args:
        views: which; views of the reference are given without gradient.
        order: permutes the batch.
        rows: (G,) row ids; None: 0 to G - 1.
        parameters: the objective's own, which take gradients too.
    """
    rows = torch.arange(GLOBAL_BATCH) if rows is None else rows
    order = torch.arange(len(rows)) if order is None else order
    found: dict[str, torch.Tensor | None] = {}
    for place, view in enumerate((*_ENCODED, *_REFERENCES)):
        draw = torch.randn(GLOBAL_BATCH, EMBED_DIM, generator=generator(place))[: len(rows)]
        value = functional.normalize(draw[order], dim=1)
        found[view] = value.requires_grad_(view in _ENCODED) if view in views else None
    own = {name: value.clone().requires_grad_() for name, value in (parameters or {}).items()}
    scale = torch.tensor(5.0, requires_grad=True)
    return Features(**found, logit_scale=scale, rows=rows[order], labels=rows[order] % 3, parameters=own)


def shortened(objective: Objective) -> Objective:
    """The objective with stages (fields that end in "_epochs") of at most two epochs."""
    stages = {name: getattr(objective, name) for name in type(objective).model_fields if name.endswith("_epochs")}
    fields = {name: min(value, 2) for name, value in stages.items() if isinstance(value, int)}
    return validated(type(objective), dict(objective) | fields, place=objective.name)


def _planned(objective: Objective) -> Iterator[tuple[int, Plan]]:
    """The plan of each epoch, with the state that the passes before it left."""
    state = objective.initial_state(embed_dim=EMBED_DIM, seed=0)
    for epoch in range(PLANNED.epochs):
        before = {name: value.clone() for name, value in state.items()}
        plan = objective.plan(epoch, state, _PlanContext())
        require(isinstance(plan, Plan), f"plan() must return a Plan, got {type(plan).__name__}")
        require(same_tensors(state, before), "plan() must return the new state, not change the one it was given")
        yield epoch, plan
        state = plan.state
        for item in plan.passes:
            loss = item.loss(_Tried(epoch, item, state).features(objective), state)
            state = {name: value.detach() for name, value in loss.state.items()}


def _tried(objective: Objective) -> Iterator[_Tried]:
    """Every pass of every epoch."""
    for epoch, plan in _planned(objective):
        for item in plan.passes:
            yield _Tried(epoch, item, plan.state)


def _losses(objective: Objective) -> str:
    """The first epoch's losses, in form only."""
    state = objective.initial_state(embed_dim=EMBED_DIM, seed=0)
    plan = objective.plan(0, state, _PlanContext())
    require(isinstance(plan, Plan), f"plan() must return a Plan(passes, state), got {type(plan).__name__}")
    for item in plan.passes:
        loss = item.loss(_Tried(0, item, plan.state).features(objective), plan.state)
        found = type(loss).__name__
        require(isinstance(loss, Loss), f"a loss must return a benchmark.types.Loss(total, terms, state), got {found}")
        kinds = {"total": torch.Tensor, "terms": Mapping, "state": Mapping}
        for name, kind in kinds.items():
            part = getattr(loss, name)
            require(isinstance(part, kind), f"Loss.{name} must be a {kind.__name__}, got {type(part).__name__}")
    return ""


def _plans(objective: Objective) -> str:
    counts = []
    for epoch, plan in _planned(objective):
        require(epoch > 0 or len(plan.passes) > 0, "plan() must give at least one pass in the first epoch")
        for item in plan.passes:
            _check_pass(item)
        counts.append(len(plan.passes))
    views = sorted({view for item in _tried(objective) for view in item.one_pass.views})
    return f"{min(counts)} to {max(counts)} pass(es), views {', '.join(views)}"


def _check_pass(item: Pass) -> None:
    known = {*_ENCODED, *_REFERENCES}
    require(item.views <= known, f"a pass's views must be among {sorted(known)}, got {sorted(item.views)}")
    require(bool(item.views & set(_ENCODED)), "a pass must ask for at least one view that the model encodes")
    for view, policy in item.augmentations.items():
        allowed = _IMAGE_POLICIES if view.startswith("image") else _TEXT_POLICIES
        require(view in _ENCODED and policy in allowed, f"{view} cannot be augmented by {policy!r}; use {allowed}")
    if item.rows is not None:
        rows = np.asarray(item.rows)
        require(np.issubdtype(rows.dtype, np.integer), f"a pass's rows must be integers, got {rows.dtype}")
        inside = len(rows) == 0 or (rows.min() >= 0 and rows.max() < NUM_ROWS)
        require(inside, f"a pass's rows must lie in 0 to {NUM_ROWS - 1}")
        require(len(np.unique(rows)) == len(rows), "a pass must not name a row twice")


def _rates(objective: Objective) -> str:
    """Learning rates of a pass's own: a number, or a function of the share that is done."""
    own: list[float] = []
    for item in _tried(objective):
        rate: float | Callable[[float], float] | None = item.one_pass.learning_rate
        found = [] if rate is None else [rate(s) for s in (0.0, 0.5, 0.999)] if callable(rate) else [rate]
        for value in found:
            fine = isinstance(value, int | float) and math.isfinite(value) and value >= 0
            require(fine, f"a pass's learning rate must be a finite number, 0 or more, got {value!r} in {item.place}")
        own += found
    return f"{min(own):.2g} to {max(own):.2g}" if own else "the training's"


def _finite(objective: Objective) -> str:
    for item in _tried(objective):
        loss = item.one_pass.loss(item.features(objective), item.state)
        require(loss.total.shape == (), f"total must be of shape (), got {tuple(loss.total.shape)} in {item.place}")
        require(bool(loss.total.isfinite()), f"total must be finite, got {loss.total} in {item.place}")
        require(all(bool(term.isfinite()) for term in loss.terms.values()), f"terms must be finite, got {loss.terms}")
        shapes = {name: value.shape for name, value in loss.state.items()}
        require(shapes == {name: value.shape for name, value in item.state.items()}, "state must keep names and shapes")
    return ""


def _gradient(objective: Objective) -> str:
    """Every pass must teach something; an objective that teaches one tower only says so in the remark."""
    reached, learnt = set(), set()
    for item in _tried(objective):
        features = item.features(objective)
        loss = item.one_pass.loss(features, item.state)
        require(loss.total.requires_grad, f"the loss must depend on the features in {item.place}")
        loss.total.backward()
        leaves = {view: getattr(features, view) for view in item.one_pass.views & set(_ENCODED)}
        moved = {view.removesuffix("_augmented") for view, leaf in leaves.items() if _moves(leaf)}
        require(bool(moved), f"the loss must have a finite gradient in at least one view, got none in {item.place}")
        reached |= moved
        learnt |= {name for name, value in features.parameters.items() if _moves(value)}
    own = objective.initial_parameters(embed_dim=EMBED_DIM, seed=0).keys()
    require(
        learnt == own, f"every parameter of the objective's own must get a gradient, but not {sorted(own - learnt)}"
    )
    return f"reaches {' and '.join(sorted({*reached, *learnt}))}" + ("" if len(reached) == 2 else " only")


def _moves(leaf: torch.Tensor) -> bool:
    return leaf.grad is not None and bool(leaf.grad.isfinite().all()) and float(leaf.grad.abs().sum()) > 0


def _permuted(objective: Objective) -> str:
    for item in _tried(objective):
        plain = item.features(objective)
        order = torch.randperm(len(plain.rows), generator=generator(9))
        mixed = item.features(objective, order=order)
        first, second = (float(item.one_pass.loss(each, item.state).total.detach()) for each in (plain, mixed))
        same = math.isclose(first, second, rel_tol=1e-4, abs_tol=1e-5)
        require(same, f"loss {first} became {second} when permuted in {item.place}")
    return ""


def _pure(objective: Objective) -> str:
    for item in _tried(objective):
        before = {name: value.clone() for name, value in item.state.items()}
        features, untouched = item.features(objective), item.features(objective)
        first = float(item.one_pass.loss(features, item.state).total.detach())
        for view in item.one_pass.views:
            same = torch.equal(getattr(features, view), getattr(untouched, view))
            require(same, f"loss() must not modify features, but {view} changed")
        require(same_tensors(item.state, before), "loss() must return state, not change it")
        again = float(item.one_pass.loss(features, item.state).total.detach())
        require(again == first, "loss() must not depend on hidden state")
    return ""


def _own_tensors(objective: Objective) -> str:
    """State and parameters are functions of the seed."""
    makers: dict[str, Callable[..., Any]] = {
        "state": objective.initial_state,
        "parameters": objective.initial_parameters,
    }
    remarks = []
    for name, make in makers.items():
        first = make(embed_dim=EMBED_DIM, seed=4)
        require(same_tensors(first, make(embed_dim=EMBED_DIM, seed=4)), f"initial {name} must follow from the seed")
        if name == "parameters":
            floats = all(value.is_floating_point() for value in first.values())
            require(floats, "initial parameters must be floating-point tensors")
        remarks += [f"{name} {', '.join(sorted(first))}"] if first else []
    return "; ".join(remarks)


def _falls(objective: Objective) -> str:
    """Trains for a moment; where a later stage has a loss of its own, only the epochs of the first one must fall."""
    from benchmark.testing.world import fresh_model, pairs
    from benchmark.training.loop import train

    short = shortened(objective)
    training = Training(epochs=8, batch_size=32, learning_rate=1e-3, warmup_steps=2)
    try:
        history = train(fresh_model("tiny-vit"), pairs(96), short, training, seed=0).history
    except Diverged as error:
        raise Broken(f"training must not diverge: {error}") from None
    except NotApplicable as error:
        raise Broken(f"{training.epochs} short epochs must be enough where stages take two: {error}") from None
    first, last = history[0]["loss"], history[-1]["loss"]
    require(
        last < first, f"the loss must fall over {training.epochs} short epochs, went from {first:.3f} to {last:.3f}"
    )
    return f"{first:.3f} to {last:.3f}"
