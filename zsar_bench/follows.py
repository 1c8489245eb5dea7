"""Whether a record's numbers follow from its predictions, for runs that have no seal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from zsar_bench import metrics
from zsar_bench.errors import RunFailed, UserError
from zsar_bench.identity import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.record import Record


def check_metrics(
    path: Path,
    record: Record,
    ids: list[str],
    labels: NDArray[np.int64],
    candidates: list[str],
    scores: NDArray[np.float32],
) -> None:
    """Refuse predictions that do not belong to the record beside them.

    Performers are not among the predictions, so cells are compared class by class.

    Args:
        path: of the predictions, for the error.
        record: from the same folder.
        ids, labels, candidates, scores: as ``record.read_predictions`` returns them.

    Raises:
        UserError: naming the file and the number that differs.
    """
    try:
        found = _numbers(ids, labels, candidates, scores)
    except (RunFailed, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}.") from None
    told: dict[str, object] = {
        "the tested clips": record.protocol.samples,
        "the candidates": record.protocol.unseen,
        "metrics.clips": record.metrics.clips,
        "metrics.tied": record.metrics.tied,
        "metrics.micro": record.metrics.micro,
        "metrics.macro": record.metrics.macro,
        "metrics.largest_class": record.metrics.largest_class,
    }
    for class_id, row in record.metrics.cells.items():
        told[f"metrics.cells.{class_id}"] = sum(credit for credit, _ in row.values())
        told[f"the clips of {class_id}"] = sum(clips for _, clips in row.values())
    for name in [*found, *(told.keys() - found)]:
        if not _same(found.get(name), told.get(name)):
            raise UserError(
                f"{path} and run.json beside it disagree: {name} does not follow from the "
                "predictions; one of them is damaged."
            )


def _numbers(
    ids: list[str],
    labels: NDArray[np.int64],
    candidates: list[str],
    scores: NDArray[np.float32],
) -> dict[str, object]:
    judged = metrics.judge(scores, labels)
    count = len(candidates)
    found: dict[str, object] = {
        "the tested clips": digest(sorted(ids)),
        "the candidates": candidates,
        "metrics.clips": len(ids),
        "metrics.tied": judged.tied,
        "metrics.micro": metrics.micro(judged.credit),
        "metrics.macro": metrics.macro(judged.credit, labels, count),
        "metrics.largest_class": metrics.largest_class(scores, labels),
    }
    sums, counts = metrics.per_class(judged.credit, labels, count)
    for class_id, credit, clips in zip(candidates, sums.tolist(), counts.tolist(), strict=True):
        if clips:
            found[f"metrics.cells.{class_id}"] = credit
            found[f"the clips of {class_id}"] = clips
    return found


def _same(one: object, other: object) -> bool:
    """Equal; fractions up to the rounding of another version of numpy."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other
