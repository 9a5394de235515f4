"""What hangs on a repair's context by name, private names too: nothing that tells the trigger, or what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.contexts.defense import MethodInputs
from benchmark.contexts.handed import handed
from benchmark.contexts.recorder import EpochRecorder
from benchmark.contexts.repair import GatedRepairContext
from benchmark.data.pools import PoisonedPool, PoisonTable
from benchmark.errors import CardError
from benchmark.evaluation.evaluate import Condition, HeldOut
from benchmark.testing import world
from benchmark.types import BaseAttack, Card, Need, TriggerState

pytestmark = pytest.mark.unit
SECRET = (BaseAttack, TriggerState, PoisonTable, PoisonedPool, Condition, HeldOut, EpochRecorder, MethodInputs)
CLOSED: tuple[Need, ...] = ("trigger", "surrogate")
OPEN = frozenset(get_args(Need)) - set(CLOSED)
ATTACK = BadNet(target="square", poison_rate=0.2)


@pytest.fixture(scope="module")
def poisoned() -> PoisonedPool:
    found = world.poisoned(ATTACK, world.pairs(120))
    return PoisonedPool(world.pairs(120), found.table, ATTACK, found.trigger)


def context(poisoned: PoisonedPool, folder: Path, *needs: Need) -> tuple[GatedRepairContext, MethodInputs]:
    """The engine's own context around a poisoned set, with poisoned pairs left in the clean one."""
    trigger = world.condition_of(ATTACK, TriggerState(0, {}))
    inputs = world.method_inputs(world.fresh_model(), poisoned, trigger=trigger)._replace(clean_pairs=poisoned)
    card = Card(title="Prying", citation="none", access="weights", needs=frozenset(needs))
    return world.repair_context(card, inputs, folder, seed=1)[0], inputs


def hanging_on(root: Any, depth: int = 6) -> Iterator[Any]:
    """What can be reached by attributes and entries; what is inside functions, modules, classes and tensors cannot."""
    seen: set[int] = set()
    kept, waiting = [], [(root, depth)]
    while waiting:
        item, left = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        kept.append(item)  # so that no id is given away twice
        yield item
        leaves = (str, bytes, int, float, type, torch.Tensor, torch.nn.Module, torch.Generator, np.ndarray, np.generic)
        if left and not isinstance(item, leaves):
            waiting += [(part, left - 1) for part in parts_of(item)]


def parts_of(item: Any) -> Iterator[Any]:
    if isinstance(item, Mapping):
        yield from item.values()
    elif isinstance(item, (list, tuple, set, frozenset)):
        yield from item
    for name in (*dir(item), "__self__", "__wrapped__", "__dict__"):
        if not name.startswith("__") or name in ("__self__", "__wrapped__", "__dict__"):
            try:
                yield getattr(item, name)
            except Exception:  # what is closed
                continue


def secrets(root: Any) -> set[str]:
    return {type(item).__name__ for item in hanging_on(root) if isinstance(item, SECRET)}


@pytest.mark.filterwarnings("ignore:Accessing the 'model_")  # by name, as everything here is looked at
def test_nothing_that_hangs_on_a_context_tells_the_trigger(poisoned: PoisonedPool, tmp_path: Path) -> None:
    ctx, inputs = context(poisoned, tmp_path, *OPEN)
    for need in OPEN - {"optimizer_state", "segmenter", "auxiliary_model"}:
        assert getattr(ctx, need) is not None
    ctx.features(ctx.reference, ctx.clean_pairs)
    assert secrets(ctx) == set()
    # by the same steps the engine's own side gives all of it away
    assert {"MethodInputs", "PoisonedPool", "PoisonTable", "BadNet", "TriggerState", "Condition"} <= secrets(inputs)


@pytest.mark.filterwarnings("ignore:Accessing the 'model_")
def test_a_declared_oracle_is_handed_the_trigger_and_no_more(poisoned: PoisonedPool, tmp_path: Path) -> None:
    ctx, _ = context(poisoned, tmp_path, "trigger")
    assert ctx.trigger.target == world.source().class_names.index("square")
    assert secrets(ctx) == set()


@pytest.mark.parametrize("name", ["trigger", "_recorder", "_resources", "rows", "target", "validation"])
def test_who_asks_for_it_gets_one_clear_line(name: str, poisoned: PoisonedPool, tmp_path: Path) -> None:
    ctx, _ = context(poisoned, tmp_path, "clean_pairs")
    with pytest.raises((CardError, AttributeError)) as told:
        getattr(ctx, name)
    assert str(told.value).startswith(f"Prying asked for {name!r}, which ") and "\n" not in str(told.value)


def test_no_name_that_is_set_on_a_context_opens_or_hides_anything(poisoned: PoisonedPool, tmp_path: Path) -> None:
    ctx: Any
    ctx, inputs = context(poisoned, tmp_path, "clean_pairs")
    ctx.card = ctx.card.model_copy(update={"needs": frozenset(get_args(Need))})
    with pytest.raises(CardError, match="Prying asked for 'trigger'"):
        _ = ctx.trigger
    assert ctx.clean_pairs.labels is None
    with pytest.raises(AttributeError):
        ctx.clean_pairs_used = 3
    assert ctx.clean_pairs_used == inputs.clean_pairs.num_rows == 120


def test_a_pool_that_is_handed_out_has_the_same_pairs(poisoned: PoisonedPool) -> None:
    found, rows = handed(poisoned), np.array([3, 0, 119])
    assert found is not poisoned and handed(world.pairs(3)).num_rows == 3
    assert found.captions(rows) == poisoned.captions(rows) and found.num_steps(50) == 2
    pairs = zip(found.in_order(50), poisoned.in_order(50), strict=True)
    epochs = (pool.epoch(seed=1, epoch=2, batch_size=50) for pool in (found, poisoned))
    for one, other in (*pairs, *zip(*epochs, strict=True), (found.take(rows), poisoned.take(rows))):
        assert np.array_equal(one.rows, other.rows) and torch.equal(one.images, other.images)
        assert one.captions == other.captions


def test_an_error_inside_a_property_is_told_as_it_is(poisoned: PoisonedPool, tmp_path: Path) -> None:
    """`__getattr__` would otherwise say that the property is not there."""
    ctx, inputs = context(poisoned, tmp_path, "suspect_pairs")
    broken = inputs._replace(suspect_pairs=lambda: [].missing)  # type: ignore[attr-defined]
    card = Card(title="Prying", citation="none", access="weights", needs=frozenset({"suspect_pairs"}))
    with pytest.raises(AttributeError, match="'list' object has no attribute 'missing'"):
        _ = world.repair_context(card, broken, tmp_path, seed=1)[0].suspect_pairs
    assert ctx.suspect_pairs.num_rows == 120
