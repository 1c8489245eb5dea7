"""Acclaim motion capture, second half: the motion (AMC) of a skeleton, and where its joints are.

An AMC file gives the angles of every bone that can turn (``_asf.Bone.channels``) in every frame.
With C the rotation to a bone's own frame, M the rotation by its angles, the first named one applied
first, and vectors as columns:

    R = R_parent C M C^-1        p = p_parent + R (length x direction)

The root has a place instead of a length: p = position + (TX, TY, TZ). A joint is a bone's far end.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.errors import DataError
from zsar_datasets._asf import MOVES, TURNS, rotation
from zsar_datasets._numbers import HINT, LARGEST, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_datasets._asf import Skeleton

LARGEST_FILE = 8 << 20  # bytes; the longest real one has 0.7 million
MAX_FRAMES = 10_000  # the longest real clip has 901


def motion(data: bytes, body: Skeleton) -> dict[int, NDArray[np.float64]]:
    """The values of an AMC file: for each bone that has channels its (T, channels).

    Raises:
        DataError: for anything but consecutive frames that name each of these bones once.
    """
    if not data.strip():
        raise DataError("it is empty", HINT)
    if len(data) > LARGEST_FILE:
        raise DataError(f"it is larger than {LARGEST_FILE >> 20} MiB, more than any clip", HINT)
    places, width = _places(body)
    rows: list[list[float]] = []
    left: dict[bytes, slice] = {}
    degrees = False
    start = 0
    for n, line in enumerate(io.BytesIO(data), 1):
        words = line.split()
        if not words or (not rows and words[0].startswith((b"#", b":"))):
            degrees |= words == [b":DEGREES"]
        elif len(words) == 1:
            _whole(left)
            start = start if rows else _first(words[0], n)
            if words[0] != b"%d" % (start + len(rows)):
                raise DataError(f"line {n} is not the number of the next frame", HINT)
            if len(rows) == MAX_FRAMES:
                raise DataError(f"it has more than {MAX_FRAMES} frames", HINT)
            rows.append([0.0] * width)
            left = dict(places)
        else:
            place = left.pop(words[0], None)
            if place is None or place.stop - place.start != len(words) - 1:
                raise DataError(f"line {n} is not what this skeleton needs there", HINT)
            rows[-1][place] = map(number, words[1:])
    _whole(left)
    if not rows or not degrees:
        raise DataError("it holds no frames, or does not say that they are in degrees", HINT)
    values = np.array(rows)
    if not (np.abs(values) <= LARGEST).all():
        raise DataError("it holds values that are not finite or absurdly large", HINT)
    return {i: values[:, places[b.name]] for i, b in enumerate(body.bones) if b.channels}


def _places(body: Skeleton) -> tuple[dict[bytes, slice], int]:
    """The columns of each bone that has some, and how many all are."""
    places: dict[bytes, slice] = {}
    at = 0
    for bone in body.bones:
        if bone.channels:
            places[bone.name] = slice(at, at + len(bone.channels))
            at += len(bone.channels)
    return places, at


def _whole(left: dict[bytes, slice]) -> None:
    if left:
        raise DataError(f"it is truncated: a frame lacks {len(left)} of its bones", HINT)


def _first(word: bytes, n: int) -> int:
    if not word.isdigit() or len(word) > 9:
        raise DataError(f"line {n} is not the number of a frame", HINT)
    return int(word)


def joints(body: Skeleton, values: dict[int, NDArray[np.float64]]) -> NDArray[np.float64]:
    """(T, bones, 3) metres: the root, then each bone's far end, in the skeleton's order."""
    places = np.empty((len(values[0]), len(body.bones), 3))
    rotations: dict[int, NDArray[np.float64]] = {-1: np.eye(3)[None]}
    for i in body.order:
        bone = body.bones[i]
        rotations[i] = rotations[bone.parent]
        if bone.channels:
            turns = [k for k, name in enumerate(bone.channels) if name in TURNS]
            turned = rotation([bone.channels[k] for k in turns], values[i][:, turns])
            rotations[i] = rotations[i] @ bone.frame @ turned @ bone.frame.T
        if bone.parent < 0:
            moves = [bone.channels.index(name) for name in MOVES]
            places[:, i] = bone.offset + body.unit * values[i][:, moves]
        else:
            places[:, i] = places[:, bone.parent] + rotations[i] @ bone.offset
    return places
