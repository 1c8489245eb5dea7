"""Statistics against scipy.stats, slow loops, hand-worked examples and one simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zsar_bench.comparison import statistics as zs

DIFFERENCES = [0.05, 0.02, -0.01, 0.08, 0.03, 0.00, 0.06, -0.02]  # eight subjects

rows = st.lists(st.integers(-40, 40).map(lambda i: i / 40), min_size=6, max_size=10)
spread_out = rows.filter(lambda row: len(set(row)) > 1)


# intervals and paired tests


def paired_subject(differences, level=0.95):
    """Paired t-test of two methods on the same clips, from differences of subject means."""
    values = zs._values(differences)
    return zs._t_test(values, level, "subjects") if len(values) >= zs.MIN_SUBJECTS else None


@given(spread_out, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_t_interval_and_test_agree_with_scipy(row, level):
    ours = paired_subject(row, level)
    theirs = stats.ttest_1samp(row, 0)
    low, high = theirs.confidence_interval(level)
    assert ours.interval.low == pytest.approx(low, abs=1e-12)
    assert ours.interval.high == pytest.approx(high, abs=1e-12)
    assert ours.interval.df == theirs.df == len(row) - 1
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert zs.seed_interval(row, level).low == ours.interval.low


def test_paired_test_is_the_related_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.random(9), rng.random(9)
    assert paired_subject(a - b).p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_subject_interval_by_hand():
    # Means 0.5 (five times) and 1.0: mean 7/12, s^2 = 1/24, s/sqrt(6) = 1/12; t(5) = 2.5706.
    interval = zs.subject_interval([1, 2, 3, 1, 1, 5], [2, 4, 6, 2, 2, 5])
    assert interval.estimate == pytest.approx(7 / 12)
    assert interval.high - interval.estimate == pytest.approx(2.5705818 / 12)
    assert interval.estimate - interval.low == pytest.approx(2.5705818 / 12)
    assert interval.name == "95 % t over 6 subjects"
    # Micro weighs clips: 13/21. The interval's estimate weighs subjects, and says so.
    assert interval.estimate != pytest.approx(13 / 21)


def test_intervals_are_not_clipped():
    assert zs.subject_interval([1, 1, 1, 1, 1, 0], [1] * 6).high > 1


def test_too_few_units_get_no_interval():
    assert zs.subject_interval([1] * 5, [2] * 5) is None
    assert paired_subject([0.1, 0.2, 0.3, 0.1, 0.2]) is None
    assert zs.seed_interval([0.1, 0.2, 0.3, 0.1]) is None
    assert zs.seed_interval([0.1, 0.2, 0.3, 0.1, 0.2]).name == "95 % t over 5 encoder seeds"
    assert zs.corrected_resampled_t([0.1], unseen=5, seen=55) is None


def test_identical_methods_do_not_differ_by_rounding():
    noise = [1e-17, 1e-17, 2e-17, 1e-17, 1e-17, 1e-17]
    assert paired_subject(noise).p == 1.0
    assert paired_subject([0.0] * 6).p == 1.0
    assert paired_subject([0.1] * 6).p == 0.0  # the sign-flip test keeps this honest
    assert zs.sign_flip([0.1] * 6).p == 2 / 64
    assert zs.sign_flip(noise).p == 1.0


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_fraction(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired_subject(DIFFERENCES, level)


@pytest.mark.parametrize("bad", [[], [[0.1] * 6], [0.1] * 6 + [math.nan]])
def test_values_are_a_finite_row(bad):
    for function in (paired_subject, zs.seed_interval, zs.sign_flip, zs.power_gate):
        with pytest.raises(ValueError, match="finite"):
            function(bad)


def test_every_subject_has_clips():
    with pytest.raises(ValueError, match="at least one clip"):
        zs.subject_interval([1] * 6, [1] * 5 + [0])
    with pytest.raises(ValueError, match="at least one clip"):
        zs.subject_interval([1] * 6, [1] * 7)


def test_t_on_subject_means_covers_and_wilson_does_not():
    """The reason for DESIGN 7, in short: clips of one subject resemble each other."""
    rng = np.random.default_rng(1)
    repeats, subjects, clips = 1500, 8, 20
    ability = 0.4 + 1.0 * rng.standard_normal((repeats, subjects))  # log-odds
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    truth = (weights / (1 + np.exp(-0.4 - nodes))).sum() / weights.sum()
    sums = rng.binomial(clips, 1 / (1 + np.exp(-ability)))
    intervals = [zs.subject_interval(row, [clips] * subjects) for row in sums]
    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert 0.91 < covered < 0.98
    n, p, z2 = subjects * clips, sums.sum(axis=1) / (subjects * clips), 1.96**2
    centre, half = p + z2 / (2 * n), np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    assert np.mean(np.abs(truth * (1 + z2 / n) - centre) <= half) < 0.88


# sign flips


@given(rows)
def test_exact_sign_flip_is_a_count_over_all_signs(row):
    sums = [
        abs(sum(s * d for s, d in zip(signs, row, strict=True)))
        for signs in itertools.product([1, -1], repeat=len(row))
    ]
    extreme = sum(value >= abs(sum(row)) - 1e-9 for value in sums)
    assert zs.sign_flip(row).p == extreme / 2 ** len(row)


def test_exact_sign_flip_agrees_with_scipy():
    theirs = stats.permutation_test(
        (np.array(DIFFERENCES),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    ours = zs.sign_flip(DIFFERENCES)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.name == "exact sign-flip over 8 subjects"


def test_monte_carlo_sign_flip(monkeypatch):
    row = np.random.default_rng(3).normal(0.3, 1, 16)
    exact = zs.sign_flip(row).p
    monkeypatch.setattr(zs, "EXACT_UNITS", 15)
    drawn = zs.sign_flip(row, "classes", draws=9_999, seed=5)
    assert drawn.p == pytest.approx(exact, abs=0.02)
    assert drawn.name == "sign-flip over 16 classes, 10,000 flips"
    assert zs.sign_flip(row, "classes", draws=9_999, seed=5) == drawn
    assert zs.sign_flip(np.ones(60), draws=999).p == 1 / 1000  # never 0


# spreads over seeds


def test_spread_by_hand():
    # Encoder means 0.2 and 0.6; squares within: 2 * 0.1^2 and 2 * 0.2^2, two degrees of freedom.
    values = {(0, 0): 0.1, (0, 1): 0.3, (1, 0): 0.4, (1, 1): 0.8}
    encoder, method = zs.spread(values)
    assert encoder == pytest.approx(math.sqrt(0.08))
    assert method == pytest.approx(math.sqrt(0.05))


def test_spread_says_what_it_cannot_tell():
    assert zs.spread({(0, 0): 0.1, (1, 0): 0.3}) == (pytest.approx(math.sqrt(0.02)), None)
    assert zs.spread({(0, 0): 0.1, (0, 1): 0.3}) == (None, pytest.approx(math.sqrt(0.02)))
    assert zs.spread({(0, 0): 0.1}) == (None, None)
    for bad in ({}, {(0, 0): 0.1, (1, 0): math.nan}):
        with pytest.raises(ValueError, match="finite"):
            zs.spread(bad)


def test_spread_with_unequal_numbers_of_method_seeds():
    values = {(0, 0): 0.1, (0, 1): 0.3, (0, 2): 0.2, (1, 0): 0.5}
    assert zs.spread(values).method == pytest.approx(0.1)
    assert zs.spread(values).encoder == pytest.approx(np.std([0.2, 0.5], ddof=1))


# what a design can resolve


@pytest.mark.parametrize("n", [2, 5, 8, 10, 40])
@pytest.mark.parametrize(("level", "power"), [(0.95, 0.8), (0.9, 0.5), (0.99, 0.9)])
def test_smallest_detectable_has_the_power_it_claims(n, level, power):
    gap = zs.smallest_detectable(0.05, n, level, power)
    critical = stats.t.ppf((1 + level) / 2, n - 1)
    assert stats.nct.sf(critical, n - 1, gap / 0.05 * math.sqrt(n)) == pytest.approx(
        power, rel=1e-5
    )


def test_smallest_detectable_against_a_table_and_a_simulation():
    # Two-sided 5 %, power 80 %: a standardised paired difference of 1 needs n = 10 (Cohen's d).
    assert zs.smallest_detectable(1, 10) < 1 < zs.smallest_detectable(1, 9)
    draws = np.random.default_rng(0).normal(zs.smallest_detectable(1, 8), 1, (20_000, 8))
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05) == pytest.approx(
        0.8, abs=0.01
    )


def test_smallest_detectable_at_its_edges():
    assert zs.smallest_detectable(0, 8) == 0
    assert zs.smallest_detectable(0.2, 8) == pytest.approx(2 * zs.smallest_detectable(0.1, 8))
    with pytest.raises(ValueError, match="at least 2 units"):
        zs.smallest_detectable(1, 1)
    with pytest.raises(ValueError, match="at least 0"):
        zs.smallest_detectable(math.nan, 8)
    with pytest.raises(ValueError, match="power lies"):
        zs.smallest_detectable(1, 8, power=0.05)


def test_power_gate_decides_and_refuses():
    clear = zs.power_gate([0.10, 0.12, 0.09, 0.11, 0.13, 0.10, 0.12, 0.08])
    assert clear.answer == "better"
    assert zs.power_gate([-0.10, -0.12, -0.09, -0.11, -0.13, -0.10]).answer == "worse"
    vague = zs.power_gate(DIFFERENCES)
    assert vague.answer == "cannot tell"
    sd = float(np.std(DIFFERENCES, ddof=1))
    assert vague.detectable == pytest.approx(zs.smallest_detectable(sd, 8))
    assert f"{100 * vague.detectable:.1f} points" in vague.reason
    few = zs.power_gate([0.5, 0.5, 0.5, 0.5, 0.5], "subjects")
    assert (few.answer, few.detectable, few.units) == ("cannot tell", None, 5)
    assert few.reason == "5 subjects are too few to test, 6 are needed"
    same = zs.power_gate([0.0] * 8)
    assert (same.answer, same.detectable) == ("cannot tell", None)


def test_power_gate_needs_both_tests():
    """A t-test without spread is certain of anything; four equal signs are not evidence."""
    assert zs.power_gate([0.1] * 4, "folds", least=4).answer == "cannot tell"


@given(spread_out)
def test_power_gate_is_antisymmetric(row):
    first, second = zs.power_gate(row), zs.power_gate([-d for d in row])
    swap = {"better": "worse", "worse": "better", "cannot tell": "cannot tell"}
    assert second.answer == swap[first.answer]
    assert second.detectable == first.detectable


# random class splits


def test_corrected_resampled_t_by_hand():
    # J = 4, mean 0.25, s^2 = 1/60; 55/5: s^2 (1/4 + 5/55) = 0.00568182, t = 3.31662, df 3.
    result = zs.corrected_resampled_t([0.1, 0.2, 0.3, 0.4], unseen=5, seen=55)
    error = math.sqrt((1 / 60) * (1 / 4 + 1 / 11))
    assert result.p == pytest.approx(2 * stats.t.sf(0.25 / error, 3))
    assert result.interval.high == pytest.approx(0.25 + stats.t.ppf(0.975, 3) * error)
    assert result.interval.df == 3
    assert result.interval.name == "95 % corrected t over 4 random splits"


@given(spread_out, st.integers(1, 20), st.integers(1, 60))
def test_the_correction_only_ever_widens(row, unseen, seen):
    corrected = zs.corrected_resampled_t(row, unseen, seen)
    naive = stats.ttest_1samp(row, 0)
    assert corrected.p >= naive.pvalue - 1e-12
    assert corrected.interval.low < naive.confidence_interval(0.95).low


def test_splits_have_classes_on_both_sides():
    with pytest.raises(ValueError, match="unseen and seen"):
        zs.corrected_resampled_t([0.1, 0.2], unseen=0, seen=5)
