"""GZSL as functions: against obvious slow versions, on matrices with ties, and against scipy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from zsar_bench.metrics import accuracy
from zsar_bench.metrics.gate import (
    RIDGE,
    Experts,
    Gate,
    answers,
    fit_gate,
    fit_logistic,
    gated,
    spread,
    sureness,
)
from zsar_bench.metrics.gzsl import (
    ausuc,
    balances,
    best_constant,
    calibrated,
    carried,
    credit,
    curve,
    margins,
    measure,
    sides,
    size,
    weights,
)

# --- Slow versions -----------------------------------------------------------------------------


def shifted(scores: np.ndarray, seen: np.ndarray, constant: float) -> np.ndarray:
    """Scores with the constant taken off the seen ones; sides far apart where it is infinite."""
    if np.isinf(constant):
        constant = np.sign(constant) * 1000.0
    return scores.astype(np.float64) - constant * seen


def accuracies(scores: Any, labels: Any, seen: Any, constant: float) -> dict[str, tuple]:
    """S and U by ``metrics.judge`` of the shifted matrix and loops over classes."""
    got = accuracy.judge(shifted(scores, seen, constant), labels).credit
    found = {}
    for kind in ("top1", "mean_class"):
        pair = []
        for side in (True, False):
            mine = [n for n in range(len(labels)) if seen[labels[n]] == side]
            if kind == "top1":
                pair.append(np.mean(got[mine]))
            else:
                classes = sorted({labels[n] for n in mine})
                pair.append(
                    np.mean([np.mean(got[[n for n in mine if labels[n] == c]]) for c in classes])
                )
        found[kind] = tuple(pair)
    return found


def every_constant(scores: Any, seen: Any) -> list[float]:
    """All differences of a seen and an unseen score, what lies between them, and both ends."""
    found = sorted({float(a) - float(b) for row in scores for a in row[seen] for b in row[~seen]})
    between = [(a + b) / 2 for a, b in itertools.pairwise(found)]
    return [-np.inf, *sorted([*found, *between]), np.inf]


def matrix(seed: int, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole numbers as scores, few of them, so that there are ties of every kind."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 7))
    seen = rng.permutation(np.arange(classes) < rng.integers(1, classes))
    labels = np.concatenate([np.flatnonzero(seen)[:1], np.flatnonzero(~seen)[:1],
                             rng.integers(0, classes, int(rng.integers(0, 20)))])  # fmt: skip
    scores = rng.integers(-levels, levels + 1, (len(labels), classes)).astype(np.float32)
    return scores, labels, seen


matrices = st.builds(matrix, st.integers(0, 10**6), st.sampled_from([0, 1, 2, 5]))


# --- Numbers -----------------------------------------------------------------------------------


@given(matrices)
def test_a_constant_decides_as_the_shifted_matrix_does(found: Any) -> None:
    scores, labels, seen = found
    split = sides(scores, labels, seen)
    for constant in every_constant(scores, seen):
        expected = accuracy.judge(shifted(scores, seen, constant), labels).credit
        np.testing.assert_allclose(credit(split, constant), expected, atol=1e-12)
        told = balances(split.labels, split.seen, credit(split, constant))
        for kind, (s, u) in accuracies(scores, labels, seen, constant).items():
            assert (told[kind].seen, told[kind].unseen) == (pytest.approx(s), pytest.approx(u))
            expected_h = 2 * s * u / (s + u) if s + u else 0
            assert told[kind].harmonic == pytest.approx(expected_h)


@settings(deadline=None)
@given(matrices)
def test_ausuc_and_best_are_those_of_all_constants(found: Any) -> None:
    scores, labels, seen = found
    split = sides(scores, labels, seen)
    own = measure(split, credit(split, 0.0))
    points = [accuracies(scores, labels, seen, c) for c in every_constant(scores, seen)]
    for kind in ("top1", "mean_class"):
        area, best = 0.0, 0.0
        for one, two in itertools.pairwise(points):
            (s, u), (s2, u2) = one[kind], two[kind]
            area += (u2 - u) * (s + s2) / 2
        for p in points:
            s, u = p[kind]
            best = max(best, 2 * s * u / (s + u) if s + u else 0.0)
        assert own.ausuc[kind] == pytest.approx(area, abs=1e-12)
        top, constant = own.best[kind]
        assert top == pytest.approx(best, abs=1e-12)
        assert np.isfinite(constant)
        at = balances(split.labels, split.seen, credit(split, constant))[kind]
        assert at.harmonic == pytest.approx(top, abs=1e-12)  # and this constant reaches it


def test_the_curve_begins_with_all_for_seen_and_ends_with_all_for_unseen() -> None:
    scores = np.array([[3, 1, 0], [0, 2, 1], [1, 0, 5]], dtype=np.float32)
    labels, seen = np.array([0, 1, 2]), np.array([True, True, False])
    split = sides(scores, labels, seen)
    line = curve(split, weights(labels, split.seen)["top1"])
    np.testing.assert_array_equal(split.margins, [3, 1, -4])
    np.testing.assert_allclose(line.unseen, [0, 0.5, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(line.seen, [1, 1, 1, 0.75, 0.5, 0.25, 0])
    assert ausuc(line) == 1.0
    assert best_constant(line) == (1.0, -1.5)  # between -4 and 1


def test_a_side_without_a_right_clip_has_no_best_constant() -> None:
    scores = np.array([[0, 9, 0], [0, 9, 0]], dtype=np.float32)
    split = sides(scores, np.array([0, 2]), np.array([True, True, False]))
    assert best_constant(curve(split, weights(split.labels, split.seen)["mean_class"])) == (
        0.0,
        0.0,
    )


def test_a_method_that_says_nothing_is_tied_everywhere() -> None:
    scores = np.zeros((6, 5), dtype=np.float32)
    labels, seen = np.array([0, 1, 2, 3, 4, 4]), np.array([True, True, True, False, False])
    found = measure(sides(scores, labels, seen), credit(sides(scores, labels, seen), 0.0))
    assert found.balance["mean_class"].seen == pytest.approx(0.2)
    assert found.balance["mean_class"].unseen == pytest.approx(0.2)
    assert found.best["mean_class"] == (pytest.approx(0.2), 0.0)
    assert size(scores, seen) == 1.0


@pytest.mark.parametrize(
    ("scores", "labels", "seen", "why"),
    [
        (np.zeros((2, 3)), np.array([0, 1]), np.array([True] * 3), "seen and unseen classes"),
        (np.zeros((2, 3)), np.array([0, 1, 2]), np.array([True, True, False]), "labels"),
        (np.full((1, 2), np.nan), np.array([0]), np.array([True, False]), "finite"),
    ],
)
def test_what_is_no_gzsl_matrix(scores: Any, labels: Any, seen: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        sides(scores, labels, seen)


def test_without_clips_of_a_side_there_is_no_accuracy() -> None:
    with pytest.raises(ValueError, match="clips of seen and of unseen"):
        weights(np.array([0, 1]), np.array([True, True]))


# --- The constant ------------------------------------------------------------------------------


def test_a_standing_undoes_the_scale_of_scores() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 5
    seen = np.arange(5) < 3
    scores = rng.standard_normal((200, 5)) + 2 * np.eye(5)[labels] + 1.5 * seen
    train = rng.standard_normal((50, 5)) + 4 * seen
    _, constant = calibrated(scores, labels, seen)
    scaled = constant / size(train, seen)
    for scale in (0.01, 1.0, 300.0):
        best, there = calibrated(scale * scores, labels, seen)
        assert there == pytest.approx(scale * constant)
        again, taken_over = carried([scaled] * 3, size(scale * train, seen))
        assert again == scaled
        assert taken_over == pytest.approx(there)
        # What is added to all classes of a clip changes nothing.
        offset = rng.standard_normal((200, 1))
        assert calibrated(scale * (scores + offset), labels, seen)[0] == pytest.approx(best)
    assert carried([3.0, -1.0, 2.0], 0.5) == (2.0, 1.0)
    np.testing.assert_allclose(
        margins(train, seen), [max(r[:3]) - max(r[3:]) for r in train.tolist()]
    )


# --- The gate ----------------------------------------------------------------------------------


def experts(seed: int, count: int = 120, known: int = 5, new: int = 3) -> Experts:
    """Each expert is surer of clips of its own side."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % (known + new)
    seen = labels < known
    logits = 3 * rng.standard_normal((count, known))
    logits[seen, labels[seen]] += 14
    unseen = 0.7 * rng.standard_normal((count, new))
    unseen[~seen, labels[~seen] - known] += 2
    return Experts(unseen, logits, labels)


@pytest.mark.parametrize("seed", range(5))
def test_newtons_method_finds_the_minimum_that_scipy_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((80, 4)) * [1, 5, 0.1, 1]
    y = (x @ [1, -0.5, 8, 0] + rng.standard_normal(80) > 0.3).astype(float)
    weight = rng.uniform(size=80)
    weight /= weight.sum()

    def loss(theta: np.ndarray) -> float:
        away = (1 - 2 * y) * (x @ theta[:-1] + theta[-1])
        return float(weight @ np.log1p(np.exp(away)) + 0.01 * theta[:-1] @ theta[:-1] / 2)

    expected = optimize.minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9})
    w, b = fit_logistic(x, y, weight, 0.01)
    np.testing.assert_allclose([*w, b], expected.x, atol=1e-4)
    assert loss(np.array([*w, b])) <= expected.fun + 1e-12
    slope = optimize.approx_fprime(np.array([*w, b]), loss, 1e-7)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_separable_clips_have_an_end() -> None:
    x, y = np.array([[-1.0], [-2], [1], [3]]), np.array([0.0, 0, 1, 1])
    w, b = fit_logistic(x, y, np.full(4, 0.25), RIDGE)
    assert np.isfinite(w).all()
    assert (x[:, 0] * w[0] + b > 0).tolist() == [False, False, True, True]


def test_a_gate_reads_the_largest_softmax_values_in_falling_order() -> None:
    one = Experts(np.array([[0.0, 1.0, 3.0]]), np.array([[2.0, 8.0]]), np.array([0]))
    x = sureness(one, 2, 0.5, 4.0)
    left = np.exp([0, 2, 6]) / np.exp([0, 2, 6]).sum()
    right = np.exp([0.5, 2]) / np.exp([0.5, 2]).sum()
    np.testing.assert_allclose(x, [[left[2], left[1], right[1], right[0]]])


def test_a_gate_sends_clips_to_the_side_that_knows_them() -> None:
    gate, reached = fit_gate([experts(0), experts(1)], 3)
    new = experts(2)
    taken = gate.taken_for_seen(new)
    assert gate.k == 3
    assert np.mean(taken == new.seen) > 0.9
    got = balances(new.labels, new.seen, gated(new, taken))["mean_class"]
    assert got.harmonic > 0.8
    assert reached > 0.8
    by_hand = []
    for n, label in enumerate(new.labels):
        row = new.logits[n] if taken[n] else new.unseen[n]
        by_hand.append(float(row.argmax() + (0 if taken[n] else 5) == label))
    np.testing.assert_array_equal(gated(new, taken), by_hand)


def test_a_gate_never_reads_more_values_than_an_expert_has() -> None:
    few = Experts(
        np.array([[0.0, 1], [2, 0]]), np.array([[1.0, 0, 0], [0, 2, 0]]), np.array([0, 3])
    )
    assert fit_gate([few, few], 9)[0].k == 2
    assert fit_gate([few], 1)[0].k == 1


def test_the_best_of_all_gates_is_taken() -> None:
    """No other threshold of the same regression does better."""
    both = [experts(3), experts(4)]
    gate, reached = fit_gate(both, 3)
    for threshold in np.linspace(0.25, 0.74, 50):
        other = Gate(**{**vars(gate), "threshold": float(threshold)})
        each = [
            balances(e.labels, e.seen, gated(e, other.taken_for_seen(e)))["mean_class"].harmonic
            for e in both
        ]
        assert np.mean(each) <= reached + 1e-9


def test_ties_of_an_expert_share_credit() -> None:
    one = Experts(np.array([[1.0, 1.0]] * 2), np.array([[2.0, 2.0, 0.0]] * 2), np.array([0, 4]))
    assert [side.tolist() for side in answers(one)] == [[0.5, 0.0], [0.0, 0.5]]


def test_the_spread_is_that_of_scores_within_clips() -> None:
    scores = np.array([[1.0, 3.0], [100.0, 98.0]], dtype=np.float32)
    assert spread(scores) == 1.0
    assert spread(7 * scores + 5) == pytest.approx(7.0)
    assert spread(np.ones((3, 2))) == 1.0
