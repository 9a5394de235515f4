"""A word-level tokenizer for the tiny configurations: no vocabulary file, a table cut to a few thousand rows.

A word's id is its CRC-32 modulo the table size (the hashing trick, Weinberger et al., arXiv 0902.2206), so the same
text gives the same ids everywhere and nothing must be fitted. Two words may share an id; with 4,096 rows and the few
hundred words of a small caption set this is rare.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

import torch

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
