"""Vectors whose components come first, (3, ...): a batch's arithmetic stays element by element.

No function here adds up over a batch, so that a clip's bytes cannot depend on its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zsar_datasets.stand_in.draws import Array

_TINY = 1e-9


class Axes(NamedTuple):
    """Three unit vectors (3, ...): towards the acting side, up, forward."""

    side: Array
    up: Array
    forward: Array

    def pitched(self, angle: Array) -> Axes:
        """Bent forward: up towards forward."""
        up, forward = rotated(self.up, self.forward, angle)
        return Axes(self.side, up, forward)

    def tipped(self, angle: Array) -> Axes:
        """Bent or rolled towards the acting side: up towards side."""
        up, side = rotated(self.up, self.side, angle)
        return Axes(side, up, self.forward)

    def twisted(self, angle: Array) -> Axes:
        """Turned about up, the acting shoulder going forward: side towards forward."""
        side, forward = rotated(self.side, self.forward, angle)
        return Axes(side, self.up, forward)

    def coordinates(self, v: Array) -> Array:
        """(3, ...) of ``v`` along these axes."""
        return np.stack([dot(self.side, v), dot(self.up, v), dot(self.forward, v)])

    def vector(self, c: Array) -> Array:
        """The vector with these coordinates."""
        return self.side * c[0] + self.up * c[1] + self.forward * c[2]

    def limbs(self) -> Axes:
        """The same with a last axis that limbs can be broadcast along."""
        return Axes(*(axis[..., None] for axis in self))


def rotated(p: Array, q: Array, angle: Array) -> tuple[Array, Array]:
    """p turned towards q, and q away from p, in their plane."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * p + sin * q, cos * q - sin * p


def dot(a: Array, b: Array) -> Array:
    """Scalar products."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def cross(a: Array, b: Array) -> Array:
    """Vector products."""
    return np.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


def length(v: Array) -> Array:
    """Euclidean lengths."""
    return np.sqrt(dot(v, v))


def direction(v: Array, other: Array) -> tuple[Array, Array]:
    """(unit vectors, lengths); where a vector has no length, ``other`` stands in for it."""
    size = length(v)
    return np.where(size > _TINY, v / np.maximum(size, _TINY), other), size


def across(v: Array, axis: Array, other: Array) -> Array:
    """Unit vectors of what is left of ``v`` at right angles to the unit ``axis``; else ``other``."""
    rest = v - dot(v, axis) * axis
    size = length(rest)
    return np.where(size > 1e-6, rest / np.maximum(size, 1e-6), other)
