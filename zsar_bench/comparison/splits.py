"""Means over several class splits: random ones of one protocol, or those that a paper averages.

A protocol ``family/random:K@seed`` has K unseen classes that are drawn with the seed. Splits
overlap, so their accuracies are not independent; interval and test are the corrected resampled t
(``statistics.corrected_resampled_t``).

The answer is plain JSON data, as that of ``zsar_bench.comparison.sections``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from zsar_bench.comparison import statistics
from zsar_bench.comparison.ranking import peeked, row_key, unranked
from zsar_bench.comparison.rows import interval_json, name_variants, over_seeds, row_head, row_trust
from zsar_bench.data.protocols.protocol import RANDOM, STAND_IN, ProtocolGroup
from zsar_bench.records.schema import Record

Json = dict[str, Any]

LEVEL = 0.95


def family(protocol: str) -> str:
    """The protocol of which this is a random split; the id itself for any other protocol."""
    return protocol.partition(RANDOM)[0]


def split_sections(records: Sequence[Record]) -> list[Json]:
    """Sections of random splits of which at least two were run; best rows first.

    Args:
        records: finished runs of any protocols, none under a text control.
    """
    groups: dict[tuple[str, ...], list[Record]] = {}
    published: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        part = groups if RANDOM in record.protocol.id else published
        part.setdefault(_section_key(record), []).append(record)
    return [
        _section(group, published.get(key, []))
        for key, group in sorted(groups.items())
        if len({r.protocol.id for r in group}) > 1
    ]


def average_sections(records: Sequence[Record], groups: Sequence[ProtocolGroup]) -> list[Json]:
    """Sections of averages that papers publish, for methods that were run on every member.

    Args:
        records: finished runs of any protocols, none under a text control.
        groups: the known averages.
    """
    sections = []
    for group, before in itertools.product(groups, ("", STAND_IN)):
        whole = {before + member for member in group.of}
        kinds: dict[tuple[str, ...], dict[str, list[Record]]] = {}
        for record in records:
            if record.protocol.id in whole:
                rows = kinds.setdefault(_section_key(record)[1:], {})
                rows.setdefault(row_key(record), []).append(record)
        for rows in kinds.values():
            complete = [g for g in rows.values() if {r.protocol.id for r in g} == whole]
            if complete:
                members = [record for row in complete for record in row]
                sections.append(
                    {**_section(members, []), "family": before + group.id, "mean": True}
                )
    return sections


def in_splits(record: Record, sections: Sequence[Json]) -> bool:
    """Whether one of these sections holds the record's protocol."""
    return any(record.protocol.id in section["splits"] for section in sections)


def _section_key(r: Record) -> tuple[str, ...]:
    """The key of a section: splits with equal numbers of classes, the published one included.

    The setting is the declared one, as the measured one may differ between splits.
    """
    p = r.protocol
    classes = (f"{len(p.unseen):04}", f"{len(p.seen):04}")
    texts = "oracle" if r.texts.oracle else ""
    how = (p.dataset, p.rule, r.method.declared_setting, r.encoder.origin, unranked(r))
    return (family(p.id), texts, *classes, *how)


def _section(records: list[Record], published: list[Record]) -> Json:
    first = records[0].protocol
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(row_key(record), []).append(record)
    rows = [_row(g, [p for p in published if row_key(p) == key]) for key, g in groups.items()]
    rows.sort(key=lambda row: (-row["top1"], row["method"]))
    name_variants(rows)
    reason = unranked(records[0])
    if reason:  # an order by accuracy would be a ranking
        rows.sort(key=lambda row: (row["method"], row["variant"], row["rule"]))
    else:
        _rank(rows, len(first.unseen), len(first.seen))
    return {
        "family": family(first.id),
        "mean": False,
        "oracle": records[0].texts.oracle,
        "splits": sorted({r.protocol.id for r in records}, key=_by_seed),
        "dataset": first.dataset,
        "setting": records[0].method.declared_setting,
        "origin": records[0].encoder.origin,
        "unranked": reason,
        "rule": first.rule,
        "unseen": len(first.unseen),
        "seen": len(first.seen),
        "chance": records[0].metrics.chance,
        "rows": rows,
    }


def _by_seed(protocol: str) -> tuple[int, str]:
    seed = protocol.rpartition("@")[2]
    return (int(seed) if seed.isdecimal() else 0, protocol)


def _row(records: list[Record], published: list[Record]) -> Json:
    first = records[0]
    unseen, seen = len(first.protocol.unseen), len(first.protocol.seen)
    by_split: dict[str, list[Record]] = {}
    for record in records:
        by_split.setdefault(record.protocol.id, []).append(record)
    splits = dict(sorted(by_split.items(), key=lambda item: _by_seed(item[0])))
    top1 = {s: _mean(group, "top1") for s, group in splits.items()}
    mean_class = [_mean(group, "mean_class") for group in splits.values()]
    over_top1 = statistics.corrected_resampled_t(list(top1.values()), unseen, seen)
    over_mean_class = statistics.corrected_resampled_t(mean_class, unseen, seen)
    published_accuracy = _mean(published, "top1") if published else None
    head = row_head(first)
    if peeked(head):  # selected on test: an interval would not have its nominal coverage
        over_top1 = over_mean_class = None
    return {
        **head,
        **row_trust(records),
        "splits": len(splits),
        "seeds": sorted({len(group) for group in splits.values()}),
        "top1": float(np.mean(list(top1.values()))),
        "mean_class": float(np.mean(mean_class)),
        "sd": float(np.std(list(top1.values()), ddof=1)) if len(splits) > 1 else None,
        "low": min(top1.values()),
        "high": max(top1.values()),
        "by_split": top1,
        "interval": interval_json(over_top1.interval if over_top1 else None),
        "beats_chance": over_mean_class.interval.low > first.metrics.chance
        if over_mean_class
        else None,
        "published": published_accuracy,
        "published_rank": None
        if published_accuracy is None
        else 1 + sum(v > published_accuracy for v in top1.values()),
        "best": False,
        "not_shown_to_differ": False,
    }


def _mean(records: list[Record], metric: str) -> float:
    return float(over_seeds(records, [getattr(r.metrics, metric) for r in records]))


def _rank(rows: list[Json], unseen: int, seen: int) -> None:
    """Mark the best row and those that do not differ significantly on the splits that both have."""
    best, others = rows[0], rows[1:]
    best["best"] = True
    for row in others:
        shared = best["by_split"].keys() & row["by_split"].keys()
        differences = [row["by_split"][s] - best["by_split"][s] for s in sorted(shared)]
        test = statistics.corrected_resampled_t(differences, unseen, seen) if shared else None
        row["not_shown_to_differ"] = test is None or test.p >= 1 - LEVEL
