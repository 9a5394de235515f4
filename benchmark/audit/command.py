"""`backstop audit`: from what the user typed to the report, with progress on the way and a summary at the end."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark import registry
from benchmark.audit import options
from benchmark.errors import UserError
from benchmark.progress import Monitor
from benchmark.store import open_store
from benchmark.types import ModelDetector, Repair

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
    for path in given.plugins:
        registry.load_plugin(registry.read_plugin(path))
    chosen = [cast(ModelDetector, options.method("detector", text)) for text in given.detectors]
    repair = cast(Repair, options.method("repair", given.repair)) if given.repair else None
    detectors = chosen or [
        cast(ModelDetector, registry.build("detector", each, {})) for each in options.model_detectors()
    ]
    out = Path(given.out).expanduser()
    with tempfile.TemporaryDirectory(prefix="backstop-audit-") as scratch, Monitor() as monitor:
        found, folder = _run(given, detectors, repair, out, Path(scratch), monitor, named=bool(chosen))
    if given.as_json:
        print(json.dumps(found | {"out": str(folder)}, indent=1))
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
    import torch

    from benchmark.audit import inspection
    from benchmark.audit.data import Request, prepare
    from benchmark.audit.report import Audit, check_out, write
    from benchmark.audit.weights import open_weights

    check_out(out)
    request = Request(given.data, given.classes, given.settings)
    request.dataset()  # what is wrong with it is told before a large model is loaded
    step = _Steps(monitor)
    suspect = step.run(
        "model", "weights", lambda: open_weights(given.weights, architecture=given.model, store=open_store(given.store))
    )
    suspect.model.to("cuda" if torch.cuda.is_available() else "cpu")
    dataset, sizes = request.dataset(templates=suspect.templates)
    pairs = step.run(
        "data",
        "clean pairs",
        lambda: prepare(
            dataset,
            sizes,
            image_size=suspect.model.image_size,
            seed=given.seed,
            folder=scratch,
            progress=lambda done, total: step.tick(f"{done}/{total} rows", done / max(1, total)),
        ),
    )
    if not pairs.class_names:
        pairs = pairs._replace(class_names=suspect.class_names)
    if repair is not None:
        inspection.check_repair(repair, pairs)
    for detector in detectors if named else ():
        if missing := inspection.lacking(detector.card, pairs):
            raise UserError(f"--detector {detector.name}: {missing}")
    around = inspection.resources(suspect, pairs)
    before = step.run("accuracy", "clean accuracy", lambda: inspection.accuracy(suspect.model, pairs))
    if suspect.model.image_size > SLOW_SIDE and not torch.cuda.is_available():
        monitor.say("[dim]no GPU: published searches take hours; e.g. --detector decree:epochs=5 takes less[/dim]")
    found = [
        step.run(
            "detectors",
            detector.card.title,
            lambda detector=detector: inspection.inspect(detector, suspect.model, pairs, around, seed=given.seed),
        )
        for detector in detectors
    ]
    repaired = None
    if repair is not None:
        repaired = step.run(
            "repair",
            repair.card.title,
            lambda: inspection.mend(
                repair,
                suspect.model,
                pairs,
                around,
                seed=given.seed,
                progress=lambda end: step.tick(f"epoch {end.epoch}/{end.epochs}", end.epoch / end.epochs),
            ),
        )
        if (model := repaired.model) is not None:
            found = [inspection.still_works(item, model, pairs) for item in found]
    command = shlex.join(["backstop", "audit", given.weights, "--data", given.data, *_typed(given)])
    whole = Audit(suspect, pairs, given.data, given.seed, command, before, found, repaired)
    return write(whole, out), out.resolve()


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

    def run(self, stage: str, label: str, work: Callable[[], T]) -> T:
        """One step; where it raises, it just stops being shown."""
        self._monitor.stage, self._now = stage, f"{stage}/{label}"
        self._monitor.start(self._now, label, 0.0)
        began = time.monotonic()
        result = work()
        reason = str(getattr(result, "reason", "") or "")
        failed = getattr(result, "finding", True) is None or getattr(result, "model", True) is None
        told = f"{label}: {reason}" if reason and not failed else label
        seconds = time.monotonic() - began
        status = "not run" if failed else "ok"
        self._monitor.finish(self._now, told, 0.0, status=status, reason=reason, wall_s=seconds)
        return result

    def tick(self, what: str, share: float) -> None:
        """How far the step is."""
        self._monitor.tick(self._now, what, share)


def _tell(found: dict[str, Any], folder: Path) -> None:
    """The summary on the terminal."""
    from benchmark.audit.report import PAGE, TEXT, percent, points

    console = Console(highlight=False)
    colour = "bold red" if found["suspicious"] else "bold"
    console.print(f"\n[{colour}]{escape(found['verdict'])}[/{colour}]")
    table = Table.grid(padding=(0, 2, 0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for item in found["detectors"]:
        target = f"; suspected target: {item['target']}" if item["target"] else ""
        table.add_row(item["title"], escape(f"{item['reason']}{target}"))
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
