"""ReViSE against loops, hand calculation and autograd's Jacobian."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian
from zsar_alignment import revise
from zsar_alignment.revise import Params, ReViSE

from kit.fakes import FakeContext
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

TINY = {"hidden": 7, "code": 5, "space": 4, "epochs": 4, "batch": 8, "lr": 0.01, "kernel": 0.1}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


# --- The terms of the loss -------------------------------------------------------------------


def slow_hinge(v: Tensor, t: Tensor, fixed: Tensor, labels: Tensor, margin: float) -> float:
    """``fixed`` are the class texts that get no gradient."""
    total = 0.0
    for n, y in enumerate(labels.tolist()):
        for c in range(len(t)):
            wrong = sum(float(v[n, i] * fixed[c, i]) for i in range(v.shape[1]))
            true = sum(float(v[n, i] * t[y, i]) for i in range(v.shape[1]))
            total += max(0.0, wrong - true + margin)
    return total / len(v)


def test_the_hinge_by_loops_over_clips_and_classes() -> None:
    v, t, labels = randn(6, 3), randn(4, 3, seed=1), torch.tensor([0, 3, 1, 1, 2, 0])
    expected = slow_hinge(v, t, t, labels, 0.3)
    assert revise.hinge(v, t, labels, 0.3).item() == pytest.approx(expected, rel=1e-9)
    alone = revise.hinge(v[:1], t[:1], torch.tensor([0]), 0.3)
    assert alone.item() == pytest.approx(0.3), "the true class's own term"


def test_the_hinge_s_gradient_by_differences_with_the_other_texts_held() -> None:
    v, t, labels = randn(6, 3), randn(4, 3, seed=1), torch.tensor([0, 3, 1, 1, 2, 0])
    leaves = v.clone().requires_grad_(), t.clone().requires_grad_()
    gradients = torch.autograd.grad(revise.hinge(*leaves, labels, 0.3), leaves)
    for which, gradient in enumerate(gradients):
        for row in range(gradient.shape[0]):
            for column in range(3):
                step = torch.zeros_like(gradient)
                step[row, column] = 1e-6
                up = [v + step, t] if which == 0 else [v, t + step]
                down = [v - step, t] if which == 0 else [v, t - step]
                rise = slow_hinge(*up, t, labels, 0.3) - slow_hinge(*down, t, labels, 0.3)
                # Where v moves, the true class's own term stays at the margin exactly.
                assert gradient[row, column].item() == pytest.approx(rise / 2e-6, abs=1e-6)


@pytest.mark.parametrize("constant", [0.05, 32.0])
def test_the_discrepancy_by_a_double_loop(constant: float) -> None:
    a, b = 0.2 * randn(7, 3), 0.2 * randn(7, 3, seed=1) + 0.1

    def kernel(p: Tensor, q: Tensor) -> float:
        return math.exp(-constant * sum((float(x) - float(y)) ** 2 for x, y in zip(p, q)))  # noqa: B905

    total = 0.0
    for i in range(7):
        for j in range(7):
            total += kernel(a[i], a[j]) + kernel(b[i], b[j])
            total -= kernel(a[i], b[j]) + kernel(b[i], a[j])
    expected = total / 49
    assert expected > 0.001
    assert revise.discrepancy(a, b, constant).item() == pytest.approx(expected, rel=1e-9)
    assert revise.discrepancy(a, a, constant).abs().item() < 1e-12
    assert torch.autograd.gradcheck(
        lambda p, q: revise.discrepancy(p, q, constant),
        (a.clone().requires_grad_(), b.clone().requires_grad_()),
    )


def test_the_jacobian_s_norm_and_its_gradient_by_autograd() -> None:
    net = revise.AutoEncoder((4, 5), 3, "relu").double()
    x = randn(6, 4)
    expected = torch.stack([jacobian(net.encoder, row).square().sum() for row in x]).mean()
    assert expected > 0
    found = revise.jacobian_norm(net.encoder, net.encoder(x))
    torch.testing.assert_close(found, expected)

    weight = net.encoder[0].weight
    (gradient,) = torch.autograd.grad(found, weight)
    (wanted,) = torch.autograd.grad(
        torch.stack(
            [jacobian(net.encoder, row, create_graph=True).square().sum() for row in x]
        ).mean(),
        weight,
    )
    torch.testing.assert_close(gradient, wanted)


# --- Network and scores ----------------------------------------------------------------------


class ByHand:
    """The network's equations on numpy arrays, from a method's state."""

    def __init__(self, method: ReViSE) -> None:
        self.state = {k: v.double().numpy() for k, v in method.state_dict().items()}
        self.p = method.params

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        key = f"network.{name}"
        return self.state[f"{key}.weight"] @ x + self.state[f"{key}.bias"]

    def features(self, raw: np.ndarray) -> np.ndarray:
        if self.p.normalize == "standardize":
            return (raw - self.state["mean"]) / self.state["spread"]
        return np.array([math.copysign(math.log(1 + abs(v)), v) for v in raw])

    def clip(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        h = np.maximum(self.linear("visual.encoder.0", x), 0)
        again = self.linear("visual.decoder.0", h)
        if self.p.decoder == "relu":
            again = np.maximum(again, 0)
        return h, again, np.tanh(self.linear("visual.to_space.0", h))

    def text(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        h = np.maximum(self.linear("text.encoder.0", s), 0)
        h = np.maximum(self.linear("text.encoder.2", h), 0)
        again = np.maximum(self.linear("text.decoder.0", h), 0)
        again = self.linear("text.decoder.2", again)
        if self.p.decoder == "relu":
            again = np.maximum(again, 0)
        return h, again, np.tanh(self.linear("text.to_space.0", h))


def texts_by_hand(bank) -> list[np.ndarray]:
    out = []
    for k in range(len(bank)):
        parts = [f.pooled[k].double().numpy() for f in bank.fields.values()]
        row = np.concatenate([part / math.sqrt(part @ part) for part in parts])
        out.append(row / math.sqrt(row @ row))
    return out


SETTINGS = [{}, {"normalize": "standardize", "decoder": "linear"}]


@pytest.mark.parametrize("changes", SETTINGS)
def test_scores_by_hand(changes: dict[str, str]) -> None:
    method = fitted(ReViSE(Params(**{**TINY, **changes})))
    found, hand = scores(method), ByHand(method)
    for k, s in enumerate(texts_by_hand(random_bank(4, 3))):
        for n, raw in enumerate(random_seen(9, seed=7).inputs.pooled.double().numpy()):
            v, t = hand.clip(hand.features(raw))[2], hand.text(s)[2]
            assert found[n, k].item() == pytest.approx(float(v @ t), abs=1e-5)


@pytest.mark.parametrize("changes", SETTINGS)
def test_every_term_of_the_loss_by_loops(changes: dict[str, str]) -> None:
    weights = {"reconstruction": 0.7, "contractive": 0.3, "mmd": 2.0}
    method = fitted(ReViSE(Params(**{**TINY, **weights, **changes})))
    hand, p = ByHand(method), method.params
    rows = torch.tensor([0, 3, 4, 8, 11])
    train, texts = random_seen(), random_bank(5, 2)
    raw, labels = train.inputs.pooled[rows], train.labels[rows]
    found = method.losses(method.prepare(raw), labels, revise.class_texts(texts))

    xs = [hand.features(row) for row in raw.double().numpy()]
    ss = texts_by_hand(texts)
    clips, classes = [hand.clip(x) for x in xs], [hand.text(s) for s in ss]
    own = [classes[y] for y in labels.tolist()]
    total = 0.0
    for (_, _, v), (_, _, t) in zip(clips, own, strict=True):
        total += sum(max(0.0, float(v @ c - v @ t) + p.margin) for _, _, c in classes)
    assert found["hinge"].item() == pytest.approx(total / 5, rel=1e-4)
    visual = [((again - x) ** 2).mean() for (_, again, _), x in zip(clips, xs, strict=True)]
    assert found["visual"].item() == pytest.approx(0.7 * np.mean(visual), rel=1e-4)
    text = [
        ((again - ss[y]) ** 2).mean() for (_, again, _), y in zip(own, labels.tolist(), strict=True)
    ]
    assert found["text"].item() == pytest.approx(0.7 * np.mean(text), rel=1e-4)
    w = hand.state["network.visual.encoder.0.weight"]
    norms = [sum((w[j] ** 2).sum() for j in range(p.code) if h[j] > 0) for h, _, _ in clips]
    assert found["contractive"].item() == pytest.approx(0.3 * np.mean(norms), rel=1e-4)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-p.kernel * float((a - b) @ (a - b)))

    a, b = [h for h, _, _ in clips], [h for h, _, _ in own]
    mmd = np.mean(
        [
            kernel(a[i], a[j]) + kernel(b[i], b[j]) - kernel(a[i], b[j]) - kernel(b[i], a[j])
            for i in range(5)
            for j in range(5)
        ]
    )
    assert found["mmd"].item() == pytest.approx(2.0 * mmd, rel=1e-3)
    parts = sum(found[name] for name in ("hinge", "visual", "text", "contractive", "mmd"))
    assert found["loss"].item() == pytest.approx(parts.item(), rel=1e-6)


def test_both_sides_are_stepped_every_step_by_fresh_gradients() -> None:
    """Two steps of plain Adam on all weights, the text side's with weight decay."""
    p = Params(**{**TINY, "epochs": 2, "batch": 99})
    train, texts = random_seen(), random_bank(5, 2)
    run = FakeContext(texts)
    method = ReViSE(p)
    method.fit(train, run)

    torch.manual_seed(0)
    other = ReViSE(p)
    other.scaling = method.scaling
    other.network = other.build(6, 12)
    x, s = other.prepare(train.inputs.pooled), revise.class_texts(texts)
    moments = {name: (0.0, 0.0) for name, _ in other.network.named_parameters()}
    for step in (1, 2):
        weights = dict(other.network.named_parameters())
        loss = other.losses(x, train.labels, s)["loss"]
        gradients = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for (name, weight), g in zip(weights.items(), gradients, strict=True):
                g = g + (p.text_decay if name.startswith("text") else 0.0) * weight
                first, second = moments[name]
                first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
                moments[name] = first, second
                scaled = (second / (1 - 0.999**step)).sqrt() + 1e-8
                weight -= p.lr * first / (1 - 0.9**step) / scaled
    for name, weight in other.network.named_parameters():
        trained = dict(method.network.named_parameters())[name]
        torch.testing.assert_close(trained, weight, rtol=1e-3, atol=1e-4, msg=name)


# --- The method ------------------------------------------------------------------------------


def test_every_parameter_matters() -> None:
    check_parameters(
        ReViSE,
        Params,
        TINY,
        hidden=8,
        code=6,
        space=5,
        decoder="linear",
        normalize="standardize",
        margin=0.01,  # a larger one leaves as many terms above zero, and their gradients alike
        reconstruction=2.0,
        contractive=0.1,
        mmd=3.0,
        kernel=0.5,
        lr=0.02,
        text_decay=0.1,
        epochs=5,
        batch=9,
    )


def test_the_paper_s_size() -> None:
    check_paper_profile(ReViSE, Params)


def test_negative_features_are_no_error() -> None:
    train = random_seen()
    train.inputs.pooled[0] = -5.0
    assert scores(fitted(ReViSE(Params(**TINY)), train=train)).isfinite().all()


def test_new_pairs_of_known_words_are_known() -> None:
    """Chance is 1/6."""
    assert World().accuracy(ReViSE(Params(**Params.profiles["laptop"]))) > 0.6
