"""EDA on captions: what each operation may change, and a draw that belongs to (seed, epoch, row) alone."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmark.data.text_augmentation import RATE, augment_caption, augment_captions, lexicon

CAPTION = "a photo of a large red circle beside a small blue square on the wooden table near the window"
UNKNOWN = "zyx wvu tsr qpo nml"


def kind(before: str, after: str) -> str:
    """Which operation made `after` of `before`, judged by the words alone."""
    old, new = Counter(before.split()), Counter(after.split())
    if old == new:
        return "swap" if before != after else "same"
    if not new - old:
        return "delete"
    return "insert" if not old - new else "replace"


def test_every_operation_is_drawn_equally_often() -> None:
    kinds = Counter(kind(CAPTION, augment_caption(CAPTION, seed=seed)) for seed in range(4000))
    # a deletion keeps all 19 words with probability 0.9^19 = 0.135; a swap of two equal words changes nothing
    assert kinds["replace"] / 4000 == pytest.approx(0.25, abs=0.03)
    assert kinds["insert"] / 4000 == pytest.approx(0.25, abs=0.03)
    assert kinds["swap"] / 4000 == pytest.approx(0.25, abs=0.03)
    assert kinds["delete"] / 4000 == pytest.approx(0.25 * (1 - 0.9**19), abs=0.03)


def test_replaced_and_inserted_words_are_synonyms() -> None:
    seen = Counter()
    for seed in range(600):
        after = augment_caption(CAPTION, seed=seed)
        old, new = Counter(CAPTION.split()), Counter(after.split())
        added, operation = " ".join((new - old).elements()), kind(CAPTION, after)
        seen[operation] += 1
        if operation == "replace":  # 19 words: one change
            (removed,) = old - new
            assert added in lexicon()[removed]
        if operation == "insert":
            assert any(added in lexicon()[word] for word in old if word in lexicon())
    assert min(seen["replace"], seen["insert"]) > 100


def test_deletion_rate() -> None:
    shorter = [augment_caption(f"{UNKNOWN} {UNKNOWN}", seed=seed).split() for seed in range(4000)]
    deleted = sum(10 - len(words) for words in shorter)
    assert deleted / (4000 * 10) == pytest.approx(0.25 * RATE, abs=0.005)


def test_number_of_changes_grows_with_length() -> None:
    caption = " ".join(["circle", "tree", "dog", "house", "river", "bird", "boy", "flower", "cup", "hat"] * 3)
    inserted = {
        len(after.split())
        for after in (augment_caption(caption, seed=seed) for seed in range(200))
        if kind(caption, after) == "insert"
    }
    assert min(inserted) == 33  # 30 words and one insertion for each ten; a synonym of two words counts twice


def test_caption_without_known_words_is_swapped_or_shortened() -> None:
    kinds = {kind(UNKNOWN, augment_caption(UNKNOWN, seed=seed)) for seed in range(200)}
    assert kinds == {"swap", "delete", "same"}


@pytest.mark.parametrize("caption", ["", "   ", "zyx", "circle"])
def test_short_captions_never_become_empty(caption: str) -> None:
    for seed in range(100):
        assert bool(augment_caption(caption, seed=seed).strip()) == bool(caption.strip())


def test_punctuation_and_capitals_survive_a_replacement() -> None:
    found = {augment_caption("Circle.", seed=seed) for seed in range(200)}
    assert "Disc." in found
    assert all(word[0].isupper() or " " in word for word in found)


def test_draw_depends_on_seed_epoch_and_row_alone() -> None:
    rows = list(range(100, 200))
    captions = [f"{CAPTION} number {row}" for row in rows]
    first = augment_captions(captions, rows, seed=7, epoch=0)
    assert augment_captions(captions[30:40], rows[30:40], seed=7, epoch=0) == first[30:40]
    assert augment_captions(captions[::-1], rows[::-1], seed=7, epoch=0) == first[::-1]
    others = [
        augment_captions(captions, rows, seed=7, epoch=1),
        augment_captions(captions, rows, seed=8, epoch=0),
        augment_captions(captions, rows, seed=7, epoch=None),
    ]
    for other in others:
        assert sum(a != b for a, b in zip(first, other, strict=True)) > 80
    assert augment_captions(captions, rows, seed=7, epoch=None) == others[2]


def test_rows_of_equal_captions_differ() -> None:
    found = augment_captions([CAPTION] * 50, range(50), seed=0, epoch=3)
    assert len(set(found)) > 25


def test_lexicon_is_sound() -> None:
    table = lexicon()
    assert len(table) > 500
    for word, synonyms in table.items():
        assert word
        assert word == word.lower().strip()
        assert synonyms
        assert len({word, *synonyms}) == 1 + len(synonyms)
