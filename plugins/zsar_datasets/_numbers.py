"""Numbers from text files that strangers wrote, for readers of such files.

Why not ``numpy.loadtxt``: it takes comments and gaps for granted, and a file's word for its size.
Here every size is known before anything is made of it, and an error names the line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDEST = 40  #: characters of a number; a double needs at most 24
LARGEST = 1e6  #: of any number in these files; beyond it they are damaged
FARTHEST = 50.0  #: metres from the origin; a Kinect sees less than ten, a studio is smaller

HINT = "Get this file again, or leave it out."


def number(text: bytes) -> float:
    """The number that this text is; may be huge, infinite or NaN.

    Raises:
        DataError: for anything else, and for what only Python takes for a number.
    """
    if len(text) > WIDEST or b"_" in text:
        raise DataError(f"{text[:20]!r}... stands where a number should", HINT)
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{text[:20]!r} stands where a number should", HINT) from None


def table(
    data: bytes, columns: int, most: int, separator: bytes | None = None
) -> NDArray[np.float64]:
    """(rows, columns) float64 from lines of numbers; white space at the end is no row.

    Args:
        columns: numbers in every line.
        most: lines at most.
        separator: between two numbers; None: any white space.

    Raises:
        DataError: for a file that is empty, longer, of other columns, or whose numbers are none,
            not finite, or beyond ``LARGEST``.
    """
    data = data.rstrip()
    if not data:
        raise DataError("it is empty", HINT)
    if len(data) > most * columns * WIDEST or data.count(b"\n") >= most:
        raise DataError(f"it is longer than {most} lines, more than any real clip", HINT)
    values: list[float] = []
    for n, line in enumerate(data.split(b"\n"), 1):
        row = line.split(separator)
        if len(row) != columns:
            raise DataError(f"line {n} does not hold {columns} numbers", HINT)
        values.extend(map(number, row))
    rows = np.array(values).reshape(-1, columns)
    if not np.isfinite(rows).all():
        raise DataError("it holds values that are not finite (NaN or infinite)", HINT)
    if np.abs(rows).max() > LARGEST:
        raise DataError("it holds absurdly large values", HINT)
    return rows


def metres(clip: NDArray[np.float64]) -> NDArray[np.float32]:
    """The clip as float32, if its values can be metres.

    Raises:
        DataError: if a joint is farther away than ``FARTHEST``.
    """
    farthest = np.abs(clip).max()
    if farthest > FARTHEST:
        raise DataError(f"a joint is {farthest:.3g} m away; are these metres?", HINT)
    return np.ascontiguousarray(clip, dtype=np.float32)
