"""The searches of all cells of a run, as one queue of trials: pure bookkeeping that Ray and `--local` both drive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypedDict

from benchmark.config.spec import Search
from benchmark.errors import must, reason_of, status_of
from benchmark.types import Choices, Range
from tuners.rounds import FinishedTrial, Phase, Round, plan_rounds, propose


class Proposal(NamedTuple):
    """One trial to run."""

    cell: str
    trial: int  # 0 = the defaults
    round: int  # 0 = the defaults
    phase: Phase
    parameters: dict[str, Any]  # searched field -> value

    def config(self) -> dict[str, Any]:
        """The JSON-like form that travels to a worker."""
        return self._asdict()


class TrialReport(TypedDict, total=False):
    """What running a trial gives back. `status` must be there; the numbers steer TPE and nothing else."""

    status: str  # "ok", "collapsed", or a status of `schemas.Status`
    accuracy: float | None  # validation CA
    asr: float | None  # validation ASR
    reason: str
    wall_s: float


class TrialResult(NamedTuple):
    """A trial that has ended."""

    cell: str
    trial: int
    round: int
    phase: Phase
    parameters: dict[str, Any]
    accuracy: float | None
    asr: float | None
    status: str
    reason: str = ""
    wall_s: float = 0.0

    @staticmethod
    def of(config: Mapping[str, Any], report: Mapping[str, Any]) -> TrialResult:
        """Joins what was asked (`Proposal.config`) and what came back; other keys of both are ignored."""
        asked = {name: config[name] for name in Proposal._fields}
        return TrialResult(
            **asked,
            accuracy=report.get("accuracy"),
            asr=report.get("asr"),
            status=report["status"],
            reason=report.get("reason") or "",
            wall_s=report.get("wall_s") or 0.0,
        )

    def finished(self) -> FinishedTrial:
        """What later rounds of the same search may know of it."""
        return FinishedTrial(self.trial, self.phase, self.parameters, self.accuracy, self.asr, self.status)


class CellSearch(NamedTuple):
    """The search of one cell."""

    cell: str
    search_key: str  # seeds the proposals; cells that share it share their quasi-random points
    search: Search
    space: Mapping[str, Range | Choices]  # from `search_space.ranges`
    defaults: Mapping[str, Any]  # from `search_space.values`: what trial 0 runs with
    finished: tuple[TrialResult, ...] = ()  # found in the store


class CellState:
    """Where one search stands: which trials may start now, which are out, which have ended."""

    def __init__(self, search: CellSearch) -> None:
        if not search.space:
            raise must(f"search of cell {search.cell}", "over at least one range", {}, "give `spaces` in the suite")
        self.search = search
        self.rounds = plan_rounds(search.search)
        self.results: dict[int, TrialResult] = {}
        self._issued: set[int] = set()
        self._proposed: dict[int, tuple[Proposal, ...]] = {}  # round -> its proposals
        for result in search.finished:
            self.tell(result)

    @property
    def num_trials(self) -> int:
        """All trials of the search, the defaults among them."""
        return 1 + self.search.search.trials

    @property
    def num_waiting(self) -> int:
        """Trials that nobody has taken yet."""
        return self.num_trials - len(self._issued)

    @property
    def num_open(self) -> int:
        """Trials that could be taken now."""
        defaults = 0 not in self._issued
        rounds = (round for round in self.rounds if self._open(round))
        return defaults + sum(trial not in self._issued for round in rounds for trial in round.trials)

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return len(self.results) == self.num_trials

    def ask(self) -> Proposal | None:
        """Takes the next trial; None while all open rounds are out, and at the end."""
        proposal = self.peek()
        if proposal is not None:
            self._issued.add(proposal.trial)
        return proposal

    def peek(self) -> Proposal | None:
        """The trial that `ask` would take."""
        if 0 not in self._issued:
            return Proposal(self.search.cell, 0, 0, "default", dict(self.search.defaults))
        for round in self.rounds:
            if not self._issued.issuperset(round.trials):
                if not self._open(round):
                    return None
                return next(item for item in self._proposals(round) if item.trial not in self._issued)
        return None

    def give_back(self, trial: int) -> None:
        """A trial that was taken has no result, and may be taken again."""
        self._issued.discard(trial)

    def tell(self, result: TrialResult) -> None:
        """Takes in how a trial ended; a failed one counts as ended."""
        self._issued.add(result.trial)
        self.results[result.trial] = result

    def sorted_results(self) -> list[TrialResult]:
        """Ended trials, by number."""
        return [self.results[trial] for trial in sorted(self.results)]

    def _open(self, round: Round) -> bool:
        """A TPE round waits for every earlier trial; what no result touches can start at once."""
        return round.phase != "tpe" or all(trial in self.results for trial in range(round.trials[0]))

    def _proposals(self, round: Round) -> tuple[Proposal, ...]:
        if round.number not in self._proposed:
            mine = self.search
            finished = [result.finished() for result in self.results.values()]
            points = propose(mine.search_key, round, mine.space, search=mine.search, finished=finished)
            self._proposed[round.number] = tuple(
                Proposal(mine.cell, trial, round.number, round.phase, point)
                for trial, point in zip(round.trials, points, strict=True)
            )
        return self._proposed[round.number]


class Searches:
    """The searches of all cells. Trials of other cells fill the time in which one cell waits for its round."""

    def __init__(self, cells: Iterable[CellSearch] = ()) -> None:
        self.states: dict[str, CellState] = {}
        for cell in cells:
            self.open(cell)

    def open(self, cell: CellSearch) -> CellState:
        """Takes in a search; its trials may be asked for at once.

        Raises:
            UserError: the cell is there already, or has no range.
        """
        if cell.cell in self.states:
            raise must("cells of a search", "different", cell.cell, "pass each cell once")
        state = self.states[cell.cell] = CellState(cell)
        return state

    def ask(self) -> Proposal | None:
        """Takes a trial of the cell that has most left, so that no cell is alone with its barriers at the end."""
        for state in sorted(self.states.values(), key=lambda state: -state.num_waiting):
            proposal = state.ask()
            if proposal is not None:
                return proposal
        return None

    def give_back(self, cell: str, trial: int) -> None:
        """A trial that was taken has no result, and may be taken again."""
        self.states[cell].give_back(trial)

    def tell(self, result: TrialResult) -> None:
        """Takes in how a trial ended."""
        self.states[result.cell].tell(result)

    @property
    def ready(self) -> bool:
        """Whether `ask` would give a trial now."""
        return any(state.peek() is not None for state in self.states.values())

    @property
    def exhausted(self) -> bool:
        """Whether every trial has been taken."""
        return all(state.num_waiting == 0 for state in self.states.values())

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return all(state.done for state in self.states.values())

    def results(self) -> dict[str, list[TrialResult]]:
        """Cell -> ended trials, sorted by trial."""
        return {cell: state.sorted_results() for cell, state in self.states.items()}


def recover(cell: CellSearch, lookup: Callable[[Proposal], TrialResult | None]) -> CellSearch:
    """Finds the trials of a search that are in the store already, by proposing them again.

    Args:
        cell: the search; trials it lists as finished are kept.
        lookup: finds the stored result of a proposal, None where there is none.

    Returns:
        The search with every stored trial among its finished ones.
    """
    state = CellState(cell)
    while (proposal := state.ask()) is not None:
        found = lookup(proposal)
        if found is not None:
            state.tell(found)
    return cell._replace(finished=tuple(state.sorted_results()))


def failed(error: BaseException) -> TrialReport:
    """The report of a trial that raised: no numbers, and the reason in one line."""
    return {"status": status_of(error), "accuracy": None, "asr": None, "reason": reason_of(error)}
