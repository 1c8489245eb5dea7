"""Which runs are ranked together, for every table and every format.

A section holds rows that may be compared: one protocol, one list of tested clips, one setting, one
origin of features. Runs of a row differ by their seeds only. Some rows are never ranked: states
that were selected on the test clips and methods that got test labels have numbers that are too high
by construction, and the origin of self-reported scores is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zsar_bench.common.hashing import digest
from zsar_bench.plans.selection import peeks

if TYPE_CHECKING:
    from zsar_bench.records.schema import Record

ON_TEST = "chosen on test"
SELF_REPORTED = "self-reported"
LEAK = "leak"


def best_of(rule: str) -> str:
    """``E`` of the rule ``oracle@E``; empty for rules that do not use test clips."""
    return rule.partition("@")[2] if peeks(rule) else ""


def unranked(r: Record) -> str:
    """Why a run is not ranked; empty if it may be ranked."""
    reasons = [SELF_REPORTED] if r.origin == "self-reported" else []
    reasons += [f"{LEAK}: {r.method.leak}"] if r.method.leak else []
    reasons += [ON_TEST] if best_of(r.selection) else []
    return ", ".join(reasons)


def peeked(part: Mapping[str, Any]) -> bool:
    """Whether a section or row of a comparison was selected on the test clips."""
    return ON_TEST in part["unranked"]


def leaking(part: Mapping[str, Any]) -> str:
    """The leak of a section or row of a comparison, as ``leak: labels``; empty: none."""
    reasons = part["unranked"].split(", ")
    return next((str(reason) for reason in reasons if reason.startswith(f"{LEAK}: ")), "")


def section_key(r: Record) -> str:
    """The key of a section: equal for runs that are shown together."""
    return f"{place(r)}|{unranked(r)}"


def place(r: Record) -> str:
    """The key of a task: equal for runs whose results can be compared."""
    p = r.protocol
    oracle = "oracle" if r.texts.oracle else ""
    features = r.encoder.released.hash if r.encoder.released else ""
    where = (p.id, p.samples, p.digest, r.method.setting, r.encoder.origin, oracle, features)
    return "|".join(where)


def row_key(r: Record) -> str:
    """The key of a row: equal for runs that differ by their seeds only."""
    return digest([method_key(r), r.selection])


def method_key(r: Record) -> str:
    """The key of a method: equal for runs that differ by seeds and selection rule only."""
    e, tuning = r.environment, r.method.tuning
    # One search is one procedure, although its result may differ between splits.
    values = r.method.science if tuning is None else {"tuned": tuning.recipe}
    return digest(
        [
            [r.method.name, r.method.digest, values],
            [r.encoder.name, r.encoder.digest, r.encoder.science],
            [r.texts.encoder, r.texts.digest, r.texts.science, r.texts.fingerprint],
            [r.texts.source, r.texts.version, r.texts.fields, r.texts.texts],
            [r.protocol.data, e.device, e.threads, e.precision],
        ]
    )
