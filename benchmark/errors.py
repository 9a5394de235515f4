"""Mistakes that a user can mend: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave; its text is the one line that the command prints."""


class UnknownNameError(UserError, LookupError):
    """A name that nothing answers to; the text lists the closest known names."""


class CardError(RuntimeError):
    """A method asked for something that its card does not name."""


class NotApplicable(RuntimeError):
    """A method cannot run on this cell; the text says why. It becomes the cell's status."""


def must(thing: str, rule: str, value: object, remedy: str) -> UserError:
    """Builds the house sentence: `<thing> must be <rule>, got <value>; <what to do>`."""
    return UserError(f"{thing} must be {rule}, got {value!r}; {remedy}")


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Builds the error for a wrong name, with the closest known names first."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif names:
        hint = f"known: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}"
    else:
        hint = "none is registered"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")
