"""Pickles of strangers: plain data and numpy arrays of numbers, and nothing is ever run.

A pickle may call any function of any module. ``pickle.Unpickler`` asks ``find_class`` for each of
them, and ours knows only the few names that numpy writes for arrays. Even these get stand-ins that
check what they are given: numpy's own functions take a pickle's word for shapes and types.

What remains is greed: a few bytes can make the unpickler allocate gigabytes, or take for ever. So
pickles are read in a confined worker with a limit of memory; ``MemoryError`` is left to it.

What numpy writes: ``ndarray.__reduce__`` (a bare array, then its shape, type, order and bytes),
``ndarray.__reduce_ex__`` (protocol 5: ``_frombuffer``), ``dtype.__reduce__`` and the scalars'.
Protocols 0 to 2 have no bytes: they write them as Latin-1 text that ``_codecs.encode`` turns back.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import numpy as np

from zsar_bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HINT = "Get this file again from where it is published."
MOST_DIMENSIONS = 8
_NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")
_BYTES = "an array in it has not the bytes that its shape needs"


def load(file: BinaryIO) -> Any:
    """What a pickle holds: plain values, and an ``Array`` for each array.

    Args:
        file: at its start. All of it is read into memory.

    Raises:
        DataError: for everything that is not a whole pickle of such data; it names the function
            or class that the pickle asks for.
        MemoryError: if it takes more memory than there is.
    """
    try:
        content = _Unpickler(file).load()
        rest = file.read(1)
    except (DataError, MemoryError):
        raise
    except OSError as error:
        raise DataError(error.strerror or str(error)) from None
    except EOFError:
        raise DataError("it is truncated", HINT) from None
    except Exception as error:  # the unpickler raises what it stumbles over
        why = " ".join(str(error).split())[:100]
        if "truncated" in why:
            raise DataError("it is truncated", HINT) from None
        raise DataError(f"it is no whole pickle of plain data ({why})", HINT) from None
    if rest:
        raise DataError("it goes on after its end", HINT)
    return content


class _Unpickler(pickle.Unpickler):
    """Finds the stand-ins of this module, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 calls ``core`` ``_core``.
        function = _ALLOWED.get(f"{module}.{name}".replace("numpy._core.", "numpy.core.", 1))
        if function is None:
            raise _asks_for(f"{module[:60]}.{name}")
        return function

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _asks_for("an object that is stored elsewhere")


def _asks_for(what: str) -> DataError:
    return DataError(
        f"it asks for {what[:80]!r}, which no array of numbers needs; nothing was run",
        "Do not open this file with other tools before you know who made it.",
    )


class Array:
    """An array of numbers as the pickle holds it.

    Attributes:
        shape: none negative; its bytes are there.
        dtype: real numbers or truth values.
    """

    __slots__ = ("_data", "_order", "dtype", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype: np.dtype[Any] = np.dtype("u1")
        self._order = "C"
        self._data: bytes | bytearray | str = b""

    def fill(self, shape: Any, kind: Any, order: str, data: Any) -> Array:
        """Take shape, ``_Type``, order (C or F) and bytes, or a text of a character a byte.

        Raises:
            DataError: if they do not agree.
        """
        if type(kind) is not _Type:
            raise DataError("an array in it is not of plain numbers", HINT)
        if type(data) is _Latin:
            data = data.text
        elif type(data) not in (bytes, bytearray):
            raise DataError("an array in it holds Python objects, not numbers", HINT)
        if (
            type(shape) is not tuple
            or len(shape) > MOST_DIMENSIONS
            or not all(type(n) is int and n >= 0 for n in shape)
        ):
            raise DataError("an array in it has an impossible shape", HINT)
        if len(data) != math.prod(shape) * kind.dtype.itemsize:
            raise DataError(_BYTES, HINT)
        self.shape, self.dtype, self._order, self._data = shape, kind.dtype, order, data
        return self

    def __setstate__(self, state: Any) -> None:
        match state:
            case (1, shape, kind, bool() as fortran, data):
                self.fill(shape, kind, "F" if fortran else "C", data)
            case _:
                raise DataError("an array in it is damaged", HINT)

    def read(self) -> NDArray[Any]:
        """The array itself, not to be written to.

        Raises:
            DataError: if its text is none of bytes.
        """
        data = self._data
        try:
            values = data.encode("latin-1") if isinstance(data, str) else data
        except UnicodeEncodeError:
            raise DataError(_BYTES, HINT) from None
        flat: NDArray[Any] = np.frombuffer(values, self.dtype) if values else _none(self.dtype)
        return flat.reshape(self.shape, order="F" if self._order == "F" else "C")


def _none(dtype: np.dtype[Any]) -> NDArray[Any]:
    """An empty array: ``frombuffer`` makes none."""
    return np.zeros(0, dtype)


class _Type:
    """A numpy type of real numbers or truth values."""

    __slots__ = ("code", "dtype")

    def __init__(self, code: str) -> None:
        self.code, self.dtype = code, np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Take its byte order; the rest of its state must say that it is plain."""
        match state:
            case (int(), "<" | ">" | "=" | "|" as order, None, None, None, int(), int(), 0) | (
                int(),
                "<" | ">" | "=" | "|" as order,
                None,
                None,
                None,
                int(),
                int(),
                0,
                None,
            ):
                self.dtype = np.dtype(order.strip("|") + self.code)
            case _:
                raise DataError("an array in it is not of plain numbers", HINT)


class _Latin:
    """Bytes as a text; turned into bytes only when they are wanted, or both were kept."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Function:
    """What stands for a function or class: it can be called, and nothing else."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise DataError("it is damaged: it changes what cannot be changed", HINT)


def _no_call(*_: Any) -> NoReturn:
    raise DataError("it is damaged: it calls an array", HINT)


_NDARRAY = _Function(_no_call)


def _bare_array(*arguments: Any) -> Array:
    match arguments:
        case (kind, (0,), b"b" | "b" | _Latin(text="b")) if kind is _NDARRAY:
            return Array()
    raise DataError("an array in it is damaged", HINT)


def _type(*arguments: Any) -> _Type:
    match arguments:
        case (str(code), bool() | 0 | 1, bool() | 0 | 1) | (str(code),):
            if _NUMBERS.fullmatch(code):
                return _Type(code)
            raise DataError(f"an array in it is of the type {code[:20]!r}, not of numbers", HINT)
    raise DataError("an array in it is not of plain numbers", HINT)


def _from_buffer(*arguments: Any) -> Array:
    match arguments:
        case (data, kind, shape, "C" | "F" as order):
            return Array().fill(shape, kind, order, data)
    raise DataError("an array in it is damaged", HINT)


def _scalar(*arguments: Any) -> Any:
    match arguments:
        case (kind, data):
            return Array().fill((), kind, "C", data).read().item()
    raise DataError("a number in it is damaged", HINT)


def _encode(*arguments: Any) -> _Latin:
    match arguments:
        case (str(text), "latin1"):
            return _Latin(text)
    raise DataError("it is damaged: bytes in it are none", HINT)


def _ordered(*arguments: Any) -> dict[str, Any]:
    if arguments:
        raise DataError("an ordered dict in it is damaged", HINT)
    return {}


#: All that a pickle may ask for.
_ALLOWED = {
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _Function(_type),
    "numpy.core.multiarray._reconstruct": _Function(_bare_array),
    "numpy.core.multiarray.scalar": _Function(_scalar),
    "numpy.core.numeric._frombuffer": _Function(_from_buffer),
    "_codecs.encode": _Function(_encode),
    "collections.OrderedDict": _Function(_ordered),
}
