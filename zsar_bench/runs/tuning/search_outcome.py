"""The outcome of a search: every trial's accuracy, the best values, and the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zsar_bench.common.files import write_json
from zsar_bench.common.hashing import digest
from zsar_bench.runs.tuning.search import OUTCOME, VERSION, Search, read_fits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]


def outcome(search: Search) -> Json:
    """The outcome of a search whose fits are all made; written into its ``tuning.json``.

    Nothing in it depends on the time or the place, so its digest can be part of a run's identity.
    """
    outcome_ = outcome_of(search, read_fits(search))
    outcome_ |= {"digest": digest(outcome_), "next": next_step(outcome_)}
    write_json(search.folder / OUTCOME, outcome_)
    return outcome_


def outcome_of(search: Search, fits: list[Json]) -> Json:
    """The same from the outcomes of the fits, in the order of ``search.fits()``.

    A trial's accuracy is the mean over pairs of seeds and rotations; the earliest of equals is
    the best.
    """
    import numpy as np

    names, pairs = [*search.parts], len(search.plans)
    table = np.array([fit["accuracy"] for fit in fits]).reshape(-1, pairs, len(names))
    failed = np.array([bool(fit["reason"]) for fit in fits]).reshape(table.shape)
    by_part, by_pair = table.mean(axis=1), table.mean(axis=2)
    means = table.mean(axis=(1, 2))
    best = int(means.argmax())
    sound = np.logical_not(failed).all(axis=(1, 2))
    trials = [
        {
            "trial": n,
            "values": values,
            "accuracy": float(means[n]),
            "spread": float(by_part[n].std(ddof=1)) if len(names) > 1 else None,
            "parts": dict(zip(names, by_part[n].tolist(), strict=True)),
            "by_seeds": by_pair[n].tolist(),
            "failed": _failures(fits[n * failed[0].size : (n + 1) * failed[0].size]),
        }
        for n, values in enumerate(search.trials)
    ]
    plan = search.base
    return {
        "version": VERSION,
        "protocol": plan.protocol.id,
        "method": plan.method.name,
        "profile": plan.params.profile,
        "base": plan.params.science,
        "texts": plan.class_texts.name,
        "text_fields": list(plan.fields),
        "skeleton_encoder": plan.encoders[0].name,
        "text_encoder": plan.texts.entry.name,
        "budget": search.budget,
        "seed": search.seed,
        "seeds": [list(pair) for pair in search.seeds],
        "space": {fit.name: fit.as_json for fit in search.space},
        "held_out": search.parts,
        "basis": search.basis,
        "recipe": search.recipe,
        "trials": trials,
        "best": {k: trials[best][k] for k in ("trial", "values", "accuracy", "spread")},
        "noise": _noise(by_part, by_pair, np.flatnonzero(sound), best),
    }


def _failures(fits: list[Json]) -> list[Json]:
    shown = ("part", "seeds", "status", "reason")
    return [{k: fit[k] for k in shown} for fit in fits if fit["reason"]]


def _noise(
    by_part: NDArray[np.float64], by_pair: NDArray[np.float64], sound: NDArray[np.int64], best: int
) -> Json:
    """How far trials differ by which classes were held out, and by their seeds.

    All trials share rotations and seeds, so effects common to all trials are removed.

    Args:
        by_part: (T, P) accuracy of every trial in every rotation.
        by_pair: (T, S) with every pair of seeds.
        sound: trials of which no fit failed; others are left out.
        best: number of the best trial.

    Returns:
        ``rotations`` and ``seeds``: standard deviations of one rotation's, or one pair's, own
        deviation. ``difference``: standard error by rotations of the difference between two
        trials. ``not_told_from_best``: trials at most two of these below the best, itself left
        out. Null where one rotation, pair or trial is not enough.
    """
    import numpy as np

    rotations = _interaction(by_part[sound])
    difference = None if rotations is None else rotations * float(np.sqrt(2 / by_part.shape[1]))
    near = None
    if difference is not None:
        means = by_part.mean(axis=1)
        near = int((means >= means[best] - 2 * difference).sum()) - 1
    return {
        "rotations": rotations,
        "seeds": _interaction(by_pair[sound]),
        "difference": difference,
        "not_told_from_best": near,
    }


def _interaction(table: NDArray[np.float64]) -> float | None:
    """Root mean square of what is left of a table (T, P) without the means of its rows and
    columns, by (T - 1)(P - 1) degrees of freedom."""
    import numpy as np

    if min(table.shape) < 2:
        return None
    residual = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float(np.sqrt((residual**2).sum() / ((table.shape[0] - 1) * (table.shape[1] - 1))))


def next_step(outcome: Json) -> str:
    """What to type next, in a sentence."""
    what = f"zsar-bench run {outcome['method']} --protocol {outcome['protocol']} --tuned"
    return f"Run the best values: {what}, with the same options for texts, encoders and profile."
