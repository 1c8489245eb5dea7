"""Whether a record's numbers follow from its predictions, for runs that have no seal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from zsar_bench.common.hashing import digest
from zsar_bench.errors import RunFailed, UserError
from zsar_bench.metrics.measures import NOBODY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.records.parts import Metrics
    from zsar_bench.records.schema import Record

NUMBERS = ("clips", "tied", "micro", "macro", "largest_class")


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
    from zsar_bench.metrics.measures import measure
    from zsar_bench.records.parts import Metrics

    try:
        own = Metrics(**vars(measure(candidates, labels, [NOBODY] * len(ids), scores)))
    except (RunFailed, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}.") from None
    found = _numbers(digest(sorted(ids)), candidates, own)
    told = _numbers(record.protocol.samples, record.protocol.unseen, record.metrics)
    for name in [*found, *(told.keys() - found)]:
        if not _same(found.get(name), told.get(name)):
            raise UserError(
                f"{path} and run.json beside it disagree: {name} does not follow from the "
                "predictions; one of them is damaged."
            )


def _numbers(samples: str, candidates: list[str], metrics: Metrics) -> dict[str, object]:
    """What is compared, by the name under which it is told."""
    found: dict[str, object] = {"the tested clips": samples, "the candidates": candidates}
    found |= {f"metrics.{name}": getattr(metrics, name) for name in NUMBERS}
    for class_id, row in metrics.cells.items():
        found[f"metrics.cells.{class_id}"] = sum(credit for credit, _ in row.values())
        found[f"the clips of {class_id}"] = sum(clips for _, clips in row.values())
    return found


def _same(one: object, other: object) -> bool:
    """Equal; fractions up to the rounding of another version of numpy."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other
