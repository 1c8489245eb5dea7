"""The list of targets, and what their seeds are made with."""

from __future__ import annotations

import importlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.fuzz.mutate import Seed


class Fuzzed(NamedTuple):
    """A parser under test.

    Attributes:
        seeds: small files that it accepts.
        read: reads bytes; may raise errors of ours, and nothing else.
        confined: whether it only runs in a worker with a limit of memory: then memory that runs
            out is a refusal, as the worker makes one of it.
    """

    seeds: Sequence[Seed]
    read: Callable[[bytes], object]
    confined: bool = False


Make = Callable[[Path], Fuzzed]  #: gets an empty folder, for parsers that take files

MODULES = ("readers", "own", "texts", "results")  #: where targets are
TARGETS: dict[str, Make] = {}


def target(make: Make) -> Make:
    """Registers a parser under the function's name."""
    TARGETS[make.__name__] = make
    return make


def find(name: str) -> Make:
    """The target of this name, or of ``module:function`` in ``tests/kit``."""
    if ":" in name:
        module, _, function = name.partition(":")
        made: Make = getattr(importlib.import_module(f"kit.{module}"), function)
        return made
    names()
    return TARGETS[name]


def names() -> list[str]:
    """All registered targets, in a fixed order."""
    for module in MODULES:
        importlib.import_module(f"benchmarks.fuzz.{module}")
    return sorted(TARGETS)


# --- What seeds are made with, and readings ----------------------------------------------------


def from_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A parser that takes a file's path as one that takes bytes."""

    def reading(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return reading


def joints(*shape: int) -> np.ndarray:
    """Made-up joints of a person two metres before the camera, four decimals, nowhere zero."""
    near = np.arange(np.prod(shape)).reshape(shape)
    return np.round(0.3 + np.sin(near) / 4 + np.array([0, 0, 2]), 4)


def lines(values: np.ndarray, separator: str = " ") -> bytes:
    """A line a row."""
    return "".join(separator.join(f"{v:.10g}" for v in row) + "\n" for row in values).encode()


def as_json(**content: Any) -> bytes:
    return json.dumps(content).encode()


def npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def zipped(parts: Mapping[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    """An archive that is the same whenever it is made."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in parts.items():
            about = zipfile.ZipInfo(name)
            about.compress_type = packing
            archive.writestr(about, data)
    return out.getvalue()


def inside(parts: Mapping[str, bytes], name: str, packing: int = zipfile.ZIP_STORED) -> Seed:
    """A part of an archive, packed again with right checksums."""
    return Seed(parts[name], lambda data: zipped({**parts, name: data}, packing))


def busy(data: bytes) -> tuple[tuple[int, int], ...]:
    """Where a file is not zeros over and over."""
    found = re.finditer(rb"[^\0](?:\0{0,60}[^\0])*\0{0,8}", data)
    return tuple(match.span() for match in found)


def sound(clip: np.ndarray, *shape: int) -> None:
    """Complain unless this is what a reader promises: (T, B, V, 3) float32, finite."""
    assert clip.dtype == np.float32, clip.dtype
    assert clip.ndim == 4, clip.shape
    assert clip.shape[1:] == shape, clip.shape
    assert len(clip), "no frame"
    assert np.isfinite(clip).all(), "not finite"


def sound_container(container: Any, *shape: int) -> None:
    """Every clip can be read and is sound, or is refused."""
    from zsar_bench.errors import DataError

    refused = None
    for number in range(len(container.clips)):
        try:
            sound(container.read(number), *shape)
        except DataError as error:
            refused = error
    if refused is not None:
        raise refused
