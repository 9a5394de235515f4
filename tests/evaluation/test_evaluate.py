"""Evaluation against second implementations: prompts by hand, scikit-learn for probe and kNN, brute-force retrieval."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from benchmark.config.spec import Readouts
from benchmark.errors import Diverged, UserError
from benchmark.evaluation import readouts as reading
from benchmark.evaluation.evaluate import Condition, HeldOut, encode, evaluate, text_head
from benchmark.store.schemas import OUTCOMES
from tests.helpers.evaluation import (
    BADNET,
    CLASSES,
    CLEAN,
    EMBED,
    SPLIT,
    TARGET,
    TEMPLATES,
    TEST,
    FakeModel,
    features_of,
    rows,
    run,
    stamp,
)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, pa.Table]:
    return run(FakeModel())


def rank_by_hand(scores: np.ndarray, target: int) -> list[int]:
    return [sum(float(other) > float(row[target]) for other in row) for row in scores]


def test_encode_applies_the_trigger_with_ids_and_restores_the_mode() -> None:
    model = FakeModel()
    found = encode(model, TEST, BADNET, batch_size=40)
    assert model.training
    assert model.images_seen == 150
    model.train(False)
    torch.testing.assert_close(found, model.encode_images(stamp(TEST.images, TEST.ids)))
    some = np.array([5, 149, 7])
    torch.testing.assert_close(encode(model, TEST, BADNET, batch_size=2, rows=some), found[some])
    assert not model.training


def test_mode_is_restored_when_encoding_fails() -> None:
    def broken(images: torch.Tensor, ids: np.ndarray) -> torch.Tensor:
        raise RuntimeError("broken trigger")

    model = FakeModel()
    with pytest.raises(RuntimeError, match="broken trigger"):
        encode(model, TEST, Condition("broken", None, broken), batch_size=40)
    assert model.training


def test_text_head_is_the_normalised_mean_of_prompts() -> None:
    model = FakeModel()
    head = text_head(model, CLASSES, TEMPLATES)
    assert sorted(model.captions_seen) == sorted(template.format(name) for name in CLASSES for template in TEMPLATES)
    model.train(False)
    for name, row in zip(CLASSES, head.weights, strict=True):
        mean = torch.stack([model.encode_captions([template.format(name)])[0] for template in TEMPLATES]).mean(0)
        torch.testing.assert_close(row, mean / mean.norm())


def test_one_encode_pass_per_condition_and_one_for_the_clean_split() -> None:
    model = FakeModel()
    run(model)
    assert model.images_seen == 2 * 150 + 120
    assert len(model.captions_seen) == len(set(TEST.captions[:60])) + len(CLASSES) * len(TEMPLATES)
    assert model.training


def test_tables_have_the_schema_and_the_ids(outcomes: dict[str, pa.Table]) -> None:
    assert list(outcomes) == ["clean", "badnet"]
    for name, table in outcomes.items():
        assert table.schema == OUTCOMES
        assert table["condition"].unique().to_pylist() == [name]
        assert table.to_pandas().isna().sum().sum() == 0
        for readout in ("zero_shot", "probe", "knn"):
            part = rows(outcomes, name, readout)
            assert part["id"].tolist() == TEST.ids.tolist()
            assert part["true_class"].tolist() == TEST.labels.tolist()
    shown = {name: set(table["readout"].unique().to_pylist()) for name, table in outcomes.items()}
    assert shown["clean"] - shown["badnet"] == {"retrieval_image_to_text", "retrieval_text_to_image"}
    assert shown["badnet"] - shown["clean"] == {"retrieval_target"}


def test_retrieval_of_the_target_by_hand(outcomes: dict[str, pa.Table]) -> None:
    others = np.flatnonzero(TEST.labels != TARGET)
    pairs = np.flatnonzero([bool(text) for text in TEST.captions])[:60]
    model = FakeModel()
    model.train(False)
    texts = model.encode_captions([TEST.captions[row] for row in pairs]).numpy()
    found = rows(outcomes, "badnet", "retrieval_target")
    assert found["id"].tolist() == TEST.ids[others].tolist()
    for place, image in enumerate(features_of(TEST, BADNET)[others]):
        cosine = texts @ image
        tenth = np.sort(cosine)[-10]
        if (cosine >= tenth).sum() > 10 or len(np.unique(cosine.round(6))) < len(cosine):
            continue  # equal captions may come in any order
        first = TEST.labels[pairs[np.argsort(-cosine)[:10]]]
        hits = np.flatnonzero(first == TARGET)
        assert found["target_rank"][place] == (hits[0] if len(hits) else 10)
        assert found["predicted"][place] == first[0]
        assert found["score"][place] == pytest.approx((first == TARGET).mean())


def test_similarity_by_hand(outcomes: dict[str, pa.Table]) -> None:
    for condition, kept in ((CLEAN, np.arange(len(TEST.ids))), (BADNET, np.flatnonzero(TEST.labels != TARGET))):
        features = features_of(TEST, condition)[kept].astype(np.float64)
        cosine = features @ features.T
        np.fill_diagonal(cosine, np.nan)
        for readout, power in (("similarity", 1), ("similarity_square", 2)):
            found = rows(outcomes, condition.name, readout)
            np.testing.assert_allclose(found["score"], np.nanmean(cosine**power, axis=1), atol=1e-6)


def test_victims_are_shown_instead_of_the_split_each_with_a_target_of_its_own() -> None:
    aims = (SPLIT.labels + 1) % len(CLASSES)
    condition = Condition("tdpa", shown=SPLIT, targets=aims)
    found = evaluate(
        FakeModel(),
        TEST,
        [CLEAN, condition],
        class_names=CLASSES,
        templates=TEMPLATES,
        readouts=Readouts(probe=False, knn=False),
        clean=None,
        target=None,
        batch_size=64,
    ).outcomes["tdpa"]
    assert found["readout"].unique().to_pylist() == ["zero_shot"]
    assert found["target"].to_pylist() == aims.tolist()
    logits = 20 * features_of(SPLIT, CLEAN) @ text_head(FakeModel(), CLASSES, TEMPLATES).weights.numpy().T
    above = [(row > row[aim]).sum() for row, aim in zip(logits, aims, strict=True)]
    assert found["target_rank"].to_pylist() == above


@pytest.mark.parametrize("condition", [CLEAN, BADNET], ids=["clean", "badnet"])
def test_zero_shot_by_hand(outcomes: dict[str, pa.Table], condition: Condition) -> None:
    logits = 20 * features_of(TEST, condition) @ text_head(FakeModel(), CLASSES, TEMPLATES).weights.numpy().T
    found = rows(outcomes, condition.name, "zero_shot")
    assert found["predicted"].tolist() == logits.argmax(axis=1).tolist()
    assert found["target_rank"].tolist() == rank_by_hand(logits, TARGET)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found["score"], 1 / exponentials.sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize("condition", [CLEAN, BADNET], ids=["clean", "badnet"])
def test_probe_equals_scikit_learn(outcomes: dict[str, pa.Table], condition: Condition) -> None:
    scale = EMBED**0.5
    theirs = LogisticRegression(C=reading.PROBE_STRENGTH, tol=1e-8, max_iter=5000)
    theirs.fit(features_of(SPLIT).astype(np.float64) * scale, SPLIT.labels)
    probabilities = theirs.predict_proba(features_of(TEST, condition).astype(np.float64) * scale)
    found = rows(outcomes, condition.name, "probe")
    assert found["predicted"].tolist() == probabilities.argmax(axis=1).tolist()
    assert found["target_rank"].tolist() == rank_by_hand(probabilities, TARGET)
    np.testing.assert_allclose(found["score"], probabilities.max(axis=1), atol=1e-3)


def test_probe_learns_and_repeats(outcomes: dict[str, pa.Table]) -> None:
    found = rows(outcomes, "clean", "probe")
    assert (found["predicted"] == TEST.labels).mean() > 0.8
    assert run(FakeModel())["clean"] == outcomes["clean"]


def test_probe_keeps_a_place_for_a_class_without_samples() -> None:
    known = torch.from_numpy(features_of(SPLIT))
    fitted = reading.fit_probe(known, torch.from_numpy(SPLIT.labels), num_classes=6)
    scores = reading.probe(known, fitted, target=5)
    assert fitted.weights.shape == (6, EMBED)
    assert set(scores.predicted.tolist()) <= {0, 1, 2, 3}
    assert scores.rank.min() > 0


@pytest.mark.parametrize("condition", [CLEAN, BADNET], ids=["clean", "badnet"])
def test_knn_equals_scikit_learn(outcomes: dict[str, pa.Table], condition: Condition) -> None:
    theirs = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: np.maximum(1 - distance, 1e-6))
    theirs.fit(features_of(SPLIT), SPLIT.labels)
    shares = theirs.predict_proba(features_of(TEST, condition))
    found = rows(outcomes, condition.name, "knn")
    assert found["predicted"].tolist() == shares.argmax(axis=1).tolist()
    assert found["target_rank"].tolist() == rank_by_hand(shares, TARGET)
    np.testing.assert_allclose(found["score"], shares.max(axis=1), rtol=1e-4)


def test_retrieval_by_brute_force(outcomes: dict[str, pa.Table]) -> None:
    model = FakeModel().train(False)
    images, texts = features_of(TEST)[:60], model.encode_captions(TEST.captions[:60]).numpy()
    for way, queries, candidates in (("image_to_text", images, texts), ("text_to_image", texts, images)):
        found = rows(outcomes, "clean", f"retrieval_{way}")
        cosine = [[float(query @ candidate) for candidate in candidates] for query in queries]
        margin = 1e-6  # equal captions tie; a tie does not count as above
        ranks = [sum(other > row[i] + margin for other in row) for i, row in enumerate(cosine)]
        assert found["target_rank"].tolist() == ranks
        assert found["true_class"].tolist() == list(range(60))
        assert found["id"].tolist() == TEST.ids[:60].tolist()
        np.testing.assert_allclose(found["score"], [row[i] for i, row in enumerate(cosine)], atol=1e-5)
        top = np.array([row[k] for row, k in zip(cosine, found["predicted"], strict=True)])
        np.testing.assert_allclose(top, np.max(cosine, axis=1), atol=1e-5)


def test_chunks_do_not_change_results(outcomes: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CACHED_ELEMENTS", 700)
    monkeypatch.setattr(reading, "TEXT_BATCH", 5)
    for name, table in run(FakeModel()).items():
        exact = [column for column in OUTCOMES.names if column != "score"]
        assert table.select(exact) == outcomes[name].select(exact)
        np.testing.assert_allclose(table["score"].to_numpy(), outcomes[name]["score"].to_numpy(), atol=1e-5)


def test_readouts_are_left_out_on_demand_and_without_labels() -> None:
    bare = Readouts(probe=False, knn=False, retrieval=False, similarity_samples=0)
    names = run(FakeModel(), bare)["clean"]["readout"].unique()
    assert names.to_pylist() == ["zero_shot"]
    unlabelled = SPLIT._replace(labels=np.full(120, -1))
    for clean in (None, unlabelled):
        model = FakeModel()
        wanted = Readouts(retrieval=False, similarity_samples=0)
        names = run(model, wanted, clean=clean)["badnet"]["readout"].unique()
        assert names.to_pylist() == ["zero_shot"]
        assert model.images_seen == 300


def test_partly_labelled_clean_split_uses_the_labelled_rows() -> None:
    labels = SPLIT.labels.copy()
    labels[::2] = -1
    part = HeldOut(SPLIT.images[1::2], SPLIT.labels[1::2], SPLIT.captions[1::2], SPLIT.ids[1::2])
    partly, alone = run(FakeModel(), clean=SPLIT._replace(labels=labels)), run(FakeModel(), clean=part)
    for readout in ("probe", "knn"):
        first, second = rows(partly, "clean", readout), rows(alone, "clean", readout)
        assert first["predicted"].tolist() == second["predicted"].tolist()


def test_without_target_the_rank_is_minus_one() -> None:
    found = evaluate(
        FakeModel(),
        TEST,
        [CLEAN],
        class_names=CLASSES,
        templates=TEMPLATES,
        readouts=Readouts(retrieval=False),
        clean=SPLIT,
        target=None,
        batch_size=64,
    )
    assert set(found.outcomes["clean"]["target_rank"].to_pylist()) == {-1}
    assert found.encode_s > 0 and found.probe_fit_s > 0


def test_bad_conditions_are_refused() -> None:
    with pytest.raises(UserError, match="target must be a class index below 4"):
        run(FakeModel(), target=4)
    with pytest.raises(UserError, match="conditions must be distinct in name"):
        evaluate(
            FakeModel(),
            TEST,
            [CLEAN, CLEAN],
            class_names=CLASSES,
            templates=TEMPLATES,
            readouts=Readouts(),
            clean=None,
            target=None,
            batch_size=8,
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_a_failure_and_no_class(value: float) -> None:
    head, features = reading.TextHead(torch.eye(3)), torch.eye(3)
    assert list(reading.zero_shot(features, head, logit_scale=20.0, target=None).predicted) == [0, 1, 2]
    features[1, 1] = value
    with pytest.raises(Diverged, match="must give finite scores, got others for 1 of 3 images"):
        reading.zero_shot(features, head, logit_scale=20.0, target=0)
