"""Remote: `plan` on a store of 2,000 artifacts in S3, a server on loopback that counts what it is asked for."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import fsspec

from benchmark.engine.graph import nodes_of
from benchmark.engine.plan import plan
from benchmark.perf.report import Line, Settings
from benchmark.perf.s3_server import BUCKET, Server, is_installed, running
from benchmark.perf.scale import scale_suite
from benchmark.stages.cells import Cell
from benchmark.stages.every import STAGES
from benchmark.stages.keys import cells_of
from benchmark.stages.prepare import row_counter
from benchmark.store.artifacts import Store

LIMIT_S, ARTIFACTS, SEEDS = 20, 2000, 22
KEYS_PER_LIST = 1000  # that S3 gives in one answer


class Asked(NamedTuple):
    """What a plan took."""

    artifacts: int  # that the store has
    missing: dict[str, int]  # stage -> nodes that it has not
    stages: int  # folders that there are to list
    seconds: float
    requests: Counter[str]  # by kind

    @property
    def most_lists(self) -> int:
        """One for each folder, and one more for each thousand keys."""
        return self.stages + self.artifacts // KEYS_PER_LIST + 1

    @property
    def most_gets(self) -> int:
        """One for each manifest, one for `format.json`, and one for a manifest of data that is not there."""
        return self.artifacts + 2


def run(_: Settings) -> list[Line]:
    """One plan, as on a machine that has not seen the store before."""
    if not is_installed():
        return [Line("plan on S3: not measured, moto is not installed (the dev extra has it)", "", "", None)]
    with (
        TemporaryDirectory() as cache,
        running() as server,
        patch.dict(os.environ, server.settings | {"BACKSTOP_CACHE": cache}),
    ):
        asked = requests_of_a_plan(server, seeds=SEEDS)
    lists, gets = asked.requests["LIST"], asked.requests["GET"]
    return [
        _at_most(f"plan on S3, {asked.artifacts:,} artifacts (s)", asked.seconds, LIMIT_S, text=f"{asked.seconds:.1f}"),
        _at_most("its LIST requests", lists, asked.most_lists),
        _at_most("its GET requests", gets, asked.most_gets),
        _at_most("its other requests", asked.requests.total() - lists - gets, 1),
    ]


def _at_most(what: str, ours: float, limit: float, *, text: str = "") -> Line:
    return Line(what, text or f"{ours:g}", "", None, f"<= {limit:g}", ours <= limit)


def requests_of_a_plan(server: Server, *, seeds: int) -> Asked:
    """Plans on a store that has everything but records."""
    cells, url = cells_of(scale_suite(objectives=2, attacks=3, repairs=2, seeds=seeds)), f"s3://{BUCKET}/store"
    number = fill(Store(url), cells)
    server.requests.clear()
    began = time.perf_counter()
    planned = plan(Store(url), cells)
    seconds = time.perf_counter() - began
    missing = {stage.stage: stage.total - stage.found for stage in planned.stages}
    requests = Counter(server.requests)
    stages = len({node.stage.name for _, node in nodes_of(cells, STAGES, row_counter(Store(url)))})
    return Asked(number, missing, stages, seconds, requests)


def fill(store: Store, cells: Sequence[Cell]) -> int:
    """Puts manifests of all that the cells need but their records side by side; how many."""
    fs, base = fsspec.core.url_to_fs(store.root)
    refs = {node.ref for _, node in nodes_of(cells, STAGES, row_counter(store)) if node.stage.name != "record"}
    files, facts = {"model": "0" * 64}, {"wall_s": 2.0, "splits": {"pretrain": 600}}
    manifest = json.dumps({"attempt": "a1", "files": files, "sizes": {"model": 9}, "facts": facts})
    fs.pipe({f"{base}/{stage}/{key}/manifest.json": manifest.encode() for stage, key in refs})
    return len(refs)
