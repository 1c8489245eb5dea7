"""Selection rules compared within each method: the gain from test-set selection.

Runs of one method that differ by rule and seed share their training, unless the rule needs a refit.
So differences between rules are paired by seed. Nothing is ranked here.

The answer is plain JSON data, as that of ``zsar_bench.comparison.sections``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zsar_bench.comparison import statistics
from zsar_bench.comparison.ranking import best_of, method_key, place, unranked
from zsar_bench.comparison.rows import interval_json, name_variants, over_seeds, row_head, row_trust
from zsar_bench.plans.selection import LAST
from zsar_bench.records.schema import Record

Json = dict[str, Any]
Seeds = tuple[int, int]

#: numbers of evaluations on the test clips, E, whose gain is reported
EVALUATIONS = (1, 2, 5, 10, 20, 50)


def rule_sections(records: Sequence[Record]) -> list[Json]:
    """A section for each protocol, with a group for each method that ran under several rules.

    Args:
        records: finished runs of any protocols, none under a text control. Self-reported ones
            are left out: their rule cannot be verified.

    Returns:
        ``{"protocol", "setting", "origin", "oracle", "groups"}``; a group is a method's head
        (see ``rows.row_head``) with ``rules``, one row per rule (see ``_row``), and
        ``prices`` (see ``_price``), one for each oracle rule.
    """
    sections: dict[str, dict[str, list[Record]]] = {}
    for r in records:
        if r.origin == "run":
            sections.setdefault(place(r), {}).setdefault(method_key(r), []).append(r)
    answer = []
    for _, methods in sorted(sections.items()):
        groups = [_group(runs) for runs in methods.values() if _is_comparable(runs)]
        if groups:
            first = next(iter(methods.values()))[0]
            answer.append(_section(first, sorted(groups, key=_order)))
    return answer


def _is_comparable(runs: list[Record]) -> bool:
    """Whether runs can be compared: they have several rules, or a curve of evaluations."""
    return len({r.selection for r in runs}) > 1 or any(r.states and r.states.curve for r in runs)


def _order(group: Json) -> tuple[str, str, str]:
    return (group["method"], group["texts"], group["text_encoder"])


def _section(first: Record, groups: list[Json]) -> Json:
    name_variants(groups)
    return {
        "protocol": first.protocol.id,
        "setting": first.method.setting,
        "origin": first.encoder.origin,
        "oracle": first.texts.oracle,
        "clips": first.metrics.clips,
        "unseen": len(first.protocol.unseen),
        "groups": groups,
    }


def _group(runs: list[Record]) -> Json:
    by_rule: dict[str, list[Record]] = {}
    for r in runs:
        by_rule.setdefault(r.selection, []).append(r)
    # ``last`` first, rules that select on test clips at the end.
    rules = sorted(by_rule, key=lambda rule: (rule != LAST, _evaluations(rule), rule))
    last = by_rule.get(LAST, [])
    prices = [_price(rule, by_rule[rule]) for rule in rules if best_of(rule)]
    return {
        **row_head(by_rule[rules[0]][0]),
        **row_trust(runs),
        "rules": [_row(by_rule[rule], last) for rule in rules],
        "prices": [price for price in prices if price["points"]],
    }


def _evaluations(rule: str) -> int:
    evaluations = best_of(rule)
    return int(evaluations) if evaluations.isdecimal() else 0


def _row(runs: list[Record], last: list[Record]) -> Json:
    """The row of one rule.

    Returns:
        ``rule``, ``unranked``, the fields of ``row_trust``, ``seeds``, ``top1``, ``mean_class``,
        ``evaluated`` (number of evaluated states, mean over seeds; 1 without selection),
        ``fraction`` (position of the selected states in the schedule, mean over rounds and
        seeds), and ``difference`` (rule - ``last``, top-1 accuracy): null for ``last`` itself and
        if no seed has both; else ``{"pairs", "mean", "interval", "answer"}``.
    """
    first = runs[0]
    return {
        "rule": first.selection,
        "unranked": unranked(first),
        **row_trust(runs),
        "seeds": len(runs),
        "top1": float(over_seeds(runs, [r.metrics.top1 for r in runs])),
        "mean_class": float(over_seeds(runs, [r.metrics.mean_class for r in runs])),
        "evaluated": float(np.mean([r.states.evaluated if r.states else 1 for r in runs])),
        "fraction": float(np.mean([_fraction(r) for r in runs])),
        "difference": None if first.selection == LAST else _difference(runs, last),
    }


def _fraction(r: Record) -> float:
    return float(np.mean([*r.states.fractions.values()])) if r.states else 1.0


def _difference(runs: list[Record], last: list[Record]) -> Json | None:
    """Difference (rule - ``last``) of top-1 accuracy, paired by seeds.

    The unit is the encoder seed. If all pairs share one encoder, it is the method seed, and the
    interval does not cover other encoders.
    """
    chosen, baseline = _by_seeds(runs), _by_seeds(last)
    pairs = {
        s: chosen[s].metrics.top1 - baseline[s].metrics.top1
        for s in sorted(chosen.keys() & baseline)
    }
    if not pairs:
        return None
    encoders = sorted({encoder for encoder, _ in pairs})
    if len(encoders) == 1:
        values, unit = list(pairs.values()), "method seeds"
    else:
        values = [float(np.mean([v for (e, _), v in pairs.items() if e == n])) for n in encoders]
        unit = "encoder seeds"
    interval = statistics.seed_interval(values, unit=unit)
    return {
        "pairs": len(pairs),
        "mean": float(np.mean(values)),
        "interval": interval_json(interval),
        "answer": _answer(interval),
    }


def _by_seeds(runs: list[Record]) -> dict[Seeds, Record]:
    return {(r.encoder_seed, r.method_seed): r for r in runs}


def _answer(interval: statistics.Interval | None) -> str:
    """Whether the rule's accuracy differs significantly from that of ``last``, over seeds."""
    if interval is None or interval.low <= 0 <= interval.high:
        return "cannot tell"
    return "higher" if interval.low > 0 else "lower"


def _price(rule: str, runs: list[Record]) -> Json:
    """Gain from test-set selection: top-1 accuracy of the best of E evaluations minus the last.

    E evaluations are every n-th of a curve's evaluations, the last one included, if E divides
    their number.

    Returns:
        ``rule``, ``seeds``, and ``points``: ``{"evaluations", "price", "by_seed"}`` by rising E;
        ``price`` is the gain, a mean over seeds; ``by_seed`` is in the order of seeds.
    """
    with_curve = [r for r in sorted(runs, key=lambda r: (r.encoder_seed, r.method_seed))
                  if r.states and r.states.curve]  # fmt: skip
    curves = [np.array([e.top1 for e in r.states.curve]) for r in with_curve if r.states]
    points = []
    for count in EVALUATIONS:
        if curves and all(len(curve) % count == 0 for curve in curves):
            prices = [peeking(curve, count) for curve in curves]
            mean = float(over_seeds(with_curve, prices))
            points.append({"evaluations": count, "price": mean, "by_seed": prices})
    return {"rule": rule, "seeds": len(curves), "points": points}


def peeking(curve: Any, count: int) -> float:
    """The best of ``count`` evenly spaced evaluations minus the last of all.

    Args:
        curve: (E,) accuracies in the order of the schedule; ``count`` divides E.
    """
    step = len(curve) // count
    return float(np.max(curve[step - 1 :: step]) - curve[-1])
