"""JPoSE against loops and hand calculation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zsar_alignment import jpose
from zsar_alignment.jpose import JPoSE, Params

from kit.toy_alignment import (
    World,
    bank,
    check_paper_profile,
    check_parameters,
    fitted,
    random_bank,
    random_seen,
    rng,
    scores,
)

TINY: dict[str, Any] = {
    "hidden": 7,
    "part_space": 6,
    "joint_space": 4,
    "epochs": 4,
    "batch": 8,
    "lr": 0.01,
}


def unit(x: np.ndarray) -> np.ndarray:
    return x / max(math.sqrt(x @ x), 1e-12)


# --- The triplet loss ------------------------------------------------------------------------


def mined(v: np.ndarray, groups: list[int], b: int) -> tuple[int, int] | None:
    """Clip b's least like clip with its word, and its most like one with another."""
    own = [i for i in range(len(v)) if groups[i] == groups[b]]
    others = [i for i in range(len(v)) if groups[i] != groups[b]]
    if not others:
        return None
    return min(own, key=lambda i: v[b] @ v[i]), max(others, key=lambda i: v[b] @ v[i])


def slow_triplet(
    v: np.ndarray, fixed: np.ndarray, groups: list[int], margin: float, anchors: str
) -> float:
    """``fixed`` are the clips as mined, which get no gradient."""
    total = 0.0
    for a in range(len(v)):
        for b in range(len(v)):
            pair = mined(fixed, groups, b)
            if pair is not None and (anchors == "all" or a == b):
                positive, negative = (fixed[i] for i in pair)
                total += max(0.0, float(v[a] @ negative - v[a] @ positive) + margin)
    return total / len(v)


GROUPS = [[0, 1, 0, 2, 1, 0, 2], [0, 0, 0, 0, 0, 0, 1], [3] * 7, list(range(7))]


def clips() -> Tensor:
    x = torch.randn(7, 4, generator=rng(2), dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=1)


@pytest.mark.parametrize("anchors", ["all", "own"])
@pytest.mark.parametrize("groups", GROUPS)
def test_the_triplet_loss_by_loops_over_anchors_and_pairs(anchors: str, groups: list[int]) -> None:
    v = clips()
    found = jpose.triplet(v, torch.tensor(groups), 0.3, anchors).item()
    expected = slow_triplet(v.numpy(), v.numpy(), groups, 0.3, anchors)
    assert found == pytest.approx(expected, rel=1e-9)
    assert (expected == 0) == (len(set(groups)) == 1)


@pytest.mark.parametrize("anchors", ["all", "own"])
def test_the_triplet_loss_s_gradient_by_differences_with_mined_clips_held(anchors: str) -> None:
    v, groups = clips(), GROUPS[0]
    leaf = v.clone().requires_grad_()
    loss = jpose.triplet(leaf, torch.tensor(groups), 0.3, anchors)
    (gradient,) = torch.autograd.grad(loss, leaf)
    for row in range(7):
        for column in range(4):
            step = np.zeros((7, 4))
            step[row, column] = 1e-6
            up = slow_triplet(v.numpy() + step, v.numpy(), groups, 0.3, anchors)
            down = slow_triplet(v.numpy() - step, v.numpy(), groups, 0.3, anchors)
            assert gradient[row, column].item() == pytest.approx((up - down) / 2e-6, abs=1e-6)


# --- Network, loss and scores ----------------------------------------------------------------


class ByHand:
    """The equations on numpy arrays, from a method's state."""

    def __init__(self, method: JPoSE) -> None:
        self.state = {k: v.double().numpy() for k, v in method.state_dict().items()}

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        key = f"network.{name}"
        return self.state[f"{key}.weight"] @ x + self.state[f"{key}.bias"]

    def clip(self, raw: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        x = unit((raw - self.state["mean"]) / self.state["spread"])
        parts = [unit(np.tanh(self.linear(f"visual.{q}.0", x))) for q in range(2)]
        return parts, unit(np.tanh(self.linear("joint.visual.0", np.concatenate(parts))))

    def text(self, words: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        parts = []
        for q, word in enumerate(words):
            hidden = np.tanh(self.linear(f"text.{q}.0", unit(word)))
            parts.append(unit(np.maximum(self.linear(f"text.{q}.2", hidden), 0)))
        return parts, unit(np.tanh(self.linear("joint.text.0", np.concatenate(parts))))


def words_of(texts, k: int) -> list[np.ndarray]:
    return [field.pooled[k].double().numpy() for field in texts.fields.values()]


@pytest.mark.parametrize("how", ["none", "standardize"])
def test_scores_by_hand(how: str) -> None:
    method = fitted(JPoSE(Params(**TINY, normalize=how)))
    found, hand, texts = scores(method), ByHand(method), random_bank(4, 3)
    train = random_seen().inputs.pooled.numpy()
    assert np.allclose(hand.state["mean"], train.mean(0) if how == "standardize" else 0, atol=1e-6)
    for k in range(4):
        t = hand.text(words_of(texts, k))[1]
        for n, raw in enumerate(random_seen(9, seed=7).inputs.pooled.double().numpy()):
            assert found[n, k].item() == pytest.approx(float(hand.clip(raw)[1] @ t), abs=1e-5)


@pytest.mark.parametrize("anchors", ["all", "own"])
def test_every_term_of_the_loss_by_loops(anchors: str) -> None:
    changes = {"part_weight": 0.7, "triplet_weight": 0.5, "anchors": anchors}
    method = fitted(JPoSE(Params(**TINY, **changes)))
    hand, p = ByHand(method), method.params
    rows = torch.tensor([0, 3, 4, 8, 11, 12])
    train, texts = random_seen(), random_bank(5, 2)
    raw, labels = train.inputs.pooled[rows], train.labels[rows].tolist()
    verbs, nouns = [0, 1, 0, 2, 1], [0, 0, 0, 1, 1]
    found = method.losses(
        method.prepare(raw),
        train.labels[rows],
        jpose.part_texts(texts),
        [torch.tensor(verbs), torch.tensor(nouns)],
    )

    clips_ = [hand.clip(row) for row in raw.double().numpy()]
    classes = [hand.text(words_of(texts, k)) for k in range(5)]

    def hinge(vs: list[np.ndarray], ts: list[np.ndarray]) -> float:
        total = 0.0
        for v, y in zip(vs, labels, strict=True):
            total += sum(max(0.0, float(v @ t - v @ ts[y]) + p.margin) for t in ts)
        return total / len(vs)

    joint = hinge([v for _, v in clips_], [t for _, t in classes])
    assert found["joint"].item() == pytest.approx(joint, rel=1e-4)
    parts = triplets = 0.0
    for q, words in enumerate((verbs, nouns)):
        vs = [v[q] for v, _ in clips_]
        parts += hinge(vs, [t[q] for t, _ in classes])
        groups = [words[y] for y in labels]
        triplets += slow_triplet(np.stack(vs), np.stack(vs), groups, p.margin, anchors)
    assert found["parts"].item() == pytest.approx(0.7 * parts, rel=1e-4)
    assert found["triplets"].item() == pytest.approx(0.5 * triplets, rel=1e-4)
    total = joint + 0.7 * parts + 0.5 * triplets
    assert found["loss"].item() == pytest.approx(total, rel=1e-4)


def test_classes_with_equal_texts_share_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    words = torch.randn(3, 5, generator=rng(1))
    verbs, nouns = torch.tensor([0, 1, 0, 2, 1]), torch.tensor([2, 2, 2, 2, 0])
    seen: list[list[Tensor]] = []
    real = JPoSE.losses

    def spy(self, x, labels, texts, groups):
        seen.append(groups)
        return real(self, x, labels, texts, groups)

    monkeypatch.setattr(JPoSE, "losses", spy)
    from kit.fakes import FakeContext

    run = FakeContext(bank(verb=words[verbs], noun=words[nouns]))
    JPoSE(Params(**TINY)).fit(random_seen(), run)
    for found, wanted in zip(seen[0], (verbs, nouns), strict=True):
        same = wanted.unsqueeze(1) == wanted
        assert torch.equal(found.unsqueeze(1) == found, same)


# --- The method ------------------------------------------------------------------------------


def test_every_parameter_matters() -> None:
    check_parameters(
        JPoSE,
        Params,
        TINY,
        hidden=8,
        part_space=5,
        joint_space=5,
        normalize="standardize",
        margin=0.6,
        part_weight=3.0,
        triplet_weight=0.5,
        anchors="own",
        lr=0.02,
        joint_decay=0.5,
        epochs=5,
        batch=9,
    )


def test_the_paper_s_size() -> None:
    check_paper_profile(JPoSE, Params)


def test_a_text_that_the_relu_silences_scores_finitely() -> None:
    method = fitted(JPoSE(Params(**TINY)))
    state = {k: v.clone() for k, v in method.state_dict().items()}
    for q in range(2):
        state[f"network.text.{q}.2.bias"].fill_(-100.0)
    method.load_state_dict(state)
    assert scores(method).isfinite().all()


@pytest.mark.parametrize("anchors", ["all", "own"])
def test_new_pairs_of_known_words_are_known(anchors: str) -> None:
    """Chance is 1/6."""
    params = Params(**{**Params.profiles["laptop"], "anchors": anchors})
    assert World().accuracy(JPoSE(params)) > 0.6
