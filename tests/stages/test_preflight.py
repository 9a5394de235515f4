"""What data alone decide is found before anything runs: in one line, without torch, without reading a row twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from benchmark.attacks.badclip_l import BadCLIPL
from benchmark.attacks.badnet import BadNet
from benchmark.attacks.quantisation.attack import Quantisation
from benchmark.attacks.tdpa import TDPA
from benchmark.attacks.wanet import WaNet
from benchmark.config.pretraining import OutsideSpec
from benchmark.config.spec import Experiment, ModelSpec, Splits
from benchmark.datasets.hugging_face import tables
from benchmark.datasets.hugging_face.dataset import HuggingFace
from benchmark.datasets.known import CC3M, Cifar10
from benchmark.datasets.shapes.dataset import Shapes, ShapesSource
from benchmark.detectors.clipscore import CLIPScoreOutside
from benchmark.errors import UserError
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.par import PAR
from benchmark.repairs.tbar import TBAR
from benchmark.stages import preflight
from benchmark.stages.preflight import check_data, check_workers, doubts
from benchmark.types import Training
from benchmark.types.source import Outline

pytestmark = pytest.mark.unit
SMALL = Splits(pretrain=600, clean=200, validation=100, test=100)


class OfOneClass(Shapes):
    """All rows of one class."""

    def outline(self, *, image_size: int) -> Outline:
        return super().outline(image_size=image_size)._replace(class_names=("ring",))


class Captioned(Shapes):
    """Rows with captions only."""

    def outline(self, *, image_size: int) -> Outline:
        return super().outline(image_size=image_size)._replace(class_names=())


class Twice(Shapes):
    """A set with two classes of one name."""

    def outline(self, *, image_size: int) -> Outline:
        return super().outline(image_size=image_size)._replace(class_names=("ring", "Ring", "disk"))


def experiment(**changes: Any) -> Experiment:
    given: dict[str, Any] = {
        "data": Shapes(num_rows=1000),
        "splits": SMALL,
        "objective": MMCL(),
        "attack": BadNet(target="ring", size=5),
    }
    return Experiment(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attack": BadNet(target="rnig", size=5)}, r"attacks.badnet.target: unknown class 'rnig'; did you mean ring"),
        ({"attack": BadNet(target="ring", size=33)}, "badnet.size must be at most the image's 32 px, got 33"),
        ({"attack": Quantisation(target="ring", size=33)}, "quantisation.size must be at most the image's 32 px"),
        (
            {"attack": BadCLIPL(target="ring", size=40), "data": Shapes(num_rows=1600)},
            "badclip-l.size must be at most the image's 32 px, got 40",
        ),
        (
            {"attack": BadCLIPL(target="ring", size=5), "data": Shapes(num_rows=1050)},
            "pretrain.batch_size must be at most the 50 pairs of the model from outside, got 128",
        ),
        (
            {"detector": CLIPScoreOutside()},
            "rows for a clean model from outside must be at least 1 that no",
        ),
        (
            {"attack": BadCLIPL(target="ring", size=5), "splits": Splits(clean=200, validation=100, test=100)},
            "rows for a clean model from outside must be at least 1 .* got 0; .* --set splits.outside",
        ),
        ({"attack": BadNet(target="ring", size=5, poison_rate=1e-4)}, "badnet.poison_rate must be at least 0.0017"),
        (
            {"attack": WaNet(target="ring", poison_rate=0.4)},
            "wanet.poison_rate must be low enough for 240",
        ),
        ({"attack": TDPA(num_pairs=601)}, "tdpa.num_pairs must be at most the pool's 600 rows, got 601"),
        ({"data": Shapes(num_rows=999)}, r"shapes: rows to draw splits from must be at least 1000 .* got 999"),
        ({"data": OfOneClass(num_rows=1000)}, r"data must be a set with at least two classes.*got \('ring',\); choose"),
        (
            {"evaluation": Captioned(num_rows=1000)},
            r"evaluation must be a set with at least two classes.*got \(\); name",
        ),
        ({"evaluation": Shapes(num_rows=399)}, r"rows to draw splits from must be at least 400 .* got 399"),
        ({"pretrain": Training(batch_size=601)}, "pretrain.batch_size must be at most the 600 pre-training pairs"),
        ({"pretrain": Training(batch_size=64, norm_group=10)}, "pretrain.norm_group must be a divisor of the batch of"),
        ({"pretrain": Training(epochs=0)}, "pretrain.epochs must be at least 1 for a model without a start, got 0"),
        ({"repair": PAR()}, "repairs.par.batch_size must be at most the 200 clean pairs, got 2048"),
        ({"repair": CleanCLIP(batch_size=201)}, "repairs.cleanclip.batch_size must be at most the 200 clean pairs"),
    ],
)
def test_a_mistake_about_the_data_is_one_line_that_names_place_and_remedy(changes: dict[str, Any], told: str) -> None:
    check_data([experiment()])
    with pytest.raises(UserError, match=told) as raised:
        check_data([experiment(), experiment(**changes)])
    assert "\n" not in str(raised.value) and ";" in str(raised.value)


def test_what_can_run_is_let_through() -> None:
    check_data([experiment(repair=TBAR(batch_size=500))])  # it takes what there is
    check_data([experiment(pretrain=Training(epochs=0), model=ModelSpec(weights="start.safetensors"))])
    check_data([experiment(pretrain=Training(batch_size=64, norm_group=16), attack=None)])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attack": BadNet(target="ring", poison_rate=0.99)}, "poison_rate 0.99 poisons 594 of 600 pairs"),
        ({"attack": BadNet(target="ring", poison_rate=0.001)}, "poison_rate 0.001 poisons 1 of 600 pairs"),
        ({"pretrain": Training(epochs=0), "model": ModelSpec(weights="a")}, "nothing is ever trained on its pairs"),
        ({"data": Twice(num_rows=1000)}, "class names that several classes share, which zero-shot cannot tell"),
    ],
)
def test_what_can_run_but_is_hardly_meant_is_said_once(changes: dict[str, Any], told: str) -> None:
    assert doubts([experiment()]) == []
    lines = doubts([experiment(**changes), experiment(**changes, seed=1)])
    assert len(lines) == 1 and told in lines[0]


def test_class_names_are_looked_at_once_however_many_cells_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    for name in ("alike", "check_class_names"):
        monkeypatch.setattr(preflight, name, lambda *given, name=name: looked.append(name))
    one = experiment()
    cells = [one.model_copy(update={"seed": seed}) for seed in range(3)]  # of one data set, as those of a suite are
    check_data(cells)
    doubts(cells)
    assert looked == ["check_class_names", "alike"]


def cifar(folder: Path) -> Cifar10:
    names = ["airplane", "automobile", "bird"]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    for split, count in (("train", 40), ("test", 10)):
        columns = {"img": [None] * count, "label": [row % 3 for row in range(count)]}
        folder.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}.parquet")
    return Cifar10(path=str(folder))


@pytest.fixture
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "user-cache"))


@pytest.mark.usefixtures("_own_caches")
def test_local_files_are_opened_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    open_source = tables.open_source

    def counted(spec: Any, image_size: int) -> Any:
        opened.append(spec.name)
        return open_source(spec, image_size)

    monkeypatch.setattr(tables, "open_source", counted)
    given = {"splits": Splits(clean=10, validation=10, test=10), "pretrain": Training(batch_size=4)}
    asked = experiment(data=cifar(tmp_path / "c"), attack=BadNet(target="bird", poison_rate=0.1, size=5), **given)
    check_data([asked])
    check_data([asked])
    assert opened == ["cifar10"]
    wrong = experiment(data=asked.data, attack=BadNet(target="frog", poison_rate=0.1, size=5), **given)
    with pytest.raises(UserError, match=r"badnet.target: unknown class 'frog'"):
        check_data([wrong])
    assert opened == ["cifar10"]
    few = wrong.model_copy(update={"splits": Splits(clean=10, validation=30, test=10)})
    with pytest.raises(UserError, match=r"must be at least 41 .* got 40"):
        check_data([few])
    (tmp_path / "c" / "train.parquet").write_bytes(b"no longer Parquet")
    with pytest.raises(UserError, match="cannot be read"):
        check_data([asked])
    assert len(opened) == 2


@pytest.mark.usefixtures("_own_caches")
def test_a_label_column_that_is_not_there_is_found(tmp_path: Path) -> None:
    cifar(tmp_path / "c")
    named = HuggingFace(path=str(tmp_path / "c"), label_column="lable", test_split="test")
    with pytest.raises(UserError, match="unknown column 'lable'; did you mean label"):
        check_data([experiment(data=named)])


def test_a_hub_set_is_judged_by_what_it_declares_and_never_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("nothing is to be opened")

    monkeypatch.setattr(tables, "open_source", refused)
    check_data([experiment(data=Cifar10(), splits=Splits())])
    check_data([experiment(data=HuggingFace(hub="a/b", hub_revision="0" * 40))])
    with pytest.raises(UserError, match=r"cifar10: split 'test' must have at least 10001 rows, got 10000"):
        check_data([experiment(data=Cifar10(), splits=Splits(test=10_001))])
    with pytest.raises(UserError, match=r"cc3m: rows to draw splits from must be at least .* got 2905954"):
        check_data([experiment(data=CC3M(), splits=Splits(pretrain=2_905_954))])
    left = experiment(data=CC3M(), splits=Splits(), attack=BadNet(target="dog", poison_rate=1e-7))
    with pytest.raises(UserError, match="to poison one of 2902954 pairs"):  # all but the three held-out splits
        check_data([left])


def test_a_look_draws_nothing_and_loads_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("no row is to be drawn")

    monkeypatch.setattr(ShapesSource, "_draw", refused)
    check_data([experiment()])
    code = (
        "import sys\nfrom suites.kinds import suite\nfrom benchmark.stages.preflight import check_data, doubts\n"
        "found = suite().experiments()\ncheck_data(found)\nassert not doubts(found)\n"
        "assert not {'torch', 'ray', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


@pytest.mark.parametrize(
    ("batch", "group", "model", "workers", "line"),
    [
        (128, None, "tiny-vit", 3, "--workers must be a divisor of pretrain.batch_size 128, got 3"),
        (128, None, "tiny-resnet", 2, "pretrain.norm_group must be a divisor of the 64 pairs of each of 2 workers"),
        (128, 128, "RN50", 2, "pretrain.norm_group must be a divisor of the 64 pairs"),
        (8, 2, "tiny-resnet", 8, "--workers must be at most 4 (tiny-resnet has BatchNorm), got 8; lower it"),
    ],
)
def test_workers_that_cannot_share_a_batch_are_refused_before_anything_runs(
    batch: int, group: int | None, model: str, workers: int, line: str
) -> None:
    wrong = experiment(model=ModelSpec(name=model), pretrain=Training(batch_size=batch, norm_group=group))
    with pytest.raises(UserError) as told:
        check_workers([wrong], workers)
    assert str(told.value).startswith(line)


@pytest.mark.parametrize(
    ("group", "model", "workers"), [(None, "tiny-resnet", 1), (None, "ViT-B-32", 4), (32, "RN50", 4)]
)
def test_workers_that_can_are_not(group: int | None, model: str, workers: int) -> None:
    check_workers(
        [experiment(model=ModelSpec(name=model), pretrain=Training(batch_size=128, norm_group=group))], workers
    )


def test_a_model_from_outside_is_looked_at_where_somebody_asks_for_it() -> None:
    outside = OutsideSpec(model=ModelSpec(name="tiny-vit"), pretrain=Training(batch_size=127))
    given = {"model": ModelSpec(name="tiny-vit"), "outside": outside}
    check_workers([experiment(**given)], 2)
    with pytest.raises(UserError, match=r"--workers must be a divisor of pretrain\.batch_size 127, got 2"):
        check_workers([experiment(**given, detector=CLIPScoreOutside())], 2)
