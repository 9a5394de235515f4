"""Detectors: against straightforward computations, by hand, and by the direction of their scores."""

from __future__ import annotations

import hashlib
import math
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmark.detectors._density import DensityFilter, nearest, surroundings
from benchmark.detectors.bdetclip import PROMPTS, BDetCLIP, class_means, read_prompts
from benchmark.detectors.clipscore import CLIPScore, CLIPScoreOutside
from benchmark.detectors.dao import DAO
from benchmark.detectors.decree import DECREE, Weight, mean_cosine, rebalanced, stamp
from benchmark.detectors.slof import SLOF
from benchmark.detectors.strip import STRIP, calibrated, entropy
from benchmark.errors import NotApplicable
from benchmark.testing import detector as kit
from benchmark.testing import suspect, world
from benchmark.testing.check import CheckResult, check_method
from benchmark.types import Card, Detector, Filter, InputDetector, PairFeatures, State

pytestmark = pytest.mark.unit
DETECTORS: tuple[type[Detector], ...] = (CLIPScore, CLIPScoreOutside, SLOF, DAO, STRIP, BDetCLIP, DECREE)


def fake(image: torch.Tensor, text: torch.Tensor | None = None, *, seed: int = 0) -> Any:
    """As much of a context as a filter asks for."""
    features = PairFeatures(image, image if text is None else text)

    def given(model: Any, pool: Any, *, normalised: bool = True) -> PairFeatures:
        if not normalised:
            return features
        return PairFeatures(*(torch.nn.functional.normalize(part, dim=1) for part in features))

    generator = torch.Generator().manual_seed(seed)
    return SimpleNamespace(suspect_pairs=None, features=given, generator=generator)


def points(
    count: int = 150, size: int = 24, *, seed: int = 0, offset: float = 3.0, duplicate: bool = True
) -> torch.Tensor:
    """Embeddings with a duplicate and a group that lies very close together, far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(count, size, generator=generator) + offset
    if duplicate:
        found[50] = found[10]
    found[60:75] = found[20] + 1e-4 * torch.randn(15, size, generator=generator)
    return found


# --- density -----------------------------------------------------------------------------------------------------


def released(x: torch.Tensor, captions: torch.Tensor | None, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """SLOF and DAO of image rows as the released detectors compute them, one row after another, in single precision."""
    reference = x if captions is None else torch.cat([x, captions])
    whole = torch.cdist(reference, reference, compute_mode="donot_use_mm_for_euclid_dist")
    ordered = whole.sort(dim=1).values
    kth = ordered[:, k]
    dimension = -k / torch.log(ordered[:, :k] / ordered[:, k, None] + 1e-4).sum(1)
    slof, dao = [], []
    for row in range(len(x)):
        distances, places = torch.cat([whole[row, :row], whole[row, row + 1 :]]).sort()
        near = places[:k]  # positions in the row without its own column, used for rows of the whole
        slof.append((distances[k] / kth[near]).mean())
        dao.append((dimension[near] * torch.log(distances[k] / kth[near])).mean())
    return torch.stack(slof), torch.stack(dao)


@pytest.mark.parametrize("captions", [False, True])
def test_density_as_released(captions: bool) -> None:
    x = points(duplicate=not captions)  # which of two equally distant neighbours comes first is anybody's guess
    texts = points(seed=1, duplicate=False) if captions else None
    wanted = released(x, texts, 5)
    around = surroundings(x if texts is None else torch.cat([x, texts]), 5, indexing="released")
    for detector, each in zip((SLOF(), DAO()), wanted, strict=True):
        torch.testing.assert_close(detector.score(around)[: len(x)].float(), each, rtol=1e-4, atol=1e-4)


def test_slof_exact_by_scikit_learn() -> None:
    x = points(offset=0)
    found = SLOF().score(surroundings(x, 7, indexing="exact")).numpy()
    distances, places = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(x.double().numpy()).kneighbors()
    kth = distances[:, -1]
    np.testing.assert_allclose(found, (kth[:, None] / kth[places]).mean(1), rtol=1e-6)


def test_slof_agrees_with_the_full_local_outlier_factor() -> None:
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    x[0] += 8
    full = -LocalOutlierFactor(n_neighbors=10).fit(x.numpy()).negative_outlier_factor_
    simple = SLOF().score(surroundings(x, 10, indexing="exact")).numpy()
    assert np.corrcoef(full, simple)[0, 1] > 0.9
    assert simple.argmax() == full.argmax() == 0


def test_dao_exact_by_hand() -> None:
    x = points(90, 6)
    k, whole = 4, torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").numpy()
    rows = []
    near = {row: sorted((d, j) for j, d in enumerate(whole[row]) if j != row)[:k] for row in range(len(x))}
    for row in range(len(x)):
        terms = []
        for _, j in near[row]:
            own, theirs = near[row][-1][0], near[j][-1][0]
            dimension = -k / sum(math.log(d / theirs + 1e-4) for d, _ in near[j])
            terms.append(dimension * math.log(own / theirs))
        rows.append(sum(terms) / k)
    np.testing.assert_allclose(DAO().score(surroundings(x, k, indexing="exact")).numpy(), rows, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_distances_are_exact_where_inner_products_cancel(offset: float) -> None:
    x = points(offset=offset)
    found = nearest(x, 9)
    whole = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    torch.testing.assert_close(found.distances, whole.sort(dim=1).values[:, :9], rtol=1e-5, atol=0)
    torch.testing.assert_close(whole.gather(1, found.places), found.distances, rtol=1e-5, atol=0)
    assert found.distances[50, 0] == 0 and found.places[50, 0] == 10  # a duplicate is at distance 0, not near it


@pytest.mark.parametrize("cls", [SLOF, DAO])
@pytest.mark.parametrize("indexing", ["released", "exact"])
def test_duplicates_score_as_released(cls: type[DensityFilter], indexing: str) -> None:
    x = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    x[20:40] = x[20]  # more duplicates than neighbours: 0 / 0
    detector = cls.model_validate({"neighbours": 5, "indexing": indexing})
    scores = detector.scores(None, fake(x))
    assert scores.isfinite().all()
    if indexing == "exact":
        assert (scores[20:40] == 1000).all()
    assert (scores[:20] < 1000).any()


def test_neighbours_are_looked_for_in_the_own_batch() -> None:
    x = points(300)
    detector = SLOF(neighbours=4, reference_batch=100, indexing="exact")
    scores = detector.scores(None, fake(x, seed=7))
    order = torch.randperm(300, generator=torch.Generator().manual_seed(7))
    for rows in order.split(100):
        alone = detector.score(surroundings(x[rows], 4, indexing="exact")).float()
        torch.testing.assert_close(scores[rows], alone)


def test_batches_are_of_nearly_equal_size() -> None:
    x = points(205)
    scores = SLOF(neighbours=4, reference_batch=100).scores(None, fake(x))  # 205 = 69 + 68 + 68, not 100 + 100 + 5
    assert scores.isfinite().all()


def test_too_few_pairs_are_not_applicable() -> None:
    with pytest.raises(NotApplicable, match="SLOF needs 18 pairs a batch, got 12 pairs"):
        SLOF().scores(None, fake(points(200)[:12]))


@pytest.mark.parametrize("cls", [SLOF, DAO])
@pytest.mark.parametrize("indexing", ["released", "exact"])
def test_sparse_pairs_rank_above_dense_ones(cls: type[DensityFilter], indexing: str) -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(10, 16, generator=generator)
    x = centres[torch.arange(1000) % 10] + 0.3 * torch.randn(1000, 16, generator=generator)
    poisoned = np.arange(1000) < 10
    x[:10] = 3 * torch.randn(10, 16, generator=generator)
    scores = cls.model_validate({"indexing": indexing}).scores(None, fake(x))
    assert roc_auc_score(poisoned, scores.numpy()) > 0.95


@pytest.mark.parametrize("cls", [SLOF, DAO])
def test_a_batch_with_more_poison_than_neighbours_hides_it(cls: type[DensityFilter]) -> None:
    x = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    x[:40] = 0.1 * x[:40] + 3
    poisoned = np.arange(1000) < 40

    def area(batch: int) -> float:
        detector = cls.model_validate({"reference_batch": batch, "indexing": "exact"})
        return float(roc_auc_score(poisoned, detector.scores(None, fake(x)).numpy()))

    assert area(1000) < 0.7  # 40 against k = 16
    assert area(200) > 0.95  # about 8


# --- the others, by hand -------------------------------------------------------------------------------------------


def test_clipscore_by_hand() -> None:
    image, text = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [-2.0, 0.0]])
    assert CLIPScore().scores(None, fake(image, text)).tolist() == pytest.approx([-24 / 25, 1.0])


def test_strip_entropy_by_scipy() -> None:
    cosines = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    wanted = scipy_entropy(torch.softmax(7 * cosines, -1).double().numpy(), axis=-1)
    np.testing.assert_allclose(entropy(cosines, torch.tensor(7.0)).numpy(), wanted, atol=1e-5)


def test_strip_calibrates_to_half_of_the_highest_entropy() -> None:
    cosines = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)) / 10
    scale = calibrated(cosines)
    assert float(entropy(cosines, scale).mean()) == pytest.approx(math.log(10) / 2, abs=1e-3)


class Linear:
    """A model whose embedding is the mean colour of the normalised image, and a context around it."""

    mean: ClassVar[torch.Tensor] = torch.tensor([0.5, 0.25, 0.125])
    std: ClassVar[torch.Tensor] = torch.tensor([0.5, 0.25, 0.2])

    def encode_images(self, model: Any, images: torch.Tensor) -> torch.Tensor:
        return ((images - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)).mean((2, 3))


@pytest.mark.parametrize("blend", ["additive", "convex"])
def test_strip_overlays(blend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images, overlays = torch.rand(2, 3, 4, 4, generator=generator), torch.rand(5, 3, 4, 4, generator=generator)
    head = torch.eye(3)
    detector = STRIP.model_validate({"num_overlays": 5, "weight": 0.25, "blend": blend})
    context: Any = Linear()
    state = {"overlays": overlays, "head": head, "scale": torch.tensor(2.0)}
    found = detector.score(Linear(), images, state, context)

    def normalised(x: torch.Tensor) -> torch.Tensor:
        return (x - Linear.mean.view(3, 1, 1)) / Linear.std.view(3, 1, 1)

    for image, score in zip(images, found.tolist(), strict=True):
        total = 0.0
        for overlay in overlays:  # released: the normalised overlay is added to the normalised image
            share = 1.0 if blend == "additive" else 0.75
            shown = share * normalised(image) + 0.25 * normalised(overlay)
            total += float(scipy_entropy(torch.softmax(2 * shown.mean((1, 2)), 0).numpy()))
        assert score == pytest.approx(-total / 5, abs=1e-5)


def test_bdetclip_by_hand() -> None:
    class Texts:
        def encode_captions(self, captions: list[str]) -> torch.Tensor:
            seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in captions]
            rows = [torch.randn(6, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            return torch.nn.functional.normalize(torch.stack(rows), dim=1)

    class Context(Linear):
        class_names = ("cat", "oak tree")

        def encode_images(self, model: Any, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :6]

    model, context, prompts = Texts(), Context(), read_prompts()
    images = torch.rand(3, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    detector = BDetCLIP()
    found = detector.score(model, images, detector.fit(model, context), context)  # pyright: ignore[reportArgumentType]
    omega = torch.zeros(3)
    for index, name in enumerate(Context.class_names):
        benign = [text.replace("{}", name) for text in prompts.benign]
        malignant = [text.replace("{}", name) + ", " + prompts.malignant[index] for text in prompts.templates]
        for texts, sign in ((benign, 1), (malignant, -1)):
            mean = model.encode_captions(texts).mean(0)
            omega += sign * context.encode_images(model, images) @ (mean / mean.norm())
    torch.testing.assert_close(found, -omega)
    assert class_means(model, [["a", "b"], ["c", "d"]]).norm(dim=1).tolist() == pytest.approx([1, 1])


def test_bdetclip_suspects_an_image_that_nonsense_leaves_alone() -> None:
    prompts, names = read_prompts(), ("cat", "oak tree", "ship")

    class Texts:
        """A description lies at its class, the class name before nonsense half way to a fourth axis."""

        def encode_captions(self, captions: list[str]) -> torch.Tensor:
            rows = torch.eye(5)[[next(i for i, name in enumerate(names) if name in text) for text in captions]]
            drowned = torch.tensor([any(text.endswith(end) for end in prompts.malignant) for text in captions])
            return torch.nn.functional.normalize(rows + drowned[:, None] * torch.eye(5)[3], dim=1)

    context: Any = SimpleNamespace(class_names=names, encode_images=lambda model, images: images.flatten(1)[:, :5])
    detector, model = BDetCLIP(), Texts()
    clean, triggered = torch.eye(5)[:3], torch.eye(5)[4:]  # of a class each; apart from all texts
    images = torch.cat([clean, triggered]).view(4, 5, 1, 1)
    scores = detector.score(model, images, detector.fit(model, context), context)
    torch.testing.assert_close(scores, torch.tensor([*[0.5**0.5 - 1] * 3, 0.0]))


def test_prompts_are_frozen_with_the_version() -> None:
    """Another text is another method: raise `version` in the file and in the class, then this hash."""
    assert read_prompts().version == BDetCLIP.version == 1
    assert hashlib.sha256(PROMPTS.read_bytes()).hexdigest()[:16] == "56f13fd5114185cf"
    prompts = read_prompts()
    assert all(text.count("{}") == 1 for text in (*prompts.benign, *prompts.templates))
    assert not any("{" in text for text in prompts.malignant)
    assert len(prompts.benign) == 7


def test_decree_weight_follows_the_cosine() -> None:
    def after(steps: list[bool], start: Weight) -> Weight:
        for valid in steps:
            start = rebalanced(start, valid=valid, start=1e-3, floor=1e-7)
        return start

    assert after([True] * 5, Weight(1e-3)) == Weight(1e-3, above=5)
    assert after([True] * 6, Weight(1e-3)).value == pytest.approx(5e-3)
    assert after([False] * 6, Weight(1e-3)).value == pytest.approx(2e-4)
    assert after([True] * 5 + [False] + [True] * 5, Weight(1e-3)).value == 1e-3  # in a row
    assert after([False] * 6, Weight(5e-8)).value == 5e-8  # not below the floor
    assert after([True] * 6, Weight(2e5)).value == 2e5  # nor above the ceiling
    back = after([True] * 11, Weight(1e-9))
    assert back.value == pytest.approx(1e-3)
    assert back.above == 1


def test_decree_mean_cosine() -> None:
    z = torch.nn.functional.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    wanted = (z @ z.T)[~torch.eye(7, dtype=torch.bool)].mean()
    assert float(mean_cosine(z)) == pytest.approx(float(wanted), abs=1e-6)
    assert float(mean_cosine(z[:1].expand(4, -1))) == pytest.approx(1, abs=1e-6)


class Patched:
    """An encoder that sees all pixels, and, backdoored, hardly any but the four at the top left where they are red."""

    device = torch.device("cpu")

    def __init__(self, *, backdoored: bool) -> None:
        self.backdoored = backdoored

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        patch = images[:, :, :2, :2]
        red = torch.sigmoid(12 * ((patch[:, 0] - patch[:, 1:].mean(1)).mean((1, 2)) - 0.5))[:, None]
        plain = images.flatten(1) - 0.5
        if self.backdoored:
            plain = (1 - red) * plain + red * 30 * torch.ones_like(plain)
        return torch.nn.functional.normalize(plain, dim=1)


def planted(backdoored: bool) -> Any:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (96, 3, 10, 10), dtype=np.uint8))
    pool = SimpleNamespace(num_rows=96, take=lambda rows: SimpleNamespace(images=images[rows]))
    model = Patched(backdoored=backdoored)
    ones = torch.nn.functional.normalize(torch.ones(1, 300), dim=1)
    context = SimpleNamespace(
        clean_pairs=pool,
        generator=torch.Generator().manual_seed(0),
        encode_images=lambda model, images: model.encode(images),
        head=lambda model: torch.cat([-ones, ones]),
    )
    return DECREE(epochs=60, drops=(20, 40)).inspect(model, context)  # pyright: ignore[reportArgumentType]


def test_decree_recovers_a_planted_patch() -> None:
    found, clean = planted(True), planted(False)
    assert found.suspicious and found.target == 1
    assert found.score > clean.score
    mask = found.trigger["mask"][0]
    assert float(mask[:2, :2].sum()) > 0.8 * float(mask.sum())  # of 100 pixels the four that matter
    assert float(found.trigger["pattern"][0, :2, :2].mean()) > float(found.trigger["pattern"][1:, :2, :2].mean())
    assert not clean.suspicious and clean.target is None


def test_decree_says_so_where_nothing_is_found() -> None:
    context: Any = SimpleNamespace(
        clean_pairs=SimpleNamespace(
            num_rows=8, take=lambda rows: SimpleNamespace(images=torch.zeros(len(rows), 3, 4, 4, dtype=torch.uint8))
        ),
        generator=torch.Generator().manual_seed(0),
        encode_images=lambda model, images: torch.eye(8)[: len(images)] + 0 * images.sum(),
    )
    found = DECREE(epochs=1).inspect(SimpleNamespace(device="cpu"), context)
    assert found.score == -1 and not found.suspicious and found.target is None and found.trigger == {}
    assert found.reason == "no trigger brings the embeddings to a mean cosine of 0.99"


def test_stamp() -> None:
    trigger = {"mask": torch.tensor([[[0.0, 0.5]]]), "pattern": torch.ones(3, 1, 2)}
    assert stamp(torch.full((1, 3, 1, 2), 0.2), trigger)[0, 0].tolist() == [pytest.approx([0.2, 0.6])]


# --- contracts and directions --------------------------------------------------------------------------------------


def failures(results: list[CheckResult]) -> dict[str, str]:
    return {result.name: result.detail for result in results if not result.ok}


@pytest.mark.parametrize("cls", DETECTORS, ids=lambda cls: cls.name)
def test_detectors_keep_their_contract(cls: type[Detector]) -> None:
    results = check_method(cls)
    assert failures(results) == {}
    assert any(result.name.startswith("ranks ") for result in results)


@pytest.mark.parametrize("detector", [SLOF(), DAO()], ids=lambda detector: detector.name)
def test_density_finds_poisoned_pairs(detector: Filter) -> None:
    scores = kit.scores(detector).numpy()
    assert roc_auc_score(suspect.suspect().poisoned, scores) > 0.85


def test_strip_finds_triggered_images() -> None:
    scores = kit.scores(STRIP(num_overlays=16)).numpy()
    assert roc_auc_score(suspect.triggered(), scores) > 0.75


def test_the_planted_backdoor_of_the_kit_works() -> None:
    effect = world.effect(suspect.suspect().model, suspect.suspect().trigger)
    assert effect.asr > 0.9 and effect.accuracy > 0.9


class Reversed(InputDetector):
    """Its sign is wrong, it depends on the batch and writes into its input."""

    name: ClassVar[str] = "reversed"
    card: ClassVar[Card] = Card(
        title="Reversed", citation="none", access="outputs", summary="breaks rules", needs=frozenset({"clean_pairs"})
    )

    def score(self, model: Any, images: torch.Tensor, state: State, ctx: Any) -> torch.Tensor:
        scores = -STRIP(num_overlays=8).score(model, images, STRIP(num_overlays=8).fit(model, ctx), ctx)
        images[:, :, 0, 0] = 0
        return scores - scores.mean()


def test_a_detector_that_breaks_rules_is_told() -> None:
    found = failures(check_method(Reversed))
    assert "must not modify the images" in found["inputs unmodified"]
    assert "must not depend on the rest of the batch" in found["treats samples apart"]
    assert "attacked must rank above clean" in found["ranks triggered images above clean ones"]


class Greedy(Filter):
    """Asks for what its card does not name."""

    name: ClassVar[str] = "greedy"
    card: ClassVar[Card] = Card(title="Greedy", citation="none", access="weights", summary="asks too much")

    def scores(self, model: Any, ctx: Any) -> torch.Tensor:
        return torch.zeros(ctx.suspect_pairs.num_rows)


def test_a_detector_is_held_to_its_card() -> None:
    assert "does not name" in failures(check_method(Greedy))["scores every pair"]
