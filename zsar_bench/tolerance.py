"""How far a score may move for no other reason than rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def tolerance(scores: NDArray[np.float32], precision: str) -> float:
    """Largest change of a score that rounding explains.

    A thousandth of the scores' spread in float32 and a tenth of it in mixed precision, whose
    sums differ with the batch; a method that looks at the batch moves by about the spread.
    """
    share = 1e-3 if precision == "float32" else 1e-1
    return float(share * np.nanstd(scores) + 1e-6 * np.nanmax(np.abs(scores)))
