"""What stands behind a row of a board, in a word."""

from __future__ import annotations

from typing import Any

PUBLIC = "public triggers"
# Who knows triggers and prompts can train them away; no number of this store tells that from a repair.
NOTE = (
    f"Evidence of every row: {PUBLIC}. Triggers, targets and prompts are published with the suite; "
    "a method that was made for them cannot be told from one that was not."
)


def evidence(words: Any) -> Any:
    """(rows,) the column of records, null today, as a board tells it: no row rests on triggers that nobody knew."""
    return words.map(lambda word: f"{word}, {PUBLIC}" if isinstance(word, str) and word else PUBLIC)
