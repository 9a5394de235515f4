"""Selection rules: which (trial, epoch) of a search stands on the board. Total orders over validation rows.

The same key decides inside a trial, where it says which epoch's weights to keep, and at the end, over all trials. So
what is selected in the end was always kept. (Oracle, trigger-blind, default: protocol, section 8.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from benchmark.config.spec import Search
from benchmark.stats import SLACK
from benchmark.store.schemas import BLIND_PHASES, DEFAULTS_STAND_IN, Selection

Key = tuple[float, ...]


class Row(NamedTuple):
    """One measured epoch of one trial, on validation."""

    trial: int
    epoch: int  # 1-based; the state after that epoch
    phase: str
    accuracy: float
    asr: float | None = None
    loss: float | None = None  # contrastive loss on clean pairs
    strength: float | None = None  # value of the repair's declared strength field


class Rule(NamedTuple):
    """A selection rule: the greatest key wins; None means that the row does not qualify."""

    selection: Selection
    key: Callable[[Row], Key | None]
    phases: frozenset[str] | None  # trials it may look at; None: all
    none_qualifies: str  # reason text, completed with the number of trials
    lowest: float = 0.0  # validation CA below which an epoch has collapsed and stands for nothing

    def may_look_at(self, phase: str) -> bool:
        """Whether trials of a phase are behind this rule."""
        return self.phases is None or phase in self.phases


class RuleResult(NamedTuple):
    """What a rule chose. `reason` is empty where the rule itself chose `row`."""

    selection: Selection
    row: Row | None
    reason: str
    trials: int  # trials behind the rule
    fallback: bool = False  # the defaults stand in


def oracle_key(row: Row, *, bound: float, floor: float | None, bound_on: str, lowest: float = 0.0) -> Key | None:
    """Best CA with (net) ASR under the bound; ties go to lower ASR, then the earlier trial, then the earlier epoch.

    Args:
        row: a measured epoch.
        bound: largest ASR that is accepted.
        floor: ASR of the undefended clean twin under the same trigger; used where `bound_on` is "net". One that is no
            number qualifies nothing.
        bound_on: "net" or "absolute".
        lowest: CA below which an epoch has collapsed; a model that answers nothing would have no ASR either.
    """
    if row.asr is None or not row.accuracy >= lowest:
        return None
    measured = row.asr - (floor or 0.0) if bound_on == "net" else row.asr
    if not measured <= bound + SLACK:
        return None
    return (row.accuracy, -row.asr, -row.trial, -row.epoch)


def trigger_blind_key(row: Row, *, start_accuracy: float, drop: float, lowest: float = 0.0) -> Key | None:
    """Chooses without attack success, from trials whose proposals never saw it.

    With a strength: the strongest whose CA stays within `drop` of the start, then the later epoch, the lower loss and
    the earlier trial. Without one: the lowest validation loss, then the earlier trial and epoch.

    Args:
        row: a measured epoch.
        start_accuracy: validation CA of the undefended model.
        drop: accepted loss of CA.
        lowest: CA below which an epoch has collapsed.
    """
    if row.phase not in BLIND_PHASES or not row.accuracy >= lowest:
        return None
    loss = row.loss if row.loss is not None and math.isfinite(row.loss) else math.inf
    if row.strength is None:
        return None if math.isinf(loss) else (-loss, -row.trial, -row.epoch)
    if row.accuracy < start_accuracy - drop - SLACK:
        return None
    return (row.strength, row.epoch, -loss, -row.trial)


def default_key(row: Row) -> Key | None:
    """The last epoch of the trial that ran with the method's own values."""
    return (row.epoch,) if row.trial == 0 else None


def default_rule(lowest: float = 0.0) -> Rule:
    """The rule of a repair that is not searched; a search ends defaults that fall below `lowest`."""
    reason = "the trial with the defaults has no finished epoch that did not collapse"
    return Rule("default", default_key, frozenset({"default"}), reason, lowest)


def search_rules(search: Search, *, floor: float | None, start_accuracy: float) -> tuple[Rule, ...]:
    """The three rules of a searched cell: default, oracle, trigger-blind.

    Args:
        search: bound, bound_on, blind_drop and collapse are read.
        floor: validation ASR of the undefended clean twin under the same trigger.
        start_accuracy: validation CA of the undefended model.
    """
    measure = "net ASR" if search.bound_on == "net" else "ASR"
    lowest = search.collapse * start_accuracy
    oracle = partial(oracle_key, bound=search.asr_bound, floor=floor, bound_on=search.bound_on, lowest=lowest)
    blind = partial(trigger_blind_key, start_accuracy=start_accuracy, drop=search.blind_drop, lowest=lowest)
    return (
        default_rule(lowest),
        Rule(
            "oracle",
            oracle,
            None,
            f"no (trial, epoch) of {{trials}} trials reached {measure} <= {_percent(search.asr_bound)} "
            "without collapsing",
            lowest,
        ),
        Rule(
            "trigger_blind",
            blind,
            BLIND_PHASES,
            f"no (trial, epoch) of {{trials}} trials kept CA within {100 * search.blind_drop:.3g} points of "
            f"{_percent(start_accuracy)}",
            lowest,
        ),
    )


def select(rows: Iterable[Row], key: Callable[[Row], Key | None]) -> Row | None:
    """The row with the greatest key; None where no row qualifies."""
    best: tuple[Key, Row] | None = None
    for row in rows:
        found = key(row)
        if found is not None and (best is None or found > best[0]):
            best = (found, row)
    return best[1] if best else None


def select_all(rows: Sequence[Row], phases: Mapping[int, str], rules: Sequence[Rule]) -> dict[Selection, RuleResult]:
    """Applies every rule to the rows of a whole search.

    Args:
        rows: all measured epochs of all trials.
        phases: trial -> phase of every trial that was run, failed ones too: the budget behind each rule.
        rules: from `search_rules`, or `default_rule` alone.

    Returns:
        selection -> what was chosen. Trigger-blind falls back to the defaults, and its reason says so.
    """
    default = next((_standing(rule, rows) for rule in rules if rule.selection == "default"), None)
    return {rule.selection: _selected(rule, rows, phases, default) for rule in rules}


def _standing(rule: Rule, rows: Sequence[Row]) -> Row | None:
    """What a rule takes. The last epoch of defaults that collapsed is none, and an earlier one would be a choice."""
    row = select(rows, rule.key)
    return row if row is not None and row.accuracy >= rule.lowest else None


def _selected(rule: Rule, rows: Sequence[Row], phases: Mapping[int, str], default: Row | None) -> RuleResult:
    trials = sum(rule.may_look_at(phase) for phase in phases.values())
    row = _standing(rule, rows)
    if row is not None:
        return RuleResult(rule.selection, row, "", trials)
    reason = rule.none_qualifies.format(trials=trials)
    if rule.selection == "trigger_blind" and default is not None:
        return RuleResult(rule.selection, default, f"{reason}; {DEFAULTS_STAND_IN}", trials, fallback=True)
    return RuleResult(rule.selection, None, reason, trials)


def preferred_rows(rows: Sequence[Row], rules: Sequence[Rule]) -> list[Row]:
    """What each rule takes of these rows, as far as it takes any."""
    return [row for rule in rules if (row := _standing(rule, rows)) is not None]


def preferred_epochs(rows: Sequence[Row], rules: Sequence[Rule]) -> set[int]:
    """Epochs of one trial whose weights must be kept, as far as measured: one per rule, plus the defaults' last."""
    return {row.epoch for row in preferred_rows(rows, rules)}


def collapsed(accuracy: float, *, start_accuracy: float, share: float) -> bool:
    """Whether a trial is to be ended: its CA is no number, or below this share of the undefended model's."""
    return not math.isfinite(accuracy) or accuracy < share * start_accuracy


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
