"""Names as words of captions and of longer names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmark.errors import UserError, must, unknown


def whole_word(name: str) -> re.Pattern[str]:
    """Finds a name where it stands as a whole word, or as several, in whatever case."""
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)


def target_index(target: str, class_names: Sequence[str], *, place: str = "attack.target") -> int | None:
    """Index of the target class: the name itself, else the one name that contains it as a word.

    Returns:
        None where there are no class names.

    Raises:
        UserError: no class name contains the target (with the closest), or several do.
    """
    if not class_names:
        return None
    folded = [name.casefold() for name in class_names]
    if target.casefold() in folded:
        return folded.index(target.casefold())
    word = whole_word(target.casefold())
    hits = [index for index, name in enumerate(folded) if word.search(name)]
    if not hits:
        raise UserError(f"{place}: {unknown('class', target, class_names)}")
    if len(hits) > 1:
        names = ", ".join(class_names[index] for index in hits[:5])
        raise must(place, "part of one class name only", target, f"choose one of: {names}")
    return hits[0]
