"""Raw files in memory, for readers whose clips lie in several of them."""

from __future__ import annotations

import io
from typing import BinaryIO


class Files(dict[str, bytes]):
    """A folder (``zsar_bench.contracts.RawSource``): name -> bytes."""

    @property
    def names(self) -> list[str]:
        return sorted(self)

    def size(self, name: str) -> int:
        return len(self[name])

    def read(self, name: str) -> bytes:
        return self[name]

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self[name])
