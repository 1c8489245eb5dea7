"""Metrics against hand-worked examples, slow loops, and the properties a referee must have."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zsar_bench.errors import RunFailed
from zsar_bench.metrics import accuracy

# Four clips, three classes: right, wrong, tied with the truth, tied without it.
SCORES = np.array([[3.0, 1, 2], [0, 5, 1], [2, 2, 1], [1, 0, 1]])
LABELS = np.array([0, 0, 1, 1])
SUBJECTS = ["s2", "s1", "s2", "s2"]


@st.composite
def matrices(draw):
    """Score matrices of few distinct values, so that ties are common; and labels."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 6)))
    scores = draw(hnp.arrays(np.float64, shape, elements=st.integers(-3, 3).map(float)))
    labels = draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    return scores, labels


def slow_credit(scores, labels):
    credit = []
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        winners = [k for k, score in enumerate(row) if score == max(row)]
        credit.append(1 / len(winners) if label in winners else 0.0)
    return credit


def test_a_hand_worked_example():
    judged = accuracy.judge(SCORES, LABELS)
    assert judged.credit.tolist() == [1, 0, 0.5, 0]
    assert judged.tied == 2
    assert accuracy.top1(judged.credit) == 1.5 / 4
    assert accuracy.mean_class(judged.credit, LABELS, 3) == (0.5 + 0.25) / 2  # class 2 has no clips
    sums, counts = accuracy.per_class(judged.credit, LABELS, 3)
    assert sums.tolist() == [1, 0.5, 0]
    assert counts.tolist() == [2, 2, 0]
    assert accuracy.top1_accuracy(SCORES, LABELS, SUBJECTS) == 0.375
    assert accuracy.mean_class_accuracy(SCORES, LABELS, SUBJECTS) == 0.375


@given(matrices())
def test_judge_agrees_with_a_slow_loop(case):
    scores, labels = case
    judged = accuracy.judge(scores, labels)
    assert judged.credit.tolist() == slow_credit(scores, labels)
    assert judged.tied == sum(row.count(max(row)) > 1 for row in scores.tolist())


@given(matrices())
def test_a_clip_has_one_vote(case):
    """Summed over what the label could have been, every clip earns exactly 1."""
    scores, labels = case
    k = scores.shape[1]
    total = sum(accuracy.judge(scores, np.full_like(labels, c)).credit for c in range(k))
    assert total == pytest.approx(np.ones(len(labels)))


@given(matrices(), st.randoms(use_true_random=False))
def test_only_the_order_within_a_row_matters(case, random):
    scores, labels = case
    n, k = scores.shape
    credit = accuracy.judge(scores, labels).credit
    offset = np.array([random.randint(-9, 9) for _ in range(n)])[:, None]
    assert (accuracy.judge(scores + offset, labels).credit == credit).all()
    order = np.array(random.sample(range(k), k))  # column order[k] moves to k
    assert (accuracy.judge(scores[:, order], np.argsort(order)[labels]).credit == credit).all()
    clips = np.array(random.sample(range(n), n))
    assert (accuracy.judge(scores[clips], labels[clips]).credit == credit[clips]).all()


@given(matrices())
def test_means_agree_with_slow_loops_and_with_each_other(case):
    scores, labels = case
    credit = accuracy.judge(scores, labels).credit
    by_class = [credit[labels == c].mean() for c in range(scores.shape[1]) if c in labels]
    assert accuracy.mean_class(credit, labels, scores.shape[1]) == pytest.approx(np.mean(by_class))


@given(matrices())
def test_a_constant_method_gets_exactly_chance(case):
    scores, labels = case
    k = scores.shape[1]
    judged = accuracy.judge(np.zeros_like(scores), labels)
    assert judged.tied == (len(labels) if k > 1 else 0)
    assert accuracy.top1(judged.credit) == pytest.approx(accuracy.chance(k))
    assert accuracy.mean_class(judged.credit, labels, k) == pytest.approx(accuracy.chance(k))


@given(matrices())
def test_majority_class_is_the_best_constant_answer(case):
    _, labels = case
    k = 6
    answers = [accuracy.top1_accuracy(np.eye(k)[[c] * len(labels)], labels, []) for c in range(k)]
    assert accuracy.majority_class(np.zeros((len(labels), k)), labels) == pytest.approx(
        max(answers)
    )


def test_ties_are_found_in_the_stored_precision():
    close = np.array([[1.0, 1.0 + 1e-12]])
    assert accuracy.judge(close, np.array([1])).tied == 0
    assert accuracy.judge(close.astype(np.float32), np.array([1])).tied == 1


def test_unsigned_and_narrow_labels_count_alike():
    for dtype in (np.uint8, np.int32, np.uint64):
        labels = LABELS.astype(dtype)
        assert accuracy.mean_class_accuracy(SCORES, labels, SUBJECTS) == 0.375
        assert accuracy.majority_class(SCORES, labels) == 0.5


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinite_score_fails_the_run(bad):
    scores = SCORES.copy()
    scores[1, :2] = scores[3, 0] = bad
    message = r"3 of 12 scores are not finite \(2 of 4 clips\)"
    with pytest.raises(RunFailed, match=message):
        accuracy.judge(scores, LABELS)


def test_clips_with_candidates_of_their_own():
    """NaN: no candidate. Numbers by hand: three clips of two groups of classes."""
    scores = np.full((4, 5), np.nan)
    scores[:3, :3] = [[1, 0, 2], [3, 1, 1], [0, 0, 0]]
    scores[3, 3:] = [5, 4]
    labels = np.array([2, 1, 1, 3])
    judged = accuracy.judge(scores, labels)
    assert judged.credit.tolist() == [1, 0, pytest.approx(1 / 3), 1]
    assert judged.tied == 1
    assert accuracy.guesses(scores).tolist() == [1 / 3, 1 / 3, 1 / 3, 1 / 2]
    # Of the first group's three clips two are of class 1; the other group has one clip.
    assert accuracy.majority_class(scores, labels) == 3 / 4
    assert accuracy.top1_accuracy(scores, labels, SUBJECTS) == pytest.approx((1 + 1 / 3 + 1) / 4)
    with pytest.raises(RunFailed, match="1 of 4 clips have no score for their own class"):
        accuracy.judge(scores, np.array([2, 1, 1, 0]))


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (SCORES[0], LABELS),
        (SCORES[:3], LABELS),
        (SCORES[:0], LABELS[:0]),
        (SCORES[:, :0], LABELS),
        (SCORES.astype(int), LABELS),
        (SCORES, LABELS[:, None]),
        (SCORES, LABELS.astype(float)),
        (SCORES, LABELS == 1),
        (SCORES, LABELS + 2),
        (SCORES, LABELS - 1),
    ],
)
def test_what_cannot_be_a_run_is_refused(scores, labels):
    with pytest.raises(ValueError, match=r"scores are|labels are|labels lie"):
        accuracy.judge(scores, labels)


def test_empty_or_mismatched_means_are_refused():
    none, no_labels = np.zeros(0), np.zeros(0, dtype=np.int64)
    with pytest.raises(ValueError, match="no clips"):
        accuracy.top1(none)
    with pytest.raises(ValueError, match="no clips"):
        accuracy.mean_class(none, no_labels, 3)
    with pytest.raises(ValueError, match="no clips"):
        accuracy.majority_class(np.zeros((0, 3)), no_labels)
    with pytest.raises(ValueError, match="labels are"):
        accuracy.mean_class(np.ones(3), LABELS, 3)
    with pytest.raises(ValueError, match="at least one class"):
        accuracy.chance(0)


def test_harmonic_mean():
    assert accuracy.harmonic_mean(0.6, 0.3) == pytest.approx(0.4)
    assert accuracy.harmonic_mean(0.5, 0.5) == 0.5
    assert accuracy.harmonic_mean(1.0, 0.0) == accuracy.harmonic_mean(0.0, 0.0) == 0.0
    with pytest.raises(ValueError, match="fractions"):
        accuracy.harmonic_mean(60, 30)


def test_importing_metrics_and_statistics_is_quick():
    code = (
        "import sys, zsar_bench.metrics.accuracy, zsar_bench.comparison.statistics;"
        "print([m for m in ('scipy', 'scipy.stats', 'torch', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_using_statistics_never_imports_scipy_stats():
    code = (
        "import sys; from zsar_bench.comparison import statistics as s;"
        "s.power_gate([.1, .2, .0, .3, .1, .2]); s.subject_interval([1] * 6, [2] * 6);"
        "print('scipy.special' in sys.modules, 'scipy.stats' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
