"""Mistakes that a user can mend: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
import errno
import re
import traceback
from collections.abc import Iterable
from typing import Literal

CRASHES = (Exception, SystemExit)  # what code of others may raise, sys.exit too; an interrupt is the user's
# no access, and what a broken disk, a lost share, a circle of links or too many open files answer
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EIO, errno.ESTALE, errno.ELOOP, errno.ENAMETOOLONG, errno.EMFILE),
)
Failure = Literal["failed", "out_of_memory", "timed_out", "not_applicable", "attack_did_not_plant"]


class UserError(ValueError):
    """A mistake in what the user gave; its text is the one line that the command prints."""


class UnknownNameError(UserError, LookupError):
    """A name that nothing answers to; the text lists the closest known names."""


class CardError(RuntimeError):
    """A method asked for something that its card does not name."""


class NotApplicable(RuntimeError):
    """A method cannot run on this cell; the text says why. It becomes the cell's status."""


class Diverged(RuntimeError):
    """Losses, weights or scores stopped being numbers."""


class Refused(RuntimeError):
    """What a repair gave is no repair of the model that it was given; the text says why. It becomes the status."""


class DidNotPlant(RuntimeError):
    """An attack left no backdoor that the gate accepts; the text says why. It becomes the cell's status."""


def must(thing: str, rule: str, value: object, remedy: str) -> UserError:
    """Builds the house sentence: `<thing> must be <rule>, got <value>; <what to do>`."""
    return UserError(f"{thing} must be {rule}, got {value!r}; {remedy}")


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Builds the error for a wrong name, with the closest known names first."""
    names = sorted(known)
    longer = [other for other in names if set(name.split("_")) < set(other.split("_"))]  # with all of its words
    close = list(dict.fromkeys([*longer, *difflib.get_close_matches(name, names, n=3, cutoff=0.4)]))[:3]
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif names:
        hint = f"known: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}"
    else:
        hint = "none is registered"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


def status_of(error: BaseException) -> Failure:
    """The status that an exception means. Classes of torch and Ray count by name: nothing heavy is imported here."""
    name = type(error).__name__
    if isinstance(error, TimeoutError) and error.errno is None:  # Ray's GetTimeoutError too; no connection that broke
        return "timed_out"
    if isinstance(error, OSError):
        return "failed"
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return "out_of_memory"
    if isinstance(error, NotApplicable):
        return "not_applicable"
    if isinstance(error, DidNotPlant):
        return "attack_did_not_plant"
    return "failed"


def reason_of(error: BaseException) -> str:
    """An exception in one line, `KeyError: 'x'`: the one that tells of a full disk, else its first.

    And the second where the first only leads to it.
    """
    lines = [" ".join(line.split()) for line in _text_of(error).splitlines() if line.strip()]
    first = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    told = next(filter(tells_no_space, lines), first)
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _text_of(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the code called sys.exit({error.code!r})"
    try:
        return str(error)
    except Exception:  # an exception of others, whose own text fails
        return ""


def is_sent_away(error: BaseException) -> bool:
    """Whether the process was told to end: Ray answers SIGTERM, as of a node that is taken away, by an exit of its own.

    Any other exit is that of the code which runs, whatever its number.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised = str(frames[-1].f_globals.get("__name__", "")) if frames else ""
    return isinstance(error, SystemExit) and raised.partition(".")[0] == "ray"


def tells_no_space(text: str) -> bool:
    """Whether an error's text says that a disk or a quota is full; safetensors' own error has the number only there."""
    numbers = f"{errno.ENOSPC}|{errno.EDQUOT}"
    return re.search(rf"\b(errno|os error) ({numbers})\b", text, re.IGNORECASE) is not None


def tells_lost_store(text: str) -> bool:
    """Whether an error's text says that a remote store did not answer; see `store/access.py`."""
    return re.search(r"store \S+ cannot be reached: ", text) is not None


def refusal(error: BaseException) -> str | None:
    """The one line for what the machine refuses: no space, no permission, a broken disk; None for every other error."""
    place = getattr(error, "filename", None)
    remedy = "choose another with --store or --out"
    if tells_no_space(str(error)):
        return f"{place or 'the disk'} must have space left, got none; free some or {remedy}"
    if isinstance(error, OSError) and error.errno in _REFUSED:
        told = (error.strerror or "no access").lower()
        return f"{place or 'the place'} must be open to this user, got {told}; {remedy}"
    return None
