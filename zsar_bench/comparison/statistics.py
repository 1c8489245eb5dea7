"""Confidence intervals and paired tests of accuracies.

Three questions have three units. *New subjects*: clips of one subject are correlated, so the unit
is the subject's mean (a Wilson interval over clustered clips covers 75 to 88 %, t on subject means
94 to 95 %). *Training seeds*: the unit is the encoder seed, which all methods share. *New classes*:
the unit is the class, or for overlapping random splits the corrected resampled t is used. Every
interval and test has a name, which the output must show.

Values are fractions in [0, 1], differences lie in [-1, 1]. Intervals are not clipped to this range:
an interval outside shows that its normal approximation is poor. Reporters may clip.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_SUBJECTS = 6  #: with fewer, no interval over subjects (a sign-flip test could not reach 0.05)
MIN_SEEDS = 5  #: with fewer, no interval over encoder seeds
EXACT_UNITS = 16  #: up to this number of units all 2^P sign flips are computed
DRAWS = 99_999  #: random sign flips for more units; with the observed one a round number
ROUNDING = 1e-12  #: far below the effect of one clip, far above rounding errors of sums


@dataclass(frozen=True)
class Interval:
    """A named confidence interval. Its width is 0, and meaningless, if all units are equal.

    Attributes:
        estimate: centre of the interval.
        low, high: its ends; not clipped.
        level: nominal coverage, e.g. 0.95.
        df: degrees of freedom of its t.
        name: method and units, e.g. ``95 % t over 8 subjects``.
    """

    estimate: float
    low: float
    high: float
    level: float
    df: int
    name: str


@dataclass(frozen=True)
class TTest:
    """A t interval of a mean difference and the two-sided p-value of the null hypothesis."""

    interval: Interval
    p: float


@dataclass(frozen=True)
class SignFlip:
    """Two-sided p-value of a sign-flip test, and the test's name."""

    p: float
    name: str


class _Stratified(NamedTuple):
    """A t-test whose standard deviation is pooled within strata, and that deviation."""

    interval: Interval
    p: float
    sd: float


class Spread(NamedTuple):
    """Standard deviations over encoder seeds and over method seeds; None: not estimable."""

    encoder: float | None
    method: float | None


@dataclass(frozen=True)
class Verdict:
    """The result of a paired comparison.

    Attributes:
        answer: first method significantly ``better`` or ``worse``, or ``cannot tell``.
        observed: mean difference.
        detectable: minimum detectable difference for the requested power; None without a test,
            or if all differences are equal.
        units: number of paired units.
        reason: one sentence for the caption.
    """

    answer: Literal["better", "worse", "cannot tell"]
    observed: float
    detectable: float | None
    units: int
    reason: str


def subject_interval(
    sums: Sequence[float] | Floats,
    counts: Sequence[int] | npt.NDArray[np.int64],
    level: float = 0.95,
) -> Interval | None:
    """t interval, for new subjects, of the accuracy on these classes and texts.

    The estimate is the mean of the subjects' means. All subjects have the same weight, so it
    differs from top-1 accuracy if subjects have unequal numbers of clips.

    Args:
        sums: (P,) each subject's sum of per-clip correctness, averaged over seeds.
        counts: (P,) each subject's number of clips, at least 1.

    Returns:
        None for fewer than ``MIN_SUBJECTS`` subjects.
    """
    total, clips = _values(sums), _values(counts)
    if total.shape != clips.shape or (clips < 1).any():
        raise ValueError("every subject has a sum and at least one clip")
    if len(total) < MIN_SUBJECTS:
        return None
    return _t_test(total / clips, level, "subjects").interval


def class_interval(
    values: Sequence[float] | Floats, folds: Sequence[int], level: float = 0.95
) -> Interval | None:
    """t interval, for new classes, of mean class accuracy or of a paired difference of it.

    Every class was unseen in one of several folds. Classes of a fold share a training, so folds are
    strata: the variance is pooled within them, df = classes - folds.

    Args:
        values: (K,) one accuracy, or paired difference, per class.
        folds: (K,) the number of each class's fold.

    Returns:
        None for fewer than ``MIN_SUBJECTS`` classes or a fold of one class.
    """
    if len(values) < MIN_SUBJECTS:
        return None
    test = _stratified(_values(values), folds, level, "classes")
    return test.interval if test else None


def _stratified(
    values: Floats, strata: Sequence[int], level: float, unit: str
) -> _Stratified | None:
    groups: dict[int, list[float]] = {}
    for stratum, value in zip(strata, values.tolist(), strict=True):
        groups.setdefault(stratum, []).append(value)
    n = len(values)
    if min(map(len, groups.values())) < 2:
        return None
    df = n - len(groups)
    sd = math.sqrt(sum(float(np.var(g)) * len(g) for g in groups.values()) / df)
    sd = sd if sd > ROUNDING else 0.0
    mean, error = float(values.mean()), sd / math.sqrt(n)
    half = _t_quantile(df, level) * error
    name = f"{100 * level:g} % t over {n} {unit} in {len(groups)} folds"
    interval = Interval(mean, mean - half, mean + half, level, df, name)
    return _Stratified(interval, _p(mean, error, df), sd)


def seed_interval(
    values: Sequence[float] | Floats, level: float = 0.95, unit: str = "encoder seeds"
) -> Interval | None:
    """t interval over seeds, of accuracies or of differences paired by seed.

    Args:
        values: (E,) one value per encoder seed, already averaged over its method seeds.
        unit: kind of the seeds; ``method seeds`` if all runs share one encoder.

    Returns:
        None for fewer than ``MIN_SEEDS`` seeds.
    """
    seeds = _values(values)
    return _t_test(seeds, level, unit).interval if len(seeds) >= MIN_SEEDS else None


def draw_interval(values: Sequence[float] | Floats, level: float = 0.95) -> Interval | None:
    """t interval over independent draws of a text control.

    Args:
        values: (J,) one accuracy per draw, already averaged over its seeds.

    Returns:
        None for a single draw.
    """
    draws = _values(values)
    return _t_test(draws, level, "draws").interval if len(draws) > 1 else None


def spread(values: Mapping[tuple[int, int], float]) -> Spread:
    """Standard deviations over encoder seeds and over method seeds.

    ``encoder`` is the sd over encoder seeds of the means over method seeds (it includes the
    remaining variance of these means), None with one encoder. ``method`` is the sd over method
    seeds within an encoder, pooled over encoders, None if no encoder has two method seeds.

    Args:
        values: (encoder seed, method seed) -> accuracy.
    """
    _values(list(values.values()))  # NaN must raise an error, not become a standard deviation
    groups: dict[int, list[float]] = {}
    for (encoder, _), value in values.items():
        groups.setdefault(encoder, []).append(value)
    means = [float(np.mean(group)) for group in groups.values()]
    squares = sum(float(np.var(group)) * len(group) for group in groups.values())
    df = len(values) - len(groups)
    return Spread(
        encoder=_sd(np.array(means)) if len(means) > 1 else None,
        method=math.sqrt(squares / df) if df else None,
    )


def sign_flip(
    differences: Sequence[float] | Floats,
    unit: str = "subjects",
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> SignFlip:
    """Test that paired differences (P,) are symmetric about 0, by flipping their signs.

    Exact for up to ``EXACT_UNITS`` units, with p of at least 2/2^P. For more units, p is
    (b + 1)/(m + 1) of m seeded draws (Phipson & Smyth 2010), which is never 0.
    """
    values = _values(differences)
    exact = len(values) <= EXACT_UNITS
    if exact:
        flipped = np.zeros(1)
        for value in values:
            flipped = np.concatenate([flipped + value, flipped - value])
    else:
        flipped = values @ _signs(len(values), draws, seed)
    # Flips equal to the observed sum must count, in spite of rounding.
    extreme = np.abs(flipped) >= abs(values.sum()) - ROUNDING * len(values)
    b = int(np.count_nonzero(extreme))
    if exact:
        return SignFlip(b / len(flipped), f"exact sign-flip over {len(values)} {unit}")
    return SignFlip(
        (b + 1) / (draws + 1), f"sign-flip over {len(values)} {unit}, {draws + 1:,} flips"
    )


@functools.lru_cache(maxsize=1)  # the rows of a section have the same units
def _signs(units: int, draws: int, seed: int) -> Floats:
    """(P, m) seeded random signs."""
    rng = np.random.default_rng(seed)
    signs = np.empty((units, draws))
    for row in signs:
        row[:] = np.where(rng.integers(0, 2, draws, dtype=np.bool_), 1.0, -1.0)
    return signs


def corrected_resampled_t(
    values: Sequence[float] | Floats, unseen: int, seen: int, level: float = 0.95
) -> TTest | None:
    """t-test over J random class splits, corrected for their overlap.

    The variance of the mean is s^2 (1/J + K_u/K_s) in place of s^2/J, df = J - 1: Nadeau &
    Bengio (2003), with classes in the place of samples.

    Args:
        values: (J,) one accuracy, or paired difference, per split.
        unseen, seen: numbers of classes, K_u and K_s, in each split.

    Returns:
        None for fewer than two splits.
    """
    if unseen < 1 or seen < 1:
        raise ValueError(f"a split has unseen and seen classes, not {unseen} and {seen}")
    splits = _values(values)
    if len(splits) < 2:
        return None
    return _t_test(splits, level, "random splits", overlap=unseen / seen, kind="corrected t")


def smallest_detectable(
    sd: float, n: int, level: float = 0.95, power: float = 0.8, df: int | None = None
) -> float:
    """Minimum detectable difference of a two-sided paired t-test with this power.

    Solves P(T > t_crit) = power for the noncentral t with df degrees of freedom. A rejection
    in the wrong direction does not count as a detection.

    Args:
        sd: standard deviation of the differences between units.
        n: number of units, at least 2.
        level: 1 - size of the test.
        power: in (1 - level, 1).
        df: of the t-test; n - 1, unless the variance is pooled within strata.
    """
    if n < 2 or not (math.isfinite(sd) and sd >= 0):
        raise ValueError(f"needs at least 2 units and an sd of at least 0, not {n} and {sd}")
    if not 1 - level < power < 1:
        raise ValueError(f"power lies between the test's size and 1, not {power}")
    from scipy.special import nctdtrinc

    df = n - 1 if df is None else df
    noncentrality = float(nctdtrinc(df, 1 - power, _t_quantile(df, level)))
    return noncentrality * sd / math.sqrt(n)


def power_gate(
    differences: Sequence[float] | Floats,
    unit: str = "subjects",
    *,
    strata: Sequence[int] = (),
    least: int = MIN_SUBJECTS,
    level: float = 0.95,
    power: float = 0.8,
) -> Verdict:
    """Test a paired comparison, and compute its minimum detectable difference.

    A difference is significant only if t-test and sign-flip test agree; the reported p is the
    larger one. The minimum detectable difference depends on the standard deviation of the
    differences, not on their mean: it is no "observed power".

    Args:
        differences: (P,) first method minus second, one per unit.
        unit: what the units are, in the plural.
        strata: (P,) group numbers for pooling the variance; empty: one group.
        least: smallest number of units for a test.
    """
    values = _values(differences)
    n, observed = len(values), float(values.mean())
    if n < max(least, 2):
        reason = f"{n} {unit} are too few to test, {max(least, 2)} are needed"
        return Verdict("cannot tell", observed, None, n, reason)
    test = _stratified(values, strata or [0] * n, level, unit)
    if test is None:
        return Verdict("cannot tell", observed, None, n, f"a fold has fewer than two {unit}")
    df = test.interval.df
    detectable = smallest_detectable(test.sd, n, level, power, df) if test.sd else None
    p = max(test.p, sign_flip(values, unit).p)
    reason = f"observed {100 * observed:+.1f} points over {n} {unit}, p = {p:.2g}"
    if detectable is not None:
        reason += f"; found with a power of {100 * power:g} %: {100 * detectable:.1f} points"
    if p >= 1 - level:
        return Verdict("cannot tell", observed, detectable, n, reason)
    return Verdict("better" if observed > 0 else "worse", observed, detectable, n, reason)


def _t_test(
    values: Floats, level: float, unit: str, *, overlap: float = 0.0, kind: str = "t"
) -> TTest:
    """t interval and test of a mean; ``overlap`` is K_u/K_s of the corrected resampled t."""
    n, mean = len(values), float(values.mean())
    error = _sd(values) * math.sqrt(1 / n + overlap)
    half = _t_quantile(n - 1, level) * error
    name = f"{100 * level:g} % {kind} over {n} {unit}"
    return TTest(
        Interval(mean, mean - half, mean + half, level, n - 1, name), _p(mean, error, n - 1)
    )


def _p(mean: float, error: float, df: int) -> float:
    """Two-sided p-value of mean/error under Student's t."""
    if abs(mean) <= ROUNDING:  # identical methods: 0/0 must not become significant
        return 1.0
    if error == 0:
        return 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(mean) / error))


@functools.cache
def _t_quantile(df: int, level: float) -> float:
    """The two-sided critical value of t for this confidence level."""
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not at {level}")
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))


def _sd(values: Floats) -> float:
    """Sample standard deviation (ddof = 1); 0 if the values differ by rounding only."""
    sd = float(values.std(ddof=1))
    return sd if sd > ROUNDING else 0.0


def _values(values: Sequence[float] | Floats | npt.NDArray[np.int64]) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError("expected a row of at least one finite number")
    return array
