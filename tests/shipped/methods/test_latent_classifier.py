"""The classifier that the VAE family trains on latents of the candidates' texts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zsar_alignment import _latent_classifier
from zsar_alignment._vae import Gaussian

from kit.fakes import random_texts


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def train_classifier(candidates: Any, seed: int = 3, **changes: Any) -> Any:
    settings: dict[str, Any] = {"samples": 30, "steps": 25, "lr": 0.05, "noise": "scalar"}
    settings |= {"relu": False} | changes

    def posteriors(texts: Any) -> list[Gaussian]:
        return [Gaussian(t.pooled, t.pooled.flip(1) - 1) for t in texts.fields.values()]

    return _latent_classifier.train_classifier(
        candidates, posteriors, torch.tensor(seed), **settings
    )


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("noise", ["scalar", "full"])
def test_the_classifier_by_numpy(relu: bool, noise: str) -> None:
    """Draws, softmax gradients and Adam written out; classes one by one."""
    texts = random_texts(4, channels=3)
    made = train_classifier(texts, relu=relu, noise=noise)
    pooled = [t.pooled.double().numpy() for t in texts.fields.values()]
    z, weight = [], []
    for k, key in enumerate(_latent_classifier.class_keys(texts, 3)):
        g = rng(key)
        uniform = torch.rand(6, generator=g).double().numpy()
        # Glorot's bound with gain 0.5, for six channels and four classes
        weight.append((2 * uniform - 1) * 0.5 * math.sqrt(6 / (6 + 4)))
        parts = []
        for rows in pooled:
            mean, deviation = rows[k], np.exp((rows[k][::-1] - 1) / 2)
            eps = torch.randn(30, 1 if noise == "scalar" else 3, generator=g).double().numpy()
            parts.append(mean + deviation * eps)
        z.append(np.concatenate(parts, axis=1))
    data, target = np.concatenate(z), np.repeat(np.arange(4), 30)
    start = np.stack(weight)
    theta = [start, np.zeros(4)]
    first, second = ([np.zeros_like(t) for t in theta] for _ in range(2))
    for step in range(1, 26):
        raw = data @ theta[0].T + theta[1]
        out = np.maximum(raw, 0) if relu else raw
        share = np.exp(out - out.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        share[np.arange(len(data)), target] -= 1
        back = share / len(data) * ((raw > 0) if relu else 1)
        for i, slope in enumerate((back.T @ data, back.sum(0))):
            first[i] = 0.9 * first[i] + 0.1 * slope
            second[i] = 0.999 * second[i] + 0.001 * slope**2
            m, v = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
            theta[i] = theta[i] - 0.05 * m / (np.sqrt(v) + 1e-8)
    np.testing.assert_allclose(made.weight.numpy(), theta[0], atol=2e-3)
    np.testing.assert_allclose(made.bias.numpy(), theta[1], atol=2e-3)
    assert np.abs(made.weight.numpy() - start).max() > 0.1
    some = np.random.default_rng(0).normal(size=(5, 6))
    scores = some @ made.weight.double().numpy().T + made.bias.double().numpy()
    expected = np.maximum(scores, 0) if relu else scores
    np.testing.assert_allclose(made(torch.tensor(some).float()).numpy(), expected, atol=1e-5)


def test_the_order_of_candidates_is_unknown_to_the_bit() -> None:
    texts, order = random_texts(9), torch.randperm(9, generator=rng(1))
    straight, permuted = train_classifier(texts), train_classifier(texts.rows(order))
    assert torch.equal(permuted.weight, straight.weight[order])
    assert torch.equal(permuted.bias, straight.bias[order])


def test_keys_follow_seed_and_text_alone() -> None:
    texts = random_texts(5)
    keys = _latent_classifier.class_keys(texts, 1)
    assert len(set(keys)) == 5
    assert all(0 <= key < 2**63 for key in keys)
    assert _latent_classifier.class_keys(texts.rows(torch.tensor([3])), 1) == [keys[3]]
    assert not set(keys) & set(_latent_classifier.class_keys(texts, 2))


def test_a_class_s_latents_do_not_depend_on_its_company(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []
    descend = _latent_classifier._descend

    def watched(z: Tensor, first: Tensor, samples: int, *rest: Any) -> Any:
        drawn.append(z.reshape(len(first), samples, -1))
        return descend(z, first, samples, *rest)

    monkeypatch.setattr(_latent_classifier, "_descend", watched)
    texts = random_texts(5)
    train_classifier(texts)
    train_classifier(texts.rows(torch.tensor([3])))
    at = sorted(_latent_classifier.class_keys(texts, 3)).index(
        _latent_classifier.class_keys(texts, 3)[3]
    )
    torch.testing.assert_close(drawn[0][at], drawn[1][0])


def test_binding_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    one = train_classifier(random_texts(5))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(train_classifier(random_texts(5)).weight, one.weight)
    assert not torch.equal(train_classifier(random_texts(5), seed=4).weight, one.weight)


def test_a_classifier_trains_where_gradients_are_off() -> None:
    with torch.no_grad():
        off = train_classifier(random_texts(4))
    assert torch.equal(off.weight, train_classifier(random_texts(4)).weight)
    assert not off.weight.requires_grad
