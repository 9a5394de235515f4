"""`backstop audit`: from what the user typed to the report, with progress on the way and a summary at the end."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.audit import options
from benchmark.config import plugins
from benchmark.engine.monitor import Monitor
from benchmark.errors import UserError
from benchmark.models.architectures import threads_for
from benchmark.output import print_json
from benchmark.store.artifacts import open_store
from benchmark.types import ModelDetector, Repair

if TYPE_CHECKING:
    from benchmark.audit.data import Pairs
    from benchmark.audit.weights import Suspect
    from benchmark.training.loop import EpochEnd

T = TypeVar("T")
SLOW_SIDE = 128  # pixels; the published searches take hours above it where there is no GPU


class Options(NamedTuple):
    """What the user typed."""

    weights: str
    data: str
    classes: str | None = None
    model: str | None = None
    detectors: Sequence[str] = ()
    repair: str | None = None
    settings: Sequence[str] = ()
    out: str = "audit"
    seed: int = 0
    store: str | None = None
    plugins: Sequence[str] = ()
    as_json: bool = False


def audit(given: Options) -> None:
    """Runs an audit and writes its report.

    Raises:
        UserError: anything that cannot be opened, does not fit or is not there; nothing is written then. A repair that
            fails on its way is told the same way, after the report on the rest is written.
    """
    plugins.load_files(given.plugins)
    texts = given.detectors or options.model_detectors()
    detectors = [cast(ModelDetector, options.method("detector", text)) for text in texts]
    repair = cast(Repair, options.method("repair", given.repair)) if given.repair else None
    out = Path(given.out).expanduser()
    with tempfile.TemporaryDirectory(prefix="backstop-audit-") as scratch, Monitor() as monitor:
        found, folder = _run(given, detectors, repair, out, Path(scratch), monitor, named=bool(given.detectors))
    if given.as_json:
        print_json(found | {"out": str(folder)})
    else:
        _tell(found, folder)
    if found["repair"] is not None and found["repair"]["status"] != "ok":
        sys.stdout.flush()
        raise UserError(f"--repair {found['repair']['name']}: {found['repair']['reason']} (the report is written)")


def _run(
    given: Options,
    detectors: Sequence[ModelDetector],
    repair: Repair | None,
    out: Path,
    scratch: Path,
    monitor: Monitor,
    *,
    named: bool,
) -> tuple[dict[str, Any], Path]:
    from benchmark.audit import inspection
    from benchmark.audit.report import Audit, check_out, write

    check_out(out)
    monitor.expect(0.0, 3 + len(detectors) + (repair is not None))
    step = _Steps(monitor)
    suspect, pairs = _opened(given, scratch, step)
    _check(detectors if named else (), repair, pairs)
    around, seed = inspection.resources(suspect, pairs), given.seed
    before = step.run("clean accuracy", lambda: inspection.accuracy(suspect.model, pairs))
    if suspect.model.image_size > SLOW_SIDE and suspect.model.device.type == "cpu":
        monitor.say("[dim]no GPU: published searches take hours; e.g. --detector decree:epochs=5 takes less[/dim]")
    found = [
        step.run(
            detector.card.title,
            lambda detector=detector: inspection.inspect(detector, suspect.model, pairs, around, seed=seed),
            told=lambda item: (item.reason, item.finding is not None),
        )
        for detector in detectors
    ]
    repaired = None
    if repair is not None:
        repaired = step.run(
            repair.card.title,
            lambda: inspection.mend(repair, suspect.model, pairs, around, seed=seed, progress=step.epoch),
            told=lambda item: (item.reason, item.model is not None),
        )
        if (model := repaired.model) is not None:
            found = [inspection.still_works(item, model, pairs) for item in found]
    command = shlex.join(["backstop", "audit", given.weights, "--data", given.data, *_typed(given)])
    return write(Audit(suspect, pairs, given.data, seed, command, before, found, repaired), out), out.resolve()


def _opened(given: Options, scratch: Path, step: _Steps) -> tuple[Suspect, Pairs]:
    """The model, on the device that there is, and the data, cached under `scratch`."""
    import torch

    from benchmark.audit.data import Request, prepare
    from benchmark.audit.weights import open_weights

    request = Request(given.data, given.classes, given.settings)
    request.dataset()  # what is wrong with it is told before a large model is loaded
    store = open_store(given.store)
    suspect = step.run("weights", lambda: open_weights(given.weights, architecture=given.model, store=store))
    if threads := threads_for([suspect.model.spec.name], os.environ):
        torch.set_num_threads(threads)
    suspect.model.to("cuda" if torch.cuda.is_available() else "cpu")
    dataset, sizes = request.dataset(templates=suspect.templates)
    where = {"image_size": suspect.model.image_size, "seed": given.seed, "folder": scratch}
    pairs = step.run("clean pairs", lambda: prepare(dataset, sizes, progress=step.rows, **where))
    return suspect, pairs if pairs.class_names else pairs._replace(class_names=suspect.class_names)


def _check(detectors: Sequence[ModelDetector], repair: Repair | None, pairs: Pairs) -> None:
    """Refuses methods that were named and cannot run, before any compute."""
    from benchmark.audit.inspection import check_repair, lacking

    if repair is not None:
        check_repair(repair, pairs)
    for detector in detectors:
        if missing := lacking(detector.own_card, pairs):
            raise UserError(f"--detector {detector.name}: {missing}")


def _typed(given: Options) -> list[str]:
    """The options that differ from the defaults, as they would be typed again."""
    single = {"--classes": given.classes, "--model": given.model, "--repair": given.repair, "--store": given.store}
    several = {"--detector": given.detectors, "--set": given.settings, "--plugin": given.plugins}
    words = [word for option, value in single.items() if value for word in (option, value)]
    words += [word for option, values in several.items() for value in values for word in (option, value)]
    words += ["--out", given.out] if given.out != "audit" else []
    return [*words, *(["--seed", str(given.seed)] if given.seed else [])]


class _Steps:
    """Runs the steps one after another and has the monitor show them."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor, self._now = monitor, ""

    def run(self, label: str, work: Callable[[], T], *, told: Callable[[T], tuple[str, bool]] | None = None) -> T:
        """One step.

        Args:
            label: what it is.
            work: does it; where it raises, the step just stops being shown.
            told: what to say of the result, and whether it went well; None: it did, and there is nothing to say.
        """
        self._now, began = label, time.monotonic()
        self._monitor.start(label, label, 0.0)
        result = work()
        reason, well = told(result) if told is not None else ("", True)
        shown = f"{label}: {reason}" if well and reason else label
        status, seconds = "ok" if well else "not run", time.monotonic() - began
        self._monitor.finish(label, shown, 0.0, status=status, reason=reason, wall_s=seconds)
        return result

    def rows(self, done: int, total: int) -> None:
        """How far the data is."""
        self._monitor.tick(self._now, f"{done}/{total} rows", done / max(1, total))

    def epoch(self, end: EpochEnd) -> None:
        """How far the repair is."""
        self._monitor.tick(self._now, f"epoch {end.epoch}/{end.epochs}", end.epoch / end.epochs)


def _tell(found: dict[str, Any], folder: Path) -> None:
    """The summary on the terminal."""
    from benchmark.audit.report import PAGE, TEXT, percent, points

    console = Console(highlight=False)
    colour = "bold red" if found["suspicious"] else "bold"
    console.print(f"\n[{colour}]{escape(found['verdict'])}[/{colour}]")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for item in found["detectors"]:
        table.add_row(item["title"], escape(item["reason"]))
        if item["effect"] is not None:
            told = item["effect"]
            after = "" if told["repaired"] is None else f", {percent(told['repaired'])} after the repair"
            table.add_row("", escape(f"its trigger sends {percent(told['rate'])} of others to {told['target']}{after}"))
    before, repair = found["accuracy"], found["repair"]
    if before is not None:
        after = repair and repair["accuracy"]
        change = f" → {percent(after['rate'])} ({points(after['rate'] - before['rate'])})" if after else ""
        table.add_row(before["what"], f"{percent(before['rate'])}{change} of {before['total']}")
    if repair is not None and repair["checkpoint"]:
        table.add_row("repaired by", escape(repair["title"]))
        table.add_row("checkpoint", escape(str(folder / repair["checkpoint"])))
    table.add_row("report", escape(f"{folder / PAGE}  (open it in a browser)"))
    table.add_row("", escape(str(folder / TEXT)))
    console.print(table)
