"""Contract of objectives: a finite loss of the global batch that reaches the towers and falls."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch.nn import functional

from benchmark.randomness import generator
from benchmark.testing.contract import Broken, Check, Checks, require
from benchmark.types import Features, Objective, Pass, State, Training

GLOBAL_BATCH, EMBED_DIM = 24, 16
_VIEWS = ("image", "text", "image_augmented", "text_augmented")


class _PlanContext(NamedTuple):
    """What an objective may use when it plans an epoch: scores of a pool of `num_rows` pairs."""

    num_rows: int = GLOBAL_BATCH
    seed: int = 0

    def similarities(self) -> torch.Tensor:
        """(N,) float32."""
        return torch.linspace(-1, 1, self.num_rows)


def objective_checks(objective: Objective) -> Checks:
    """The checks of one objective."""
    yield Check("plans passes", lambda: _plans(objective))
    yield Check("loss is finite", lambda: _finite(objective))
    yield Check("gradient reaches the towers", lambda: _gradient(objective))
    yield Check("order of the batch does not matter", lambda: _permuted(objective))
    yield Check("features and state unmodified", lambda: _pure(objective))
    yield Check("loss falls in training", lambda: _falls(objective))


def hand_features(views: frozenset[str], *, order: torch.Tensor | None = None) -> Features:
    """Normalised embeddings (G, D) for the views asked for, leaves that take gradients; `order` permutes the batch."""
    found: dict[str, torch.Tensor | None] = {}
    for place, view in enumerate(_VIEWS):
        draw = torch.randn(GLOBAL_BATCH, EMBED_DIM, generator=generator(place))
        value = functional.normalize(draw if order is None else draw[order], dim=1)
        found[view] = value.requires_grad_() if view in views else None
    rows = torch.arange(GLOBAL_BATCH) if order is None else order
    return Features(**found, logit_scale=torch.tensor(5.0, requires_grad=True), rows=rows)


def _start(objective: Objective) -> tuple[State, tuple[Pass, ...]]:
    state = objective.initial_state(embed_dim=EMBED_DIM, seed=0)
    return state, objective.plan(0, state, _PlanContext())


def _plans(objective: Objective) -> str:
    _, passes = _start(objective)
    require(len(passes) > 0, "plan() must give at least one pass in the first epoch")
    for item in passes:
        require(item.views <= set(_VIEWS), f"a pass's views must be among {_VIEWS}, got {sorted(item.views)}")
        require(bool(item.views), "a pass must ask for at least one view")
    return f"{len(passes)} pass(es), views {', '.join(sorted(passes[0].views))}"


def _finite(objective: Objective) -> str:
    state, passes = _start(objective)
    for item in passes:
        loss = item.loss(hand_features(item.views), state)
        require(loss.total.shape == (), f"total must be of shape (), got {tuple(loss.total.shape)}")
        require(bool(loss.total.isfinite()), f"total must be finite, got {loss.total}")
        require(all(bool(term.isfinite()) for term in loss.terms.values()), f"terms must be finite, got {loss.terms}")
        shapes = {name: value.shape for name, value in loss.state.items()}
        require(shapes == {name: value.shape for name, value in state.items()}, "state must keep names and shapes")
        state = {name: value.detach() for name, value in loss.state.items()}
    return ""


def _gradient(objective: Objective) -> str:
    """Every epoch must teach something; an objective that teaches one tower only says so in the remark."""
    state, passes = _start(objective)
    reached: set[str] = set()
    for item in passes:
        features = hand_features(item.views)
        item.loss(features, state).total.backward()
        for view in item.views:
            leaf = getattr(features, view)
            if leaf.grad is not None and bool(leaf.grad.isfinite().all()) and float(leaf.grad.abs().sum()) > 0:
                reached.add(view.removesuffix("_augmented"))
    require(bool(reached), "the loss must have a finite gradient in at least one view, got none")
    return f"reaches {' and '.join(sorted(reached))}" + ("" if len(reached) == 2 else " only")


def _permuted(objective: Objective) -> str:
    state, passes = _start(objective)
    order = torch.randperm(GLOBAL_BATCH, generator=generator(9))
    for item in passes:
        plain = float(item.loss(hand_features(item.views), state).total.detach())
        mixed = float(item.loss(hand_features(item.views, order=order), state).total.detach())
        require(math.isclose(plain, mixed, rel_tol=1e-4, abs_tol=1e-5), f"loss {plain} became {mixed} when permuted")
    return ""


def _pure(objective: Objective) -> str:
    state, passes = _start(objective)
    before = {name: value.clone() for name, value in state.items()}
    for item in passes:
        features, untouched = hand_features(item.views), hand_features(item.views)
        first = float(item.loss(features, state).total.detach())
        for view in item.views:
            same = torch.equal(getattr(features, view), getattr(untouched, view))
            require(same, f"loss() must not modify features, but {view} changed")
        require(
            all(torch.equal(state[name], before[name]) for name in state), "loss() must return state, not change it"
        )
        require(float(item.loss(features, state).total.detach()) == first, "loss() must not depend on hidden state")
    return ""


def _falls(objective: Objective) -> str:
    from benchmark.testing.world import fresh_model, pairs
    from benchmark.train import Diverged, train

    training = Training(epochs=8, batch_size=32, learning_rate=1e-3, warmup_steps=2)
    try:
        history = train(fresh_model("tiny-vit"), pairs(96), objective, training, seed=0).history
    except Diverged as error:
        raise Broken(f"training must not diverge: {error}") from None
    first, last = history[0]["loss"], history[-1]["loss"]
    require(
        last < first, f"the loss must fall over {training.epochs} short epochs, went from {first:.3f} to {last:.3f}"
    )
    return f"{first:.3f} to {last:.3f}"
