"""Generalised zero-shot measures of one score matrix: S, U, H, AUSUC and calibrated stacking.

In generalised zero-shot learning (GZSL) a clip of any class is classified among all classes, seen
and unseen. Methods learn from seen classes only and favour them, so a calibration constant is
subtracted from the seen scores before the highest score is taken (calibrated stacking, Chao et al.
2016). Only a clip's margin matters: its highest seen score minus its highest unseen score. If the
margin is above the constant, a seen class is predicted; if below, an unseen one; if equal, both
sides' best classes tie.

- S: accuracy of the clips of seen classes over all classes; U: that of unseen ones.
- H = 2SU / (S + U), 0 if both are 0. ``top1``: S and U are means over clips; ``mean_class``: over
  classes.
- AUSUC: area under the curve of S over U as the constant goes from minus to plus infinity, with all
  breakpoints, by trapezoids.

Ties share credit as in ``metrics.judge``. Shapes: N clips, K classes. All numbers are fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zsar_bench.metrics import accuracy

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Sides:
    """Margins and possible credits of N clips.

    Attributes:
        margins: (N,) highest score of a seen class minus that of an unseen one.
        side_credit: (N,) credit if the side of the clip's class, seen or unseen, is chosen.
        tied: (N,) credit if the constant equals the margin, so that both sides' best classes tie.
        seen: (N,) whether the clip's class is seen.
        labels: (N,) column of the clip's class.
    """

    margins: Floats
    side_credit: Floats
    tied: Floats
    seen: Bools
    labels: Labels


@dataclass(frozen=True)
class Balance:
    """S, U and H at one operating point."""

    seen: float
    unseen: float

    @property
    def harmonic(self) -> float:
        return accuracy.harmonic_mean(self.seen, self.unseen)


@dataclass(frozen=True)
class Curve:
    """S and U as functions of the calibration constant, in rising order.

    Attributes:
        low, high: (P,) open interval of constants of each point; equal at a breakpoint.
        seen, unseen: (P,) S, which falls, and U, which rises.
    """

    low: Floats
    high: Floats
    seen: Floats
    unseen: Floats


def sides(scores: Scores, labels: Labels, seen: Bools) -> Sides:
    """Margins and possible credits of the clips of a matrix.

    Args:
        scores: (N, K) over all classes, higher is better.
        labels: (N,) column of each clip's class.
        seen: (K,) whether a class is seen; there must be seen and unseen ones.

    Raises:
        ValueError: shapes or labels are invalid, or scores are not finite.
    """
    if scores.ndim != 2 or seen.shape != scores.shape[1:] or labels.shape != scores.shape[:1]:
        raise ValueError(f"{scores.shape} scores, {labels.shape} labels, {seen.shape} classes")
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite")
    if seen.all() or not seen.any():
        raise ValueError("there must be seen and unseen classes")
    rows = np.arange(len(scores))
    top = {side: scores[:, seen == side].max(axis=1) for side in (True, False)}
    # A double holds the difference of two float32 exactly: a breakpoint is where the sides tie.
    margins = top[True].astype(np.float64) - top[False].astype(np.float64)
    count = {side: (scores[:, seen == side] == top[side][:, None]).sum(axis=1) for side in top}
    true, known = scores[rows, labels], seen[labels]
    right = true == np.where(known, top[True], top[False])
    return Sides(
        margins=margins,
        side_credit=right / np.where(known, count[True], count[False]),
        tied=right / (count[True] + count[False]),
        seen=known,
        labels=labels,
    )


def credit(split: Sides, constants: float | Floats) -> Floats:
    """(N,) credit of each clip with this constant, or with a constant per clip (N,)."""
    over = split.margins - constants
    chosen = np.where(split.seen, over > 0, over < 0)
    shared: Floats = np.where(over == 0, split.tied, np.where(chosen, split.side_credit, 0.0))
    return shared


def balances(labels: Labels, seen: Bools, credited: Floats) -> dict[str, Balance]:
    """``top1`` and ``mean_class`` S and U.

    Args:
        labels: (N,) column of each clip's class.
        seen: (N,) whether that class is seen.
        credited: (N,) credit.
    """
    return {kind: balance(credited, w) for kind, w in weights(labels, seen).items()}


def balance(credited: Floats, weighted: tuple[Floats, Floats]) -> Balance:
    """S and U of credit (N,) by weights of clips, whose sum may be slightly above 1 by rounding."""
    return Balance(*(min(1.0, float(credited @ side)) for side in weighted))


def weights(labels: Labels, seen: Bools) -> dict[str, tuple[Floats, Floats]]:
    """``top1`` and ``mean_class`` -> (N,) weights of clips in S and in U; each sums to 1.

    Raises:
        ValueError: if there are no clips of one of the two kinds.
    """
    if seen.all() or not seen.any():
        raise ValueError("there must be clips of seen and of unseen classes")
    alike = np.bincount(labels)[labels]  # clips of the same class
    classes = [len(np.unique(labels[side])) for side in (seen, ~seen)]
    return {
        "top1": (seen / seen.sum(), ~seen / (~seen).sum()),
        "mean_class": (seen / (classes[0] * alike), ~seen / (classes[1] * alike)),
    }


def curve(split: Sides, weighted: tuple[Floats, Floats]) -> Curve:
    """S and U at every breakpoint and between them.

    Args:
        split: of N clips.
        weighted: weights (N,) of clips in S and in U, from ``weights``.

    Returns:
        2B + 1 points for B distinct margins.
    """
    points, place = np.unique(split.margins, return_inverse=True)
    size = len(points)
    lines = []
    for line_falls, weight in zip((True, False), weighted, strict=True):
        mask = split.seen == line_falls
        side = np.bincount(place, weight * split.side_credit * mask, size)
        tied = np.bincount(place, weight * split.tied * mask, size)
        below = np.concatenate([[0.0], np.cumsum(side)])  # clips whose margin lies below
        line = np.empty(2 * size + 1)
        if line_falls:
            above = np.concatenate([np.cumsum(side[::-1])[::-1], [0.0]])
            line[0::2], line[1::2] = above, above[1:] + tied
        else:
            line[0::2], line[1::2] = below, below[:-1] + tied
        lines.append(line)
    ends = np.concatenate([[-np.inf], np.repeat(points, 2), [np.inf]])
    low, high = np.empty(2 * size + 1), np.empty(2 * size + 1)
    low[0::2], high[0::2] = ends[0::2], ends[1::2]
    low[1::2] = high[1::2] = points
    return Curve(low, high, *lines)


def ausuc(line: Curve) -> float:
    """Area under S as a function of U (Chao et al. 2016, section 4)."""
    widths = np.diff(line.unseen)
    return float(np.sum(widths * (line.seen[1:] + line.seen[:-1]) / 2))


def best_constant(line: Curve) -> tuple[float, float]:
    """The highest H on a curve and the constant that reaches it.

    Of several intervals of equal H the widest is taken (the lowest of equally wide ones), and its
    middle, which is far from every clip's margin. If H is 0 everywhere, the constant is 0.
    """
    total = line.seen + line.unseen
    harmonic = np.divide(
        2 * line.seen * line.unseen, total, out=np.zeros_like(total), where=total > 0
    )
    top = float(harmonic.max())
    if top <= 0:
        return 0.0, 0.0
    ahead = np.flatnonzero(harmonic >= top - 1e-12)  # ignore differences by rounding
    widths = line.high[ahead] - line.low[ahead]
    place = ahead[int(widths.argmax())]
    low, high = float(line.low[place]), float(line.high[place])
    # H is 0 beyond the first and the last margin, so both ends of the interval are finite.
    return top, low + (high - low) / 2


@dataclass(frozen=True)
class Measured:
    """All measures of a GZSL matrix.

    Attributes:
        balance: ``top1`` and ``mean_class`` S and U at the operating point.
        ausuc: ``top1`` and ``mean_class``.
        best: ``top1`` and ``mean_class`` -> the best H on the test clips and its constant (an
            oracle).
        seen, unseen: clips.
    """

    balance: dict[str, Balance]
    ausuc: dict[str, float]
    best: dict[str, tuple[float, float]]
    seen: int
    unseen: int


def measure(split: Sides, credited: Floats) -> Measured:
    """All measures of a matrix; ``credited`` (N,): credit of its clips at the operating point."""
    lines = {k: curve(split, w) for k, w in weights(split.labels, split.seen).items()}
    return Measured(
        balance=balances(split.labels, split.seen, credited),
        ausuc={kind: ausuc(line) for kind, line in lines.items()},
        best={kind: best_constant(line) for kind, line in lines.items()},
        seen=int(split.seen.sum()),
        unseen=int((~split.seen).sum()),
    )


def margins(scores: Scores, seen: Bools) -> Floats:
    """(N,) highest seen score minus highest unseen score; scores (N, K), seen (K,)."""
    top = [scores[:, side].max(axis=1).astype(np.float64) for side in (seen, ~seen)]
    differences: Floats = top[0] - top[1]
    return differences


def size(scores: Scores, seen: Bools) -> float:
    """Root mean square of the margins of training clips; 1 where every margin is 0.

    Args:
        scores: (N, K) of training clips over all classes.
        seen: (K,).
    """
    rms = float(np.sqrt(np.mean(np.square(margins(scores, seen)))))
    return rms or 1.0


def calibrated(scores: Scores, labels: Labels, seen: Bools) -> tuple[float, float]:
    """The best H of mean class accuracies of a rotation, and its constant.

    Args:
        scores: (N, K) of its pseudo-seen and pseudo-unseen clips.
        labels: (N,) columns.
        seen: (K,) whether a class is pseudo-seen.
    """
    split = sides(scores, labels, seen)
    return best_constant(curve(split, weights(labels, split.seen)["mean_class"]))


def carried(normalized: Sequence[float], rms: float) -> tuple[float, float]:
    """The median normalised constant of the rotations, and the constant for a fit of this rms."""
    middle = float(np.median(normalized))
    return middle, middle * rms
