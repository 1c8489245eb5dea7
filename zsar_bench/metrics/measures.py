"""All measures of a run that follow from its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.metrics import accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray


NOBODY = ""  #: the subject of clips whose subjects are not known


@dataclass(frozen=True)
class Measures:
    """All measures of one score matrix; the fields of a record's ``metrics``.

    Attributes:
        clips: tested clips.
        top1: share of clips that are right; ties share the credit.
        mean_class: mean over classes of the share of their clips that are right.
        chance, chance_top1: expected ``mean_class`` and ``top1`` of guessing among the candidates.
        guesses: class -> subject -> expected share by guessing; empty if all clips have the same.
        majority_class: top-1 accuracy of always predicting the most frequent class.
        tied: clips on which the highest score is shared.
        cells: class -> subject -> (credit, clips).
    """

    clips: int
    top1: float
    mean_class: float
    chance: float
    chance_top1: float
    guesses: dict[str, dict[str, float]]
    majority_class: float
    tied: int
    cells: dict[str, dict[str, tuple[float, int]]]


def measure(
    candidates: Sequence[str],
    labels: NDArray[np.int64],
    subjects: Sequence[str],
    scores: NDArray[np.float32],
) -> Measures:
    """All measures of a record that follow from its predictions.

    Args:
        candidates: K official class ids.
        labels: (N,) index of the true class in ``candidates``.
        subjects: N subjects.
        scores: (N, K); NaN where a class was no candidate of a clip.

    Raises:
        RunFailed: a score is infinite, or the true class is no candidate.
    """
    judged = accuracy.judge(scores, labels)
    guess = accuracy.guesses(scores)
    classes = [candidates[i] for i in labels]
    return Measures(
        clips=len(labels),
        top1=accuracy.top1(judged.credit),
        mean_class=accuracy.mean_class(judged.credit, labels, len(candidates)),
        chance=accuracy.mean_class(guess, labels, len(candidates)),
        chance_top1=accuracy.top1(guess),
        guesses={} if np.ptp(guess) == 0 else _means(cells(guess, classes, subjects)),
        majority_class=accuracy.majority_class(scores, labels),
        tied=judged.tied,
        cells=cells(judged.credit, classes, subjects),
    )


def cells(
    credit: NDArray[np.float64], classes: Sequence[str], subjects: Sequence[str]
) -> dict[str, dict[str, tuple[float, int]]]:
    """Credit and clips by class and subject, from which metrics and statistics are computed.

    Args:
        credit: (N,) credit of each clip.
        classes, subjects: N official class ids and subjects.
    """
    table: dict[str, dict[str, tuple[float, int]]] = {}
    for value, class_id, subject in zip(credit.tolist(), classes, subjects, strict=True):
        total, count = table.setdefault(class_id, {}).get(subject, (0.0, 0))
        table[class_id][subject] = (total + value, count + 1)
    return table


def _means(table: dict[str, dict[str, tuple[float, int]]]) -> dict[str, dict[str, float]]:
    return {c: {s: total / n for s, (total, n) in row.items()} for c, row in table.items()}
