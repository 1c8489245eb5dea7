"""Runs with GZSL: one row per method with S, U, H and AUSUC; one section per kind of calibration.

These runs are shown here only. Each also holds the ZSL predictions of a run without GZSL; in the
ZSL rows that run would be counted twice.

The answer is plain JSON data, as that of ``zsar_bench.comparison.sections``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zsar_bench.comparison.ranking import row_key, section_key
from zsar_bench.comparison.rows import name_variants, over_seeds, row_head, row_trust
from zsar_bench.records.parts import GzslPart
from zsar_bench.records.schema import Record

Json = dict[str, Any]

KINDS = ("top1", "mean_class")
NUMBERS = ("seen", "unseen", "harmonic", "ausuc", "oracle_harmonic")


def gzsl_sections(records: Sequence[Record]) -> list[Json]:
    """One section per protocol and kind, sorted by H of mean class accuracies, but not ranked.

    Args:
        records: finished runs of any protocols; those without GZSL are ignored.

    Returns:
        Sections with ``protocol``, ``kind``, ``setting``, ``origin``, ``oracle`` (texts),
        ``seen`` and ``unseen`` classes, ``seen_clips``, ``unseen_clips``, and ``rows``; see
        ``_row``.
    """
    groups: dict[tuple[str, str], list[tuple[Record, GzslPart]]] = {}
    for record in records:
        if record.gzsl is not None:
            key = (section_key(record), record.gzsl.kind + record.gzsl.samples)
            groups.setdefault(key, []).append((record, record.gzsl))
    return [_section(group) for _, group in sorted(groups.items())]


def _section(group: list[tuple[Record, GzslPart]]) -> Json:
    by_row: dict[str, list[tuple[Record, GzslPart]]] = {}
    for record, part in group:
        by_row.setdefault(row_key(record), []).append((record, part))
    rows = [_row(runs) for runs in by_row.values()]
    rows.sort(key=lambda row: (-row["mean_class"]["harmonic"]["mean"], row["method"]))
    name_variants(rows)
    first, part = group[0]
    return {
        "protocol": first.protocol.id,
        "dataset": first.protocol.dataset,
        "kind": part.kind,
        "stand_in_for": first.protocol.stand_in_for,
        "setting": first.method.setting,
        "origin": first.encoder.origin,
        "oracle": first.texts.oracle,
        "unranked": "",
        "rule": first.protocol.rule,
        "seen": len(first.protocol.seen),
        "unseen": len(first.protocol.unseen),
        "seen_clips": part.seen_clips,
        "unseen_clips": part.unseen_clips,
        "rows": rows,
    }


def _row(runs: list[tuple[Record, GzslPart]]) -> Json:
    """One row: ``top1`` and ``mean_class`` -> measure -> ``mean`` and ``sd`` over seeds.

    Encoder seeds have equal weight. ``sd`` is over encoder seeds, or over method seeds if there is
    one encoder; null for one seed.
    """
    records = [record for record, _ in runs]
    encoders = {r.encoder_seed for r in records}
    return {
        **row_head(records[0]),
        **row_trust(records),
        "seeds": len(records),
        "spread_excludes_encoder": len(encoders) == 1 and len(records) > 1,
        "zsl": float(over_seeds(records, [r.metrics.top1 for r in records])),
        **{
            kind: {
                name: _spread(records, [getattr(getattr(p, kind), name) for _, p in runs])
                for name in NUMBERS
            }
            for kind in KINDS
        },
    }


def _spread(records: list[Record], values: list[float]) -> Json:
    by_encoder: dict[int, list[float]] = {}
    for record, value in zip(records, values, strict=True):
        by_encoder.setdefault(record.encoder_seed, []).append(value)
    means = [float(np.mean(group)) for group in by_encoder.values()]
    means = means if len(means) > 1 else values
    return {
        "mean": float(over_seeds(records, values)),
        "sd": float(np.std(means, ddof=1)) if len(means) > 1 else None,
    }
