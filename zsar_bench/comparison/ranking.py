"""What may be ranked with what: decided here, for every table and every format.

A section holds rows that may be compared: one protocol, one list of tested clips, one setting,
one origin of features. A row is everything but the seeds. Some rows are never ranked at all: a
state that was chosen on the test clips has a number that is too high by construction, so has a
method that was told their labels, and nobody knows how scores were made that came from elsewhere.
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
    """``E`` of the rule ``oracle@E``; empty for every rule that does not look at test clips."""
    return rule.partition("@")[2] if peeks(rule) else ""


def unranked(r: Record) -> str:
    """Why a run is ranked with no other; empty where it may be ranked."""
    reasons = [SELF_REPORTED] if r.origin == "self-reported" else []
    reasons += [f"{LEAK}: {r.method.leak}"] if r.method.leak else []
    reasons += [ON_TEST] if best_of(r.selection) else []
    return ", ".join(reasons)


def peeked(about: Mapping[str, Any]) -> bool:
    """Whether a section or row of a comparison was chosen on the test clips."""
    return ON_TEST in about["unranked"]


def leaking(about: Mapping[str, Any]) -> str:
    """What a section or row of a comparison was told, as ``leak: labels``; empty: nothing."""
    reasons = about["unranked"].split(", ")
    return next((str(reason) for reason in reasons if reason.startswith(f"{LEAK}: ")), "")


def section_key(r: Record) -> str:
    """All that must agree for two runs to stand in one section."""
    return f"{place(r)}|{unranked(r)}"


def place(r: Record) -> str:
    """All that must agree for the numbers of two runs to be about the same task."""
    p = r.protocol
    oracle = "oracle" if r.texts.oracle else ""
    features = r.encoder.released.hash if r.encoder.released else ""
    where = (p.id, p.samples, p.digest, r.method.setting, r.encoder.origin, oracle, features)
    return "|".join(where)


def row_key(r: Record) -> str:
    """All that must agree for two runs to differ by their seeds only."""
    return digest([method_key(r), r.selection])


def method_key(r: Record) -> str:
    """All that must agree for two runs to differ by their seeds and rule only."""
    e, tuning = r.environment, r.method.tuning
    # On several splits one search has several outcomes, and is one procedure all the same.
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
