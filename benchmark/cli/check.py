"""`backstop check`: the contract tests on the methods of one file."""

from __future__ import annotations

from typing import Any

from benchmark.config import plugins
from benchmark.output import print_json


def check(file: str, *, as_json: bool) -> int:
    """Runs the contract tests on a file's methods; 0 where all passed, else 1."""
    from benchmark.testing.check import check_method

    failed = 0
    report: dict[str, list[dict[str, Any]]] = {}
    for cls in plugins.load_plugin(plugins.read_plugin(file)):
        if not as_json:
            print(f"{cls.kind} {cls.name}")
        for result in check_method(cls):
            failed += not result.ok
            report.setdefault(cls.name, []).append(result._asdict())
            if not as_json:
                print(
                    f"  {'ok  ' if result.ok else 'FAIL'}  {result.name}{': ' + result.detail if result.detail else ''}"
                )
    if as_json:
        print_json(report)
    else:
        print("all contracts hold" if not failed else f"{failed} contract(s) broken")
    return 1 if failed else 0
