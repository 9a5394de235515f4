"""`backstop check`: the contract tests on the methods of one file, and a look at its suite."""

from __future__ import annotations

from typing import Any

from benchmark.config import plugins
from benchmark.engine.suites import resolve
from benchmark.output import print_json


def check(file: str, *, as_json: bool) -> int:
    """Runs the contract tests on a file's methods, and spells out its suite; 0 where all passed, else 1."""
    from benchmark.testing.check import check_method

    failed = 0
    report: dict[str, list[dict[str, Any]]] = {}
    plugin = None if file.endswith(".json") else plugins.read_plugin(file)
    for cls in plugins.load_plugin(plugin) if plugin else []:
        if not as_json:
            print(f"{cls.kind} {cls.name}")
        for result in check_method(cls):
            failed += not result.ok
            report.setdefault(cls.name, []).append(result._asdict())
            if not as_json:
                print(
                    f"  {'ok  ' if result.ok else 'FAIL'}  {result.name}{': ' + result.detail if result.detail else ''}"
                )
    if plugin is None or plugins.defines_suite(plugins.load_module(plugin)):
        suite = resolve(file).suite
        cells = f"{len(suite.experiments())} cells"
        report[suite.name] = [{"name": "suite", "ok": True, "detail": cells}]
        if not as_json:
            print(f"suite {suite.name}\n  ok    {cells}")
    if as_json:
        print_json(report)
    else:
        print("all contracts hold" if not failed else f"{failed} contract(s) broken")
    return 1 if failed else 0
