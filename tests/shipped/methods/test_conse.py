"""ConSE against its optimality condition, another optimiser, and loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from zsar_alignment import conse

from kit.fakes import FakeContext, random_texts, random_train
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank, TextFeatures

SEEN = 4


def fitted(train: SeenTrain | None = None, **params: Any) -> conse.ConSE:
    method = conse.ConSE(conse.Params(**params))
    method.fit(train or random_train(30, SEEN), FakeContext(random_texts(SEEN)))
    return method


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Clips (N, C + 1), the last channel 1, and labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(25) % 3
    x = rng.normal(size=(25, 4)) + 0.7 * np.eye(3, 4)[labels]
    return np.concatenate([x, np.ones((25, 1))], axis=1), labels


def slow_loss_and_gradient(
    w: np.ndarray, x: np.ndarray, labels: np.ndarray, l2: float
) -> tuple[float, np.ndarray]:
    """The objective, not divided by N, and its gradient, clip by clip and class by class."""
    loss, gradient = 0.5 * l2 * float((w**2).sum()), l2 * w
    for clip, label in zip(x, labels, strict=True):
        logits = [float(row @ clip) for row in w]
        total = sum(math.exp(z) for z in logits)
        loss -= logits[label] - math.log(total)
        for k, z in enumerate(logits):
            gradient[k] += (math.exp(z) / total - (k == label)) * clip
    return loss, gradient


# --- The classifier --------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [0.01, 1.0, 30.0])
def test_the_classifier_stands_at_its_optimum(l2: float) -> None:
    """l2 W = sum_n (y_n - p_n) x_n: the gradient of a strictly convex function is zero."""
    x, labels = problem()
    w = conse.solve(torch.from_numpy(x), torch.from_numpy(labels), 3, l2).numpy()
    assert abs(w).max() > 0.01
    _, gradient = slow_loss_and_gradient(w, x, labels, l2)
    assert abs(gradient).max() / len(x) <= conse.TOLERANCE * 1.001


def test_another_optimiser_ends_at_the_same_weights() -> None:
    x, labels = problem()
    w = conse.solve(torch.from_numpy(x), torch.from_numpy(labels), 3, 0.5).numpy()

    def flat(v: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = slow_loss_and_gradient(v.reshape(w.shape), x, labels, 0.5)
        return loss, gradient.ravel()

    start = np.random.default_rng(1).normal(size=w.size)
    found = minimize(flat, start, jac=True, method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(w.ravel(), found.x, atol=1e-5)
    objective = conse.objective(torch.from_numpy(w), *map(torch.from_numpy, (x, labels)), 0.5)
    assert float(objective) == pytest.approx(found.fun / len(x), rel=1e-9)


def test_a_class_without_clips_and_clips_without_error_are_no_trouble() -> None:
    x = torch.tensor([[5.0, 0, 1], [-5.0, 0, 1]], dtype=torch.float64).repeat(6, 1)
    w = conse.solve(x, torch.tensor([0, 1]).repeat(6), 3, 1.0)  # nobody shows class 2
    probabilities = (x @ w.T).softmax(1)
    assert probabilities[:2].argmax(1).tolist() == [0, 1]
    assert probabilities[:, 2].max() < 0.05


def test_a_single_seen_class_is_fitted_and_scored() -> None:
    method = conse.ConSE(conse.Params(normalize="standardize"))
    method.fit(random_train(3, 1), FakeContext(random_texts(1)))
    method.bind(random_texts(3, seed=8))
    assert method.score(random_train(4, 1).inputs).isfinite().all()


def test_an_optimum_that_is_not_reached_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conse, "ROUNDS", 1)
    monkeypatch.setattr(conse, "STEPS", 1)
    with pytest.raises(ArithmeticError, match="optimum"):
        fitted()


# --- Scores ----------------------------------------------------------------------------------


def by_hand(method: conse.ConSE, x: np.ndarray, train: np.ndarray, bank: TextBank) -> np.ndarray:
    p = method.params

    def rows(texts: TextBank) -> list[np.ndarray]:
        parts = [
            [f.pooled[k].double().numpy() for f in texts.fields.values()] for k in range(len(texts))
        ]
        return [np.concatenate([v / math.sqrt(v @ v) for v in fields]) for fields in parts]

    w = method.state_dict()["W"].numpy()
    seen, candidates = rows(random_texts(SEEN)), rows(bank)
    centre = sum(seen) / len(seen) if p.centre_texts else 0.0 * seen[0]
    out = np.zeros((len(x), len(candidates)))
    for n, clip in enumerate(x):
        if p.normalize == "standardize":
            clip = (clip - train.mean(0)) / train.std(0)
        logits = [float(row[:-1] @ clip + row[-1]) for row in w]
        total = sum(math.exp(z) for z in logits)
        ranked = sorted(range(SEEN), key=lambda s: -logits[s])[: p.top]
        weights = {s: math.exp(logits[s]) / total for s in ranked}
        f = sum(v * (seen[s] - centre) for s, v in weights.items()) / sum(weights.values())
        for k, u in enumerate(candidates):
            u = u - centre
            out[n, k] = f @ u / math.sqrt((f @ f) * (u @ u))
    return out


@pytest.mark.parametrize("top", [1, 2, SEEN, 1000])
@pytest.mark.parametrize("changes", [{}, {"normalize": "standardize"}, {"centre_texts": True}])
def test_scores_by_loops(top: int, changes: dict[str, Any]) -> None:
    train, inputs, bank = random_train(30, SEEN), random_train(5, 2, seed=9).inputs, random_texts(3)
    method = fitted(train, top=top, **changes)
    method.bind(bank)
    raw = train.inputs.pooled.double().numpy()
    expected = by_hand(method, inputs.pooled.double().numpy(), raw, bank)
    assert expected.std() > 0.01
    np.testing.assert_allclose(method.score(inputs).numpy(), expected, atol=1e-5)


def test_with_one_class_mixed_a_clip_has_the_text_of_its_likeliest_class() -> None:
    texts = torch.eye(3, dtype=torch.float64)
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]], dtype=torch.float64)
    assert conse.mixed(probabilities, texts, 1).tolist() == [[0, 1, 0], [1, 0, 0]]
    two = conse.mixed(probabilities, texts, 2)
    torch.testing.assert_close(two[0], torch.tensor([0, 5 / 8, 3 / 8], dtype=torch.float64))
    torch.testing.assert_close(conse.mixed(probabilities, texts, 9), probabilities)


CHANGES = {"top": 1, "l2": 0.1, "normalize": "standardize", "centre_texts": True}


def test_every_parameter_matters() -> None:
    assert set(CHANGES) == set(conse.Params.model_fields)

    def scores(**params: Any) -> Tensor:
        method = fitted(**params)
        method.bind(random_texts(3, seed=8))
        return method.score(random_train(4, 2, seed=9).inputs)

    default = scores()
    for name, value in CHANGES.items():
        assert not torch.allclose(scores(**{name: value}), default, rtol=1e-3), name


@pytest.mark.parametrize("profile", ["paper", "laptop"])
def test_a_world_in_which_looks_follow_texts_is_solved(profile: str) -> None:
    """Looks are a rotation of texts; an unseen text lies between two seen ones."""
    g = torch.Generator().manual_seed(11)
    axes = torch.eye(12)
    unseen = axes[torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])].mean(1)
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=g)).Q

    def clips(texts: Tensor, each: int) -> tuple[SkeletonInputs, Tensor]:
        labels = torch.arange(len(texts)).repeat_interleave(each)
        x = texts[labels] @ rotation + 0.05 * torch.randn(len(labels), 12, generator=g)
        return SkeletonInputs(x), labels

    def bank(pooled: Tensor) -> TextBank:
        tokens, mask = pooled[:, None], torch.ones(len(pooled), 1, dtype=torch.bool)
        return TextBank({"name": TextFeatures(pooled, tokens, mask)})

    inputs, labels = clips(axes, 20)
    method = conse.ConSE(conse.Params(**conse.Params.profiles[profile]))
    method.fit(SeenTrain(inputs, labels, labels), FakeContext(bank(axes)))
    for texts in (axes, unseen):
        method.bind(bank(texts))
        fresh, truth = clips(texts, 10)
        assert (method.score(fresh).argmax(1) == truth).float().mean() > 0.95
