"""`python -m benchmark.perf.structure`: the shape of the code itself, of this checkout or of another.

Files are read, not imported, so that any older checkout can be measured and compared. An arrow is an import, wherever
it stands in a file: at its top, in a function, or for annotations only. The graph is drawn twice: with a box for every
file, and with a box for everything that stands directly in `benchmark/`, file or folder, and for each other package.
"""

from __future__ import annotations

import ast
import json
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import networkx as nx
import typer

PACKAGES = ("benchmark", "tuners", "reports", "suites")
KINDS = ("attacks", "objectives", "repairs", "detectors", "datasets", "metrics")
LONG_FILE, PERCENTILE = 300, 90
Modules = dict[str, ast.Module]  # by dotted name; a package's is that of its __init__.py
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Graph(NamedTuple):
    """An import graph in four numbers."""

    boxes: int
    floors: int  # above the ground floor: arrows of the longest chain, a circle counted as one box
    arrows: int
    circles: int  # groups of boxes that need one another


class Functions(NamedTuple):
    """Lines of functions and methods, from `def` to the end, docstrings left out."""

    number: int
    median: float
    p90: int
    longest: int


class Structure(NamedTuple):
    """The shape of a checkout."""

    files: int
    lines: int
    files_over_300_lines: dict[str, int]
    graph_of_files: Graph
    graph_of_folders: Graph
    functions: Functions
    annotations_of_methods: int
    any_share_of_methods: float  # of those, how many hold `Any`


def measure(root: Path) -> Structure:
    """Measures the checkout under `root`."""
    paths = {_dotted(file, root): file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))}
    texts = {name: file.read_text(encoding="utf-8") for name, file in paths.items()}
    modules = {name: ast.parse(text) for name, text in texts.items()}
    lengths = {str(paths[name].relative_to(root)): text.count("\n") for name, text in texts.items()}
    kinds = [tree for name, tree in modules.items() if name.split(".")[1:2] and name.split(".")[1] in KINDS]
    notes = [note for tree in kinds for note in _annotations(tree)]
    imports = list(_imports(modules, {name for name, file in paths.items() if file.name == "__init__.py"}))
    return Structure(
        files=len(modules),
        lines=sum(lengths.values()),
        files_over_300_lines={name: count for name, count in lengths.items() if count > LONG_FILE},
        graph_of_files=_graph(modules, imports, lambda name: name),
        graph_of_folders=_graph(modules, imports, _box),
        functions=_functions(modules.values()),
        annotations_of_methods=len(notes),
        any_share_of_methods=sum(map(_holds_any, notes)) / max(1, len(notes)),
    )


def _dotted(file: Path, root: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _box(name: str) -> str:
    """`benchmark.repairs.par` -> `benchmark.repairs`; all of `reports` is one box."""
    first, *rest = name.split(".")
    return ".".join([first, *rest[:1]]) if first == "benchmark" else first


def _graph(modules: Iterable[str], imports: Iterable[tuple[str, str]], box: Callable[[str], str]) -> Graph:
    graph = nx.DiGraph()
    graph.add_nodes_from(box(name) for name in modules if name != "benchmark")  # it holds the version and no more
    graph.add_edges_from((box(a), box(b)) for a, b in imports if box(a) != box(b) and "benchmark" not in (a, b))
    condensed = nx.condensation(graph)
    circles = sum(len(members) > 1 for members in nx.strongly_connected_components(graph))
    return Graph(len(graph), nx.dag_longest_path_length(condensed), graph.number_of_edges(), circles)


def _imports(modules: Modules, packages: set[str]) -> Iterator[tuple[str, str]]:
    """(importer, imported) of our own modules."""
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((name, found) for item in node.names if (found := _known(item.name, modules)))
            elif isinstance(node, ast.ImportFrom):
                base = _base(node, name, is_package=name in packages)
                targets = (_known(f"{base}.{item.name}", modules) for item in node.names)
                yield from ((name, found) for found in targets if found)


def _base(node: ast.ImportFrom, name: str, *, is_package: bool) -> str:
    """The absolute name that a `from … import` starts from."""
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _known(name: str, modules: Modules) -> str | None:
    """The module itself, or the one whose attribute it is; None for what is not ours."""
    if name in modules:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in modules else None


def _functions(trees: Iterable[ast.Module]) -> Functions:
    found = sorted(_length(node) for tree in trees for node in ast.walk(tree) if isinstance(node, Function))
    place = min(len(found) - 1, len(found) * PERCENTILE // 100)
    return Functions(len(found), statistics.median(found), found[place], found[-1])


def _length(function: Function) -> int:
    """Lines of a function without its docstring and decorators."""
    text = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    documented = 0 if text is None else (text.end_lineno or text.lineno) - text.lineno + 1
    return (function.end_lineno or function.lineno) - function.lineno + 1 - documented


def _annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """Annotations of parameters, results and fields."""
    for node in ast.walk(tree):
        found = node.returns if isinstance(node, Function) else getattr(node, "annotation", None)
        if found is not None:
            yield found


def _holds_any(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))


def main(
    root: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Checkout to measure.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Prints the shape of the code: files, import graph, lengths, share of `Any` in methods."""
    found = measure(root)
    if as_json:
        parts = {name: getattr(found, name)._asdict() for name in ("graph_of_files", "graph_of_folders", "functions")}
        print(json.dumps(found._asdict() | parts, indent=1))
        return
    print(f"Structure of {root.resolve().name}")
    for label, value in _rows(found):
        print(f"  {label + ' ':.<48} {value}")


def _rows(found: Structure) -> Iterator[tuple[str, str]]:
    yield "files, lines", f"{found.files}, {found.lines:,}"
    for title, graph in (("file", found.graph_of_files), ("entry of benchmark/", found.graph_of_folders)):
        text = f"{graph.boxes} boxes, {graph.floors} floors, {graph.arrows} arrows, {graph.circles} circles"
        yield f"import graph, a box for each {title}", text
    functions = found.functions
    text = f"{functions.median:g}, {functions.p90}, {functions.longest} (of {functions.number:,})"
    yield "lines of functions: median, p90, longest", text
    longest = ", ".join(f"{name} ({count})" for name, count in found.files_over_300_lines.items())
    yield f"files over {LONG_FILE} lines", f"{len(found.files_over_300_lines)}{': ' * bool(longest)}{longest}"
    share = f"{found.any_share_of_methods:.1%} of {found.annotations_of_methods}"
    yield "annotations of methods that hold Any", share


if __name__ == "__main__":
    typer.run(main)
