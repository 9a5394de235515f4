"""Captions of `shapes`: size, colour, place and count in many wordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmark.datasets._templates import SHAPES_PHRASES

SIZES = (("tiny", "little", "small"), ("medium", "plain", "normal"), ("big", "large", "huge"))
PLACES_DOWN = (("at the top", "near the top", "up high"), (), ("at the bottom", "near the bottom", "down low"))
PLACES_ACROSS = (("on the left", "to the left"), (), ("on the right", "to the right"))
CENTRE = ("in the middle", "in the centre", "at the heart of the picture")
# the class stays a word of its own: no plural
COUNTS = (("once", "a single time"), ("twice", "two times"), ("three times", "thrice"), ("four times",))
VAGUE = ("thing", "object", "figure", "form")


class Rates(NamedTuple):
    """Shares of captions that tell an attribute."""

    size: float
    colour: float
    place: float


def write_caption(
    name: str | None, colour: str, width: int, place: int, *, draws: Sequence[float], rates: Rates
) -> str:
    """Writes one caption.

    Args:
        name: the class that the caption names; None names none.
        colour: name of the shape's colour.
        width: 0 small, 1 medium, 2 large.
        place: 0 to 8, row by row from the top left.
        draws: six uniforms in [0, 1), for phrase, size, colour, place, word for a vague caption, and article.
        rates: how often size, colour and place are told.

    Returns:
        For example "look, a small red star near the top".
    """
    phrase = _pick(SHAPES_PHRASES, draws[0])
    words = []
    if draws[1] < rates.size:
        words.append(_pick(SIZES[width], draws[1] / rates.size))
    if draws[2] < rates.colour:
        words.append(colour)
    words.append(name or _pick(VAGUE, draws[4]))
    text = " ".join(words)
    noun = f"{_article(text, draws[5])} {text}"
    text = phrase.format(noun)
    return f"{text} {_place(place, draws[3] / rates.place)}" if draws[3] < rates.place else text


def with_count(caption: str, count: int, draw: float, *, rate: float) -> str:
    """Adds how often the shape is there, at a rate: "look, a small red star twice"; `draw` is a uniform in [0, 1)."""
    return f"{caption} {_pick(COUNTS[count - 1], draw / rate)}" if draw < rate else caption


def _article(text: str, draw: float) -> str:
    if draw < 0.2:
        return "the"
    return "an" if text[0] in "aeiou" else "a"


def _place(place: int, draw: float) -> str:
    down, across = divmod(place, 3)
    options = PLACES_DOWN[down] + PLACES_ACROSS[across] or CENTRE
    return _pick(options, draw)


def _pick(options: Sequence[str], draw: float) -> str:
    return options[int(draw * len(options))]
