"""Every argument and option of the command, once; a repeatable one that was not given is None, as typer has it."""

from __future__ import annotations

from typing import Annotated

import typer

Suite = Annotated[
    str,
    typer.Argument(help="a suite's name (see `backstop list`), a file of one (.json, .py), or a record's key"),
]
Listed = Annotated[
    str | None,
    typer.Argument(metavar="[KIND|SUITE]", help="one kind, e.g. repairs, or a suite's methods [default: all]"),
]
File = Annotated[str, typer.Argument(help="a Python file that defines methods or a suite, or a suite as JSON")]
Stored = Annotated[str | None, typer.Argument(help="a suite in the store [default: all of them]")]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="override a field, e.g. data.path=FOLDER; repeat for more"),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE.py", help="load methods from a single file; repeat for more"),
]
Add = Annotated[
    list[str] | None,
    typer.Option("--add", metavar="KIND=NAME[:FIELD=VALUE,…]", help="add a method to the grid, e.g. defense=MyDefense"),
]
Trust = Annotated[
    bool, typer.Option("--trust-plugins", help="run the plugin code that a store kept; look at it before: it is code")
]
StorePath = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="where artifacts live [default: BACKSTOP_STORE or ./store]"),
]
Behind = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="URL",
        help="a read-only store behind it: what is found there is not made again; `published`: a suite's own models",
    ),
]
Storage = Annotated[
    str, typer.Option("--storage", metavar="URL", help="an Optuna storage: sqlite:///studies.db, or a journal's file")
]
Out = Annotated[str | None, typer.Option("--out", metavar="FOLDER", help="folder to write to [default: STORE/board]")]
Local = Annotated[bool, typer.Option("--local", help="in this process, without Ray")]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Ray Train workers per pre-trained model")]
Concurrency = Annotated[int | None, typer.Option("--concurrency", metavar="N", min=1, help="models and trials at once")]
Cpus = Annotated[float | None, typer.Option("--cpus", metavar="NUMBER", min=0.1, help="CPUs of one slot")]
Gpus = Annotated[float | None, typer.Option("--gpus", metavar="NUMBER", min=0.01, help="GPUs of one slot, e.g. 0.25")]
MicroBatch = Annotated[int | None, typer.Option("--micro-batch", metavar="N", min=2, help="samples per forward")]
TimeLimits = Annotated[
    list[str] | None,
    typer.Option(
        "--time-limit",
        metavar="[STAGE=]DURATION",
        help="end what takes longer as timed_out, e.g. 12h or pretrain=2d; repeat for more",
    ),
]
Address = Annotated[
    str | None, typer.Option("--address", metavar="ADDRESS", help="Ray cluster [default: RAY_ADDRESS or local]")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but the summary")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="a line for each evaluation and each failure, and its log")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="AXIS=VALUE,…",
        help="a part of the grid, e.g. objective=mmcl,attack=badnet; repeat an axis for more values",
    ),
]
NoProbe = Annotated[
    bool, typer.Option("--no-probe", help="without past records, do not train for 2 s to estimate the time")
]
ViewsPerS = Annotated[
    float | None,
    typer.Option(
        "--views-per-s",
        metavar="N",
        min=1,
        help="hours of a GPU that trains on so many images a second, instead of past records or a trial of 2 s",
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="the first N cells that are not done, no more")
]
Weights = Annotated[
    str,
    typer.Argument(
        help="safetensors file, folder in Hugging Face layout, artifact of a store, or NAME:TAG of open_clip"
    ),
]
CleanData = Annotated[
    str,
    typer.Option(
        "--data", metavar="PATH", help="clean pairs or labelled images: Parquet, WebDataset, image folder, CSV"
    ),
]
Classes = Annotated[
    str | None, typer.Option("--classes", metavar="A,B,…", help="class names in label order, or a file of them")
]
Architecture = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="architecture of a bare file of weights")
]
Inspectors = Annotated[
    list[str] | None,
    typer.Option(
        "--detector",
        metavar="NAME[:FIELD=VALUE,…]",
        help="repeat for more [default: every model detector, at its published settings]",
    ),
]
Mend = Annotated[
    str | None,
    typer.Option("--repair", metavar="NAME[:FIELD=VALUE,…]", help="write a repaired checkpoint too [default: none]"),
]
DataFields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="about the data: image=img, caption=text, label=y, clean=500, …"),
]
AuditOut = Annotated[str, typer.Option("--out", metavar="FOLDER", help="folder to write to")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="of the split, the detectors and the repair")]


def _alone(context: typer.Context, value: bool) -> bool:
    """Keeps all else off stdout while a command runs with `--json`."""
    if value:
        from benchmark.output import document_alone

        context.with_resource(document_alone())
    return value


Json = Annotated[bool, typer.Option("--json", help="print JSON", callback=_alone)]
