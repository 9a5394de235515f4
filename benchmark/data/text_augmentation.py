"""EDA for captions: synonym replacement, random insertion, random swap, random deletion; one of the four per draw.

Jason Wei, Kai Zou: EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks, 2019,
arXiv:1901.11196, section 2, with all four rates at 0.1.
Differs: synonyms come from `synonyms.txt`, our own table of some 340 groups of common visual words, instead of WordNet,
which must be downloaded; a caption without a word of the table is swapped where a synonym was due (deletion where it
is a single word leaves it alone); case and punctuation of the words that stay are kept, EDA drops them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np

from benchmark.rng import hashed_uniform
from benchmark.store.keys import derive_seed

RATE = 0.1  # share of a caption's words that a draw changes, at least one
_MASK = (1 << 64) - 1
_EDGES = ".,;:!?\"'()[]"


@lru_cache(maxsize=1)
def lexicon() -> Mapping[str, tuple[str, ...]]:
    """Reads the thesaurus: lower-case word -> its synonyms, some of several words.

    A tokenizer that is cut to the words in use needs these words too.
    """
    table: dict[str, dict[str, None]] = {}
    for line in files("benchmark.data").joinpath("synonyms.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            group = [word.strip() for word in line.split(",")]
            for word in group:
                table.setdefault(word, {}).update((other, None) for other in group if other != word)
    return MappingProxyType({word: tuple(others) for word, others in table.items() if " " not in word})


def augment_captions(
    captions: Sequence[str], rows: np.ndarray | Sequence[int], *, seed: int, epoch: int | None
) -> list[str]:
    """Draws an augmented copy of each caption.

    Args:
        captions: (B,) captions.
        rows: (B,) row ids in the pool; a caption's draw is a function of (seed, epoch, its row) alone.
        seed: root seed of the training.
        epoch: 0-based epoch; None: one frozen draw for all epochs, as CleanCLIP released it.
    """
    stream = derive_seed(seed, "text_augmentation", "frozen" if epoch is None else epoch)
    halves = (hashed_uniform(stream, np.asarray(rows), 2).numpy() * (1 << 24)).astype(np.int64)
    seeds = ((halves[:, 0] << 24) | halves[:, 1]).tolist()
    return [augment_caption(caption, seed=drawn) for caption, drawn in zip(captions, seeds, strict=True)]


def augment_caption(caption: str, *, seed: int) -> str:
    """Changes a caption by one of the four operations; a pure function that never returns an empty caption."""
    words = caption.split()
    if not words:
        return caption
    draw = _Draw(seed)
    operation = _OPERATIONS[draw.below(4)]
    return " ".join(operation(words, max(1, int(RATE * len(words))), draw))


class _Draw:
    """SplitMix64 (Steele et al. 2014): a generator that costs nothing to seed, which `random.Random` does not."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = value = (self._state + 0x9E3779B97F4A7C15) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        return value ^ (value >> 31)

    def below(self, bound: int) -> int:
        """A whole number in [0, bound)."""
        return (self.bits() * bound) >> 64


def _replaceable(words: Sequence[str]) -> list[tuple[int, str, tuple[str, ...]]]:
    """Position, bare word and synonyms of each word that the thesaurus knows."""
    table = lexicon()
    found = []
    for position, word in enumerate(words):
        bare = word.strip(_EDGES).lower()
        if bare in table:
            found.append((position, bare, table[bare]))
    return found


def _replace(words: list[str], count: int, draw: _Draw) -> list[str]:
    """Replaces `count` distinct words, each at all its places, by a synonym."""
    places = _replaceable(words)
    if not places:
        return _swap(words, count, draw)
    synonyms = {bare: others for _, bare, others in places}
    chosen = {}
    for _ in range(min(count, len(synonyms))):
        bare = list(synonyms)[draw.below(len(synonyms))]
        others = synonyms.pop(bare)
        chosen[bare] = others[draw.below(len(others))]
    for position, bare, _ in places:
        if bare in chosen:
            words[position] = _dress(words[position], chosen[bare])
    return words


def _insert(words: list[str], count: int, draw: _Draw) -> list[str]:
    """Inserts `count` times a synonym of a random word at a random place."""
    places = _replaceable(words)
    if not places:
        return _swap(words, count, draw)
    for _ in range(count):
        others = places[draw.below(len(places))][2]
        words.insert(draw.below(len(words) + 1), others[draw.below(len(others))])
    return words


def _swap(words: list[str], count: int, draw: _Draw) -> list[str]:
    """Swaps two random different positions, `count` times."""
    if len(words) < 2:
        return words
    for _ in range(count):
        first = draw.below(len(words))
        second = (first + 1 + draw.below(len(words) - 1)) % len(words)
        words[first], words[second] = words[second], words[first]
    return words


def _delete(words: list[str], count: int, draw: _Draw) -> list[str]:
    """Deletes each word with probability RATE; one random word stays where all would go."""
    threshold = int(RATE * 2**64)
    kept = [word for word in words if draw.bits() >= threshold]
    return kept or [words[draw.below(len(words))]]


_OPERATIONS = (_replace, _insert, _swap, _delete)


def _dress(old: str, new: str) -> str:
    """The new word with the old one's surrounding punctuation and leading capital."""
    bare = old.strip(_EDGES)
    start = old.index(bare)
    return old[:start] + (new.capitalize() if bare[0].isupper() else new) + old[start + len(bare) :]
