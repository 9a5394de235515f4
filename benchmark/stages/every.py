"""The stages of a run, in the order in which a cell goes through them. A new one is a line here, or a plugin."""

from __future__ import annotations

from benchmark.stages.defend import Defend
from benchmark.stages.detect import Detect
from benchmark.stages.evaluate import Evaluate
from benchmark.stages.finish import Record
from benchmark.stages.floor import Floor
from benchmark.stages.gate import Gate
from benchmark.stages.implant import Implant
from benchmark.stages.node import Stage
from benchmark.stages.poison import Poison
from benchmark.stages.prepare import Prepare
from benchmark.stages.pretrain import Pretrain
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
