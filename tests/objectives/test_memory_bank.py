"""The memory bank: first in, first out, and nearest neighbours, by loops."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torch.nn import functional

from benchmark.objectives._memory_bank import nearest, new_bank, pushed

pytestmark = pytest.mark.unit


def test_bank_is_first_in_first_out() -> None:
    slow = deque(new_bank(10, 3, seed=1), maxlen=10)
    bank = torch.stack(list(slow))
    for size in (4, 4, 4, 1, 10, 13):
        batch = torch.rand(size, 3, requires_grad=True)
        bank = pushed(bank, batch)
        slow.extend(batch.detach())
        assert torch.equal(bank, torch.stack(list(slow)))
        assert not bank.requires_grad


def test_nearest_neighbour_by_loops() -> None:
    bank = new_bank(30, 5, seed=2)
    queries = functional.normalize(torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    found = nearest(queries.requires_grad_(), bank)
    for query, neighbour in zip(queries.tolist(), found, strict=True):
        cosines = [sum(a * b for a, b in zip(query, entry, strict=True)) for entry in bank.tolist()]
        assert torch.equal(neighbour, bank[cosines.index(max(cosines))])
    assert not found.requires_grad
    assert torch.allclose(bank.norm(dim=1), torch.ones(30))
