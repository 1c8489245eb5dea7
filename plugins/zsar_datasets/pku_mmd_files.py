"""The text files of PKU-MMD: recordings, their labels, and the authors' lists of sides.

Their layout is told in ``pku_mmd.py``. All of them come from strangers: sizes are checked before
use, and only ``DataError`` comes out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from zsar_bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.contracts import RawSource

BODIES, JOINTS = 2, 25
NUMBERS = BODIES * JOINTS * 3  # on a line
LARGEST_LIST = 2**20  # bytes of a label file or of a list of sides
LONGEST_LINE = 8 * 1024  # bytes; real lines have some 1,400
MAX_ROWS = 1000  # of a label file; real ones have some 20
FARTHEST = 50.0  # metres; a Kinect sees less than ten
CHUNK = 2**20

#: The names of recordings of each part.
PARTS = {"I": re.compile(r"0[0-9]{3}-[LMR]"), "II": re.compile(r"A[0-9]{2}N[0-9]{2}-[LMR]")}
HINT = "Get this file again, or leave the recording out."

_SIDES = re.compile(r"cross[-_]subject([-_]v2)?\.txt", re.IGNORECASE)
_HEAD = re.compile(r"\s*(train|valid|test)[a-z]*(?: +videos?)?\s*:", re.IGNORECASE)
_ROW = re.compile(rb"\s*(\d{1,6})\s*,\s*(\d{1,7})\s*,\s*(\d{1,7})\s*(?:,\s*[\d.]{1,20}\s*)?")


class Interval(NamedTuple):
    """One line of a label file: class, first and last frame, counted from 1."""

    action: int
    first: int
    last: int


def stem_of(name: str) -> str:
    """A text file's name without folders and extension; empty for other files."""
    *folders, base = name.split("/")
    return base.removesuffix(".txt") if base.endswith(".txt") and "__MACOSX" not in folders else ""


def is_label(name: str) -> bool:
    """Whether the folders of a file call it labels: the nearest that says what it holds counts."""
    for folder in reversed(name.lower().split("/")[:-1]):
        if "label" in folder:
            return True
        if "skel" in folder or "data" in folder:
            return False
    return False


def is_list(name: str) -> bool:
    """Whether this is a list of sides of either part."""
    return bool(stem_of(name) and _SIDES.fullmatch(name.rpartition("/")[2]))


@lru_cache(maxsize=4)
def index(names: tuple[str, ...]) -> tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]:
    """The label files by recording, and the lists of sides."""
    labels: dict[str, tuple[str, ...]] = {}
    for name in names:
        stem = stem_of(name)
        if is_label(name) and any(part.fullmatch(stem) for part in PARTS.values()):
            labels[stem] = (*labels.get(stem, ()), name)
    lists = [name for name in names if is_list(name)]
    return labels, tuple(lists)


def small(source: RawSource, name: str) -> bytes:
    """The bytes of a label file or list of sides, if it can be one."""
    if source.size(name) > LARGEST_LIST:
        raise DataError(f"{name} is larger than {LARGEST_LIST >> 20} MiB", HINT)
    return source.read(name)


def parse_rows(data: bytes, name: str, actions: frozenset[int]) -> list[Interval]:
    """The lines of a label file."""
    lines = [line for line in data.splitlines() if line.strip()]
    if not 0 < len(lines) <= MAX_ROWS:
        raise DataError(f"{name} has {len(lines)} lines, not 1 to {MAX_ROWS}", HINT)
    rows = []
    for n, line in enumerate(lines, 1):
        match = _ROW.fullmatch(line)
        if match is None:
            raise DataError(f"{name}: line {n} is {line[:20]!r}, not class,first,last", HINT)
        row = Interval(*map(int, match.groups()))
        if row.action not in actions:
            raise DataError(f"{name}: line {n} names class {row.action}, which is none", HINT)
        rows.append(row)
    return rows


@lru_cache(maxsize=8)
def parse_sides(data: bytes, name: str) -> Mapping[str, str]:
    """Recording -> ``train`` or ``test``, of the authors' list."""
    sides: dict[str, str] = {}
    side = ""
    for line in data.decode("utf-8-sig", "replace").splitlines():
        head = _HEAD.match(line)
        if head:
            side = "train" if head[1].lower() == "train" else "test"
            line = line[head.end() :]
        for one in line.replace(",", " ").split():
            if not side or not any(part.fullmatch(one) for part in PARTS.values()):
                raise DataError(f"{name}: {one[:20]!r} stands where a recording should", HINT)
            if sides.setdefault(one, side) != side:
                raise DataError(f"{name}: {one} is on both sides", HINT)
    return sides


def read_lines(file: BinaryIO, first: int, last: int) -> list[bytes]:
    """Lines ``first`` to ``last``, counted from 1, or as many of them as there are."""
    skip, rest = first - 1, b""
    while skip and (chunk := file.read(CHUNK)):
        breaks = chunk.count(b"\n")
        if breaks < skip:
            skip -= breaks
            continue
        at = -1
        for _ in range(skip):
            at = chunk.index(b"\n", at + 1)
        skip, rest = 0, chunk[at + 1 :]
    if skip:
        return []
    wanted = last - first + 1
    while rest.count(b"\n") < wanted and (chunk := file.read(CHUNK)):
        rest += chunk
        if len(rest) > wanted * LONGEST_LINE + CHUNK:
            raise DataError("its lines are longer than those of any recording", HINT)
    lines = rest.split(b"\n", wanted)
    found, after = lines[:wanted], b"".join(lines[wanted:])
    if not found[-1].strip() and not after.strip() and not file.read(CHUNK).strip():
        while found and not found[-1].strip():  # what is left of the file is blank
            found.pop()
    return found


def parse_joints(lines: Sequence[bytes], first: int) -> NDArray[np.float64]:
    """(T, 2, 25, 3) metres from the lines of frames from ``first`` on."""
    frames = []
    for n, line in enumerate(lines, first):
        values = line[: LONGEST_LINE + 1].split()
        if len(line) > LONGEST_LINE or len(values) != NUMBERS or b"_" in line:
            raise DataError(f"frame {n} does not hold {NUMBERS} numbers", HINT)
        try:
            frames.append([float(value) for value in values])
        except ValueError:
            raise DataError(f"frame {n} holds something else than numbers", HINT) from None
    joints = np.array(frames).reshape(-1, BODIES, JOINTS, 3)
    farthest = np.abs(joints).max()
    if not farthest <= FARTHEST:  # or not a number
        raise DataError(f"a joint is {farthest:.3g} m away; are these metres?", HINT)
    return joints
