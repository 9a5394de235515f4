"""The report of an audit: a summary for programs, a page that stands alone, and the same as Markdown."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from safetensors.torch import save_file

import benchmark
from benchmark.audit.data import Pairs
from benchmark.audit.inspection import Accuracy, Inspected, Repaired
from benchmark.audit.pictures import Picture, example_pictures, trigger_pictures
from benchmark.audit.weights import Suspect
from benchmark.engine.live import clock
from benchmark.errors import must
from benchmark.models.architectures import TINY, configurations
from benchmark.models.clip import ClipModel, save_delta
from benchmark.types import Method

TEMPLATES = Path(__file__).parent / "templates"
SUMMARY, PAGE, TEXT = "audit.json", "audit.html", "audit.md"
REPAIRED = "repaired"  # folder of the new checkpoint


class Audit(NamedTuple):
    """All that an audit has found."""

    suspect: Suspect
    pairs: Pairs
    data_path: str
    seed: int
    command: str
    accuracy: Accuracy | None
    detectors: Sequence[Inspected]
    repaired: Repaired | None


def summary(audit: Audit) -> dict[str, Any]:
    """What was found, as JSON."""
    model, pairs = audit.suspect.model, audit.pairs
    return {
        "verdict": verdict(audit.detectors, pairs.class_names),
        "suspicious": any(item.finding is not None and item.finding.suspicious for item in audit.detectors),
        "weights": {
            "place": audit.suspect.place,
            "kind": audit.suspect.kind,
            "architecture": model.spec.name,
            "parameters": sum(value.numel() for value in model.network.parameters()),
            "image_size": model.image_size,
            "sha256": audit.suspect.sha256,
        },
        "data": {
            "path": audit.data_path,
            "rows": pairs.facts["num_rows"],
            "clean": pairs.clean.num_rows,
            "validation": len(pairs.validation.ids),
            "class_names": list(pairs.class_names),
            "labelled": pairs.labelled,
            "broken": pairs.facts["broken"]["count"],
        },
        "accuracy": _accuracy(audit.accuracy),
        "detectors": [_inspected(item, pairs.class_names) for item in audit.detectors],
        "repair": None if audit.repaired is None else _repaired(audit.repaired),
        "seed": audit.seed,
        "command": audit.command,
        "backstop": benchmark.__version__,
    }


def verdict(detectors: Sequence[Inspected], class_names: Sequence[str] = ()) -> str:
    """One to three sentences."""
    ran = [item for item in detectors if item.finding is not None]
    found = [item for item in ran if item.finding is not None and item.finding.suspicious]
    if not ran:
        return "No detector could run, so nothing is known of this model."
    if not found:
        return f"Nothing found by {_joined(ran)}, which is no proof that the model is clean."
    spared = [item for item in ran if item not in found]
    rest = f" Nothing found by {_joined(spared)}." if spared else ""
    aims = [_target(item, class_names) for item in found]
    named = list(dict.fromkeys(aim for aim in aims if aim is not None))
    target = f" Suspected target: {', '.join(named)}." if named else ""
    return f"Signs of a backdoor found by {_joined(found)}.{target}{rest}"


def _target(item: Inspected, class_names: Sequence[str]) -> str | None:
    """Name of the suspected class."""
    target = None if item.finding is None else item.finding.target
    return class_names[target] if target is not None and target < len(class_names) else None


def _joined(items: Sequence[Inspected]) -> str:
    names = [item.detector.card.title for item in items]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _method(method: Method) -> dict[str, Any]:
    card = {"title": method.card.title, "citation": method.card.citation, "summary": method.card.summary}
    return method.to_dict() | card


def _inspected(item: Inspected, class_names: Sequence[str]) -> dict[str, Any]:
    finding = item.finding
    status = "not_applicable" if finding is None else "suspicious" if finding.suspicious else "nothing_found"
    found: dict[str, Any] = _method(item.detector) | {"status": status, "reason": item.reason}
    found |= {"score": None, "target": None, "effect": None, "wall_s": round(item.seconds, 2)}
    if finding is not None:
        found |= {"score": finding.score, "target": _target(item, class_names)}
    if item.effect is not None:
        found["effect"] = item.effect._asdict()
    return found


def _accuracy(found: Accuracy | None) -> dict[str, Any] | None:
    if found is None:
        return None
    low, high = found.interval
    return found._asdict() | {"rate": found.rate, "low": low, "high": high}


def _repaired(item: Repaired) -> dict[str, Any]:
    found = _method(item.repair) | {"status": "ok" if item.model is not None else "failed", "reason": item.reason}
    rows = [{"epoch": row["epoch"], "accuracy": _number(row["validation_accuracy"])} for row in item.epochs]
    found |= {"accuracy": _accuracy(item.accuracy), "epochs": rows, "wall_s": round(item.seconds, 2)}
    found["findings"] = json.loads(json.dumps(item.findings, default=str))
    return found | {"checkpoint": f"{REPAIRED}/model.safetensors" if item.model is not None else None}


def _number(value: float | None) -> float | None:
    return value if value is not None and value == value else None


def check_out(out: Path) -> None:
    """Refuses a folder that the report must not replace.

    Raises:
        UserError: a file, a folder with other things in it, or a place that cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise must("--out", "a folder", str(out), "that is a file: name another place")
    if out.is_dir() and any(out.iterdir()) and not (out / SUMMARY).is_file():
        raise must("--out", "new, empty or an earlier audit", str(out), "it holds other things: name another folder")
    above = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise must("--out", "a place that can be written", str(out), "name another folder")


def write(audit: Audit, out: Path) -> dict[str, Any]:
    """Writes the folder in one piece, in place of an earlier audit; returns the summary."""
    found = summary(audit)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        os.chmod(draft, 0o755)  # a temporary folder is its owner's alone
        _fill(draft, audit, found)
        if out.exists():
            shutil.rmtree(out)
        os.replace(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return found


def _fill(folder: Path, audit: Audit, found: dict[str, Any]) -> None:
    (folder / SUMMARY).write_text(json.dumps(found, indent=1), encoding="utf-8")
    shown = []
    for number, item in enumerate(audit.detectors):
        stem = f"{number}-{item.detector.name}"
        shown.append({"trigger": trigger_pictures(item, stem), "examples": example_pictures(item, stem)})
        tensors = item.finding.trigger if item.finding is not None else {}
        if tensors:
            kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            save_file(kept, folder / f"{stem}-trigger.safetensors")
    pictures: list[Picture] = [
        p for one in shown for p in (*one["trigger"], *(p for pair in one["examples"] for p in pair))
    ]
    if pictures:
        (folder / "pictures").mkdir()
    for picture in pictures:
        (folder / "pictures" / picture.file).write_bytes(picture.png)
    context = {"audit": found, "shown": shown, "repaired_folder": REPAIRED}
    for name in (PAGE, TEXT):
        (folder / name).write_text(_environment().get_template(f"{name}.j2").render(**context), encoding="utf-8")
    if audit.repaired is not None and audit.repaired.model is not None:
        (folder / REPAIRED).mkdir()
        save_checkpoint(audit.repaired.model, folder / REPAIRED)


def save_checkpoint(model: ClipModel, folder: Path) -> None:
    """Writes every tensor with our sidecar and, where open_clip can build the model, its configuration beside them."""
    save_delta(model, folder, base={})
    files = configurations()
    if model.spec.name in TINY or model.spec.name not in files or model.adapters:
        return
    pixels = {"mean": model.mean.tolist(), "std": model.std.tolist()}
    config = {"model_cfg": json.loads(files[model.spec.name].read_text()), "preprocess_cfg": pixels}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Pages are escaped as HTML; Markdown has filters of its own."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=lambda name: bool(name and ".html" in name),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "percent": percent,
        "clock": clock,
        "md": markdown,
        "code": code,
        "points": points,
        "score": score,
    }
    return found


def percent(rate: float) -> str:
    """A rate as people read it."""
    return f"{100 * rate:.1f} %"


def points(change: float) -> str:
    """A difference of two rates, in percentage points."""
    return f"{100 * change:+.1f} points".replace("-", "−")


def score(value: float) -> str:
    """How suspicious a detector finds a model."""
    return f"{value:.4f}".replace("-", "−")


def markdown(text: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", " ".join(str(text).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: object) -> str:
    """Text as code, on one line; a fence longer than any run of backticks in it."""
    line = " ".join(str(text).split())
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence, space = "`" * (longest + 1), " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"
