"""One array of real numbers out of a MATLAB 7.3 file, which is HDF5: read by h5py.

h5py takes a file's word for a lot, and is written in C. So such files are read in a confined worker
with a limit of memory; what ends it ends nothing else. Links to other files are not followed.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.errors import DataError, UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HINT = "Get this file again, or leave it out."
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_STARTS = (0, 512, 1024, 2048)  # MATLAB writes a block of 512 bytes of its own first
_PACKINGS = (None, "gzip")
_EDGES = 8  # chunks may stand over the array's edges, and hold so many times its numbers


def read_array(data: bytes, name: str, most: int) -> NDArray[np.float64]:
    """The array ``name`` of the file, its axes in the file's order: MATLAB's reversed.

    Args:
        data: the whole file.
        name: of a variable.
        most: numbers; a larger array is refused before anything is allocated.

    Raises:
        DataError: if the file is damaged, lacks the array, or holds it in another way.
        UserError: if h5py is not installed.
        MemoryError: if it takes more memory than there is.
    """
    if not any(data.startswith(_SIGNATURE, start) for start in _STARTS):
        raise DataError("it is not a MATLAB 7.3 file (HDF5)", HINT)
    try:
        import h5py
    except ImportError:
        raise UserError(
            "To read MATLAB 7.3 files, h5py is needed, which is not installed.",
            "Type: pip install 'zsar-bench[uwa3d]'",
        ) from None
    try:
        with h5py.File(io.BytesIO(data), "r") as file, np.errstate(invalid="ignore"):
            return _array(h5py, file, name, most)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # h5py raises what HDF5 stumbles over, as errors of many kinds
        why = " ".join(str(error).split())[:100]
        raise DataError(f"it is damaged or truncated ({why})", HINT) from None


def _array(h5py: Any, file: Any, name: str, most: int) -> NDArray[np.float64]:
    link = file.get(name, getlink=True)
    if link is None:
        found = ", ".join(repr(str(one)[:20]) for one, _ in zip(file, range(5), strict=False))
        raise DataError(f"it must hold '{name}', but holds {found or 'nothing'}", HINT)
    if not isinstance(link, h5py.HardLink):
        raise DataError("the variable lies in another file or place", HINT)
    array = file[name]
    if not isinstance(array, h5py.Dataset) or array.shape is None:
        raise DataError("the variable is no array of numbers", HINT)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise DataError("the variable does not hold real numbers", HINT)
    if not 0 < array.size <= most:
        raise DataError(f"the variable holds {array.size} numbers, not 1 to {most}", HINT)
    if array.is_virtual or array.external:
        raise DataError("the numbers of the variable lie in another file", HINT)
    if array.compression not in _PACKINGS:
        raise DataError("the variable is packed in a way that MATLAB does not use", HINT)
    if array.chunks and np.prod(array.chunks, dtype=float) > _EDGES * most:
        raise DataError("the chunks of the variable are larger than the variable", HINT)
    values: NDArray[np.float64] = array[()].astype(np.float64)
    return values
