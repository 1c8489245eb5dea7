"""Runs under text controls: one row per method, one section per control; never ranked.

The answer is plain JSON data, as that of ``zsar_bench.comparison.sections``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from zsar_bench.comparison import statistics
from zsar_bench.comparison.ranking import row_key, unranked
from zsar_bench.comparison.rows import (
    interval_json,
    name_variants,
    over_seeds,
    row_head,
    row_trust,
    subject_means,
)
from zsar_bench.plans.controls import DRAWS, KINDS, SHUFFLED_SEEN, SHUFFLED_UNSEEN
from zsar_bench.records.schema import Record

if TYPE_CHECKING:
    from zsar_bench.comparison.statistics import Interval


Json = dict[str, Any]


def control_sections(records: Sequence[Record], plain: Sequence[Record]) -> list[Json]:
    """Sections of controlled runs, by protocol and control.

    Args:
        records: runs under a text control.
        plain: runs without one; the accuracy of the same method with its own texts is shown
            for reference.
    """
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_section_key(record), []).append(record)
    in_order = sorted(groups.items(), key=lambda item: (item[0][:-1], KINDS.index(item[0][-1])))
    return [_section(group, [p for p in plain if _where(p) == key[:-1]]) for key, group in in_order]


def _where(r: Record) -> tuple[str, ...]:
    """What runs of a section share. The setting is the declared one, because the measured one may
    differ between draws of one method."""
    p = r.protocol
    return (p.id, p.samples, p.digest, r.method.declared_setting, r.encoder.origin, unranked(r))


def _section_key(r: Record) -> tuple[str, ...]:
    return (*_where(r), r.texts.control)


def _section(records: list[Record], plain: list[Record]) -> Json:
    first = records[0]
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(row_key(record), []).append(record)
    rows = [_row(g, [p for p in plain if row_key(p) == key]) for key, g in groups.items()]
    rows.sort(key=lambda row: (row["method"], row["texts"], row["text_encoder"]))
    name_variants(rows)
    return {
        "protocol": first.protocol.id,
        "dataset": first.protocol.dataset,
        "control": first.texts.control,
        "setting": first.method.declared_setting,
        "origin": first.encoder.origin,
        "unranked": unranked(first),
        "unseen": len(first.protocol.unseen),
        "clips": first.metrics.clips,
        "chance": first.metrics.chance,
        "rows": rows,
    }


def _row(records: list[Record], plain: list[Record]) -> Json:
    first = records[0]
    chance = first.metrics.chance
    by_draw: dict[int, list[Record]] = {}
    for record in records:
        by_draw.setdefault(record.texts.draw, []).append(record)
    draws = {
        draw: float(over_seeds(group, [r.metrics.mean_class for r in group]))
        for draw, group in sorted(by_draw.items())
    }
    mean = float(np.mean(list(draws.values())))
    plain_accuracy = (
        float(over_seeds(plain, [r.metrics.mean_class for r in plain])) if plain else None
    )
    if first.texts.control == SHUFFLED_UNSEEN:
        plain_accuracy = draws.get(0, plain_accuracy)  # the plain run
        interval = _over_subjects(list(by_draw.values()))
        finding = judge_shifts(_complete(records), mean, interval, chance)
        if finding.verdict == "passes":  # exact: an interval of width 0 would be misleading
            interval = None
    else:
        interval = statistics.draw_interval(list(draws.values()))
        finding = judge_draws(first.texts.control, len(draws), interval, chance)
    return {
        **row_head(first),
        **row_trust(records),
        "draws": len(draws),
        "seeds": len({(r.encoder_seed, r.method_seed) for r in records}),
        "mean_class": mean,
        "by_draw": list(draws.values()),
        "interval": interval_json(interval),
        "chance": chance,
        "plain": plain_accuracy,
        **asdict(finding),
    }


def _complete(records: list[Record]) -> bool:
    """Whether every pair of seeds has all K shifts, so that their mean is exact."""
    shifts: dict[tuple[int, int], set[int]] = {}
    for r in records:
        shifts.setdefault((r.encoder_seed, r.method_seed), set()).add(r.texts.draw)
    every = set(range(len(records[0].protocol.unseen)))
    return all(draws == every for draws in shifts.values())


def _over_subjects(draws: list[list[Record]]) -> statistics.Interval | None:
    """Interval over subjects of mean class accuracy, averaged over all shifts."""
    by_draw = [over_seeds(group, [subject_means(r)[1] for r in group]) for group in draws]
    means = np.mean(by_draw, axis=0)
    return statistics.subject_interval(means, [1] * len(means))


HALF_WIDTH = 0.05  #: half width that an interval must not reach to pass


TOLERANCE = 0.005  #: of the mean over all shifts, for rounding near ties


ROUNDING = 1e-12  #: rounding error of sums


@dataclass(frozen=True)
class Finding:
    """The result of a control for a method, with the reason in one sentence."""

    verdict: Literal["passes", "FAILS", "inconclusive", "diagnostic"]
    reason: str


def judge_draws(kind: str, draws: int, interval: Interval | None, chance: float) -> Finding:
    """Judge ``shuffled-all``, ``random`` or the diagnostic ``shuffled-seen``.

    Args:
        kind: the control.
        draws: their number.
        interval: of mean class accuracy, over draws; None for a single draw.
        chance: 1/K.
    """
    if kind == SHUFFLED_SEEN:
        return Finding("diagnostic", "unseen texts are true, so 1/K is no claim")
    if draws < DRAWS or interval is None:
        return Finding("inconclusive", f"{draws} of the {DRAWS} draws that a verdict needs")
    if interval.low > chance + ROUNDING:
        return Finding("FAILS", "above 1/K without a text that helps: a leak")
    half = (interval.high - interval.low) / 2
    if half >= HALF_WIDTH:
        needed = math.ceil(draws * (half / HALF_WIDTH) ** 2) + 1
        return Finding(
            "inconclusive",
            f"the interval reaches {100 * half:.1f} points to each side; "
            f"about {needed} draws would bring it below {100 * HALF_WIDTH:g}",
        )
    if interval.high < chance - ROUNDING:
        return Finding("inconclusive", "below 1/K, which no leak explains; draw more")
    return Finding("passes", "the interval holds 1/K")


def judge_shifts(complete: bool, mean: float, interval: Interval | None, chance: float) -> Finding:
    """Judge ``shuffled-unseen``, whose mean over all K shifts is exact and needs no interval.

    A mean beyond ``TOLERANCE`` shows that candidates are not treated equally. The reason can be a
    leak (a class is recognised by its position, independent of its text), or scores that depend on
    the order of candidates (noise drawn by position, another order of sums). A leak raises all
    subjects above 1/K; order alone moves them in both directions.

    Args:
        complete: whether every seed has all K shifts.
        mean: mean class accuracy over all shifts and seeds.
        interval: of the same over subjects; None for too few subjects.
        chance: 1/K.
    """
    if not complete:
        return Finding("inconclusive", "not all K shifts are there")
    off = mean - chance
    if abs(off) <= ROUNDING:
        return Finding("passes", "exactly 1/K over all K shifts")
    if abs(off) <= TOLERANCE:
        return Finding("passes", f"{100 * off:+.2f} points off 1/K: ties or rounding")
    finding = f"{100 * off:+.1f} points off 1/K over all K shifts"
    if off > 0 and interval is None:
        return Finding("FAILS", f"{finding}: a leak, or scores that depend on candidates' order")
    if interval is not None and interval.low > chance:
        return Finding("FAILS", f"{finding}, for new subjects too: a leak")
    return Finding(
        "inconclusive", f"{finding}: scores depend on candidates' order; no leak is shown by it"
    )
