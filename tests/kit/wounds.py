"""What faults do to stored files: one change of one file, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: Every how many bytes ``flipped`` flips; all of them takes half a minute where disks are slow.
STEPS = [11, pytest.param(1, marks=pytest.mark.slow)]


def flipped(data: bytes, step: int) -> Iterator[bytes]:
    """The data with one bit turned: every bit in turn, or one of every ``step`` bytes."""
    for at in range(0, len(data), step):
        for bit in range(8) if step == 1 else [at % 8]:
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            yield bytes(changed)


def flip(at: float, bit: int = 0) -> Callable[[Path, Path], None]:
    """Turn one bit of the byte at this share of the file."""

    def wound(path: Path, other: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(at * (len(data) - 1))] ^= 1 << bit
        path.write_bytes(data)

    return wound


def cut(keep: float, less: int = 0) -> Callable[[Path, Path], None]:
    """Keep the first part of the file, less some bytes."""

    def wound(path: Path, other: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data)) - less])

    return wound


def grow(path: Path, other: Path) -> None:
    """A byte more at the end."""
    path.write_bytes(path.read_bytes() + b"\n")


def swap(path: Path, other: Path) -> None:
    """Exchange two whole files of one kind."""
    mine, theirs = path.read_bytes(), other.read_bytes()
    assert mine != theirs
    path.write_bytes(theirs)
    other.write_bytes(mine)


def delete(path: Path, other: Path) -> None:
    """It is gone."""
    path.unlink()


WOUNDS: dict[str, Callable[[Path, Path], None]] = {
    "first bit": flip(0),
    "header": flip(0.03, 3),
    "middle": flip(0.5, 6),
    "last bit": flip(1, 7),
    "cut by one": cut(1, 1),
    "cut in half": cut(0.5),
    "empty": cut(0),
    "longer": grow,
    "swapped": swap,
    "deleted": delete,
}
FEW = ("middle", "cut in half", "swapped", "deleted")  #: for tests that cost seconds each
