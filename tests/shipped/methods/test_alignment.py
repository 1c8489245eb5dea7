"""The feature-alignment methods against slow, obvious computations of the same things."""

from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from zsar_alignment import chance, eszsl, prototypes

from kit.fakes import FakeContext
from zsar_bench.specs import MethodSpec
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank, TextFeatures

METHODS = {
    "eszsl": (eszsl.ESZSL, eszsl.Params),
    "prototypes": (prototypes.Prototypes, prototypes.Params),
    "chance": (chance.Chance, chance.Params),
}
SEEN, UNSEEN, CHANNELS, WIDTH = 6, 4, 7, 5


# --- A small world ---------------------------------------------------------------------------


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank(*fields: Tensor) -> TextBank:
    """Texts with these pooled features, one tensor (K, D) a field; one token each."""
    return TextBank(
        {
            f"field{i}": TextFeatures(f, f.unsqueeze(1), torch.ones(len(f), 1, dtype=torch.bool))
            for i, f in enumerate(fields)
        }
    )


def random_bank(classes: int, seed: int) -> TextBank:
    g = rng(seed)
    return bank(
        torch.randn(classes, WIDTH, generator=g), torch.randn(classes, WIDTH + 2, generator=g)
    )


def clips(n: int, seed: int, channels: int = CHANNELS) -> SkeletonInputs:
    return SkeletonInputs(torch.randn(n, channels, generator=rng(seed)))


def train_set(n: int = 40, seed: int = 1) -> SeenTrain:
    labels = torch.arange(n) % SEEN
    return SeenTrain(clips(n, seed), labels, torch.zeros(n, dtype=torch.long))


def fitted(name: str, seed: int = 0, **params: Any) -> Any:
    make, params_class = METHODS[name]
    method = make(params_class(**params))
    method.fit(train_set(), FakeContext(random_bank(SEEN, 2), seed))
    return method


def prepared(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Standardised, unit-length rows, channel by channel and row by row."""
    spreads = [train[:, c].std() for c in range(train.shape[1])]
    floor = 0.01 * sum(spreads) / len(spreads)
    out = np.empty_like(x)
    for c, spread in enumerate(spreads):
        out[:, c] = (x[:, c] - train[:, c].mean()) / max(spread, floor)
    return np.stack([row / math.sqrt(sum(row**2)) for row in out])


def texts_by_hand(texts: TextBank) -> np.ndarray:
    rows = []
    for k in range(len(texts)):
        parts = [f.pooled[k].double().numpy() for f in texts.fields.values()]
        rows.append(np.concatenate([p / math.sqrt(sum(p**2)) for p in parts]))
    return np.stack(rows)


# --- What every method keeps -----------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_scores_have_the_shape_and_type(name: str) -> None:
    method = fitted(name)
    method.bind(random_bank(UNSEEN, 3))
    scores = method.score(clips(9, 4))
    assert scores.shape == (9, UNSEEN)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
def test_scores_do_not_depend_on_chunks_or_order(name: str) -> None:
    method, inputs = fitted(name), clips(64, 5)
    method.bind(random_bank(UNSEEN, 3))
    whole = method.score(inputs)
    order = torch.randperm(64, generator=rng(6))
    alone = torch.cat([method.score(inputs.rows(i.unsqueeze(0))) for i in order])
    torch.testing.assert_close(alone, whole[order], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
def test_scores_follow_the_candidates(name: str) -> None:
    method, inputs, texts = fitted(name), clips(9, 5), random_bank(UNSEEN, 3)
    method.bind(texts)
    scores = method.score(inputs)
    order = torch.tensor([2, 0, 3, 1])
    method.bind(texts.rows(order))
    torch.testing.assert_close(method.score(inputs), scores[:, order], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
def test_state_suffices_in_a_fresh_object(name: str) -> None:
    first, inputs, texts = fitted(name, seed=3), clips(9, 5), random_bank(UNSEEN, 3)
    first.bind(texts)
    state = {key: value.clone() for key, value in first.state_dict().items()}
    assert all(isinstance(value, Tensor) for value in state.values())
    make, params_class = METHODS[name]
    second = make(params_class())
    second.load_state_dict(state)
    second.bind(texts)
    assert torch.equal(first.score(inputs), second.score(inputs))


CHANGES: dict[str, dict[str, Any]] = {
    "eszsl": {
        "gamma": 5.0,
        "lambda_": 5.0,
        "negative": 0.0,
        "standardise": False,
        "unit_length": False,
    },
    "prototypes": {
        "temperature": 0.5,
        "top_k": 2,
        "centre_texts": False,
        "standardise": False,
        "unit_length": False,
    },
    "chance": {},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_is_declared_and_matters(name: str) -> None:
    params_class = METHODS[name][1]
    assert set(CHANGES[name]) == set(params_class.model_fields)
    assert set(params_class.profiles) == {"paper", "laptop"}
    inputs, texts = clips(9, 5), random_bank(UNSEEN, 3)

    def scores(**params: Any) -> Tensor:
        method = fitted(name, **params)
        method.bind(texts)
        return method.score(inputs)

    default = scores()
    for field, value in CHANGES[name].items():
        changed = scores(**{field: value})
        assert not torch.allclose(changed, default, rtol=1e-3), field


@pytest.mark.parametrize("name", ["eszsl", "prototypes"])
def test_a_constant_channel_does_no_harm(name: str) -> None:
    train = train_set()
    train.inputs.pooled[:, 2] = 3.0
    make, params_class = METHODS[name]
    method = make(params_class())
    method.fit(train, FakeContext(random_bank(SEEN, 2)))
    method.bind(random_bank(UNSEEN, 3))
    assert method.score(clips(5, 4)).isfinite().all()


@pytest.mark.parametrize("name", ["eszsl", "prototypes"])
def test_a_world_in_which_looks_follow_texts_is_solved(name: str) -> None:
    """Looks are a fixed rotation of texts, unseen texts lie between seen ones."""
    g = rng(11)
    axes = torch.eye(12)
    pairs = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
    unseen = axes[pairs].mean(1)  # (5, 12)
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=g)).Q

    def looks(texts: Tensor, each: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(len(texts)).repeat_interleave(each)
        return texts[labels] @ rotation + 0.05 * torch.randn(len(labels), 12, generator=g), labels

    x, labels = looks(axes, 20)
    make, params_class = METHODS[name]
    method = make(params_class())
    train = SeenTrain(SkeletonInputs(x), labels, torch.zeros_like(labels))
    method.fit(train, FakeContext(bank(axes)))
    method.bind(bank(unseen))
    x, labels = looks(unseen, 10)
    assert (method.score(SkeletonInputs(x)).argmax(1) == labels).all()


# --- ESZSL -----------------------------------------------------------------------------------


def problem() -> tuple[Tensor, Tensor, Tensor]:
    """x (N, C), y (N, K), s (K, D) in float64."""
    g = rng(7)
    x = torch.randn(15, 4, generator=g, dtype=torch.float64)
    s = torch.randn(5, 3, generator=g, dtype=torch.float64)
    y = torch.full((15, 5), -1.0, dtype=torch.float64)
    y[torch.arange(15), torch.arange(15) % 5] = 1.0
    return x, y, s


def test_eszsl_stands_at_the_objective_s_stationary_point() -> None:
    x, y, s = problem()
    gamma, lam = 0.7, 0.3
    v = eszsl.solve(x, y, s, gamma, lam).requires_grad_()
    objective = (
        (x @ v @ s.T - y).square().sum()
        + gamma * (v @ s.T).square().sum()
        + lam * (x @ v).square().sum()
        + gamma * lam * v.square().sum()
    )
    (gradient,) = torch.autograd.grad(objective, v)
    assert gradient.abs().max() < 1e-10
    assert v.abs().max() > 0.01


def test_eszsl_is_the_least_squares_solution_over_all_entries_of_v() -> None:
    """One unknown an entry of V, one row a square of the objective; solved by numpy."""
    x, y, s = (t.numpy() for t in problem())
    gamma, lam = 0.7, 0.3
    channels, width = x.shape[1], s.shape[1]
    rows, targets = [], []

    def square(left: np.ndarray, right: np.ndarray, weight: float, target: float) -> None:
        """Add weight * (left V right - target)^2."""
        row = [left[c] * right[d] for c in range(channels) for d in range(width)]
        rows.append(math.sqrt(weight) * np.array(row))
        targets.append(math.sqrt(weight) * target)

    for n in range(len(x)):
        for k in range(len(s)):
            square(x[n], s[k], 1.0, y[n, k])
        for d in range(width):
            square(x[n], np.eye(width)[d], lam, 0.0)
    for c in range(channels):
        for k in range(len(s)):
            square(np.eye(channels)[c], s[k], gamma, 0.0)
        for d in range(width):
            square(np.eye(channels)[c], np.eye(width)[d], gamma * lam, 0.0)
    expected = np.linalg.lstsq(np.stack(rows), np.array(targets), rcond=None)[0]

    v = eszsl.solve(*problem(), gamma, lam)
    np.testing.assert_allclose(v.numpy(), expected.reshape(channels, width), atol=1e-10)


@pytest.mark.parametrize("negative", [-1.0, 0.0])
def test_eszsl_from_features_to_scores_by_the_paper_s_formula(negative: float) -> None:
    train, texts, inputs = train_set(), random_bank(UNSEEN, 3), clips(9, 5)
    method = fitted("eszsl", gamma=2.0, lambda_=0.5, negative=negative)
    method.bind(texts)

    raw = train.inputs.pooled.double().numpy()
    x, s = prepared(raw, raw), texts_by_hand(random_bank(SEEN, 2))
    y = np.full((len(x), SEEN), negative)
    for n, label in enumerate(train.labels):
        y[n, label] = 1.0
    feature_side = np.linalg.eigvalsh(x.T @ x)
    text_side = np.linalg.eigvalsh(s @ s.T)  # 6 classes, 12 channels: the other 6 are zero
    gamma, lam = 2.0 * feature_side.mean(), 0.5 * text_side.mean()
    v = (
        np.linalg.inv(x.T @ x + gamma * np.eye(x.shape[1]))
        @ (x.T @ y @ s)
        @ np.linalg.inv(s.T @ s + lam * np.eye(s.shape[1]))
    )
    expected = prepared(inputs.pooled.double().numpy(), raw) @ v @ texts_by_hand(texts).T
    np.testing.assert_allclose(method.score(inputs).numpy(), expected, rtol=1e-4, atol=1e-6)


# --- Prototypes ------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", [0, 1, 3, SEEN, SEEN + 5])
@pytest.mark.parametrize("centre", [True, False])
def test_prototypes_by_loops(top_k: int, centre: bool) -> None:
    train, texts, inputs = train_set(), random_bank(UNSEEN, 3), clips(9, 5)
    method = fitted("prototypes", temperature=0.3, top_k=top_k, centre_texts=centre)
    method.bind(texts)
    scores = method.score(inputs)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt((a @ a) * (b @ b)))

    raw = train.inputs.pooled.double().numpy()
    x, seen = prepared(raw, raw), texts_by_hand(random_bank(SEEN, 2))
    means = [x[train.labels.numpy() == s].mean(0) for s in range(SEEN)]
    middle = seen.mean(0) if centre else 0.0 * seen[0]
    tested = prepared(inputs.pooled.double().numpy(), raw)
    for k, text in enumerate(texts_by_hand(texts)):
        alike = [cosine(text - middle, t - middle) for t in seen]
        kept = sorted(range(SEEN), key=lambda s: -alike[s])[: top_k or SEEN]
        weights = {s: math.exp(alike[s] / 0.3) for s in kept}
        total = sum(weights.values())
        prototype = sum(w / total * means[s] for s, w in weights.items())
        for n, clip in enumerate(tested):
            assert scores[n, k].item() == pytest.approx(cosine(clip, prototype), abs=1e-6)


def test_a_seen_class_s_own_text_weighs_most() -> None:
    seen = eszsl.joined(random_bank(SEEN, 2))
    centre = seen.mean(0)
    weights = prototypes.mixture(seen - centre, seen - centre, 0.1, 0)
    assert torch.equal(weights.argmax(1), torch.arange(SEEN))


# --- Chance ----------------------------------------------------------------------------------


def chance_scores(n: int, classes: int, seed: int = 0) -> Tensor:
    method = fitted("chance", seed=seed)
    method.bind(random_bank(classes, 3))
    return method.score(clips(n, 5, channels=16))


def test_chance_is_uniform_and_its_columns_are_unrelated() -> None:
    scores = chance_scores(4000, 6)
    assert scores.min() >= 0
    assert scores.max() < 1
    assert stats.kstest(scores.flatten().numpy(), "uniform").pvalue > 1e-3
    winners = np.bincount(scores.argmax(1).numpy(), minlength=6)
    assert stats.chisquare(winners).pvalue > 1e-3
    between = np.corrcoef(scores.T.numpy()) - np.eye(6)
    assert np.abs(between).max() < 4 / math.sqrt(4000)


def test_chance_does_not_see_that_clips_are_alike() -> None:
    """Nearly equal clips and texts: one bit apart, or one float apart in one channel."""
    method = fitted("chance")
    pooled = torch.ones(2000, 8)
    pooled[:, 0] += torch.arange(2000) * 2.0**-20
    texts = torch.ones(5, 8)
    texts[:, 3] += torch.arange(5) * 2.0**-20
    method.bind(bank(texts))
    scores = method.score(SkeletonInputs(pooled))
    assert stats.kstest(scores.flatten().numpy(), "uniform").pvalue > 1e-3
    winners = np.bincount(scores.argmax(1).numpy(), minlength=5)
    assert stats.chisquare(winners).pvalue > 1e-3
    assert abs(np.corrcoef(scores[:-1, 0].numpy(), scores[1:, 0].numpy())[0, 1]) < 0.09


def test_chance_is_exact_for_any_chunk() -> None:
    method, inputs = fitted("chance"), clips(64, 5, channels=16)
    method.bind(random_bank(5, 3))
    alone = torch.cat([method.score(inputs.rows(torch.tensor([i]))) for i in range(64)])
    assert torch.equal(alone, method.score(inputs))


def test_chance_depends_on_the_seed_alone() -> None:
    first = chance_scores(1000, 5, seed=1)
    assert torch.equal(first, chance_scores(1000, 5, seed=1))
    for other in (0, 2, 2**40):
        second = chance_scores(1000, 5, seed=other)
        assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.06
        agree = (first.argmax(1) == second.argmax(1)).float().mean().item()
        assert stats.binomtest(round(1000 * agree), 1000, 0.2).pvalue > 1e-3


def test_chance_ties_equal_texts_and_equal_clips() -> None:
    method = fitted("chance")
    texts = random_bank(2, 3).rows(torch.tensor([0, 1, 0]))
    method.bind(texts)
    scores = method.score(SkeletonInputs(torch.tensor([[0.0, 1.0], [-0.0, 1.0]])))
    assert torch.equal(scores[:, 0], scores[:, 2])
    assert torch.equal(scores[0], scores[1])


def test_the_hash_is_splitmix64() -> None:
    """The finaliser on Python's integers, cut to 64 bits after each step."""

    def by_hand(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    for value in (0, 1, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15):
        got = chance.mix(torch.tensor([chance.signed(value)])).item()
        assert got % 2**64 == by_hand(value)


# --- Registration ----------------------------------------------------------------------------


def test_registration_names_every_method_once_in_order() -> None:
    import zsar_alignment

    found: list[MethodSpec] = []
    zsar_alignment.register_methods(SimpleNamespace(method=found.append))  # type: ignore[arg-type]
    assert zsar_alignment.api == 1
    names = [spec.name for spec in found]
    assert names == sorted(set(names))
    assert set(METHODS) <= set(names)
    for spec in found:
        if spec.name not in METHODS:
            continue  # it has a test file of its own
        make, params_class = METHODS[spec.name]
        assert spec.target == f"{make.__module__}:{make.__name__}"
        assert spec.params == f"{params_class.__module__}:Params"
        assert spec.text_fields == ("motion", "description")
        assert spec.hp == "untuned"


def test_registration_imports_nothing_heavy() -> None:
    code = (
        "import sys, zsar_alignment, zsar_datasets;"
        "print([m for m in ('torch', 'numpy', 'scipy', 'pydantic') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
