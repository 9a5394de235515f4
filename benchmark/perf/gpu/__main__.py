"""`make gpu`: what is to be tried on the day when a GPU can be had, step after step.

A step that fails does not stop the next, and one that ran out of time goes on from its store when it is run again. What
came of each stands in `gpu.json` and in a table. `--device cpu --tiny` tries the list itself, in miniature.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from benchmark.perf.gpu import steps as listing
from benchmark.perf.gpu.steps import Found, Name, Options, run_step

LIMIT_S = 540
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs of pre-training in the question, to match accuracy.")]


def main(
    out: Annotated[Path, typer.Option(help="Folder for what is found.")] = Path("gpu-results"),
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu: try the list itself.")] = "cuda",
    tiny: Annotated[bool, typer.Option("--tiny", help="Everything in miniature.")] = False,
    only: Annotated[list[Name] | None, typer.Option(help="Run these steps alone; may be given again.")] = None,
    cpu_store: Annotated[str | None, typer.Option(help="Store of `smoke` run on a CPU, to compare with.")] = None,
    data: Annotated[Path | None, typer.Option(help="Photographs in CIFAR-10's layout, for the question.")] = None,
    mmcl_epochs: Epochs = None,
    ssl_epochs: Epochs = None,
    limit_s: Annotated[float, typer.Option(min=1, help="Seconds that one step may take.")] = LIMIT_S,
) -> None:
    """Runs the list; exit code 1 where a step failed, 2 where there is no GPU."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        print("--device must be one that is there, got cuda without a GPU; try the list with --device cpu --tiny")
        raise typer.Exit(2)
    if only and Name.COMPARE in only and cpu_store is None:
        print("--cpu-store must be given with --only compare, got none; run `smoke` on a CPU and name its store")
        raise typer.Exit(2)
    options = Options(out, device, tiny, cpu_store, data, mmcl_epochs, ssl_epochs)
    found = []
    for step in listing.steps(options):
        if only and step.name not in only:
            continue
        found.append(run_step(step, out, limit_s=limit_s, device=device))
        keep(out, found[-1], device)
        print(
            f"{found[-1].name:<8} {found[-1].status:<8} {found[-1].wall_s:>7.1f} s  {found[-1].last_line}", flush=True
        )
    raise typer.Exit(int(any(item.status != "ok" for item in found)))


def keep(out: Path, found: Found, device: str) -> None:
    """Puts a step into `gpu.json`, in place of an earlier try of the same step."""
    file = out / "gpu.json"
    known = json.loads(file.read_text())["steps"] if file.exists() else []
    others = [item for item in known if item["name"] != found.name]
    file.write_text(json.dumps({"steps": [*others, found._asdict() | surroundings(device)]}, indent=1))


def surroundings(device: str) -> dict[str, Any]:
    """When, on what, and with which code something was measured."""
    import torch

    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    name = torch.cuda.get_device_name(0) if device == "cuda" else "cpu"
    return {"date": time.strftime("%Y-%m-%d"), "device": name, "torch": torch.__version__, "commit": commit or None}


if __name__ == "__main__":
    typer.run(main)
