"""The header of a ``.npy`` file, checked against the file's size before any value is read.

The format: numpy, "A simple file format for NumPy arrays" (NEP 1), versions 1.0 and 2.0.
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from zsar_bench.errors import DataError

if TYPE_CHECKING:
    import numpy as np

LONGEST = 10_000  #: bytes of a header's text; numpy's own limit
MOST_AXES = 8


@dataclass(frozen=True)
class Header:
    """The array that follows in the file.

    Attributes:
        shape: all positive.
        dtype: plain numbers.
        fortran: whether the first index runs fastest.
        start: offset of the first value in bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int


def read_header(file: BinaryIO, size: int, name: str, kinds: str, what: str) -> Header:
    """The checked header of a ``.npy`` file that starts where ``file`` stands.

    Args:
        file: only its first bytes are read.
        size: bytes from here to the file's end.
        name: what errors call the file.
        kinds: numpy's letters of the accepted kinds of numbers.
        what: the accepted kinds in words, for errors.

    Raises:
        DataError: if it is no such file, is cut or empty, or holds other kinds of values.
    """
    shape, dtype, fortran, start = _parsed(file, name)
    if dtype.hasobject:
        raise DataError(
            f"{name} holds Python objects; they are not read, because reading them runs code.",
            "Save it again as plain numbers: numpy.save(path, numpy.asarray(array, dtype=float))",
        )
    if dtype.kind not in kinds:
        raise DataError(f"{name} holds {dtype}, not {what}.")
    if len(shape) > MOST_AXES or not all(type(n) is int for n in shape):
        raise DataError(f"{name} claims the shape {str(shape)[:60]}.")
    if min(shape, default=1) < 0:
        raise DataError(f"{name} claims the shape {shape}.")
    count = math.prod(shape)
    if not count:
        raise DataError(f"{name} is empty: its shape is {shape}.")
    if start + count * dtype.itemsize != size:
        raise DataError(
            f"{name} should have {start + count * dtype.itemsize} bytes for its shape {shape}, "
            f"but has {size}: it was not copied whole.",
        )
    return Header(shape, dtype, fortran, start)


def _parsed(file: BinaryIO, name: str) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Shape, type and order of the values, and the length of all that stands before them."""
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"it is in version {version} of the format, not 1.0 or 2.0")
        length = file.read(2 if version == (1, 0) else 4)
        header_bytes = int.from_bytes(length, "little")
        if header_bytes > LONGEST:  # numpy would first allocate that header_bytes bytes
            raise ValueError(f"its header has {header_bytes} bytes, more than {LONGEST}")
        text = io.BytesIO(length + file.read(header_bytes))
        read_text = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with (
            warnings.catch_warnings()
        ):  # about Python 2's numbers and odd text; the result is checked
            warnings.simplefilter("ignore")
            shape, fortran, dtype = read_text(text)
        return shape, dtype, bool(fortran), npy.MAGIC_LEN + len(length) + header_bytes
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"Cannot read_text {name}: {error.strerror or error}.") from None
    except Exception as error:  # a header is parsed as Python text: any parser error is possible
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{name} is not a .npy file: {why}.") from None
