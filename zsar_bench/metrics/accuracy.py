"""Accuracies of a run, computed from its stored score matrix.

A clip has one prediction: the class with the highest score. If several classes share the highest
score, the clip's vote is split evenly among them. A method that returns a constant thus gets
exactly chance, independent of the order of the classes.

Shapes: N clips, K candidate classes. If clips differ in their candidates (folds of classes, pooled
data sets), K is all of them, and NaN marks a class that is no candidate of a clip. A method's own
NaN never gets here: the run has failed before. All accuracies are fractions in
[0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zsar_bench.errors import RunFailed

if TYPE_CHECKING:
    from numpy.typing import NDArray


Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Judged:
    """Correctness of every clip of a score matrix.

    Attributes:
        credit: (N,) correctness of each clip: 1, 0, or 1/m for a tie of m classes that
            includes the true one.
        tied: number of clips whose highest score is shared by several classes.
    """

    credit: Floats
    tied: int


def judge(scores: Scores, labels: Labels) -> Judged:
    """Decide for every clip whether its prediction is correct.

    Args:
        scores: (N, K), higher is better; NaN for no candidate.
        labels: (N,) integers in [0, K), the column of the true class.

    Raises:
        RunFailed: a score is infinite, or the true class is no candidate.
        ValueError: shapes, types or labels are invalid.
    """
    _check(scores, labels)
    votes = _votes(scores)
    credit = votes[np.arange(len(labels)), labels]
    return Judged(credit, tied=int(np.count_nonzero(votes.max(axis=1) < 1)))


def top1(credit: Floats) -> float:
    """Top-1 accuracy: the mean over clips of ``credit`` (N,)."""
    if not len(credit):
        raise ValueError("no clips to average over")
    return float(np.mean(credit))


def mean_class(credit: Floats, labels: Labels, classes: int) -> float:
    """Mean class accuracy: the mean over classes of each class's accuracy, empty ones left out."""
    if not len(credit):
        raise ValueError("no clips to average over")
    sums, counts = per_class(credit, labels, classes)
    present = counts > 0
    return float(np.mean(sums[present] / counts[present]))


def per_class(credit: Floats, labels: Labels, classes: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Sum of credit (K,) and number of clips (K,) of each class."""
    _check_labels(labels, len(credit), classes)
    sums, counts = np.zeros(classes), np.zeros(classes, dtype=np.int64)
    np.add.at(sums, labels, credit)
    np.add.at(counts, labels, 1)
    return sums, counts


def chance(classes: int) -> float:
    """Expected top-1 and mean class accuracy of a guess among K classes."""
    if classes < 1:
        raise ValueError(f"a protocol has at least one class, not {classes}")
    return 1 / classes


def guesses(scores: Scores) -> Floats:
    """(N,) expected credit of a guess among each clip's own candidates: 1/K_i."""
    credit: Floats = 1 / np.count_nonzero(~np.isnan(scores), axis=1)
    return credit


def majority_class(scores: Scores, labels: Labels) -> float:
    """Majority-class baseline: top-1 accuracy of always predicting the most frequent candidate.

    Clips with the same candidates share one prediction.
    """
    if not len(labels):
        raise ValueError("no clips to count")
    _check(scores, labels)
    _, group = np.unique(~np.isnan(scores), axis=0, return_inverse=True)
    counts = np.zeros((group.max() + 1, scores.shape[1]), dtype=np.int64)
    np.add.at(counts, (group.ravel(), labels), 1)
    return float(counts.max(axis=1).sum() / len(labels))


def harmonic_mean(seen: float, unseen: float) -> float:
    """H = 2SU / (S + U) of two accuracies; 0 where both are 0 (Xian et al. 2019)."""
    if not (0 <= seen <= 1 and 0 <= unseen <= 1):
        raise ValueError(f"accuracies are fractions in [0, 1], not {seen} and {unseen}")
    return 2 * seen * unseen / (seen + unseen) if seen + unseen else 0.0


# The two main metrics, with the signature of a registered metric.


def top1_accuracy(scores: Scores, labels: Labels, subjects: Sequence[str]) -> float:
    """Top-1 accuracy. ``scores`` (N, K), ``labels`` (N,); ``subjects`` is not used."""
    return top1(judge(scores, labels).credit)


def mean_class_accuracy(scores: Scores, labels: Labels, subjects: Sequence[str]) -> float:
    """Mean class accuracy: all classes have the same weight, however many clips they have."""
    return mean_class(judge(scores, labels).credit, labels, scores.shape[1])


def _votes(scores: Scores) -> Floats:
    """(N, K) each clip's one vote, split evenly among the classes with its highest score."""
    # Compared in the stored type: a cast to a narrower one would create ties.
    top = scores == np.nanmax(scores, axis=1, keepdims=True)
    votes: Floats = top / top.sum(axis=1, keepdims=True, dtype=np.float64)
    return votes


def _check(scores: Scores, labels: Labels) -> None:
    if scores.ndim != 2 or 0 in scores.shape or not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(
            f"scores are (N clips, K classes) of a float type, not {scores.shape} {scores.dtype}"
        )
    _check_labels(labels, *scores.shape)
    infinite = np.isinf(scores)
    if infinite.any():
        raise RunFailed(
            f"{np.count_nonzero(infinite)} of {scores.size} scores are not finite "
            f"({np.count_nonzero(infinite.any(axis=1))} of {len(scores)} clips)"
        )
    lost = np.count_nonzero(np.isnan(scores[np.arange(len(labels)), labels]))
    if lost:
        raise RunFailed(f"{lost} of {len(scores)} clips have no score for their own class")


def _check_labels(labels: Labels, clips: int, classes: int) -> None:
    if labels.shape != (clips,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels are ({clips},) of an integer type, not {labels.shape} {labels.dtype}"
        )
    if clips and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"labels lie in [0, {classes}), not in [{labels.min()}, {labels.max()}]")


def tolerance(scores: NDArray[np.float32], precision: str) -> float:
    """Largest change of a score that rounding explains.

    A thousandth of the scores' standard deviation in float32, and a tenth of it in mixed precision,
    whose sums differ with the batch. A method that uses other clips of the batch changes its scores
    by about one standard deviation.
    """
    share = 1e-3 if precision == "float32" else 1e-1
    return float(share * np.nanstd(scores) + 1e-6 * np.nanmax(np.abs(scores)))
