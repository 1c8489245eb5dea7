"""The bytes of a pickle, never more of them than there are, and those that stay in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from zsar_bench.errors import DataError

HINT = "Get this file again from where it is published."
SHORT = 4096  #: bytes of a text or of bytes that are read at once; longer ones stay in the file
_CHUNK = 2**16  # bytes that are read from the file at once
#: Coding of a text in the file -> the most bytes that it takes for a byte of an array.
_WIDEST = {"": 1, "utf-8": 2, "raw-unicode-escape": 6}


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes, or a text, that stay in the file.

    Attributes:
        start: offset of the first byte in the file.
        length: their number in the file.
        coding: of a text; empty for bytes.
        is_text: False for bytes, also for those that were written as a text.
    """

    start: int
    length: int
    coding: str
    is_text: bool

    def can_hold(self, count: int) -> bool:
        """Whether these can be so many bytes of an array."""
        return not self.is_text and count <= self.length <= count * _WIDEST[self.coding]

    def read(self, file: BinaryIO) -> bytes:
        """The bytes, from the file that was loaded."""
        file.seek(self.start)
        data = file.read(self.length)
        return data.decode(self.coding).encode("latin-1") if self.coding else data


class Source:
    """A file that never reads, nor allocates, more than it has left."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._buffer, self._at = b"", 0
        self._base = 0  # offset of the buffer's first byte

    @property
    def place(self) -> int:
        return self._base + self._at

    @property
    def ended(self) -> bool:
        return self.place == self._size

    def take(self, count: int) -> bytes:
        """The next bytes, at most ``_CHUNK``."""
        end = self._at + count
        if end > len(self._buffer):
            self._refill()
            end = count
            if end > len(self._buffer):
                raise DataError("it is truncated", HINT)
        data = self._buffer[self._at : end]
        self._at = end
        return data

    def skip(self, count: int) -> int:
        """Leave out the next bytes, however many; returns where they start."""
        start = self.place
        if count > self._size - start:
            raise DataError("it is truncated", HINT)
        if self._at + count <= len(self._buffer):
            self._at += count
        else:
            self._buffer, self._at, self._base = b"", 0, start + count
        return start

    def line(self) -> tuple[int, int, bytes]:
        """Start and length of what is left of this line, and the bytes unless they are long."""
        start, text = self.place, b""
        while (end := self._buffer.find(b"\n", self._at)) < 0:
            if len(text) <= SHORT:
                text += self._buffer[self._at :]
            self._at = len(self._buffer)
            self._refill()
            if not self._buffer:
                raise DataError("it is truncated", HINT)
        length = self._base + end - start
        if length <= SHORT:
            text += self._buffer[self._at : end]
        self._at = end + 1
        return start, length, text if length <= SHORT else b""

    def _refill(self) -> None:
        """Make the buffer begin here."""
        self._base, self._at = self.place, 0
        self._file.seek(self._base)
        self._buffer = b""
        wanted = min(_CHUNK, max(0, self._size - self._base))
        while wanted > len(self._buffer):
            more = self._file.read(wanted - len(self._buffer))
            if not more:
                break
            self._buffer += more
