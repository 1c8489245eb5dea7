"""Text-only: blind to clips, a ranking by hand, and what accuracies it can and cannot reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from zsar_alignment import conse, text_only

from kit.fakes import FakeContext, random_texts, random_train
from zsar_bench.views import SeenTrain, SkeletonInputs

SEEN = 4
COUNTS = (9, 1, 5, 3)


def uneven_train(seed: int = 2) -> SeenTrain:
    train = random_train(sum(COUNTS), SEEN, seed=seed)
    return SeenTrain(
        train.inputs, torch.arange(SEEN).repeat_interleave(torch.tensor(COUNTS)), train.subjects
    )


def fitted(train: SeenTrain | None = None) -> text_only.TextOnly:
    method = text_only.TextOnly(text_only.Params())
    method.fit(train or uneven_train(), FakeContext(random_texts(SEEN)))
    return method


def scores(method: text_only.TextOnly, clips: int = 5, seed: int = 9) -> Tensor:
    method.bind(random_texts(6, seed=8))
    return method.score(random_train(clips, 2, seed=seed).inputs)


def test_scores_by_loops() -> None:
    def rows(bank_seed: int, classes: int) -> list[np.ndarray]:
        bank = random_texts(classes, seed=bank_seed)
        parts = [
            [f.pooled[k].double().numpy() for f in bank.fields.values()] for k in range(classes)
        ]
        return [np.concatenate([v / math.sqrt(v @ v) for v in fields]) for fields in parts]

    clips = [t for t, count in zip(rows(1, SEEN), COUNTS, strict=True) for _ in range(count)]
    prior = sum(clips) / len(clips)
    expected = [u @ prior / math.sqrt((u @ u) * (prior @ prior)) for u in rows(8, 6)]
    got = scores(fitted())
    assert got.dtype == torch.float32
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-6)


def test_it_sees_no_motion() -> None:
    """Not of the clips it scores, nor of those it was fitted on."""
    one, other = fitted(uneven_train(seed=2)), fitted(uneven_train(seed=77))
    assert torch.equal(one.state_dict()["prior"], other.state_dict()["prior"])
    assert torch.equal(scores(one, seed=9), scores(other, seed=10))
    assert torch.equal(scores(one), scores(one)[:1].expand(5, -1))


def test_every_candidate_has_a_place_of_its_own() -> None:
    assert len(set(scores(fitted())[0].tolist())) == 6


def test_class_sizes_count() -> None:
    even = fitted(random_train(20, SEEN))
    assert not torch.allclose(scores(even), scores(fitted()), rtol=1e-2)


def test_it_is_conse_with_a_classifier_that_never_looks() -> None:
    """No weights, and the logarithm of a class's size as its bias: p(s | x) is its frequency."""
    method = conse.ConSE(conse.Params(top=SEEN))
    train = uneven_train()
    method.fit(train, FakeContext(random_texts(SEEN)))
    blind = torch.zeros(SEEN, train.inputs.pooled.shape[1] + 1, dtype=torch.float64)
    blind[:, -1] = torch.tensor(COUNTS, dtype=torch.float64).log()
    method.load_state_dict({**method.state_dict(), "W": blind})
    method.bind(random_texts(6, seed=8))
    got = method.score(random_train(5, 2, seed=9).inputs)
    torch.testing.assert_close(got, scores(fitted()))


def test_equal_texts_tie() -> None:
    method = fitted()
    method.bind(random_texts(3, seed=8).rows(torch.tensor([0, 1, 0])))
    got = method.score(SkeletonInputs(torch.zeros(1, 5)))
    assert got[0, 0] == got[0, 2] != got[0, 1]


def test_mean_class_accuracy_is_exactly_one_in_k() -> None:
    answered = scores(fitted(), clips=40).argmax(1)
    truth = torch.randint(6, (40,), generator=torch.Generator().manual_seed(0))
    recalls = [float((answered[truth == k] == k).float().mean()) for k in range(6)]
    assert np.mean(recalls) == pytest.approx(1 / 6)
    share = float((truth == answered[0]).float().mean())
    assert float((answered == truth).float().mean()) == pytest.approx(share)
