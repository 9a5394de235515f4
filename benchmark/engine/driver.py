"""Drives a suite: while something is ready, a free slot gets it; what has ended releases what waited for it.

The store is the only state: a run may die anywhere, and the same command finds what is finished and goes on. What fails
becomes a status of all that needed it; a user's mistake stops the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing, nullcontext
from itertools import chain

from rich.markup import escape

from benchmark.config.spec import Suite
from benchmark.engine.executor import Executor, announce, search_result, trial_work
from benchmark.engine.graph import NodeGraph, nodes_of
from benchmark.engine.journal import Journal
from benchmark.engine.monitor import Monitor
from benchmark.engine.standing import facts_of_all
from benchmark.engine.task import Task, TaskResult, execute
from benchmark.errors import UserError, must
from benchmark.stages.cells import Cell
from benchmark.stages.every import stages_of
from benchmark.stages.node import Ended, Node, Ref, Stage, Workplace
from benchmark.stages.prepare import row_counter
from benchmark.stages.trial import SearchCell
from benchmark.store.artifacts import Store
from tuners.queue import CellSearch

LOOK_AGAIN_S = 1.0  # after what another driver on the store is making


class SuiteRun:
    """One run of a suite on an executor."""

    def __init__(
        self,
        store: Store,
        suite: Suite,
        cells: Sequence[Cell],
        left: Sequence[Cell],
        executor: Executor,
        monitor: Monitor,
        *,
        stages: Sequence[Stage] | None = None,
        journal: Journal | None = None,
    ) -> None:
        """`cells` are those that are asked for, `left` the ones of these without a final record.

        What they need of others comes by itself. `stages`: None for those that the suite needs without plugins.
        `journal`: one that is open already; None: one of its own.
        """
        self.store, self.suite, self.executor, self.monitor = store, suite, executor, monitor
        self.stages = stages_of(suite) if stages is None else stages
        self.cells, self.left = cells, left
        self.graph = NodeGraph()
        self._journal = journal or Journal(store, suite.name)
        self._opened = nullcontext() if journal else self._journal
        self._searches: set[Ref] = set()  # that have not ended
        self._said: set[str] = set()
        self._elsewhere: dict[Ref, float] = {}  # that another driver makes; when to look again

    def run(self) -> None:
        """Makes every record that is missing, and what finished cells lack."""
        with self._opened, closing(self.store.claims):
            self._add(self._nodes())
            while not self.graph.done:
                self._do_here()
                full = self._start()
                self._check_progress()
                if self.graph.running or full:
                    for task, result in self.executor.ended():
                        self._end(task, result)
                    self._tell_running()
                elif not self.graph.done:
                    self._wait_for_others()

    def _wait_for_others(self) -> None:
        if self._elsewhere.keys() >= {node.ref for node in self.graph.ready()}:
            self._say(["another run on this store makes what this one needs next; waiting for it"])
            time.sleep(LOOK_AGAIN_S)

    def _check_progress(self) -> None:
        stuck = self.graph.stuck()
        if stuck:
            names = [f"{node.label} ({node.stage.name})" for node in stuck[:3]]
            more = ", …" if len(stuck) > len(names) else ""
            raise must("nodes", "free of circles", f"{', '.join(names)}{more}", "mend `nodes` or `then` of the stage")

    def _nodes(self) -> Iterable[Node]:
        rows = row_counter(self.store)
        self.monitor.expect_records(len(self.cells), done=len(self.cells) - len(self.left))
        here = [stage for stage in self.stages if stage.finished]
        others = [stage for stage in self.stages if not stage.finished]
        wanted = chain(nodes_of(self.left, others, rows), nodes_of(self.cells, here, rows))
        return (node for _, node in wanted)

    def _add(self, nodes: Iterable[Node]) -> None:
        """Takes nodes in; what the store has of them has ended already."""
        fresh = self.graph.add(nodes)
        self.monitor.expect(sum(node.work for node in fresh), len(fresh))
        self._searches |= {node.ref for node in fresh if node.stage.place == "search"}
        found = facts_of_all(self.store, (node.ref for node in fresh if node.stage.lasting))
        for node in fresh:
            if node.ref in found:
                self.monitor.skip(node.work)
                self._finish(node, Ended("ok", facts=found[node.ref]))

    def _do_here(self) -> None:
        """Does what needs no slot, and ends what can no longer be made, until neither is left."""
        while here := [node for node in self.graph.ready() if self._needs_no_slot(node)]:
            for node in here:
                cause = self.graph.cause(node)
                if cause:
                    self.monitor.skip(node.work)
                    self._finish(node, cause)
                else:
                    self._run_here(Task((node,)))
        if not self._searches:
            self.executor.close_searches()

    def _needs_no_slot(self, node: Node) -> bool:
        if self.graph.cause(node) is not None:
            return True
        return bool(self._claimed((node,))) if node.stage.place == "search" else node.stage.place == "driver"

    def _run_here(self, task: Task) -> None:
        (node,) = task.nodes
        self.graph.begin(node.ref)
        at = Workplace(
            self.store,
            ended=self.graph.of(node.ref),
            suite=self.suite.name,
            environment=self.executor.environment,
        )
        result = execute(task, at)
        if node.stage.place == "search" and result.status == "ok":
            self._open_search(task, **result.facts)
        elif result.status == "failed":
            announce(self.monitor, task, result)
            self._end(task, result)
        else:
            self.monitor.skip(node.work)
            self._end(task, result)

    def _open_search(self, task: Task, searched: SearchCell, search: CellSearch) -> None:
        self.monitor.expect(-trial_work(searched) * len(search.finished), 0)
        if len(search.finished) == 1 + search.search.trials:
            self._end(task, search_result(self.store, searched, list(search.finished)))
        else:
            self.executor.open_search(task, searched, search)

    def _start(self) -> bool:
        """Gives what is ready to free slots, in order: what is urgent is not overtaken; whether slots were too few."""
        ready = [node for node in self.graph.ready() if node.stage.place == "slot" and not self._is_elsewhere(node)]
        batches = {(node.stage.name, node.batch or node.key): node.stage for node in ready}
        self.executor.expect(list(batches.values()))
        for node in ready:
            if self._is_settled(node):
                continue
            if not self.executor.free(node.stage):
                return True
            nodes = self._claimed(self._batch(node))
            for item in nodes:
                self.graph.begin(item.ref)
            if nodes:
                self._tell_running()
                self.executor.start(Task(nodes))
        return False

    def _is_settled(self, node: Node) -> bool:
        """Whether a node that was ready a moment ago went with another one's batch, or turned out to be there."""
        return node.ref in self.graph.running or node.ref in self.graph.ended

    def _is_elsewhere(self, node: Node) -> bool:
        """Whether another driver was making a node, and still is; no slot is held for it."""
        return node.ref in self._elsewhere and not self._claimed((node,))

    def _claimed(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """Those of the nodes that no other driver makes; one that another has made meanwhile has ended."""
        now = time.monotonic()
        asked = [node for node in nodes if self._elsewhere.get(node.ref, now) <= now]
        free = [node for node in asked if self.store.claim(*node.ref)]
        for node in asked:
            self._elsewhere[node.ref] = now + LOOK_AGAIN_S
        for node in free:
            del self._elsewhere[node.ref]
        return tuple(node for node in free if not self._is_there(node))

    def _is_there(self, node: Node) -> bool:
        """Whether the store has a node meanwhile, which then has ended."""
        facts = self.store.facts(*node.ref) if node.stage.lasting else None
        if facts is not None:
            self.monitor.skip(node.work)
            self._finish(node, Ended("ok", facts=facts))
        return facts is not None

    def _batch(self, node: Node) -> tuple[Node, ...]:
        """The node, and those that are ready to be made in one go with it."""
        if not node.batch:
            return (node,)
        return tuple(
            item for item in self.graph.ready() if (item.stage.name, item.batch) == (node.stage.name, node.batch)
        )

    def _tell_running(self) -> None:
        self._journal.running([self.graph.nodes[ref] for ref in sorted(self.graph.running)])

    def _end(self, task: Task, result: TaskResult) -> None:
        if result.user_error:
            raise UserError(result.reason)
        for node in task.nodes:
            self._finish(node, result.ended())

    def _finish(self, node: Node, ended: Ended) -> None:
        self.graph.end(node.ref, ended)
        self.store.release(*node.ref)
        self._searches.discard(node.ref)
        self._add(node.stage.then(node, ended))
        if not ended.ok:
            self._journal.failed(node.ref, ended)
            return
        self._say(node.stage.notes(node, self.store))
        if "statuses" in ended.facts:
            self.monitor.record(node.label, ended.facts["statuses"])

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line not in self._said:
                self._said.add(line)
                self.monitor.say(f"  [yellow]{escape(line)}[/yellow]")
