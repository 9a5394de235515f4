"""What a contract check is: a name and a function that returns a remark, or raises where the contract is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch


class Broken(AssertionError):
    """A method does not keep its contract; the text says what was expected and what was found."""


class Check(NamedTuple):
    """One check. `run` returns a remark ("" where there is nothing to say) or raises."""

    name: str
    run: Callable[[], str]


class CheckResult(NamedTuple):
    """How one check ended."""

    name: str
    ok: bool
    detail: str = ""


Checks = Iterator[Check]


def require(condition: bool, text: str) -> None:
    """Raises `Broken` with the text unless the condition holds."""
    if not condition:
        raise Broken(text)


def same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of named tensors are equal, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
