"""The stages of a run, in the order in which a cell goes through them. A new one is a line here, or a plugin."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.config.plugins import PLAIN_NAME, Plugin, defined_in
from benchmark.config.spec import Suite
from benchmark.errors import must
from benchmark.stages.defend import Defend
from benchmark.stages.detect import Detect
from benchmark.stages.evaluate import Evaluate
from benchmark.stages.finish import Record
from benchmark.stages.floor import Floor
from benchmark.stages.gate import Gate
from benchmark.stages.implant import Implant
from benchmark.stages.measure import Measure
from benchmark.stages.node import Stage
from benchmark.stages.poison import Poison
from benchmark.stages.prepare import Prepare
from benchmark.stages.pretrain import Pretrain
from benchmark.stages.rebound import Rebound
from benchmark.stages.rebounds import rebound_of
from benchmark.stages.repaired import Repaired
from benchmark.stages.search import Search
from benchmark.stages.select import Select

STAGES: tuple[Stage, ...] = (
    Prepare(),
    Poison(),
    Pretrain(),
    Implant(),
    Evaluate(),
    Gate(),
    Detect(),
    Defend(),
    Search(),
    Select(),
    Floor(),
    Record(),
)
EVERY: tuple[Stage, ...] = (*STAGES, Rebound())  # with what only some suites ask for


def stages_of(suite: Suite, plugins: Iterable[Plugin] = ()) -> tuple[Stage, ...]:
    """The stages of a run: those of every run, a rebound, what plugins add, and each metric that records do not hold.

    Raises:
        UserError: a plugin's stage without a title, or with a name that is none or that another stage has; a rebound
            without a learning rate, in a suite that has several.
    """
    asked = rebound_of(suite)
    rebound = (Repaired(asked, suite.seeds[: asked.seeds]), Rebound()) if asked else ()
    found: dict[str, Stage] = {stage.name: stage for stage in (*EVERY, *rebound, *map(Measure, suite.metrics))}
    more: list[Stage] = []
    for cls in (cls for plugin in plugins for cls in defined_in(plugin, Stage)):
        if not PLAIN_NAME.fullmatch(cls.name):
            raise must(f"stage {cls.__name__}: name", "letters, digits, '-', '_' and '.'", cls.name, "choose another")
        if not getattr(cls, "title", ""):
            raise must(f"stage {cls.__name__}: title", "given", "", "add one, for plans and summaries")
        if cls.name in {*found, Measure.name, Repaired.name}:
            raise must(f"stage {cls.__name__}: name", "its own", cls.name, "another stage has it: choose another")
        found[cls.name] = stage = cls()
        more.append(stage)
    return (*STAGES, *rebound, *more, *map(Measure, suite.metrics))
