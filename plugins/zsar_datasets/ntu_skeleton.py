"""A ``.skeleton`` file of NTU RGB+D: its bodies, each with the frames in which it is seen.

A file holds, line by line: the number of frames; for each frame the number of bodies; for each
body ten values (its tracking id first), the number of joints (25), and 25 lines of twelve values:
x y z in metres in the camera's frame (y up), then places in the depth and colour images, an
orientation and a tracking state, which are counted but not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOINTS = 25
HEADER, COLUMNS = 10, 12  # values on a body's first line and on a joint's
SPACES = HEADER - 1 + JOINTS * (COLUMNS - 1)  # between a body's values, one between two
MAX_FRAMES = 1000  # the longest real clip has 300
MAX_BODIES = 6  # a Kinect v2 tracks no more
MAX_LINES = 2 + MAX_FRAMES * (1 + MAX_BODIES * (2 + JOINTS))
LARGEST = 8 * 2**20  # bytes; 300 frames of six bodies are 5.5 million
FARTHEST = 50.0  # metres; a Kinect sees less than ten

_HINT = "Get this file again, or leave it out."


@dataclass(frozen=True, eq=False)
class Body:
    """What the tracker took for one body.

    Attributes:
        frames: (n,) frame numbers in which it is seen, rising.
        joints: (n, 25, 3) x y z in metres.
    """

    frames: NDArray[np.int64]
    joints: NDArray[np.float64]

    @property
    def span(self) -> tuple[int, int]:
        """First and last frame."""
        return int(self.frames[0]), int(self.frames[-1])


def parse(data: bytes) -> list[Body]:
    """All bodies of a ``.skeleton`` file in order of appearance.

    Raises:
        DataError: for a file that is not whole, contradicts itself, or holds joints that are not
            finite numbers or farther away than a camera sees.
    """
    if not data.strip():
        raise DataError("it is empty", _HINT)
    if len(data) > LARGEST:
        raise DataError(f"it is larger than {LARGEST >> 20} MiB, more than any real clip", _HINT)
    breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    if len(breaks) > MAX_LINES:
        raise DataError(f"it has {len(breaks)} lines, more than any real clip", _HINT)
    ids, frames, rows = _structure(data, [-1, *breaks.tolist(), len(data)])
    if not ids:
        raise DataError("no frame holds a body", _HINT)
    joints = _joints(data, np.append(breaks, len(data)), np.array(rows))
    if not np.isfinite(joints).all():
        raise DataError("it holds joints that are not finite (NaN or infinite)", _HINT)
    farthest = np.abs(joints).max()
    if farthest > FARTHEST:
        raise DataError(f"a joint is {farthest:.3g} m away; are these metres?", _HINT)
    members: dict[int, list[int]] = {}
    for i, body in enumerate(ids):
        members.setdefault(body, []).append(i)
    bodies = [Body(np.array(frames)[index], joints[index]) for index in members.values()]
    if any((np.diff(b.frames) == 0).any() for b in bodies):
        raise DataError("the same body is twice in one frame", _HINT)
    return bodies


def _structure(data: bytes, breaks: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Of each body in each frame: its tracking id, its frame and the line of its first joint.

    Line n, counted from 0, is what stands between ``breaks[n]`` and ``breaks[n + 1]``. Not all
    lines are cut out, because that alone would take a fifth of the time.
    """

    def line(n: int) -> bytes:
        return data[breaks[n] + 1 : breaks[n + 1]]

    ids: list[int] = []
    frames: list[int] = []
    rows: list[int] = []
    at = 1
    try:
        for frame in range(_count(line(0), "frames", MAX_FRAMES)):
            bodies = _count(line(at), "bodies", MAX_BODIES)
            at += 1
            for _ in range(bodies):
                values = line(at).split()
                if len(values) != HEADER:
                    raise DataError(f"line {at + 1} does not hold a body's {HEADER} values", _HINT)
                if _count(line(at + 1), "joints", JOINTS) != JOINTS:
                    raise DataError(f"line {at + 2} does not announce {JOINTS} joints", _HINT)
                ids.append(_count(values[0], "as a body's id", 2**64))
                frames.append(frame)
                rows.append(at + 2)
                at += 2 + JOINTS
        rest = data[breaks[at] + 1 :] if at < len(breaks) - 1 else b""
        if rest.strip():
            raise DataError(f"it goes on after its last frame, in line {at + 1}", _HINT)
        if not line(at - 1).strip():
            raise IndexError
    except IndexError:
        raise DataError("it is truncated: it announces more than it holds", _HINT) from None
    return ids, frames, rows


def _count(text: bytes, what: str, most: int) -> int:
    text = text.strip()
    if not text.isdigit():
        if not text:
            raise IndexError
        raise DataError(f"{text[:20]!r} stands where the number of {what} should", _HINT)
    if len(text) > 20 or int(text) > most:
        raise DataError(
            f"it claims {text[:20].decode()} {what}; at most {most} are possible", _HINT
        )
    return int(text)


def _joints(data: bytes, ends: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """x, y and z of each body: (N, 25, 3), from the lines of their first joints (N,).

    ``ends`` are those of all lines.
    """
    found = _first_three(data, ends, rows)
    if found is None:  # other white space than one space between values: make it so
        lines = [line.split() for line in data.split(b"\n")]
        for row in rows.tolist():
            for n in range(row, row + JOINTS):
                if len(lines[n]) != COLUMNS:
                    raise DataError(f"line {n + 1} does not hold a joint's {COLUMNS} values", _HINT)
        data = b"\n".join(b" ".join(line) for line in lines)
        ends = np.append(np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")), len(data))
        found = _first_three(data, ends, rows)
    assert found is not None  # every line now has its values, and one space between two
    return _decimals(data, *found).reshape(-1, JOINTS, 3)


def _first_three(
    data: bytes, ends: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Starts and ends of x, y and z in the 25 lines from each of these on, (75 N,) each.

    None unless every body's lines have exactly the spaces that twelve values a joint need.
    """
    spaces = np.flatnonzero(np.frombuffer(data, np.uint8) == ord(" "))
    if len(spaces) != len(rows) * SPACES or (spaces[1:] - spaces[:-1] == 1).any():
        return None
    joints = rows[:, None] + np.arange(JOINTS)
    of_joint = spaces.reshape(-1, SPACES)[:, HEADER - 1 :].reshape(-1, COLUMNS - 1)
    starts = ends[joints - 1].ravel() + 1
    if (of_joint[:, 0] <= starts).any() or (of_joint[:, -1] + 1 >= ends[joints].ravel()).any():
        return None
    stops = of_joint[:, :3]
    return np.column_stack([starts, stops[:, :2] + 1]).ravel(), stops.ravel()


_WIDTH = 15  # digits that a double holds exactly
_PLACES = np.arange(_WIDTH)[::-1]
_TENS = 10.0 ** np.arange(_WIDTH + 1)  # exact, as all powers up to 22 are


def _decimals(
    data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The numbers at these places, each exactly what ``float`` makes of it.

    ``float`` for each is what a plain reader spends its time on. A decimal of up to 15 characters
    is an integer that a double holds, over a power of ten that it holds too; so one division
    rounds once, as ``float`` does (W. Clinger, "How to read floating point numbers accurately",
    PLDI 1990). All others (exponents, NaN) go through ``float``. ``ends`` lie behind
    15 characters or more.

    Raises:
        DataError: for what is no number.
    """
    length = ends - starts
    # The last 15 characters of each, one row a place: (15, n). Long rows are what numpy is fast on.
    windows = np.ndarray(len(data) - _WIDTH + 1, f"V{_WIDTH}", data, strides=(1,))
    last = np.ascontiguousarray(windows[ends - _WIDTH].view(np.uint8).reshape(-1, _WIDTH).T)
    inside = _PLACES.astype(np.uint8)[:, None] < np.minimum(length, _WIDTH).astype(np.uint8)
    digits = last - np.uint8(ord("0"))  # wraps around: everything else is 10 or more
    is_digit = inside & (digits < 10)
    is_point = inside & (last == ord("."))
    negative = np.frombuffer(data, np.uint8)[starts] == ord("-")
    points, right = np.stack([np.ones(_WIDTH), _PLACES]) @ is_point.astype(np.float64)
    simple = (points <= 1) & (length - negative - points >= 1) & (length <= _WIDTH)
    used = np.count_nonzero(is_digit) + np.count_nonzero(is_point) + np.count_nonzero(negative)
    if used != length.sum():  # something else is somewhere
        simple &= is_digit.sum(axis=0) + is_point.sum(axis=0) + negative == length
    # The point counts as a digit 0 first; then what is left of it moves one place to the right.
    value = _TENS[_PLACES] @ (digits * is_digit).astype(np.float64)
    scale = _TENS[np.where(simple, right, 0).astype(np.int64)]
    whole = np.floor(value / (10 * scale)) * points
    result: NDArray[np.float64] = (value - 9 * scale * whole) / scale
    result[negative] *= -1
    for i in np.flatnonzero(~simple):
        result[i] = _number(data[starts[i] : ends[i]])
    return result


def _number(text: bytes) -> float:
    try:
        return float("x" if b"_" in text else text)
    except ValueError:
        raise DataError(f"{text[:20]!r} stands where a coordinate should", _HINT) from None
