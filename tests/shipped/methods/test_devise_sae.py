"""DeViSE and SAE against loops, hand calculation and scipy's solver."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import solve_sylvester
from scipy.stats import chisquare
from torch import Tensor
from zsar_alignment import devise, sae

from kit.toy_alignment import (
    World,
    check_paper_profile,
    check_parameters,
    fitted,
    random_bank,
    random_seen,
    rng,
    scores,
)

TINY = {"epochs": 4, "batch": 8}


def texts_by_hand(bank) -> np.ndarray:
    """The fields of unit length, joined: (K, D)."""
    rows = []
    for k in range(len(bank)):
        parts = [f.pooled[k].double().numpy() for f in bank.fields.values()]
        rows.append(np.concatenate([part / math.sqrt(part @ part) for part in parts]))
    return np.stack(rows)


def prepared(x: np.ndarray, train: np.ndarray, unit: bool) -> np.ndarray:
    x = (x - train.mean(0)) / train.std(0)
    return np.stack([row / math.sqrt(row @ row) for row in x]) if unit else x


# --- DeViSE ----------------------------------------------------------------------------------


def case() -> tuple[Tensor, Tensor]:
    """Scores (8, 5) and labels, some with no violator at margin 0.5."""
    g = rng(3)
    s, labels = torch.randn(8, 5, generator=g), torch.randint(5, (8,), generator=g)
    s[2, labels[2]] = 9.0
    s[5, labels[5]] = 9.0
    return s, labels


def test_the_rank_loss_by_loops_over_clips_and_wrong_classes() -> None:
    s, labels = case()
    total = 0.0
    for n in range(8):
        y = int(labels[n])
        for j in range(5):
            if j != y:
                total += max(0.0, 0.5 - float(s[n, y]) + float(s[n, j]))
    loss = devise.rank_loss(s, labels, 0.5, "all", rng())
    assert loss.item() == pytest.approx(total / 8, rel=1e-6)


def test_the_first_violation_in_random_order_is_any_violation() -> None:
    """Per clip: the terms that are drawn are the violators', each as often as any other."""
    s, labels = case()
    g, silent = rng(1), 0
    for n in range(8):
        y = int(labels[n])
        violations = [0.5 - float(s[n, y]) + float(s[n, j]) for j in range(5) if j != y]
        violations = [v for v in violations if v > 0]
        row, label = s[n : n + 1], labels[n : n + 1]
        drawn = [devise.rank_loss(row, label, 0.5, "first-violation", g).item() for _ in range(300)]
        if not violations:
            assert set(drawn) == {0.0}
            silent += 1
            continue
        counts = [sum(abs(d - v) < 1e-5 for d in drawn) for v in violations]
        assert sum(counts) == 300
        if len(violations) > 1:
            assert chisquare(counts).pvalue > 1e-4
    assert 2 <= silent < 6


@pytest.mark.parametrize("negatives", ["all", "first-violation"])
def test_the_rank_loss_has_the_gradient_of_its_differences(negatives: str) -> None:
    s, labels = case()
    s = s.double()

    def loss(of: Tensor) -> Tensor:
        return devise.rank_loss(of, labels, 0.5, negatives, rng(4))

    leaf = s.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    for n in range(8):
        for j in range(5):
            step = torch.zeros_like(s)
            step[n, j] = 1e-6
            slope = (loss(s + step) - loss(s - step)) / 2e-6
            assert gradient[n, j].item() == pytest.approx(slope.item(), abs=1e-6)


@pytest.mark.parametrize("how", ["none", "standardize"])
def test_devise_scores_by_hand(how: str) -> None:
    method = fitted(devise.DeViSE(devise.Params(normalize=how, **TINY)))
    found = scores(method)
    m = method.state_dict()["M"].double().numpy()  # (D, C)
    train = random_seen().inputs.pooled.double().numpy()
    x = random_seen(9, seed=7).inputs.pooled.double().numpy()
    x = prepared(x, train, unit=False) if how == "standardize" else x
    for k, text in enumerate(texts_by_hand(random_bank(4, 3))):
        text = text / math.sqrt(text @ text)
        for n in range(9):
            assert found[n, k].item() == pytest.approx(float(text @ m @ x[n]), abs=1e-5)


def test_training_lowers_the_rank_loss_of_seen_clips() -> None:
    def loss(epochs: int) -> float:
        method = fitted(devise.DeViSE(devise.Params(epochs=epochs, batch=8, lr=0.01)))
        method.bind(random_bank(5, 2))
        train = random_seen()
        s = method.score(train.inputs)
        return devise.rank_loss(s, train.labels, 0.1, "all", rng()).item()

    assert loss(60) < 0.5 * loss(1)


def test_every_parameter_of_devise_matters() -> None:
    check_parameters(
        devise.DeViSE,
        devise.Params,
        TINY,
        margin=0.7,
        negatives="all",
        normalize="standardize",
        lr=0.01,
        weight_decay=0.1,
        epochs=5,
        batch=9,
    )


def test_devise_at_the_paper_s_size() -> None:
    check_paper_profile(devise.DeViSE, devise.Params)


@pytest.mark.parametrize("profile", ["paper", "laptop"])
def test_devise_knows_new_pairs_of_known_words(profile: str) -> None:
    """Chance is 1/6; the paper's profile makes a hundred steps on so few clips."""
    params = devise.Params(**devise.Params.profiles[profile])
    assert World().accuracy(devise.DeViSE(params)) > 0.6


# --- SAE -------------------------------------------------------------------------------------


def problem() -> tuple[Tensor, Tensor]:
    """x (N, C) and s (N, D) in float64; D > N's classes, so that S S^T is singular."""
    g = rng(7)
    x = torch.randn(20, 4, generator=g, dtype=torch.float64)
    texts = torch.randn(3, 6, generator=g, dtype=torch.float64)
    return x, texts[torch.arange(20) % 3]


@pytest.mark.parametrize("lam", [0.01, 1.0, 300.0])
def test_sae_is_scipy_s_solution_of_the_sylvester_equation(lam: float) -> None:
    x, s = problem()
    a, b = (s.T @ s).numpy(), lam * (x.T @ x).numpy()
    expected = solve_sylvester(a, b, (1 + lam) * (s.T @ x).numpy())
    np.testing.assert_allclose(sae.solve(x, s, lam).numpy(), expected, rtol=1e-8, atol=1e-10)


def test_sae_stands_at_the_objective_s_stationary_point() -> None:
    x, s = problem()
    lam = 0.6
    w = sae.solve(x, s, lam).requires_grad_()
    objective = (x.T - w.T @ s.T).square().sum() + lam * (w @ x.T - s.T).square().sum()
    (gradient,) = torch.autograd.grad(objective, w)
    assert gradient.abs().max() < 1e-10
    assert w.abs().max() > 0.01
    nudged = [(w + 0.01 * torch.randn(w.shape, generator=rng(i))).detach() for i in range(5)]
    for other in nudged:
        worse = (x.T - other.T @ s.T).square().sum() + lam * (other @ x.T - s.T).square().sum()
        assert worse > objective


def test_what_the_data_lack_the_solution_lacks_too() -> None:
    """A dead channel and texts in a plane: a pseudo-inverse of the whole system says the same."""
    x, s = problem()
    x = torch.cat([x, torch.zeros(20, 1, dtype=x.dtype)], dim=1)
    lam = 0.5
    a, b, c = s.T @ s, lam * x.T @ x, (1 + lam) * s.T @ x
    d, channels = c.shape
    system = torch.kron(a, torch.eye(channels).double()) + torch.kron(torch.eye(d).double(), b)
    expected = torch.linalg.pinv(system, rtol=1e-10) @ c.flatten()
    w = sae.solve(x, s, lam)
    torch.testing.assert_close(w, expected.view(d, channels), rtol=1e-8, atol=1e-10)
    assert w[:, -1].abs().max() < 1e-10


@pytest.mark.parametrize("direction", ["text", "features"])
@pytest.mark.parametrize("centre", [True, False])
def test_sae_from_features_to_cosines_by_scipy(direction: str, centre: bool) -> None:
    params = sae.Params(lambda_=3.0, direction=direction, centre_texts=centre)
    found = scores(fitted(sae.SAE(params)))
    train = random_seen()
    raw = train.inputs.pooled.double().numpy()
    x = prepared(raw, raw, unit=True)
    seen = texts_by_hand(random_bank(5, 2))
    middle = seen.mean(0) if centre else np.zeros(seen.shape[1])
    s = np.stack([seen[y] - middle for y in train.labels])
    # As many eigenvalues as can differ from zero: those of the smaller Gram matrix.
    gram = s.T @ s
    x_mean, s_mean = np.trace(x.T @ x) / 6, np.trace(gram) / gram.shape[0]
    lam = 3.0 * s_mean / x_mean
    w = solve_sylvester(gram, lam * x.T @ x, (1 + lam) * s.T @ x)
    tested = prepared(random_seen(9, seed=7).inputs.pooled.double().numpy(), raw, unit=True)
    for k, text in enumerate(texts_by_hand(random_bank(4, 3)) - middle):
        for n, clip in enumerate(tested):
            a, b = (w @ clip, text) if direction == "text" else (clip, w.T @ text)
            cosine = float(a @ b / math.sqrt((a @ a) * (b @ b)))
            assert found[n, k].item() == pytest.approx(cosine, abs=1e-6)


def test_every_parameter_of_sae_matters() -> None:
    check_parameters(
        sae.SAE,
        sae.Params,
        {},
        lambda_=10.0,
        direction="features",
        centre_texts=False,
        standardise=False,
        unit_length=False,
    )


def test_sae_bears_a_single_class_and_a_constant_channel() -> None:
    train = random_seen(classes=1)
    train.inputs.pooled[:, 2] = 3.0
    assert scores(fitted(sae.SAE(sae.Params()), train=train)).isfinite().all()


@pytest.mark.parametrize("direction", ["text", "features"])
def test_sae_knows_new_pairs_of_known_words(direction: str) -> None:
    assert World().accuracy(sae.SAE(sae.Params(direction=direction))) > 0.8
