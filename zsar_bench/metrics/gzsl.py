"""Generalised zero-shot numbers of one score matrix: S, U, H, AUSUC and what a constant decides.

In generalised zero-shot learning (GZSL) a clip of any class is judged over all classes, seen and
unseen together. Methods learn from seen classes only and favour these, so a *constant* is taken
off the seen scores before the highest one wins (calibrated stacking, Chao et al. 2016). Per clip
only its margin matters, the highest seen score less the highest unseen one: above the constant
the clip is taken for seen, below it for unseen, and at it both sides' best classes are tied.

- S: accuracy of the clips of seen classes over all classes; U: that of unseen ones.
- H = 2SU / (S + U), 0 where both are 0. Top-1: S and U are means over clips; mean
  class: over classes.
- AUSUC: area under the curve of S over U that the constant runs through from minus to plus
  infinity, all breakpoints, trapezoids between them.

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
    """All that a constant needs to know of N clips.

    Attributes:
        margins: (N,) highest score of a seen class less that of an unseen one.
        own: (N,) credit where the clip's own side, seen or unseen, is chosen.
        tied: (N,) credit where the constant is the margin and both sides' best classes tie.
        seen: (N,) whether the clip's class is seen.
        labels: (N,) column of the clip's class.
    """

    margins: Floats
    own: Floats
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
    """What a constant reaches, point by point as it rises.

    Attributes:
        low, high: (P,) open interval of constants that a point stands for; equal at a breakpoint.
        seen, unseen: (P,) S, which falls, and U, which rises.
    """

    low: Floats
    high: Floats
    seen: Floats
    unseen: Floats


def sides(scores: Scores, labels: Labels, seen: Bools) -> Sides:
    """What a constant decides between.

    Args:
        scores: (N, K) over all classes, higher is better.
        labels: (N,) column of each clip's class.
        seen: (K,) whether a class is seen; some must be, and some not.

    Raises:
        ValueError: shapes or labels that cannot be, or scores that are not finite.
    """
    if scores.ndim != 2 or seen.shape != scores.shape[1:] or labels.shape != scores.shape[:1]:
        raise ValueError(f"{scores.shape} scores, {labels.shape} labels, {seen.shape} classes")
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite")
    if seen.all() or not seen.any():
        raise ValueError("there must be seen and unseen classes")
    rows = np.arange(len(scores))
    top = {side: scores[:, seen == side].max(axis=1) for side in (True, False)}
    # Two float32 differ by what a double holds, so a breakpoint is exactly where the sides tie.
    margins = top[True].astype(np.float64) - top[False].astype(np.float64)
    count = {side: (scores[:, seen == side] == top[side][:, None]).sum(axis=1) for side in top}
    true, known = scores[rows, labels], seen[labels]
    right = true == np.where(known, top[True], top[False])
    return Sides(
        margins=margins,
        own=right / np.where(known, count[True], count[False]),
        tied=right / (count[True] + count[False]),
        seen=known,
        labels=labels,
    )


def credit(found: Sides, constants: float | Floats) -> Floats:
    """(N,) credit of each clip with this constant, or with one of its own."""
    over = found.margins - constants
    chosen = np.where(found.seen, over > 0, over < 0)
    shared: Floats = np.where(over == 0, found.tied, np.where(chosen, found.own, 0.0))
    return shared


def balances(labels: Labels, seen: Bools, given: Floats) -> dict[str, Balance]:
    """``top1`` and ``mean_class`` S and U.

    Args:
        labels: (N,) column of each clip's class.
        seen: (N,) whether that class is seen.
        given: (N,) credit.
    """
    return {kind: balance(given, w) for kind, w in weights(labels, seen).items()}


def balance(given: Floats, weighted: tuple[Floats, Floats]) -> Balance:
    """S and U of credit (N,) by weights of clips, which rounding may sum to a little over 1."""
    return Balance(*(min(1.0, float(given @ side)) for side in weighted))


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


def curve(found: Sides, weighted: tuple[Floats, Floats]) -> Curve:
    """S and U at every breakpoint and between them.

    Args:
        found: of N clips.
        weighted: weights (N,) of clips in S and in U, from ``weights``.

    Returns:
        2B + 1 points for B distinct margins.
    """
    points, place = np.unique(found.margins, return_inverse=True)
    size = len(points)
    lines = []
    for line_falls, weight in zip((True, False), weighted, strict=True):
        mask = found.seen == line_falls
        own = np.bincount(place, weight * found.own * mask, size)
        tied = np.bincount(place, weight * found.tied * mask, size)
        below = np.concatenate([[0.0], np.cumsum(own)])  # clips whose margin lies below
        line = np.empty(2 * size + 1)
        if line_falls:
            above = np.concatenate([np.cumsum(own[::-1])[::-1], [0.0]])
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

    Of several intervals of equal H the widest counts, the lowest of equals, and of it the middle:
    no clip is near it. Where H is 0 everywhere the scores stay as they are, the constant 0.
    """
    total = line.seen + line.unseen
    harmonic = np.divide(
        2 * line.seen * line.unseen, total, out=np.zeros_like(total), where=total > 0
    )
    top = float(harmonic.max())
    if top <= 0:
        return 0.0, 0.0
    ahead = np.flatnonzero(harmonic >= top - 1e-12)  # sums in another order are no difference
    widths = line.high[ahead] - line.low[ahead]
    place = ahead[int(widths.argmax())]
    low, high = float(line.low[place]), float(line.high[place])
    # Beyond the last margin one side has no clip right, so H is 0 there and both ends are finite.
    return top, low + (high - low) / 2


@dataclass(frozen=True)
class Measured:
    """Every number of a GZSL matrix.

    Attributes:
        balance: ``top1`` and ``mean_class`` S and U at the operating point.
        ausuc: ``top1`` and ``mean_class``.
        best: ``top1`` and ``mean_class`` -> the test-best H and its constant: an oracle.
        seen, unseen: clips.
    """

    balance: dict[str, Balance]
    ausuc: dict[str, float]
    best: dict[str, tuple[float, float]]
    seen: int
    unseen: int


def measure(found: Sides, given: Floats) -> Measured:
    """Every number of a matrix, where a decision gave its clips this credit (N,)."""
    lines = {k: curve(found, w) for k, w in weights(found.labels, found.seen).items()}
    return Measured(
        balance=balances(found.labels, found.seen, given),
        ausuc={kind: ausuc(line) for kind, line in lines.items()},
        best={kind: best_constant(line) for kind, line in lines.items()},
        seen=int(found.seen.sum()),
        unseen=int((~found.seen).sum()),
    )


def margins(scores: Scores, seen: Bools) -> Floats:
    """(N,) highest score of a seen class less that of an unseen one; scores (N, K), seen (K,)."""
    top = [scores[:, side].max(axis=1).astype(np.float64) for side in (seen, ~seen)]
    found: Floats = top[0] - top[1]
    return found


def size(scores: Scores, seen: Bools) -> float:
    """Root mean square of the margins of training clips; 1 where every margin is 0.

    Args:
        scores: (N, K) of training clips over all classes.
        seen: (K,).
    """
    rms = float(np.sqrt(np.mean(np.square(margins(scores, seen)))))
    return rms or 1.0


def calibrated(scores: Scores, labels: Labels, seen: Bools) -> tuple[float, float]:
    """The best mean class H of a rotation and its constant.

    Args:
        scores: (N, K) of its pseudo-seen and pseudo-unseen clips.
        labels: (N,) columns.
        seen: (K,) which classes play seen ones.
    """
    found = sides(scores, labels, seen)
    return best_constant(curve(found, weights(labels, found.seen)["mean_class"]))


def carried(normalized: Sequence[float], rms: float) -> tuple[float, float]:
    """The median standing of the rotations, and the constant for a fit of this rms."""
    middle = float(np.median(normalized))
    return middle, middle * rms
