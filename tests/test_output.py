"""`--json`: one document on stdout, whatever prints beside it, and however."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit
NOISY = """
import os
from benchmark.output import document_alone, print_json
with document_alone():
    print("python")
    os.write(1, b"no python\\n")  # as a library in C does
    print_json({"a": 1}, indent=None)
    os.system("echo a child")
print("after")
"""


def test_what_prints_past_python_leaves_the_document_alone() -> None:
    found = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    assert found.stdout == '{"a": 1}\nafter\n'
    assert sorted(found.stderr.splitlines()) == ["a child", "no python", "python"]
