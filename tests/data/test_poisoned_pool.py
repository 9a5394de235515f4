"""The poison overlay: triggers on stored images, captions, appended rows, over a cache and over a stream."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from benchmark.data.pools import (
    CachedPool,
    PoisonedPool,
    PoisonTable,
    StreamedPool,
    apply_trigger,
)
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.types import Attack, TriggerState
from tests.helpers.pools import cached, flat, rows_of


class Corner(Attack):
    """Adds a little everywhere and sets the corner to a number that depends on the sample's id."""

    name: ClassVar[str] = "corner"

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: TriggerState) -> torch.Tensor:
        out = images + 0.1
        out[:, :, -2:, -2:] = torch.from_numpy(ids % 7).float().reshape(-1, 1, 1, 1) / 5 - 0.2
        return out


ATTACK = Corner(target="cat")
STATE = TriggerState(0, {})


def table(rows: list[int], *, append_to: int | None = None) -> PoisonTable:
    sources = np.array(rows)
    return PoisonTable(
        rows=sources if append_to is None else append_to + np.arange(len(rows)),
        source_rows=sources,
        original_captions=[f"caption {row}" for row in rows],
        captions=[f"poison {row}" for row in rows],
        trigger_ids=np.where(sources % 5 == 0, -1, sources + 100),
        appended=np.full(len(rows), append_to is not None),
    )


def test_trigger_is_clipped_and_rounded_half_to_even_once() -> None:
    class Half(Attack):
        def trigger(self, images: torch.Tensor, ids: np.ndarray, state: TriggerState) -> torch.Tensor:
            values = torch.tensor([-0.5, 0.5 / 255, 1.5 / 255, 2.5 / 255, 1.7])
            return values.reshape(1, 1, 1, 5).expand(len(images), 3, 1, 5)

    images = torch.zeros(2, 3, 1, 5, dtype=torch.uint8)
    stamped = apply_trigger(Half(target="x"), STATE, images, np.array([4, -1]))
    assert stamped.dtype == torch.uint8
    assert stamped[0, 0, 0].tolist() == [0, 0, 2, 2, 255]
    assert not stamped[1].any()
    assert not images.any()


@pytest.mark.parametrize("memo", [True, False])
def test_poison_overlay_equals_doing_it_by_hand(memo: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not memo:
        monkeypatch.setattr("benchmark.data.poisoned_pool.MEMO_LIMIT", 0)
    pool, poison = cached(), table([3, 10, 11, 40])
    before = pool.images.copy()
    poisoned = PoisonedPool(pool, poison, ATTACK, STATE)
    expected = torch.from_numpy(pool.images).permute(0, 3, 1, 2).clone()
    for row in (3, 11):  # 10 and 40 carry no trigger
        changed = ATTACK.trigger(expected[row : row + 1].float() / 255, np.array([row + 100]), STATE)
        expected[row] = (changed.clamp(0, 1) * 255).round().to(torch.uint8)[0]
    captions = [f"poison {row}" if row in (3, 10, 11, 40) else f"caption {row}" for row in range(50)]
    seen = []
    for batch in poisoned.epoch(seed=1, epoch=0, batch_size=10):
        assert torch.equal(batch.images, expected[batch.rows])
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.captions == [captions[row] for row in batch.rows]
        seen += batch.rows.tolist()
    assert sorted(seen) == list(range(50))
    assert seen == flat(rows_of(pool.epoch(seed=1, epoch=0, batch_size=10)))
    assert poisoned.captions(np.array([40, 2, 3])) == ["poison 40", "caption 2", "poison 3"]
    assert np.array_equal(pool.images, before)


def test_appended_rows_leave_their_sources_clean() -> None:
    pool = cached()
    poisoned = PoisonedPool(pool, table([7, 7, 8], append_to=50), ATTACK, STATE)
    assert poisoned.num_rows == 53
    assert poisoned.labels is not None
    assert poisoned.labels[50:].tolist() == [3, 3, 0]
    batch = poisoned.take(np.array([7, 50, 51, 52]))
    assert batch.rows.tolist() == [7, 50, 51, 52]
    assert batch.captions == ["caption 7", "poison 7", "poison 7", "poison 8"]
    assert np.array_equal(batch.images[0].permute(1, 2, 0), pool.images[7])
    assert torch.equal(batch.images[1], batch.images[2])
    assert not torch.equal(batch.images[0], batch.images[1])
    assert sorted(flat(rows_of(poisoned.epoch(seed=0, epoch=0, batch_size=53)))) == list(range(53))


@pytest.mark.parametrize("append", [False, True])
def test_poison_over_a_stream_equals_poison_over_a_cache(append: bool) -> None:
    drawn = Shapes(num_rows=120).open(image_size=8).read(np.arange(120))
    cache = CachedPool(drawn.images, drawn.captions, None)
    stream = StreamedPool(Shapes(num_rows=120), 8, np.empty(0, np.int64), 120)
    poison = table([4, 20, 77], append_to=120 if append else None)
    by_number = PoisonedPool(cache, poison, ATTACK, STATE)
    passing = PoisonedPool(stream, poison, ATTACK, STATE)
    size = passing.num_rows // 3
    seen = []
    for batch in passing.epoch(seed=5, epoch=1, batch_size=size):
        same = by_number.take(batch.rows)
        assert torch.equal(batch.images, same.images)
        assert batch.captions == same.captions
        seen += batch.rows.tolist()
    assert sorted(seen) == list(range(123 if append else 120))
    for ordered, same in zip(passing.in_order(40), by_number.in_order(40), strict=True):
        assert ordered.rows.tolist() == same.rows.tolist()
        assert torch.equal(ordered.images, same.images)
        assert ordered.captions == same.captions
