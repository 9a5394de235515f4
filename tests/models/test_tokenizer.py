"""The memory of tokens gives what the tokenizer gives, asks it once for each caption, and stays bounded."""

from __future__ import annotations

import pytest
import torch

from benchmark.models.tokenizer import TokenMemory, WordHashTokenizer

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("capacity", [1, 4, 100])
def test_token_memory_equals_its_tokenizer(capacity: int) -> None:
    tokenize = WordHashTokenizer(4096, 16)
    memory = TokenMemory(tokenize, capacity)
    for captions in (["a ring", "a star", "a ring"], ["an oval", "a star"], [f"row {i}" for i in range(9)], ["a ring"]):
        assert torch.equal(memory(captions), tokenize(captions))


def test_token_memory_asks_once_and_forgets_when_full() -> None:
    tokenize, asked = WordHashTokenizer(4096, 16), list[str]()

    def counting(captions: list[str]) -> torch.Tensor:
        asked.extend(captions)
        return tokenize(captions)

    memory = TokenMemory(counting, 3)
    memory(["a", "b", "a"])
    memory(["b", "c"])
    assert asked == ["a", "b", "c"]
    memory(["c", "d"])  # no room: starts anew
    assert asked == ["a", "b", "c", "c", "d"]


def test_tokens_given_out_are_a_copy() -> None:
    memory = TokenMemory(WordHashTokenizer(4096, 16), 3)
    memory(["a ring"]).zero_()
    assert memory(["a ring"]).any()
