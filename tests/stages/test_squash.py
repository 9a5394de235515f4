"""The squash control: how images are squashed, the artifact that holds them, and its numbers at a run's end."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.attacks.badnet import BadNet
from benchmark.config.spec import Gate, ModelSpec, Readouts, Splits, Suite
from benchmark.data.images import decode
from benchmark.data.prepare import prepare_data
from benchmark.data.squash import squash_split
from benchmark.datasets.hugging_face.dataset import HuggingFace
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.engine.document import write_suite
from benchmark.engine.driver import SuiteRun
from benchmark.engine.local import LocalExecutor
from benchmark.engine.monitor import Monitor
from benchmark.errors import UserError
from benchmark.evaluation.measure import measures
from benchmark.objectives.mmcl import MMCL
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute
from benchmark.stages.evaluations import evaluate_key, of_model, own_conditions, suspect_of
from benchmark.stages.keys import cells_of
from benchmark.stages.measuring import outcomes
from benchmark.store.artifacts import Store, open_store
from benchmark.types import Dataset, Training

pytestmark = pytest.mark.unit
SPLITS = Splits(pretrain=64, clean=24, validation=24, test=40)


def picture(seed: int, size: tuple[int, int]) -> bytes:
    """Noise of (width, height), coarse enough to survive resizing."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize(size).save(buffer, "PNG")
    return buffer.getvalue()


def decoded(image: bytes, size: int, *, squash: bool = False) -> np.ndarray:
    found = decode(image, size, squash=squash)
    assert found is not None
    return found


def folder_of_images(root: Path, count: int) -> HuggingFace:
    """Two classes, one of wide images and one of tall ones; the first image of all is broken."""
    for place in range(count):
        name, size = (("cat", (60, 40)), ("dog", (40, 60)))[place % 2]
        folder = root / "train" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{place:03d}.png").write_bytes(picture(place, size) if place else b"no image")
    return HuggingFace(path=str(root))


def suite(data: Dataset, target: str) -> Suite:
    return Suite(
        name="squash",
        data=data,
        splits=SPLITS,
        model=ModelSpec(name="tiny-resnet"),
        pretrain=Training(epochs=1, batch_size=32, warmup_steps=1),
        objectives=(MMCL(),),
        attacks=(BadNet(target=target, poison_rate=0.1, size=5),),
        repairs=(),
        gate=Gate(min_asr=0.0, max_accuracy_drop=1.0),
        readouts=Readouts(retrieval_pairs=20, similarity_samples=0, squash=True),
        transforms=("int8",),
    )


def ran(root: Path, wanted: Suite) -> tuple[Store, list[Cell]]:
    store, cells = open_store(str(root)), cells_of(wanted)
    write_suite(store, wanted, cells, command="", environment={})
    monitor = Monitor(quiet=True)
    SuiteRun(store, wanted, cells, cells, LocalExecutor(store, monitor, Compute(), threads=1), monitor).run()
    return store, cells


def test_squashing_keeps_the_edges_that_cropping_cuts_off() -> None:
    wide = Image.new("RGB", (40, 10), (255, 0, 0))
    wide.paste((0, 255, 0), (15, 0, 25, 10))
    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    squashed, cropped = (decoded(buffer.getvalue(), 10, squash=squash) for squash in (True, False))
    assert (cropped == [0, 255, 0]).all()
    assert (squashed[:, [0, 9]] == [255, 0, 0]).all() and (squashed[:, 5] == [0, 255, 0]).all()
    assert np.array_equal(squashed, np.asarray(wide.resize((10, 10), Image.Resampling.BICUBIC)))
    square = picture(3, (30, 30))
    assert np.array_equal(decoded(square, 12, squash=True), decoded(square, 12))


@pytest.mark.parametrize("streaming", [False, True])
def test_squashed_images_lie_in_the_order_of_the_cached_split(tmp_path: Path, streaming: bool) -> None:
    files, cache = tmp_path / "set", tmp_path / "cache"
    cache.mkdir()
    data = folder_of_images(files, 40).model_copy(update={"streaming": streaming})
    splits = Splits(pretrain=10, clean=4, validation=4, test=20)
    prepare_data(data, splits, image_size=16, held_out_only=streaming, folder=cache)
    table = pq.read_table(cache / "rows.parquet").to_pandas()
    places = np.flatnonzero(table["split"] == "test")
    squash_split(data, cache, "test", image_size=16, file=cache / "squash.npy")
    squashed, cropped = np.load(cache / "squash.npy"), np.load(cache / "images.npy")[places]
    assert squashed.shape == cropped.shape
    for key, image, crop in zip(table["key"][places], squashed, cropped, strict=True):
        assert np.array_equal(image, decoded((files / key).read_bytes(), 16, squash=True))
        assert not np.array_equal(image, crop)
    (files / table["key"][places[0]]).write_bytes(b"no image")
    with pytest.raises(UserError, match="must be read again for the squash control"):
        squash_split(data, cache, "test", image_size=16, file=cache / "squash.npy")


def test_images_that_are_square_already_are_what_they_were(tmp_path: Path) -> None:
    data = Shapes(num_rows=80)
    sizes = prepare_data(
        data, Splits(pretrain=20, clean=10, validation=10, test=30), image_size=32, held_out_only=False, folder=tmp_path
    )["splits"]
    squash_split(data, tmp_path, "test", image_size=32, file=tmp_path / "squash.npy")
    assert np.array_equal(np.load(tmp_path / "squash.npy"), np.load(tmp_path / "images.npy")[-sizes["test"] :])


def test_the_control_is_one_more_condition_and_moves_no_other_key() -> None:
    with_it = suite(Shapes(num_rows=200), "ring")
    without = with_it.model_copy(update={"readouts": with_it.readouts.model_copy(update={"squash": False})})
    attacked, plain = cells_of(with_it)[1], cells_of(without)[1]

    def keys(cell: Cell) -> dict[str, str]:
        return {
            item.name: evaluate_key(cell, item, split="test", model="m", epoch=None) for item in own_conditions(cell)
        }

    assert list(keys(attacked)) == ["clean", "badnet", "squash", "clean int8", "badnet int8"]
    control = keys(attacked).pop("squash")
    assert {name: key for name, key in keys(attacked).items() if name != "squash"} == keys(plain)
    assert control not in keys(plain).values()
    assert attacked.keys.pretrain == plain.keys.pretrain and attacked.keys.record != plain.keys.record


def test_shapes_have_equal_numbers_cropped_and_squashed(tmp_path: Path) -> None:
    store, cells = ran(tmp_path, suite(Shapes(num_rows=200), "ring"))
    for cell in cells:
        found = store.find("record", cell.keys.record)
        assert found is not None
        row = pq.read_table(found.path("records.parquet")).to_pylist()[0]
        assert row["status"] == "ok", row["reason"]
        values = {(item["name"], item["readout"]): item for item in row["measures"]}
        for readout in ("zero_shot", "probe", "knn"):
            crop, squash = values["clean_accuracy", readout], values["clean_accuracy_squash", readout]
            assert (squash["value"], squash["total"]) == (crop["value"], crop["total"]) and squash["total"] == 40
            assert (("target_rate_squash", readout) in values) == (cell.experiment.attack is not None)
        if cell.experiment.attack:
            assert values["target_rate_squash", "zero_shot"]["total"] == values["floor", "zero_shot"]["total"]
        assert not [name for name, _ in values if "squash@" in name]


def test_oblong_images_are_evaluated_in_both_geometries(tmp_path: Path) -> None:
    store, cells = ran(tmp_path / "store", suite(folder_of_images(tmp_path / "set", 160), "dog"))
    cell = cells[1]
    clean, triggered, squash = (outcomes(store, cell, item) for item in of_model(cell, suspect_of(cell))[:3])
    assert squash["condition"].unique().to_pylist() == ["squash"]
    assert set(squash["readout"].unique().to_pylist()) == {"zero_shot", "probe", "knn"}
    first, second = (table.to_pandas().query("readout == 'zero_shot'") for table in (clean, squash))
    assert (first["id"] == second["id"]).all() and (first["true_class"] == second["true_class"]).all()
    assert (first["score"] != second["score"]).mean() > 0.9
    by_hand = second["predicted"][second["true_class"] == 0] == 1
    rates = [item for item in measures([clean, triggered, squash], target=1) if item.name == "target_rate_squash"]
    assert (rates[0].readout, rates[0].value, rates[0].total) == ("zero_shot", by_hand.mean(), len(by_hand))
