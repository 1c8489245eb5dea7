"""Runs under text controls: one row a method, a section for each control; never ranked.

The answer is plain JSON data, as that of ``zsar_bench.compare``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from zsar_bench import statistics
from zsar_bench.compare_rows import (
    interval_json,
    name_variants,
    over_seeds,
    performer_means,
    row_head,
)
from zsar_bench.controls import KINDS, SHUFFLED_UNSEEN, judge_draws, judge_shifts
from zsar_bench.ranking import row_key, unranked
from zsar_bench.record import Record
from zsar_bench.trust import row_trust

Json = dict[str, Any]


def control_sections(records: Sequence[Record], plain: Sequence[Record]) -> list[Json]:
    """Sections of controlled runs, by protocol and control.

    Args:
        records: runs under a text control.
        plain: runs without one; the accuracy of the same method with its own texts is shown
            beside the control.
    """
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_section_key(record), []).append(record)
    in_order = sorted(groups.items(), key=lambda item: (item[0][:-1], KINDS.index(item[0][-1])))
    return [_section(group, [p for p in plain if _where(p) == key[:-1]]) for key, group in in_order]


def _where(r: Record) -> tuple[str, ...]:
    """What must agree besides the row. The setting is the declared one: the measured one may
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
        draw: float(over_seeds(group, [r.metrics.macro for r in group]))
        for draw, group in sorted(by_draw.items())
    }
    mean = float(np.mean(list(draws.values())))
    own = float(over_seeds(plain, [r.metrics.macro for r in plain])) if plain else None
    if first.texts.control == SHUFFLED_UNSEEN:
        own = draws.get(0, own)  # the plain run
        interval = _over_performers(list(by_draw.values()))
        finding = judge_shifts(_complete(records), mean, interval, chance)
        if finding.verdict == "passes":  # exact: an interval of no width would only puzzle
            interval = None
    else:
        interval = statistics.draw_interval(list(draws.values()))
        finding = judge_draws(first.texts.control, len(draws), interval, chance)
    return {
        **row_head(first),
        **row_trust(records),
        "draws": len(draws),
        "seeds": len({(r.encoder_seed, r.method_seed) for r in records}),
        "macro": mean,
        "by_draw": list(draws.values()),
        "interval": interval_json(interval),
        "chance": chance,
        "plain": own,
        **asdict(finding),
    }


def _complete(records: list[Record]) -> bool:
    """Whether every pair of seeds has all K shifts; only then is their mean exact."""
    shifts: dict[tuple[int, int], set[int]] = {}
    for r in records:
        shifts.setdefault((r.encoder_seed, r.method_seed), set()).add(r.texts.draw)
    every = set(range(len(records[0].protocol.unseen)))
    return all(found == every for found in shifts.values())


def _over_performers(draws: list[list[Record]]) -> statistics.Interval | None:
    """Of performers' macro accuracies, averaged over all shifts: shifts are no sample."""
    each = [over_seeds(group, [performer_means(r)[1] for r in group]) for group in draws]
    means = np.mean(each, axis=0)
    return statistics.performer_interval(means, [1] * len(means))
