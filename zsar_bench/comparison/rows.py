"""A row of a comparison: runs that differ by their seeds only, with means and intervals.

The answer is plain JSON data, as that of ``zsar_bench.comparison.sections``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.comparison import statistics
from zsar_bench.comparison.ranking import peeked, unranked
from zsar_bench.records.parts import LEVELS, weakest_level
from zsar_bench.records.schema import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]


def subjects(r: Record) -> list[str]:
    """Subjects of the tested clips, sorted; only ``NOBODY`` if they are not known."""
    return sorted({s for row in r.metrics.cells.values() for s in row})


def subject_means(r: Record) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Per subject, in sorted order: top-1 accuracy (P,), mean class accuracy (P,), clips."""
    by_subject: dict[str, list[tuple[float, int]]] = {}
    for row in r.metrics.cells.values():
        for subject, cell in row.items():
            by_subject.setdefault(subject, []).append(cell)
    top1, mean_class, counts = [], [], []
    for _, cells in sorted(by_subject.items()):
        counts.append(sum(n for _, n in cells))
        top1.append(sum(credit for credit, _ in cells) / counts[-1])
        mean_class.append(_mean([credit / n for credit, n in cells]))
    return np.array(top1), np.array(mean_class), counts


def _mean(values: Sequence[float]) -> float:
    """``numpy.mean`` to the last bit, at a fifth of its price for a few numbers."""
    return float(np.add.reduce(np.array(values, dtype=np.float64)) / len(values))


def class_means(r: Record) -> NDArray[np.float64]:
    """(K,) accuracy of each class that has clips, in the order of ``unseen``."""
    means = []
    for row in (r.metrics.cells[c] for c in r.protocol.unseen if c in r.metrics.cells):
        credit, clips = 0.0, 0
        for c, n in row.values():
            credit, clips = credit + c, clips + n
        means.append(credit / clips)
    return np.array(means)


def fold_numbers(r: Record) -> list[int]:
    """(K,) the fold of each class of ``class_means``; empty without folds."""
    fold = {c: n for n, classes in enumerate(r.protocol.folds) for c in classes}
    return [fold[c] for c in r.protocol.unseen if c in r.metrics.cells] if fold else []


def over_seeds(records: Sequence[Record], values: Sequence[Any]) -> Any:
    """Mean over encoder seeds of the mean over their method seeds."""
    by_encoder: dict[int, list[Any]] = {}
    for r, value in zip(records, values, strict=True):
        by_encoder.setdefault(r.encoder_seed, []).append(value)
    return np.mean([np.mean(group, axis=0) for group in by_encoder.values()], axis=0)


def row_head(first: Record) -> Json:
    """The description of a row, from any of its records: the fields that they share."""
    return {
        "method": first.method.name,
        "profile": first.method.profile,
        "hp": first.method.hp,
        "tuning": first.method.tuning.model_dump(mode="json") if first.method.tuning else None,
        "science": first.method.science,
        "code": first.method.digest,
        "variant": "",
        "encoder": first.encoder.name + _changes(first.encoder.profile),
        "encoder_profile": first.encoder.profile,
        "text_encoder": first.texts.encoder,
        "texts": f"{first.texts.source}{_version(first)}",
        "text_fields": first.texts.fields,
        "rule": first.selection,
        "unranked": unranked(first),
        "device": first.environment.device,
        "precision": first.environment.precision,
    }


def row_of(records: list[Record]) -> Json:
    """Runs that differ by their seeds only, as one row of a section.

    Returns:
        The fields of ``row_head`` and ``row_trust``; accuracies as means over seeds, for all
        clips, by subject and by class; their standard deviations and intervals, null if they
        cannot be estimated; and ``best`` and ``not_shown_to_differ``, which the section sets.
    """
    first = records[0]
    means = [subject_means(r) for r in records]
    top1 = over_seeds(records, [m[0] for m in means])
    mean_class = over_seeds(records, [m[1] for m in means])
    counts = means[0][2]
    interval = statistics.subject_interval((top1 * counts).tolist(), counts)
    by_class = over_seeds(records, [class_means(r) for r in records])
    folds = fold_numbers(first)
    over_classes = statistics.class_interval(by_class, folds) if folds else None
    pairs = {(r.encoder_seed, r.method_seed): r.metrics.top1 for r in records}
    spread = statistics.spread(pairs)
    encoder_seeds = sorted({r.encoder_seed for r in records})
    by_encoder = [
        float(np.mean([v for (e, _), v in pairs.items() if e == seed])) for seed in encoder_seeds
    ]
    over_encoder_seeds = statistics.seed_interval(by_encoder) if len(encoder_seeds) > 1 else None
    head = row_head(first)
    if peeked(head):  # selected on test: an interval would not have its nominal coverage
        interval, over_classes, beats = None, None, None
    else:
        beats = (
            _above(over_classes, first.metrics.chance)
            if folds
            else _beats_chance(first, mean_class)
        )
    return {
        **head,
        **row_trust(records),
        "seeds": len(records),
        "encoder_seeds": encoder_seeds,
        "spread_excludes_encoder": len(encoder_seeds) == 1 and len(records) > 1,
        "top1": float(over_seeds(records, [r.metrics.top1 for r in records])),
        "mean_class": float(over_seeds(records, [r.metrics.mean_class for r in records])),
        "sd_encoder": spread.encoder,
        "sd_method": spread.method,
        "interval": interval_json(over_classes if folds else interval),
        "subject_interval": interval_json(interval),
        "seed_interval": interval_json(over_encoder_seeds),
        "beats_chance": beats,
        "subject_means": [float(v) for v in top1],
        "class_means": [float(v) for v in by_class],
        "clips": first.metrics.clips,
        "tied": max(r.metrics.tied for r in records),
        "seen_accuracy": _seen_accuracy(records),
        "seconds": float(np.mean([r.seconds.fit + r.seconds.score for r in records])),
        "declared_setting": first.method.declared_setting,
        "best": False,
        "not_shown_to_differ": False,
    }


def _changes(profile: str) -> str:
    """The changes of a profile, in parentheses; empty if there are none."""
    return f" {profile[profile.index('(') :]}" if "(" in profile else ""


def _version(r: Record) -> str:
    return "" if r.texts.version == 1 else f" v{r.texts.version}"


def interval_json(interval: statistics.Interval | None) -> Json | None:
    """An interval's ends and name."""
    if interval is None:
        return None
    return {"low": interval.low, "high": interval.high, "name": interval.name}


def _above(interval: statistics.Interval | None, value: float) -> bool | None:
    """Whether an interval lies above a value; None: cannot tell."""
    return None if interval is None else interval.low > value


def _beats_chance(first: Record, mean_class: NDArray[np.float64]) -> bool | None:
    """Whether mean class accuracy of new subjects is above chance; None: cannot tell.

    Args:
        first: a record of the row.
        mean_class: (P,) mean class accuracy of each subject, in sorted order.
    """
    m = first.metrics
    guesses: Any = m.chance
    if m.guesses:  # subjects differ in their chance level
        rows = [[row[p] for row in m.guesses.values() if p in row] for p in subjects(first)]
        guesses = np.array([np.mean(row) for row in rows])
    over = (mean_class - guesses).tolist()
    return _above(statistics.subject_interval(over, [1] * len(over)), 0.0)


def _seen_accuracy(records: list[Record]) -> float | None:
    values = [
        round_.seen_accuracy
        for r in records
        for round_ in r.encoder.rounds
        if round_.seen_accuracy is not None
    ]
    return float(np.mean(values)) if values else None


def name_variants(rows: list[Json]) -> None:
    """Set ``variant`` of rows of one method that differ in parameters or code."""
    by_method: dict[str, list[Json]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row)
    for group in by_method.values():
        common = {
            k
            for k in group[0]["science"]
            if all(
                json.dumps(r["science"].get(k)) == json.dumps(group[0]["science"][k]) for r in group
            )
        }
        codes = sorted({r["code"] for r in group})
        for row in group:
            parts = [f"{k}={v}" for k, v in row["science"].items() if k not in common]
            if len({r["profile"] for r in group}) > 1:
                parts.insert(0, row["profile"])
            if len(codes) > 1:
                parts.append(f"code {row['code'][:7]}")
            row["variant"] = " ".join(parts)


NONE = LEVELS[0]


def level(r: Record) -> str:
    """The weakest level of confinement in all steps that this run's scores depend on.

    Self-reported scores have ``none``. The encoder's training counts: an unconfined one may have
    read test data. Released features have ``none``; their rows are marked separately.
    """
    if r.certificate is None:
        return NONE
    return str(weakest_level((r.certificate.confinement.level, r.certificate.encoder_level)))


def row_trust(records: Sequence[Record]) -> dict[str, Any]:
    """The fields of a row about confinement and proofs.

    Returns:
        ``{"confinement", "denied", "proof"}``: the weakest level; refused accesses, ``"stage:
        what"`` -> times, summed over runs; and the results of ``--prove``, null if no run was
        proven, else ``{"runs", "refit_identical", "stable"}``: number of proven runs, and whether
        the property holds for all of them.
    """
    certificates = [r.certificate for r in records if r.certificate]
    denied: Counter[str] = Counter()
    for certificate in certificates:
        denied.update(certificate.denied)
    proofs = [c.proof for c in certificates if c.proof]
    return {
        "confinement": weakest_level(level(r) for r in records),
        "denied": dict(sorted(denied.items())),
        "proof": {
            "runs": len(proofs),
            "refit_identical": all(p.refit_identical for p in proofs),
            "stable": all(p.stable for p in proofs),
        }
        if proofs
        else None,
    }
