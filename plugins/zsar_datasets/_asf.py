"""Acclaim motion capture, first half: the skeleton of a performer (ASF); the other is ``_amc``.

The format is that of Acclaim Entertainment (1990s); M. Meredith, S. Maddock, "Motion capture file
formats explained", University of Sheffield, CS-01-11, 2001, describes it. An ASF file gives every
bone a direction and a length in the axes of the world, the axes of its own frame (``axis``, Euler
angles), and the turns it is free to make (``dof``). Lengths are inches over the file's unit
``length``. Files are read as bytes: their comments hold paths in Latin-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.errors import DataError
from zsar_datasets._numbers import HINT, LARGEST, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = list[list[bytes]]

LARGEST_FILE = 64 << 10  # bytes; a real one has 7 thousand
MAX_BONES = 100
LONGEST = 3.0  # metres; no bone of a person is that long
INCH = 0.0254  # metres

ROOT = b"root"
TURNS, MOVES = (b"rx", b"ry", b"rz"), (b"tx", b"ty", b"tz")


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone, or the root.

    Attributes:
        name: as in the file; the root's is ``root``.
        parent: index of the bone that it continues; -1 for the root.
        offset: (3,) metres: from the parent's end to its own where nothing is turned.
        frame: (3, 3) rotation C, the axes of its angles.
        channels: what the motion gives of it, in order, such as ``(rx, rz)``.
    """

    name: bytes
    parent: int
    offset: NDArray[np.float64]
    frame: NDArray[np.float64]
    channels: tuple[bytes, ...]


@dataclass(frozen=True)
class Skeleton:
    """An ASF file.

    Attributes:
        bones: the root, then all others in the file's order.
        order: indices of all bones, parents first.
        unit: metres of one unit of length.
    """

    bones: tuple[Bone, ...]
    order: tuple[int, ...]
    unit: float


def skeleton(data: bytes) -> Skeleton:
    """The skeleton of an ASF file.

    Raises:
        DataError: for anything that is not one whole tree of bones of a person's size.
    """
    if not data.strip():
        raise DataError("the skeleton file is empty", HINT)
    if len(data) > LARGEST_FILE:
        raise DataError(f"the skeleton file is larger than {LARGEST_FILE >> 10} KiB", HINT)
    sections = _sections(data)
    units = _words(sections.get(b"units", []))
    if units.get(b"angle") != [b"deg"]:
        raise DataError("the skeleton's angles are not said to be degrees", HINT)
    length = _numbers(units, b"length", 1)[0]
    if not 1e-3 <= length <= 1e3:
        raise DataError("the skeleton's unit of length makes no sense", HINT)
    unit = INCH / length
    blocks = _blocks(sections.get(b"bonedata", []))
    names = [ROOT, *(_one(block, b"name") for block in blocks)]
    if len(set(names)) != len(names) or not 2 <= len(names) <= MAX_BONES:
        raise DataError(f"the skeleton has {len(names)} bones, or two of one name", HINT)
    parents, order = _tree(names, sections.get(b"hierarchy", []))
    bones = [_root(_words(sections.get(b"root", [])), unit)]
    bones += [_bone(*both, unit) for both in zip(blocks, parents[1:], strict=True)]
    return Skeleton(tuple(bones), order, unit)


def _sections(data: bytes) -> dict[bytes, Rows]:
    """The words of every line below each ``:keyword``."""
    sections: dict[bytes, Rows] = {}
    current: Rows = []
    for line in data.split(b"\n"):
        words = line.split()
        if words and words[0].startswith(b":"):
            current = sections.setdefault(words[0][1:].lower(), [])
        elif words and not words[0].startswith(b"#"):
            current.append(words)
    return sections


def _words(rows: Rows) -> dict[bytes, list[bytes]]:
    """Each line's words by its first; where that comes again, the first line counts."""
    return {first.lower(): rest for first, *rest in reversed(rows)}


def _one(words: dict[bytes, list[bytes]], key: bytes) -> bytes:
    found = words.get(key, [])
    if len(found) != 1:
        raise DataError(f"the skeleton has a bone without one '{key.decode()}'", HINT)
    return found[0]


def _numbers(words: dict[bytes, list[bytes]], key: bytes, count: int) -> list[float]:
    """The first values of a line, finite and not absurd."""
    values = [number(word) for word in words.get(key, [])[:count]]
    if len(values) != count or not all(abs(value) <= LARGEST for value in values):
        raise DataError(f"the skeleton's '{key.decode()}' must be {count} finite numbers", HINT)
    return values


def _blocks(rows: Rows) -> list[dict[bytes, list[bytes]]]:
    """What stands between each ``begin`` and ``end``."""
    blocks: list[dict[bytes, list[bytes]]] = []
    inside: Rows | None = None
    for row in rows:
        if row == [b"begin"] and inside is None:
            inside = []
        elif row == [b"end"] and inside is not None:
            blocks.append(_words(inside))
            inside = None
        elif inside is not None:
            inside.append(row)
        else:
            raise DataError("the skeleton has lines outside 'begin' and 'end'", HINT)
    if inside is not None:
        raise DataError("the skeleton file is truncated", HINT)
    return blocks


def _tree(names: list[bytes], rows: Rows) -> tuple[list[int], tuple[int, ...]]:
    """The parent of each bone, and all bones in an order with parents first."""
    number_of = {name: i for i, name in enumerate(names)}
    parents = [-1] * len(names)
    order = [0]
    if rows[:1] != [[b"begin"]] or rows[-1] != [b"end"]:
        raise DataError("the skeleton's hierarchy is missing or truncated", HINT)
    for row in rows[1:-1]:
        found = [number_of.get(name, -1) for name in row]
        if min(found) < 0 or found[0] not in order:
            raise DataError("the skeleton's hierarchy has an unknown or loose bone", HINT)
        for child in found[1:]:
            if child in order:
                raise DataError("the skeleton's hierarchy has a bone twice", HINT)
            parents[child] = found[0]
            order.append(child)
    if len(order) != len(names):
        raise DataError("the skeleton's hierarchy does not hold all bones", HINT)
    return parents, tuple(order)


def _root(words: dict[bytes, list[bytes]], unit: float) -> Bone:
    channels = tuple(word.lower() for word in words.get(b"order", []))
    if sorted(channels) != sorted(TURNS + MOVES):
        raise DataError("the skeleton's root does not have three moves and three turns", HINT)
    turns = _turns(words.get(b"axis", []))
    frame = rotation(turns, np.array([_numbers(words, b"orientation", 3)]))[0]
    return Bone(ROOT, -1, unit * np.array(_numbers(words, b"position", 3)), frame, channels)


def _bone(words: dict[bytes, list[bytes]], parent: int, unit: float) -> Bone:
    name = _one(words, b"name")
    direction = np.array(_numbers(words, b"direction", 3))
    length = unit * _numbers(words, b"length", 1)[0]
    if not 0 <= length <= LONGEST or not 0.99 < np.linalg.norm(direction) < 1.01:
        raise DataError("the skeleton has a bone that no person has", HINT)
    channels = tuple(word.lower() for word in words.get(b"dof", []))
    if len(set(channels)) != len(channels) or not set(channels) <= {*TURNS}:
        raise DataError("the skeleton has a bone with other freedom than to turn", HINT)
    turns = _turns(words.get(b"axis", [])[3:])
    frame = rotation(turns, np.array([_numbers(words, b"axis", 3)]))[0]
    return Bone(name, parent, length * direction, frame, channels)


def _turns(axes: list[bytes]) -> tuple[bytes, ...]:
    """``XYZ``, or another order of the three, as turns."""
    turns = tuple(b"r" + bytes([axis]) for word in axes for axis in word.lower())
    if sorted(turns) != sorted(TURNS):
        raise DataError("the skeleton's 'axis' does not name x, y and z", HINT)
    return turns


def rotation(turns: Sequence[bytes], degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 3, 3) rotations by (T, turns) degrees about fixed axes, the first one
    first."""
    result = np.eye(3)[None]
    for turn, angle in zip(turns, np.radians(degrees).T, strict=True):
        about = TURNS.index(turn)
        first, second = (about + 1) % 3, (about + 2) % 3
        matrix = np.zeros((len(angle), 3, 3))
        matrix[:, about, about] = 1
        matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
        matrix[:, second, first] = np.sin(angle)
        matrix[:, first, second] = -matrix[:, second, first]
        result = matrix @ result
    return result
