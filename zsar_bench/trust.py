"""What a row's records say about trust; the weakest of them speaks for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from zsar_bench.certificate import LEVELS, weakest_level
from zsar_bench.record import Record

UNCONFINED, UNKNOWN = LEVELS[:2]


def level(r: Record) -> str:
    """The weakest level under which anything was made that this run's scores depend on.

    A record without a certificate is ``unknown``. The encoder counts: one that was trained
    without walls can have seen what it must not, however well the method's own workers were
    confined. Released features were trained by others (``none``); their rows say so otherwise.
    """
    if r.origin == "self-reported":
        return UNCONFINED
    if r.certificate is None:
        return UNKNOWN
    return str(weakest_level((r.certificate.walls.level, r.certificate.encoder_level)))


def row_trust(records: Sequence[Record]) -> dict[str, Any]:
    """What a row says about trust.

    Returns:
        ``{"confinement", "denied", "proof"}``: the weakest level; refused accesses, ``"stage:
        what"`` -> times, summed over runs; and what ``--prove`` found, null where no run was
        proven, else ``{"runs", "refit_identical", "stable"}``: of how many runs, and whether all
        of these were so.
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
