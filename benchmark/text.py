"""Names as words of captions and of longer names."""

from __future__ import annotations

import re


def whole_word(name: str) -> re.Pattern[str]:
    """Finds a name where it stands as a whole word, or as several, in whatever case."""
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
