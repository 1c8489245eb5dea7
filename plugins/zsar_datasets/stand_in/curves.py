"""How a thing moves between two places: minimum jerk, and the keys of a trajectory."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsar_datasets.stand_in.draws import Array
from zsar_datasets.stand_in.grammar import grammar

_MINIMUM_JERK = (0.0, 0.0, 0.0, 10.0, -15.0, 6.0)  # coefficients of x to the power of 0 to 5


def smooth(x: Array) -> Array:
    """m(x): from 0 to 1 with minimum jerk, x clipped to 0..1."""
    x = np.minimum(np.maximum(x, 0.0), 1.0)
    return x * x * x * (10.0 + x * (6.0 * x - 15.0))


def trajectory_index(name: str) -> int:
    """Number of a trajectory, as ``keys_at`` takes it."""
    return list(grammar()["vocabulary"]["trajectory"]).index(name)


class Keys(NamedTuple):
    """Values of a trajectory's columns: way, offsets along n, u and s, roll."""

    w: Array
    n: Array
    u: Array
    s: Array
    r: Array


def keys_at(trajectory: NDArray[np.int64], c: Array) -> Keys:
    """The columns of trajectories at times ``c`` (0 to 1) of their cycle."""
    starts, widths, coefficients = _table()
    place = 2.0 * trajectory + c  # intervals of all trajectories on one line, two units each
    interval = np.searchsorted(starts, place, side="right") - 1
    x = (place - starts[interval]) / widths[interval]
    rows = coefficients[:, interval]  # (6 * 5, ...)
    value = rows[25:30]
    for power in range(4, -1, -1):
        value = value * x + rows[5 * power : 5 * power + 5]
    return Keys(*value)


@cache
def _table() -> tuple[Array, Array, Array]:
    """(I,) starts and (I,) widths of all intervals; (30, I) polynomials, power by power."""
    starts, widths, polynomials = [], [], []
    for number, entry in enumerate(grammar()["vocabulary"]["trajectory"].values()):
        for start, width, polynomial in _intervals(entry):
            starts.append(2.0 * number + start)
            widths.append(width)
            polynomials.append(polynomial)
    return np.array(starts), np.array(widths), np.array(polynomials).reshape(-1, 30).T.copy()


def _intervals(entry: dict[str, Any]) -> list[tuple[float, float, Array]]:
    """(start, width, polynomials (6, 5)) of every interval between two rows."""
    rows = np.array(entry["keys"], np.float64)
    if len(rows) == 1:
        constant = np.zeros((6, 5))
        constant[0] = rows[0, 1:]
        return [(0.0, 1.0, constant)]
    out = []
    slopes = _slopes(rows) if entry["curve"] == "smooth" else None
    for i in range(len(rows) - 1):
        width, first, step = rows[i + 1, 0] - rows[i, 0], rows[i, 1:], rows[i + 1, 1:] - rows[i, 1:]
        if slopes is None:
            polynomial = np.array(_MINIMUM_JERK)[:, None] * step
            polynomial[0] += first
        else:
            one, two = width * slopes[i], width * slopes[i + 1]
            none = np.zeros(5)
            polynomial = np.array(
                [first, one, 3 * step - 2 * one - two, one + two - 2 * step, none, none]
            )
        out.append((float(rows[i, 0]), float(width), polynomial))
    return out


def _slopes(rows: Array) -> Array:
    """Slope at each row: to the neighbours on both sides, round the end of the cycle."""
    before = np.concatenate([rows[-2:-1] - [1, 0, 0, 0, 0, 0], rows[:-1]])
    after = np.concatenate([rows[1:], rows[1:2] + [1, 0, 0, 0, 0, 0]])
    return (after[:, 1:] - before[:, 1:]) / (after[:, :1] - before[:, :1])
