"""A writer of small MATLAB 7.3 files, whole and faulty ones."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

NOBODY = 2**64 - 1  # an address that leads nowhere


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def header(*messages: tuple[int, bytes]) -> bytes:
    """An object header of version 1."""
    body = b"".join(
        struct.pack("<HHB3x", kind, len(padded(data)), 0) + padded(data) for kind, data in messages
    )
    return struct.pack("<BxHII4x", 1, len(messages), 1, len(body)) + body


def tree(kind: int, *children: tuple[bytes, int]) -> bytes:
    """A B-tree of one leaf; the key behind the last child is left zero."""
    node = struct.pack("<4sBBHQQ", b"TREE", kind, 0, len(children), NOBODY, NOBODY)
    for key, child in children:
        node += key + struct.pack("<Q", child)
    return node + bytes(len(children[0][0]))


def number_type(dtype: np.dtype[Any]) -> bytes:
    real = dtype.kind == "f"
    flags = (dtype.byteorder == ">") | (0 if real else 8 * (dtype.kind == "i"))
    return struct.pack("<BBxxI", 0x10 | real, flags, dtype.itemsize) + bytes(12)


def mat(
    values: np.ndarray,
    chunk: tuple[int, ...] = (),
    packed: bool = True,
    compact: bool = False,
    name: bytes = b"A",
    **more: Any,
) -> bytes:
    """A file with this array, its axes as HDF5 has them; ``more`` overrides what it claims."""
    pack: Callable[[bytes], bytes] = more.get("pack", zlib.compress)
    rank, dtype = values.ndim, values.dtype
    out = bytearray(96)

    def put(data: bytes) -> int:
        at = len(out)
        out.extend(padded(data))
        return at

    raw = values.tobytes()
    filters: tuple[tuple[int, bytes], ...] = ()
    if compact:
        layout = struct.pack("<BBH", 3, 0, len(raw)) + raw
    elif chunk:
        children = []
        for where in np.ndindex(*[-(-n // c) for n, c in zip(values.shape, chunk, strict=True)]):
            start = [w * c for w, c in zip(where, chunk, strict=True)]
            block = np.zeros(chunk, dtype)
            part = values[tuple(slice(s, s + c) for s, c in zip(start, chunk, strict=True))]
            block[tuple(slice(0, n) for n in part.shape)] = part
            data = pack(block.tobytes()) if packed else block.tobytes()
            key = struct.pack(f"<II{rank + 1}Q", len(data), 0, *start, 0)
            children.append((key, put(data)))
        layout = struct.pack("<BBBQ", 3, 2, rank + 1, put(tree(1, *children)))
        layout += struct.pack(f"<{rank + 1}I", *more.get("chunk_claim", chunk), dtype.itemsize)
        if packed:
            filters = ((0x0B, struct.pack("<BB6xHHHHII", 1, 1, 1, 0, 1, 1, 6, 0)),)
    else:
        layout = struct.pack("<BBQQ", 3, 1, put(raw), len(raw))
    shape = more.get("shape", values.shape)
    space = struct.pack("<BBB5x", 1, rank, 0) + struct.pack(f"<{rank}Q", *shape)
    array = put(
        header((0x01, space), (0x03, number_type(dtype)), (0x08, layout), *filters)
        if not more.get("bare")
        else header((0x03, number_type(dtype)))
    )
    names = put(bytes(8) + name + b"\0")
    heap = put(struct.pack("<4s4xQQQ", b"HEAP", 16, NOBODY, names))
    entry = struct.pack("<QQI4x16x", 8, array, 0)
    group = put(struct.pack("<4sBBH", b"SNOD", 1, 0, 1) + entry)
    contents = put(tree(0, (bytes(8), group)))
    root = put(header((0x11, struct.pack("<QQ", contents, heap))))
    out[:96] = (
        b"\x89HDF\r\n\x1a\n"
        + struct.pack("<BBBBBBBxHHI", 0, 0, 0, 0, 0, 8, 8, 4, 16, 0)
        + struct.pack("<QQQQ", 512, NOBODY, 512 + len(out), NOBODY)
        + struct.pack("<QQI4x16x", 0, root, 0)
    )
    return b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384) + bytes(out)
