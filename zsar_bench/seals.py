"""Temporary: branch seals brings the real one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from zsar_bench.paths import write_bytes

MAGIC = b"ZSB1"


class Damaged(Exception):
    pass


def write_sealed(path: Path, payload: bytes) -> None:
    write_bytes(path, MAGIC + hashlib.sha256(payload).digest() + payload)


def read_sealed(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:4] != MAGIC or hashlib.sha256(data[36:]).digest() != data[4:36]:
        raise Damaged(str(path))
    return data[36:]
