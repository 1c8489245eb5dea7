"""One array of real numbers out of a MATLAB 7.3 file, read without an HDF5 library.

Why not h5py: it is one more dependency, and a file's word for sizes and addresses goes a long way
in the library below it. Clips come from strangers, so the few parts of HDF5 that MATLAB writes are
read here, every address and size checked before use; tests hold the result against a file that
MATLAB wrote and, where it is installed, against h5py.

The format: The HDF Group, "HDF5 File Format Specification", version 3. MATLAB writes a block of 512
bytes of its own, a superblock of version 0, groups as B-trees with a heap of names, object headers
of version 1, and arrays that are compact, contiguous, or in chunks packed by zlib. Nothing newer is
read. Addresses count from the superblock's base.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_MESSAGES, MAX_NODES, MAX_NAMES, MAX_RANK = 512, 4096, 1000, 8
UNDEFINED = 2**64 - 1  # as an address: nothing was stored
HINT = "Get this file again, or leave it out."
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SPACE, _TYPE, _LAYOUT, _FILTERS, _CONTINUED, _GROUP = 0x01, 0x03, 0x08, 0x0B, 0x10, 0x11
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2
_DEFLATE, _SHUFFLE, _NO_FILTER = 1, 2, b"\1\0"


def read_array(data: bytes, name: str, most: int) -> NDArray[np.float64]:
    """The array ``name`` of the file, its axes in the file's order: MATLAB's reversed.

    Args:
        data: the whole file.
        name: of a variable.
        most: numbers; a larger array is refused before anything is allocated.

    Raises:
        DataError: if the file is damaged, lacks the array, or holds it in another way.
    """
    start = next((s for s in (0, 512, 1024, 2048) if data[s : s + 8] == _SIGNATURE), None)
    if start is None:
        raise DataError("it is not a MATLAB 7.3 file (HDF5)", HINT)
    try:
        with np.errstate(invalid="ignore"):  # a NaN may be one that numpy warns of
            return _File(data, start).array(name, most)
    except struct.error:
        raise DataError("it is damaged or truncated", HINT) from None


@dataclass(frozen=True)
class _Array:
    """What the header of an array says; ``filters`` are what packed its chunks, in order."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: _Layout
    filters: tuple[int, ...]


@dataclass(frozen=True)
class _Layout:
    """Where the numbers are: in ``raw``, or at ``address``, in one piece or in chunks."""

    kind: int
    address: int = UNDEFINED
    chunk: tuple[int, ...] = ()
    raw: bytes = b""


class _File:
    """The bytes of a file, by address."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.base = data, 0
        version, offsets, lengths = self.unpack("<B4xBB", start + 8)
        if version > 1 or offsets != 8 or lengths != 8:
            raise DataError("its HDF5 is newer than what MATLAB writes", "Save it with -v7.3.")
        at = start + 24 + (4 if version else 0)
        (base,) = self.unpack("<Q", at)
        (root,) = self.unpack("<Q", at + 40)
        self.base, self.root = base, root

    def bytes(self, address: int, size: int) -> bytes:
        """``size`` bytes at an address."""
        at = self.base + address
        if at + size > len(self.data):
            raise DataError("it is truncated: it points behind its end", HINT)
        return self.data[at : at + size]

    def unpack(self, form: str, address: int) -> tuple[Any, ...]:
        """Numbers at an address."""
        return struct.unpack(form, self.bytes(address, struct.calcsize(form)))

    def array(self, name: str, most: int) -> NDArray[np.float64]:
        """The array ``name`` of the root group."""
        tree, heap = self.group(self.root)
        names: list[str] = []
        for entry in self.entries(tree):
            label, header = struct.unpack("<QQ", entry[:16])
            names.append(self.name(heap, label))
            if len(names) > MAX_NAMES:
                raise DataError("it holds more variables than any clip", HINT)
            if names[-1] == name:
                return self.values(self.about(header), most)
        found = ", ".join(repr(n[:20]) for n in names[:5]) or "nothing"
        raise DataError(f"it must hold '{name}', but holds {found}", HINT)

    def group(self, header: int) -> tuple[int, int]:
        """Addresses of a group's tree and of its names."""
        for kind, body in self.messages(header):
            if kind == _GROUP:
                tree, heap = struct.unpack("<QQ", body[:16])
                signature, names = self.unpack("<4s20xQ", heap)
                if signature != b"HEAP":
                    break
                return tree, names
        raise DataError("it has no list of variables", HINT)

    def name(self, heap: int, offset: int) -> str:
        """A name of up to 64 characters among a group's names."""
        at = self.base + heap + offset
        return self.data[at : at + 64].split(b"\0")[0].decode("ascii", "replace")

    def messages(self, header: int) -> Iterator[tuple[int, bytes]]:
        """Kind and body of every message of an object header."""
        version, count, size = self.unpack("<BxH4xI", header)
        if version != 1:
            raise DataError("an object header is of a kind that MATLAB does not write", HINT)
        blocks, left = [(header + 16, size)], min(count, MAX_MESSAGES)
        while blocks and left:
            at, size = blocks.pop(0)
            end = at + size
            while at + 8 <= end and left:
                kind, length = self.unpack("<HH", at)
                body = self.bytes(at + 8, length)
                if kind == _CONTINUED:
                    blocks.append(struct.unpack("<QQ", body[:16]))
                yield kind, body
                at, left = at + 8 + length, left - 1

    def leaves(self, tree: int, kind: int, key: int) -> Iterator[tuple[bytes, int]]:
        """Key and address of every child of the lowest nodes of a B-tree."""
        nodes: list[tuple[int, int | None]] = [(tree, None)]
        for seen in range(MAX_NODES):
            if not nodes:
                return
            at, expected = nodes.pop(0)
            signature, found, level, used = self.unpack("<4sBBH", at)
            right = expected is None or level == expected
            if signature != b"TREE" or found != kind or not right or level > 8:
                raise DataError("a list of contents is damaged", HINT)
            body = self.bytes(at + 24, used * (key + 8))
            for n in range(used):
                one = body[n * (key + 8) : (n + 1) * (key + 8)]
                (child,) = struct.unpack("<Q", one[key:])
                if level:
                    nodes.append((child, level - 1))
                else:
                    yield one[:key], child
            if len(nodes) + seen > MAX_NODES:
                break
        raise DataError("a list of contents is too long", HINT)

    def entries(self, tree: int) -> Iterator[bytes]:
        """The entries of a group, 40 bytes each."""
        for _, node in self.leaves(tree, 0, 8):
            signature, count = self.unpack("<4s2xH", node)
            if signature != b"SNOD":
                raise DataError("a list of variables is damaged", HINT)
            body = self.bytes(node + 8, 40 * count)
            yield from (body[n : n + 40] for n in range(0, len(body), 40))

    def about(self, header: int) -> _Array:
        """What an array's header says."""
        found: dict[int, bytes] = {}
        for kind, body in self.messages(header):
            found.setdefault(kind, body)
        if not {_SPACE, _TYPE, _LAYOUT} <= found.keys():
            raise DataError("the variable is no array of numbers", HINT)
        shape, filters = _shape(found[_SPACE]), _filters(found.get(_FILTERS, _NO_FILTER))
        return _Array(shape, _dtype(found[_TYPE]), _layout(found[_LAYOUT], len(shape)), filters)

    def values(self, about: _Array, most: int) -> NDArray[np.float64]:
        """The numbers of an array."""
        count = math.prod(about.shape)
        if not 0 < count <= most:
            raise DataError(f"the variable holds {count} numbers, not 1 to {most}", HINT)
        size, layout = count * about.dtype.itemsize, about.layout
        if layout.kind == _CHUNKED:
            return self.chunks(about, most)
        raw = layout.raw
        if layout.kind == _CONTIGUOUS and layout.address != UNDEFINED:
            raw = self.bytes(layout.address, size)
        if len(raw) < size:
            raise DataError("the numbers do not fill the variable", HINT)
        return np.frombuffer(raw[:size], about.dtype).astype(np.float64).reshape(about.shape)

    def chunks(self, about: _Array, most: int) -> NDArray[np.float64]:
        """The numbers of an array in chunks; all of them must be there."""
        shape, rank, chunk = about.shape, len(about.shape), about.layout.chunk
        tree = about.layout.address
        if not all(chunk) or tree == UNDEFINED:
            raise _damaged_chunks()
        left = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
        if left * math.prod(chunk) > 8 * most:  # chunks at the edges may stand over
            raise DataError("the chunks of the variable are larger than the variable", HINT)
        out = np.full(shape, np.nan)
        for key, address in self.leaves(tree, 1, 8 + 8 * (rank + 1)):
            size, skipped, *where = struct.unpack(f"<II{rank}Q", key[: 8 + 8 * rank])
            places = [(at, n, c) for at, n, c in zip(where, shape, chunk, strict=True)]
            if skipped or not left or any(at >= n or at % c for at, n, c in places):
                raise _damaged_chunks()
            values = _unpacked(self.bytes(address, size), about, math.prod(chunk)).reshape(chunk)
            inside = tuple(slice(0, min(c, n - at)) for at, n, c in places)
            out[tuple(slice(at, at + c) for at, _, c in places)] = values[inside]
            left -= 1
        if left:
            raise DataError("chunks of the variable are missing", HINT)
        return out


def _damaged_chunks() -> DataError:
    return DataError("the chunks of the variable are damaged", HINT)


def _unpacked(raw: bytes, about: _Array, count: int) -> NDArray[np.float64]:
    """The numbers of one chunk, its filters undone from the last to the first."""
    width = about.dtype.itemsize
    for one in reversed(about.filters):
        if one == _DEFLATE:
            try:
                raw = zlib.decompressobj().decompress(raw, count * width + 1)
            except zlib.error:
                raise DataError("it is damaged: its packed data cannot be unpacked", HINT) from None
        elif len(raw) == count * width:  # shuffled: the first bytes of all numbers come first
            raw = np.frombuffer(raw, np.uint8).reshape(width, count).T.tobytes()
    if len(raw) != count * width:
        raise DataError("a chunk of the variable has another size than it says", HINT)
    return np.frombuffer(raw, about.dtype).astype(np.float64)


def _shape(space: bytes) -> tuple[int, ...]:
    version, rank = struct.unpack("<BB", space[:2])
    at = {1: 8, 2: 4}.get(version)
    if at is None or not 0 < rank <= MAX_RANK:
        raise DataError("the variable has no shape that MATLAB would write", HINT)
    return struct.unpack(f"<{rank}Q", space[at : at + 8 * rank])


def _layout(body: bytes, rank: int) -> _Layout:
    """Layout of an array, as MATLAB writes it (version 3) or once wrote it (1 and 2)."""
    version, second, third = struct.unpack("<BBB", body[:3])
    new = version == 3
    kind = second if new else third
    if version not in (1, 2, 3) or kind > _CHUNKED:
        raise DataError("the variable is stored in a way that MATLAB does not use", HINT)
    if kind == _COMPACT:  # the size of the numbers, then the numbers
        at = 4 if new else 12 + 4 * second
        (held,) = struct.unpack("<H" if new else "<I", body[2:4] if new else body[at - 4 : at])
        return _Layout(kind, raw=body[at : at + held])
    at = 2 + (kind == _CHUNKED) if new else 8
    (address,) = struct.unpack("<Q", body[at : at + 8])
    if kind == _CONTIGUOUS:
        return _Layout(kind, address)
    if (third if new else second) != rank + 1:  # the last one is the size of a number
        raise _damaged_chunks()
    chunk = struct.unpack(f"<{rank}I", body[at + 8 : at + 8 + 4 * rank])
    return _Layout(kind, address, chunk)


def _dtype(kind: bytes) -> np.dtype[Any]:
    """Type of a number: whole or real, little or big end first."""
    first, flags, size = struct.unpack("<BB2xI", kind[:8])
    sort = {0: "i" if flags & 8 else "u", 1: "f"}.get(first & 15)
    if sort is None or size not in ((4, 8) if sort == "f" else (1, 2, 4, 8)):
        raise DataError("the variable does not hold real numbers", HINT)
    return np.dtype(f"{'>' if flags & 1 else '<'}{sort}{size}")


def _filters(pipeline: bytes) -> tuple[int, ...]:
    """Which filters packed the chunks, first to last."""
    version, count = struct.unpack("<BB", pipeline[:2])
    found, at = [], 8
    for _ in range(count if version == 1 else 0):
        one, name, _, values = struct.unpack("<HHHH", pipeline[at : at + 8])
        found.append(one)
        at += 8 + name + 4 * (values + values % 2)
    if version != 1 or not set(found) <= {_DEFLATE, _SHUFFLE}:
        raise DataError("the variable is packed in a way that MATLAB does not use", HINT)
    return tuple(found)
