"""Random class splits: one row over all of them, against the formula written out."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from kit.made_splits import FAMILY, SEEN, split
from zsar_bench.comparison.sections import compare
from zsar_bench.comparison.splits import family
from zsar_bench.reporters import markdown, table


def interval(values: list[float]) -> tuple[float, float]:
    """Mean -+ t sqrt(s^2 (1/J + 1/4)), step by step."""
    count, mean = len(values), sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (count - 1)
    half = stats.t.ppf(0.975, count - 1) * math.sqrt(variance * (1 / count + 1 / 4))
    return mean - half, mean + half


def test_families() -> None:
    assert family(f"{FAMILY}/random:3@7") == family(FAMILY) == FAMILY
    assert family(f"stand-in/{FAMILY}/random:3@7") == f"stand-in/{FAMILY}"
    assert family("random:3@7") == "random:3@7"  # no family to be a split of


def test_a_row_over_splits_by_the_formula() -> None:
    runs = [split(n, n, 0.5) for n in range(12)]
    comparison = compare(runs)
    assert comparison["sections"] == []
    (section,) = comparison["splits"]
    (row,) = section["rows"]
    top1 = [r.metrics.top1 for r in runs]
    assert row["splits"] == 12
    assert row["top1"] == pytest.approx(np.mean(top1))
    assert row["mean_class"] == pytest.approx(np.mean([r.metrics.mean_class for r in runs]))
    assert row["sd"] == pytest.approx(stats.tstd(top1))
    assert (row["low"], row["high"]) == (min(top1), max(top1))
    assert (row["interval"]["low"], row["interval"]["high"]) == pytest.approx(interval(top1))
    assert row["interval"]["name"] == "95 % corrected t over 12 random splits"
    assert list(row["by_split"]) == section["splits"]
    assert [s.rpartition("@")[2] for s in section["splits"]] == [str(n) for n in range(12)]
    assert (section["family"], section["unseen"], section["seen"]) == (FAMILY, 3, 12)


def test_splits_stand_in_the_order_of_their_seeds() -> None:
    names = [f"{FAMILY}/random:3@{n}" for n in range(12)]
    runs = [split(n, n, 0.5) for n in reversed(range(12))]
    (section,) = compare(runs)["splits"]
    assert section["splits"] == list(section["rows"][0]["by_split"]) == names


def test_seeds_are_averaged_inside_their_split() -> None:
    rates = (0.2, 0.9, 0.4)
    runs = [
        split(n, 10 * n + e, rates[n], seeds=(e, e)) for n in range(3) for e in range(1 + n % 2)
    ]
    (row,) = compare(runs)["splits"][0]["rows"]
    means = [
        np.mean([r.metrics.top1 for r in runs if r.protocol.id.endswith(f"@{n}")]) for n in range(3)
    ]
    assert row["top1"] == pytest.approx(np.mean(means))
    assert row["top1"] != pytest.approx(np.mean([r.metrics.top1 for r in runs]))
    assert row["seeds"] == [1, 2]


@pytest.mark.parametrize(("rate", "answer"), [(0.75, True), (1 / 3, False)])
def test_beats_chance_is_judged_on_mean_class_accuracy_over_splits(
    rate: float, answer: bool
) -> None:
    runs = [split(n, n, rate) for n in range(12)]
    (row,) = compare(runs)["splits"][0]["rows"]
    assert bool(interval([r.metrics.mean_class for r in runs])[0] > 1 / 3) is answer
    assert row["beats_chance"] is answer


def test_where_the_published_split_lies() -> None:
    runs = [split(n, n, 0.5) for n in range(5)]
    values = sorted((r.metrics.top1 for r in runs), reverse=True)
    own = split(None, 0, 0.5)  # the clips of split 0: a tie with it takes the better rank
    comparison = compare([*runs, own])
    (row,) = comparison["splits"][0]["rows"]
    assert row["published"] == own.metrics.top1
    assert row["published_rank"] == values.index(own.metrics.top1) + 1
    assert [s["protocol"] for s in comparison["sections"]] == [FAMILY]
    best = compare([*runs, split(None, 1, 1.0)])["splits"][0]["rows"][0]
    assert (best["published"], best["published_rank"]) == (1.0, 1)
    worst = compare([*runs, split(None, 1, 0.0)])["splits"][0]["rows"][0]
    assert worst["published_rank"] == 6
    without = compare(runs)["splits"][0]["rows"][0]
    assert (without["published"], without["published_rank"]) == (None, None)
    other = compare([*runs, split(None, 1, 1.0, protocol={"seen": SEEN[1:]})])
    assert other["splits"][0]["rows"][0]["published"] is None  # another number of classes


def test_one_split_is_a_section_like_any_other() -> None:
    comparison = compare([split(4, 1, 0.5)])
    assert comparison["splits"] == []
    assert [s["protocol"] for s in comparison["sections"]] == [f"{FAMILY}/random:3@4"]


def test_splits_under_a_control_are_controls() -> None:
    texts = {"control": "random", "draw": 0}
    comparison = compare([split(n, n, 0.5, texts=texts) for n in range(3)])
    assert comparison["splits"] == comparison["sections"] == []
    assert len(comparison["controls"]) == 3


def test_methods_are_compared_on_the_splits_both_have() -> None:
    base = np.random.default_rng(0).uniform(0.3, 0.6, 10)
    good = [split(n, n, r + 0.35, "good") for n, r in enumerate(base)]
    bad = [split(n, n, r, "bad") for n, r in enumerate(base[:8])]
    close = [split(n, n + 50, r + 0.3, "close") for n, r in enumerate(base)]
    rows = {r["method"]: r for r in compare([*bad, *close, *good])["splits"][0]["rows"]}
    for name, runs in (("bad", bad), ("close", close)):
        differences = [a.metrics.top1 - b.metrics.top1 for a, b in zip(runs, good, strict=False)]
        low, high = interval(differences)
        assert rows[name]["not_shown_to_differ"] is bool(low <= 0 <= high)
    assert [rows[m]["not_shown_to_differ"] for m in ("good", "bad", "close")] == [
        False,
        False,
        True,
    ]
    assert rows["good"]["best"]
    alone = compare([*good, split(20, 1, 0.2, "once")])["splits"][0]["rows"][-1]
    assert (alone["method"], alone["interval"], alone["beats_chance"]) == ("once", None, None)
    assert alone["not_shown_to_differ"]  # no split in common: cannot tell


def test_reporters_draw_splits() -> None:
    runs = [split(n, n, 0.5) for n in range(4)] + [split(n, n, 0.1, "low") for n in range(4)]
    comparison = compare([*runs, split(None, 5, 0.5)])
    row = comparison["splits"][0]["rows"][0]
    for draw in (markdown.report, table.report):
        text = " ".join(draw(comparison, width=240, color=False).split())
        assert f"{FAMILY} - 4 random class splits" in text
        assert f"{100 * row['published']:.1f} (rank {row['published_rank']} of 5)" in text
        assert "95 % corrected t over 4 random splits" in text
        assert "12 seen and 3 unseen classes" in text
        assert f"{100 * row['low']:.1f} to {100 * row['high']:.1f}" in text
    assert f"| **{100 * row['top1']:.1f}** |" in markdown.report(comparison, width=9, color=False)
    assert json.loads(json.dumps(comparison)) == comparison
