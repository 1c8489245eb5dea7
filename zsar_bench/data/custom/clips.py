"""One clip from the bytes of a ``.npy``, ``.csv`` or ``.json`` file.

The bytes are untrusted input: nothing is unpickled, and every size is checked against the file's
before memory is allocated. The caller adds the file's name to errors.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsar_bench.catalogue.custom import shown
from zsar_bench.errors import DataError

LARGEST_TEXT = 64 * 2**20  #: bytes of a .csv or .json file; a .npy of the same clip is smaller
LARGEST_CLIP = 512 * 2**20  #: bytes of a clip in memory
LONGEST = 100_000  #: frames
TALLEST = 10.0  #: metres that a body may measure in the median frame
Shape = tuple[int, int, int]  #: bodies, joints, 3
Values = NDArray[np.floating[Any]]


def read_clip(file: str, data: bytes, shape: Shape) -> NDArray[np.float32]:
    """The clip in a file.

    Args:
        file: its name; the ending determines the format.
        data: its bytes.
        shape: (B, V, 3) of the data set; a clip may have fewer bodies.

    Returns:
        (T, B, V, 3) float32; a body that the file does not have is zero.

    Raises:
        DataError: for anything but a whole, finite clip of these joints in metres.
    """
    if not data:
        raise DataError("it is empty")
    read = READERS.get(file[file.rfind(".") :])
    if read is None:
        raise DataError(f"it is none of {', '.join(READERS)}")
    return _checked(read(data, shape), shape)


def _checked(clip: Values, shape: Shape) -> NDArray[np.float32]:
    """(T, V, 3) or (T, b, V, 3) as a clip of the data set, if it can be one."""
    bodies, joints, _ = shape
    clip = clip[:, None] if clip.ndim == 3 else clip
    if clip.ndim != 4 or clip.shape[2:] != (joints, 3) or not 1 <= clip.shape[1] <= bodies:
        raise DataError(_wrong_shape(clip.shape, shape))
    _check_length(len(clip))
    if len(clip) * math.prod(shape) * 4 > LARGEST_CLIP:  # more than the file, if bodies are absent
        raise DataError(f"it takes more than {LARGEST_CLIP >> 20} MiB")
    if not np.isfinite(clip).all():
        raise DataError("it holds values that are not finite")
    # In float64, because the difference of two float16 may be none.
    with np.errstate(over="ignore"):
        heights = (clip.max(axis=2).astype(float) - clip.min(axis=2)).max(axis=2)  # (T, b)
    measured = heights[heights > 0]
    if not len(measured):
        raise DataError("all joints are at the same place in every frame")
    if (height := float(np.median(measured))) > TALLEST:
        raise DataError(f"a body measures {height:.4g} in the median frame, so these are no metres")
    whole = np.zeros((len(clip), *shape), np.float32)
    with np.errstate(over="ignore"):
        whole[:, : clip.shape[1]] = clip
    if not np.isfinite(whole).all():
        raise DataError("it holds values that are no float32 numbers")
    return whole


def _check_length(frames: int) -> None:
    if not 1 <= frames <= LONGEST:
        raise DataError(f"it has {frames} frames, not 1 to {LONGEST}")


def _wrong_shape(actual: tuple[int, ...], shape: Shape) -> str:
    bodies, joints, _ = shape
    wanted = f"(frames, {joints}, 3)"
    if bodies > 1:
        wanted += f" or (frames, 1 to {bodies}, {joints}, 3)"
    return f"its shape is {actual}, not {wanted}"


# --- .npy ----------------------------------------------------------------------------------------

MAGIC = b"\x93NUMPY"
_KEYS = (
    r"['\"]descr['\"]\s*:\s*['\"](?P<descr>[<>=|]?\w{2,4})['\"]",
    r"['\"]fortran_order['\"]\s*:\s*(?P<fortran>True|False)",
    r"['\"]shape['\"]\s*:\s*\((?P<shape>[\d\s,L]{0,99})\)",
)
_HEADER = re.compile(
    r"\s*\{\s*" + "".join(rf"(?=.*{key}\s*[,}}])" for key in _KEYS) + r"[^{}]*\}\s*", re.DOTALL
)


def _read_npy(data: bytes, shape: Shape) -> Values:
    """An array of floats, without numpy's own reader of headers, which evaluates them."""
    if not data.startswith(MAGIC) or len(data) < 12:
        raise DataError("it is not a .npy file")
    wide = 2 if data[6] == 1 else 4  # bytes of the header's length, by version
    start = 8 + wide
    end = start + int.from_bytes(data[8:start], "little")
    if data[6] not in (1, 2, 3) or end > len(data) or end > start + 10_000:
        raise DataError("its .npy header is damaged, perhaps truncated")
    header = _HEADER.fullmatch(data[start:end].decode("latin-1"))
    if header is None:
        raise DataError("its .npy header is damaged or describes no plain array")
    if not re.fullmatch(r"[<>=|]?f[248]", header["descr"]):
        raise DataError(f"it holds {header['descr']} values, not floats of 2, 4 or 8 bytes")
    dtype = np.dtype(header["descr"])
    sizes = [int(n) for n in re.findall(r"\d+", header["shape"])]
    count = math.prod(sizes)
    if len(sizes) not in (3, 4) or not count:
        raise DataError(_wrong_shape(tuple(sizes), shape))
    if end + count * dtype.itemsize != len(data):
        raise DataError(
            f"it has {len(data) - end} bytes of values, but its shape {tuple(sizes)} needs "
            f"{count * dtype.itemsize}"
        )
    order = "F" if header["fortran"] == "True" else "C"
    flat: Values = np.frombuffer(data, dtype, count, end)
    return flat.reshape(sizes, order=order)  # type: ignore[call-overload,no-any-return]


# --- .csv ----------------------------------------------------------------------------------------


def _read_csv(data: bytes, shape: Shape) -> Values:
    """A line a frame: all numbers of the first body, joint by joint, then of the next."""
    reader = csv.reader(io.StringIO(_text(data), newline=""), strict=True)
    rows: list[NDArray[np.float64]] = []
    width = 0  # numbers of a line, as the first line has them
    header = False
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not rows and not header and all(_number(cell) is None for cell in cells):
                header = True
                continue
            width = width or _width(len(cells), shape)
            rows.append(_frame(cells, reader.line_num, width))
            _check_length(len(rows))
    except csv.Error as error:
        raise DataError(f"line {max(1, reader.line_num)}: this is not CSV ({error})") from None
    if not rows:
        raise DataError("it holds no line of numbers")
    return np.stack(rows).reshape(len(rows), -1, *shape[1:])


def _width(count: int, shape: Shape) -> int:
    """How many numbers a line must have, given how many the first one has."""
    bodies, joints, _ = shape
    of_body = joints * 3
    return count if count in range(of_body, bodies * of_body + 1, of_body) else of_body


def _frame(cells: list[str], line: int, width: int) -> NDArray[np.float64]:
    if len(cells) != width:
        raise DataError(f"line {line}: {len(cells)} columns, not {width}")
    values = [_number(cell) for cell in cells]
    for column, value in enumerate(values, 1):
        if value is None or not math.isfinite(value):
            what = "is no finite number"
            raise DataError(f"line {line}, column {column}: {shown(cells[column - 1])} {what}")
    return np.array(values, dtype=np.float64)


def _number(cell: str) -> float | None:
    """A number as people and programs write it; Python would also take 1_000."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _text(data: bytes) -> str:
    if len(data) > LARGEST_TEXT:
        raise DataError(f"larger than {LARGEST_TEXT >> 20} MiB: save it as .npy instead")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"line {line}: this is not UTF-8 text") from None


# --- .json ---------------------------------------------------------------------------------------


def _read_json(data: bytes, shape: Shape) -> Values:
    """``{"frames": [...]}``, nested as an array is: frames, bodies (or not), joints, x y z."""
    text = _text(data)
    # Python takes 80 bytes for the two bytes "[]", so the number of lists is limited: one for every
    # three numbers, body and frame, and a few more.
    lists, numbers = text.count("[") + text.count("{"), text.count(",") + 1
    if lists > numbers / 3 * (1 + 2 / shape[1]) + 64:
        raise DataError("it holds more lists than its numbers need")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("it is not valid JSON, perhaps truncated") from None
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise DataError("it has no list 'frames'")
    _check_length(len(frames))
    made = [_array(frame, number) for number, frame in enumerate(frames)]
    for number, array in enumerate(made):
        if array.shape != made[0].shape:
            raise DataError(
                f"frame {number} has the shape {array.shape}, but frame 0 has {made[0].shape}"
            )
    return np.stack(made)


def _array(frame: Any, number: int) -> NDArray[np.float64]:
    """One frame, (V, 3) or (B, V, 3), of nothing but numbers."""
    level = [frame]
    for _ in range(4):  # deep enough for any frame
        level = [v for value in level for v in (value if isinstance(value, list) else [value])]
    for value in level:
        if type(value) not in (int, float):
            raise DataError(f"frame {number} holds other things than numbers")
    try:
        return np.array(frame, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise DataError(f"frame {number} is not a regular array of numbers") from None


READERS: dict[str, Callable[[bytes, Shape], Values]] = {
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".json": _read_json,
}
