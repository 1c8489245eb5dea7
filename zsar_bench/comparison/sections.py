"""The comparison of stored runs: sections of rows, as plain JSON data for reporters.

A section holds rows that may be ranked together: one protocol, one list of tested clips, one
setting, one origin of features (released ones: one hash), see ``ranking``. Runs of a row differ by
their seeds only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zsar_bench.common.names import plain_json
from zsar_bench.comparison import statistics
from zsar_bench.comparison.controls import control_sections
from zsar_bench.comparison.gzsl import gzsl_sections
from zsar_bench.comparison.published import headlines
from zsar_bench.comparison.ranking import row_key, section_key, unranked
from zsar_bench.comparison.rows import fold_numbers, name_variants, row_of, subjects
from zsar_bench.comparison.rules import rule_sections
from zsar_bench.comparison.splits import average_sections, in_splits, split_sections
from zsar_bench.data.protocols.protocol import ProtocolGroup
from zsar_bench.metrics.measures import NOBODY
from zsar_bench.records.schema import Record

Json = dict[str, Any]


def compare(
    records: Sequence[Record],
    published: Sequence[Json] = (),
    averages: Sequence[ProtocolGroup] = (),
    *,
    rules: bool = False,
) -> Json:
    """Sections of rows, best first.

    Args:
        records: finished runs of any protocols.
        published: rows of published results; those in ``headlines`` are shown with the sections of
            their protocol.
        averages: groups of protocols of which papers publish the mean; each is another section of
            splits, for methods that were run on all its members.
        rules: whether selection rules are compared within each method.

    Returns:
        ``{"sections": [...], "splits": [...], "controls": [...],
        "rules": [...], "gzsl": [...], "published": [...]}``; see ``_section`` and
        ``rows.row_of`` for the fields, and the modules ``splits`` (several random class splits,
        which are in no other section), ``controls``, ``rules`` and ``gzsl`` (runs with GZSL, which
        are in no other section). Every text is printable.
    """
    plain = [r for r in records if not r.texts.control and r.gzsl is None]
    splits = split_sections(plain)
    groups: dict[str, list[Record]] = {}
    for record in (r for r in plain if not in_splits(r, splits)):
        groups.setdefault(section_key(record), []).append(record)
    sections = [_section(group) for _, group in sorted(groups.items())]
    means = average_sections(plain, averages)
    ids = {s["protocol"] for s in sections} | {s["family"] for s in means}
    comparison = {
        "sections": sections,
        "splits": [*means, *splits],
        "controls": control_sections([r for r in records if r.texts.control], plain),
        "rules": rule_sections(plain) if rules else [],
        "gzsl": gzsl_sections(records),
        "published": [row for row in headlines(published) if row["protocol"] in ids],
    }
    shown: Json = plain_json(comparison)  # harmless for every reporter
    return shown


def _section(records: list[Record]) -> Json:
    first = records[0]
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(row_key(record), []).append(record)
    headline = "mean_class" if first.protocol.folds else "top1"
    rows = sorted((row_of(g) for g in groups.values()), key=lambda r: (-r[headline], r["method"]))
    name_variants(rows)
    reason = unranked(first)
    if reason:  # an order by accuracy would be a ranking
        rows.sort(key=lambda r: (r["method"], r["variant"], r["rule"]))
    detectable = None if reason else _rank(rows, fold_numbers(first))
    m = first.metrics
    return {
        "protocol": first.protocol.id,
        "dataset": first.protocol.dataset,
        "oracle": first.texts.oracle,
        "synthetic": bool(first.protocol.stand_in_for),
        "stand_in_for": first.protocol.stand_in_for,
        "family_of": first.protocol.family_of,
        "setting": first.method.setting,
        "origin": first.encoder.origin,
        "unranked": reason,
        "rule": first.protocol.rule,
        "unseen": len(first.protocol.unseen),
        "seen": len(first.protocol.seen),
        "folds": len(first.protocol.folds),
        "headline": headline,
        "clips": m.clips,
        "expected_clips": first.protocol.expected_clips,
        "released": first.encoder.released.model_dump() if first.encoder.released else None,
        "subjects": len([p for p in subjects(first) if p != NOBODY]),
        "chance": m.chance,
        "chance_top1": m.chance_top1,
        "majority_class": m.majority_class,
        "detectable": detectable,
        "rows": rows,
    }


def _rank(rows: list[Json], folds: Sequence[int]) -> float | None:
    """Mark the best row and those that are not significantly worse (paired t and sign-flip, 95 %).

    The units are classes if there are ``folds``, else subjects.

    Returns:
        The largest minimum detectable difference to the best row, over the rows that are not
        significantly worse; None if it is unknown for all.
    """
    best, others = rows[0], rows[1:]
    best["best"] = True
    unit, values = ("classes", "class_means") if folds else ("subjects", "subject_means")
    gaps = []
    for row in others:
        differences = np.subtract(row[values], best[values])
        verdict = statistics.power_gate(differences.tolist(), unit, strata=folds)
        row["not_shown_to_differ"] = verdict.answer != "worse"
        if row["not_shown_to_differ"] and verdict.detectable is not None:
            gaps.append(verdict.detectable)
    return max(gaps) if gaps else None
