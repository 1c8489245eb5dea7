"""UTD-MHAD, skeleton stream: 27 actions, 8 performers, up to 4 trials; Kinect v1, 20 joints.

C. Chen, R. Jafari, N. Kehtarnavaz, "UTD-MHAD: A multimodal dataset for human action recognition
utilizing a depth camera and a wearable inertial sensor", ICIP 2015.

A clip is a MATLAB 5 file with one variable ``d_skel``, (20 joints, x y z, frames) in metres in
the camera's frame, y up.

Why not ``scipy.io.loadmat``: it takes a file's word for everything. A damaged element type
crashes the process (scipy 1.17, segmentation fault on a changed byte; see scipy pull request
25349), and a forged size is allocated. Clips come from strangers, so the few parts of the format
that they use are read here, every size checked before use; tests hold the result against
``loadmat``. The format: MathWorks, "MAT-File Format", version 5. A file is a header and
elements; an element is a tag (type, size) and its bytes, padded to eight; a variable is an
element of elements: flags, dimensions, name, real values, imaginary values.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError

JOINTS = 20
MIN_FRAMES, MAX_FRAMES = 2, 3000  # the longest real clip has 125
FARTHEST = 50.0  # metres; a Kinect sees about 4
VARIABLE = "d_skel"

_NAME = re.compile(r"(a(?:[1-9]|1[0-9]|2[0-7]))_s([1-8])_t([1-4])_skeleton\.mat")
_HINT = "Download the archive again, or leave this file out."

# --- MATLAB 5 --------------------------------------------------------------------------------

_HEADER = 128  # bytes before the first element
_ORDER = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}  # version and byte order, the header's end
_LARGEST = _HEADER + MAX_FRAMES * JOINTS * 3 * 8 + 4096  # bytes of the longest clip, unpacked

_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15  # element types
_VALUES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}

_COMPLEX, _LOGICAL = 0x800, 0x200  # bits of a variable's flags; the lowest byte is its class
# fmt: off
_CLASSES = (
    "unknown", "cell", "struct", "object", "char", "sparse", "double", "single", "int8", "uint8",
    "int16", "uint16", "int32", "uint32", "int64", "uint64", "function", "opaque",
)
# fmt: on


# --- The reader ------------------------------------------------------------------------------


class Reader:
    """Reads UTD-MHAD clips (``zsar_bench.contracts.DatasetReader``)."""

    def identify(self, name: str) -> ClipName | None:
        """What the file of this name holds: ``.../a1_s1_t1_skeleton.mat`` is a clip."""
        *folders, base = name.split("/")
        match = _NAME.fullmatch(base)
        if match is None or "__MACOSX" in folders:
            return None
        class_id, subject, trial = match.groups()
        return ClipName(f"{class_id}_s{subject}_t{trial}", class_id, subject)

    def read(self, data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(T, 1, 20, 3) float32 in metres from the bytes of one file.

        Raises:
            DataError: for anything but a whole, finite clip of 2 to 3000 frames.
        """
        variables = list(_variables(data))
        found = [v for v in variables if v.name == VARIABLE]
        if len(found) != 1:
            names = ", ".join(repr(v.name[:40]) for v in variables[:5]) or "nothing"
            raise DataError(f"it must hold one variable '{VARIABLE}', but holds {names}", _HINT)
        return _clip(found[0])


def _clip(variable: _Variable) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(T, 1, 20, 3) float32 from the variable ``d_skel``."""
    shape = variable.shape
    if variable.kind not in ("double", "single"):
        raise DataError(f"'{VARIABLE}' must hold real numbers, not {variable.kind}", _HINT)
    if len(shape) != 3 or shape[:2] != (JOINTS, 3):
        text = " x ".join(str(n) for n in shape[:6])
        raise DataError(f"'{VARIABLE}' must be {JOINTS} x 3 x frames, not {text}", _HINT)
    if not MIN_FRAMES <= shape[2] <= MAX_FRAMES:
        raise DataError(
            f"a clip has {MIN_FRAMES} to {MAX_FRAMES} frames, this one {shape[2]}", _HINT
        )
    values = variable.values()
    largest = np.abs(values).max()  # NaN if any value is
    if not np.isfinite(largest):
        raise DataError("it holds values that are not finite (NaN or infinite)", _HINT)
    if largest > FARTHEST:
        raise DataError(f"a joint is {largest:.3g} m away; are these metres?", _HINT)
    clip = np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)[:, None]
    if not clip.any():
        raise DataError("every value is zero", _HINT)
    return clip


# --- Variables and elements of a MATLAB 5 file -----------------------------------------------


@dataclass(frozen=True)
class _Variable:
    """One variable: what its header says, and its values as they are in the file.

    ``kind`` is MATLAB's class, or complex or logical; ``rest`` starts with the real values.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    rest: bytes
    order: str

    def values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The real values as float64; only for checked, small shapes."""
        element, payload, _ = _element(self.rest, 0, self.order)
        dtype = _VALUES.get(element)  # MATLAB stores whole numbers as small integers
        size = math.prod(self.shape)
        if dtype is None or len(payload) != size * int(dtype[1]):
            raise DataError(f"the values of '{self.name}' do not fill its shape", _HINT)
        with np.errstate(invalid="ignore"):  # a NaN may be one that numpy warns of
            flat = np.frombuffer(payload, self.order + dtype).astype(np.float64)
        return flat.reshape(self.shape, order="F")


def _variables(data: bytes) -> Iterator[_Variable]:
    """The variables of a MATLAB 5 file, unpacking at most ``_LARGEST`` bytes."""
    if not data:
        raise DataError("the file is empty", _HINT)
    if data.startswith(b"\x89HDF\r\n\x1a\n") or data[124:126] in (b"\x00\x02", b"\x02\x00"):
        raise DataError(
            "it is a MATLAB 7.3 (HDF5) file; clips of this data set are MATLAB 5 files",
            f"In MATLAB: save(file, '{VARIABLE}', '-v7').",
        )
    order = _ORDER.get(data[124:_HEADER])
    if order is None:
        raise DataError("it is not a MATLAB 5 file (or ends within its header)", _HINT)
    at, left = _HEADER, _LARGEST - _HEADER
    while at < len(data):
        kind, payload, at = _element(data, at, order)
        if kind == _COMPRESSED:
            kind, payload, _ = _element(_inflated(payload, left), 0, order)
        left -= len(payload)
        if left < 0:
            raise _too_large()
        if kind != _MATRIX:
            raise DataError(f"it is damaged (element type {kind} instead of a variable)", _HINT)
        yield _variable(payload, order)


def _variable(matrix: bytes, order: str) -> _Variable:
    """What the bytes of a variable say of it; its values are not touched."""
    flags_type, flags, at = _element(matrix, 0, order)
    shape_type, shape, at = _element(matrix, at, order)
    name_type, name, at = _element(matrix, at, order)
    if (flags_type, shape_type, name_type) != (_UINT32, _INT32, _INT8) or (
        len(flags) != 8 or len(shape) % 4
    ):
        raise DataError("it is damaged (a variable's header makes no sense)", _HINT)
    (bits,) = struct.unpack_from(f"{order}I", flags)
    kind = _CLASSES[bits & 0xFF] if bits & 0xFF < len(_CLASSES) else "unknown"
    if bits & _COMPLEX:
        kind = "complex"
    elif bits & _LOGICAL:
        kind = "logical"
    return _Variable(
        name=name.decode("latin-1"),
        kind=kind,
        shape=struct.unpack(f"{order}{len(shape) // 4}i", shape),
        rest=matrix[at:],
        order=order,
    )


def _element(data: bytes, at: int, order: str) -> tuple[int, bytes, int]:
    """Type and bytes of the element at ``at``, and where the next one starts."""
    if at + 8 > len(data):
        raise DataError("it is truncated", _HINT)
    kind, size = struct.unpack_from(f"{order}II", data, at)
    start, small = at + 8, kind >> 16
    if small:  # up to four bytes, in the place of the size
        kind, size, start = kind & 0xFFFF, small, at + 4
    end = start + size
    if end > len(data) or (small and size > 4):
        raise DataError("it is truncated", _HINT)
    after = end if kind == _COMPRESSED else end + (at - end) % 8
    return kind, data[start:end], after


def _inflated(packed: bytes, limit: int) -> bytes:
    """What a zlib stream holds, if that is one element of at most ``limit`` bytes."""
    stream = zlib.decompressobj()
    try:
        element = stream.decompress(packed, limit + 16)  # its tag, and more than is allowed
    except zlib.error as error:
        raise DataError("its compressed part is damaged", _HINT) from error
    if len(element) > limit + 8:
        raise _too_large()
    if not stream.eof:
        raise DataError("its compressed part is truncated", _HINT)
    return element


def _too_large() -> DataError:
    return DataError(f"it is larger than a clip of {MAX_FRAMES} frames", _HINT)
