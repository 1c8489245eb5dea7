"""``toy-rank`` and ``toy-lines``: a metric and a reporter."""

from __future__ import annotations

from typing import Any

import numpy as np


def mean_rank(scores: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> float:
    """Mean over clips of 1 + how many classes score above the true one."""
    own = scores[np.arange(len(labels)), labels]
    return float(np.mean(1 + (scores > own[:, None]).sum(axis=1)))


def lines(comparison: dict[str, Any], *, width: int, color: bool) -> str:
    """One line a row: protocol, method, top-1 accuracy in percent."""
    return "".join(
        f"{section['protocol']} {row['method']} {100 * row['top1']:.1f}\n"
        for section in comparison["sections"]
        for row in section["rows"]
    )
