"""Stand-ins for what numpy's arrays ask of a pickle: each checks, none runs anything.

What numpy writes: ``ndarray.__reduce__`` (a bare array, then its shape, type, order and bytes),
``ndarray.__reduce_ex__`` (protocol 5: ``_frombuffer``), ``dtype.__reduce__`` and the scalars'.
Protocols 0 to 2 have no bytes: they write them as Latin-1 text that ``_codecs.encode`` turns back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from zsar_bench.errors import DataError
from zsar_datasets._pickled_bytes import HINT, Stored

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_DIMENSIONS = 8
_NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")


class Type:
    """A numpy type of real numbers or truth values."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def build(self, state: Any) -> None:
        """Take its byte order; the rest of its state must say that it is plain."""
        match state:
            case (int(), "<" | ">" | "=" | "|" as order, None, None, None, int(), int(), 0):
                self.order = order
            case (int(), "<" | ">" | "=" | "|" as order, None, None, None, int(), int(), 0, None):
                self.order = order
            case _:
                raise DataError("an array in it is not of plain numbers", HINT)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order.strip("|") + self.code)


class Array:
    """An array of numbers that was announced, and whose bytes may still be in the file.

    Attributes:
        shape: none negative; its bytes are there.
        dtype: real numbers or truth values.
    """

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype: np.dtype[Any] = np.dtype("u1")
        self._order = "C"
        self._data: bytes | Stored = b""

    def fill(self, shape: Any, kind: Any, order: str, data: Any) -> None:
        """Take shape, ``Type``, order (C or F) and bytes.

        Raises:
            DataError: if they do not agree.
        """
        if not isinstance(kind, Type):
            raise DataError("an array in it is not of plain numbers", HINT)
        if not isinstance(data, bytes | Stored):
            raise DataError("an array in it holds Python objects, not numbers", HINT)
        if (
            not isinstance(shape, tuple)
            or len(shape) > MOST_DIMENSIONS
            or not all(type(n) is int and n >= 0 for n in shape)
        ):
            raise DataError("an array in it has an impossible shape", HINT)
        dtype = kind.dtype
        count = math.prod(shape) * dtype.itemsize
        if not (len(data) == count if isinstance(data, bytes) else data.can_hold(count)):
            raise DataError("an array in it has not the bytes that its shape needs", HINT)
        self.shape, self.dtype, self._order, self._data = shape, dtype, order, data

    def build(self, state: Any) -> None:
        """Take what ``ndarray.__reduce__`` wrote of it."""
        match state:
            case (1, shape, kind, bool() as fortran, data):
                self.fill(shape, kind, "F" if fortran else "C", data)
            case _:
                raise DataError("an array in it is damaged", HINT)

    def read(self, file: BinaryIO) -> NDArray[Any]:
        """The array itself, from the file that was loaded; it allocates what ``shape`` says.

        Raises:
            DataError: if its bytes cannot be read, or are not as many as its shape needs.
        """
        data = self._data
        try:
            values = data if isinstance(data, bytes) else data.read(file)
            flat: NDArray[Any] = np.frombuffer(values, self.dtype)
            return flat.reshape(self.shape, order="F" if self._order == "F" else "C")
        except OSError as error:
            raise DataError(error.strerror or str(error)) from None
        except ValueError:  # the text is none, or gives too many or too few bytes
            raise DataError("an array in it has not the bytes that its shape needs", HINT) from None


# --- The functions ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """What stands for a function or class: ``call`` gets the arguments as the pickle has them."""

    call: Callable[..., Any]


def _no_call(*_: Any) -> Any:
    raise DataError("it is damaged: it calls an array", HINT)


NDARRAY = Function(_no_call)


def _bare_array(*arguments: Any) -> Array:
    match arguments:
        case (kind, (0,), b"b" | "b") if kind is NDARRAY:
            return Array()
    raise DataError("an array in it is damaged", HINT)


def _type(*arguments: Any) -> Type:
    match arguments:
        case (str(code), bool() | 0 | 1, bool() | 0 | 1) | (str(code),):
            if _NUMBERS.fullmatch(code):
                return Type(code)
            raise DataError(f"an array in it is of the type {code[:20]!r}, not of numbers", HINT)
    raise DataError("an array in it is not of plain numbers", HINT)


def _from_buffer(*arguments: Any) -> Array:
    match arguments:
        case (data, kind, shape, "C" | "F" as order):
            array = Array()
            array.fill(shape, kind, order, data)
            return array
    raise DataError("an array in it is damaged", HINT)


def _scalar(*arguments: Any) -> Any:
    match arguments:
        case (Type() as kind, bytes(data)) if len(data) == kind.dtype.itemsize:
            return np.frombuffer(data, kind.dtype)[0].item()
    raise DataError("a number in it is damaged", HINT)


def _bytes_of(*arguments: Any) -> bytes | Stored:
    match arguments:
        case (str(text), "latin1"):
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                raise DataError("it is damaged: bytes in it are none", HINT) from None
        case (Stored(is_text=True) as text, "latin1"):
            return Stored(text.start, text.length, text.coding, is_text=False)
    raise DataError("it is damaged: bytes in it are none", HINT)


def _ordered(*arguments: Any) -> dict[str, Any]:
    if arguments:
        raise DataError("an ordered dict in it is damaged", HINT)
    return {}


#: All that a pickle may ask for. numpy 2 calls ``core`` ``_core``.
GLOBALS: Mapping[tuple[str, str], Function] = MappingProxyType(
    {
        ("numpy", "ndarray"): NDARRAY,
        ("numpy", "dtype"): Function(_type),
        ("_codecs", "encode"): Function(_bytes_of),
        ("collections", "OrderedDict"): Function(_ordered),
    }
    | {
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", Function(_bare_array)),
            ("multiarray", "scalar", Function(_scalar)),
            ("numeric", "_frombuffer", Function(_from_buffer)),
        )
    }
)
