"""Random numbers that depend on nothing but a name.

A generator is keyed by the SHA-256 of its name, and only the raw stream of its bits is used,
which numpy promises to keep; everything made from it is exact arithmetic. So the numbers are the
same on every machine and in every version, whatever else is drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
T = TypeVar("T")

_NORMAL = 1 / np.sqrt(4 * (65536.0**2 - 1) / 12)  # one over the spread of four 16-bit numbers


def key(*name: object) -> int:
    """256 bits from a name of several parts."""
    text = "/".join(map(str, name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "little")


class Draws:
    """A stream of random numbers of its own for everything that has a name."""

    def __init__(self, *name: object) -> None:
        self._bits = np.random.Philox(key=key(*name) % 2**128)

    def uniform(self, low: float, high: float, shape: tuple[int, ...] = ()) -> Array:
        """Numbers from [low, high)."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), np.uint64).reshape(shape)
        return low + (high - low) * ((raw >> np.uint64(11)) * 2.0**-53)

    def bell(self, spread: float, shape: tuple[int, ...] = ()) -> Array:
        """Numbers with mean 0 and standard deviation ``spread``, never beyond 3.5 of it.

        The sum of four uniform numbers: near a normal distribution, but bounded and exact.
        """
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), np.uint64)
        parts = raw.reshape(-1, 1).view(np.uint16).astype(np.int64)
        total = parts[:, 0] + parts[:, 1] + parts[:, 2] + parts[:, 3] - 2 * 65535
        return (spread * _NORMAL) * total.reshape(shape)

    def whole(self, low: int, high: int) -> int:
        """A whole number from the closed range."""
        return low + int(self.uniform(0.0, 1.0) * (high - low + 1))

    def chance(self, share: float) -> bool:
        """True in this share of all draws."""
        return bool(self.uniform(0.0, 1.0) < share)

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in a random order."""
        raw = self._bits.random_raw(len(items))
        order = sorted(range(len(items)), key=lambda i: (int(raw[i]), i))
        return [items[i] for i in order]
