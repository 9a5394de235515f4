"""A word-level tokenizer for the tiny configurations, and a memory of tokens that any tokenizer can stand behind.

The word-level one needs no vocabulary file; its table is cut to a few thousand rows.

A word's id is its CRC-32 modulo the table size (the hashing trick, Weinberger et al., arXiv 0902.2206), so the same
text gives the same ids everywhere and nothing must be fitted. Two words may share an id; with 4,096 rows and the few
hundred words of a small caption set this is rare.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

import torch

Tokenize = Callable[[list[str]], torch.Tensor]
REMEMBERED = 20_000  # captions; bounded, so that a streamed run does not grow
_WORD = re.compile(r"[a-z0-9]+")


class WordHashTokenizer(NamedTuple):
    """Maps captions to ids; 0 pads, the two highest ids mark start and end (open_clip pools at the highest id)."""

    vocab_size: int
    context_length: int

    def __call__(self, captions: list[str]) -> torch.Tensor:
        """Tokenizes (B,) captions to (B, context_length) int64; what is too long is cut."""
        end, room = self.vocab_size - 1, self.context_length - 2
        table = torch.zeros(len(captions), self.context_length, dtype=torch.int64)
        for i, caption in enumerate(captions):
            words = _WORD.findall(caption.lower())[:room]
            ids = [end - 1, *(1 + zlib.crc32(word.encode()) % (self.vocab_size - 3) for word in words), end]
            table[i, : len(ids)] = torch.tensor(ids)
        return table


class TokenMemory:
    """Tokenizes each distinct caption once, as long as there is room; then it starts anew."""

    def __init__(self, tokenize: Tokenize, capacity: int = REMEMBERED) -> None:
        self._tokenize, self._capacity = tokenize, capacity
        self._places: dict[str, int] = {}
        self._table = torch.empty(0, 0, dtype=torch.int64)  # (capacity, L), of which the first rows are in use

    @torch.inference_mode(False)  # the memory outlives the caller's mode
    def __call__(self, captions: list[str]) -> torch.Tensor:
        """(B,) captions -> (B, L) int64, memory of its own."""
        missing = list(dict.fromkeys(caption for caption in captions if caption not in self._places))
        if len(self._places) + len(missing) > len(self._table):
            missing = list(dict.fromkeys(captions))
            self._places.clear()
        if missing:
            self._remember(missing)
        return self._table[torch.tensor([self._places[caption] for caption in captions], dtype=torch.int64)]

    def _remember(self, captions: list[str]) -> None:
        tokens, start = self._tokenize(captions), len(self._places)
        if start + len(captions) > len(self._table):  # untouched rows take no memory
            self._table = torch.empty(max(self._capacity, len(captions)), tokens.shape[1], dtype=torch.int64)
        self._table[start : start + len(captions)] = tokens
        self._places.update(zip(captions, range(start, start + len(captions)), strict=True))
