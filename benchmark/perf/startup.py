"""Start-up: what the command takes before it does anything, and what it imports."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from benchmark.perf.report import Line, Settings

# Runs the command in a fresh interpreter and tells which heavy libraries it has loaded.
_PROBE = """
import sys
from benchmark.cli.app import main
sys.argv = ["backstop", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code or 0
else:
    code = 0
print("heavy:", *(name for name in ("ray", "open_clip") if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""
REPEATS = 3
# The suite with everything as small as it may be: the warm run is timed, not what it finds.
_MINIATURE = {
    "splits.pretrain": 256,
    "splits.clean": 64,
    "splits.validation": 64,
    "splits.test": 64,
    "pretrain.epochs": 1,
    "pretrain.batch_size": 64,
    "repairs.fine-tuning.epochs": 1,
    "repairs.fine-tuning.batch_size": 32,
    "repairs.batch-norm-only.epochs": 1,
    "repairs.batch-norm-only.batch_size": 32,
    "repairs.cleanclip.epochs": 1,
    "repairs.cleanclip.batch_size": 32,
    "search.trials": 1,
    "search.quasi_random": 1,
    "search.startup_trials": 1,
}


class Ended(NamedTuple):
    """A run of the command."""

    wall_s: float
    heavy: str  # names of heavy libraries that were imported, "" for none


def run(_: Settings) -> list[Line]:
    """`--help`, `list`, `plan` and the warm re-run of a finished miniature of `smoke`."""
    with tempfile.TemporaryDirectory() as store:
        warm = ["run", "smoke", "--local", *(f"--set={name}={value}" for name, value in _MINIATURE.items())]
        cold_s = _backstop(warm, store).wall_s
        lines = [
            command_line("backstop --help", ["--help"], store, limit_s=0.5),
            command_line("backstop list", ["list"], store, limit_s=6),
            command_line("backstop plan smoke", ["plan", "smoke"], store, limit_s=6),
            command_line("warm re-run of a finished suite", warm, store, limit_s=6),
        ]
        return [*lines, Line("its first run, in miniature (s)", f"{cold_s:.1f}", "", None)]


def command_line(what: str, words: list[str], store: str, *, limit_s: float, repeats: int = REPEATS) -> Line:
    """The median time of a command, and whether it imports what it should not."""
    ended = [_backstop(words, store) for _ in range(repeats)]
    wall_s = statistics.median(run.wall_s for run in ended)
    heavy = ended[0].heavy
    name = f"{what} (s)" if not heavy else f"{what} (s): imports {heavy}"
    return Line(name, f"{wall_s:.2f}", "", None, f"<= {limit_s:g}", wall_s <= limit_s and not heavy)


def _backstop(words: list[str], store: str) -> Ended:
    """Runs the command as its console script does.

    Raises:
        RuntimeError: it failed; the last lines it wrote are in the message.
    """
    environment = os.environ | {"BACKSTOP_STORE": store}
    command, began = [sys.executable, "-c", _PROBE, *words], time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"backstop {' '.join(words)} failed: {done.stderr.strip()[-800:] or done.stdout[-800:]}")
    return Ended(wall_s, done.stderr.rpartition("heavy:")[2].strip())
