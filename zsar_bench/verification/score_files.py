"""Files of scores that were made elsewhere, read as untrusted input.

``.npz``          arrays ``ids`` (N,), ``classes`` (K,), both texts, and ``scores`` (N, K)
``.csv``          a line a clip: ``id`` and a column a class
``.safetensors``  the layout of a run's predictions; labels in it are ignored
``.json``         ``{"ids": [...], "classes": [...], "scores": [[...], ...]}``

Every size is checked before memory is allocated, and nothing is unpickled. ``self_reported`` checks
ids and classes. A score that a file leaves open (an empty cell, a null) is NaN.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.errors import DataError, UserError, unknown
from zsar_bench.rawfiles.archives import RawFiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 256 * 2**20  #: bytes of a file
MOST_CLIPS = 1_000_000
MOST_CLASSES = 10_000
MOST_SCORES = 2**26  #: half a gigabyte of doubles; the largest published test set needs 2**21
LONGEST = 200  #: characters of a clip's id or a class
HINT = "What a file must hold: zsar-bench score --help"


@dataclass(frozen=True)
class Scores:
    """What a file holds.

    Attributes:
        ids: N texts.
        classes: K texts.
        scores: (N, K); NaN where the file leaves one open.
    """

    ids: list[str]
    classes: list[str]
    scores: NDArray[np.float64] = field(repr=False)


def read_scores(path: Path) -> Scores:
    """Read a file of scores, of the format that its name ends with.

    Raises:
        UserError: naming the file and the place in it, if it holds anything else.
    """
    path = path.expanduser()
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise unknown("kind of score file", path.suffix or path.name, _READERS)
    try:
        if not path.is_file():  # a device or a pipe has no end
            raise DataError("there is no such file")
        size = path.stat().st_size
        if size > LARGEST:
            raise DataError(f"it has {size >> 20} MiB, more than {LARGEST >> 20}")
        scores = read(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    except DataError as error:
        raise UserError(f"{path}: {error.what.removesuffix('.')}.", error.hint or HINT) from None
    return scores


def _checked(ids: Any, classes: Any, scores: NDArray[Any]) -> Scores:
    """Lists of texts and a matrix that fits them."""
    import numpy as np

    for what, names in (("ids", ids), ("classes", classes)):
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise DataError(f"'{what}' is no list of texts")
        if any(not 0 < len(n) <= LONGEST for n in names):
            raise DataError(f"'{what}' holds a name of no or more than {LONGEST} characters")
    _check_size(len(ids), len(classes))
    if scores.shape != (len(ids), len(classes)):
        shape = " x ".join(map(str, scores.shape)) or "a single number"
        raise DataError(
            f"'scores' is {shape}; for {len(ids)} ids and {len(classes)} classes it must be "
            f"{len(ids)} x {len(classes)}"
        )
    return Scores(ids, classes, scores.astype(np.float64))


def _check_size(clips: int, classes: int) -> None:
    if not clips or not classes:
        raise DataError("it holds no scores")
    if clips > MOST_CLIPS or classes > MOST_CLASSES or clips * classes > MOST_SCORES:
        raise DataError(f"{clips} clips and {classes} classes are more than any test has")


def _npz(path: Path) -> Scores:
    import numpy as np

    from zsar_bench.rawfiles.npy import read_header

    files = RawFiles(path)
    arrays: dict[str, NDArray[Any]] = {}
    for name, kinds, what in (
        ("ids", "U", "texts"),
        ("classes", "U", "texts"),
        ("scores", "fiu", "numbers"),
    ):
        member = f"{name}.npy"
        if files.names.count(member) != 1:
            raise DataError(f"it must hold the array '{name}' once")
        if files.size(member) > LARGEST:
            raise DataError(f"its array '{name}' has more than {LARGEST >> 20} MiB")
        data = files.read(member)
        header = read_header(io.BytesIO(data), len(data), f"the array '{name}'", kinds, what)
        if len(header.shape) != (2 if name == "scores" else 1) or header.dtype.itemsize > 4 * 2**10:
            raise DataError(f"its array '{name}' is {header.dtype} of the shape {header.shape}")
        values = np.frombuffer(data, header.dtype, offset=header.start)
        arrays[name] = values.reshape(header.shape, order="F" if header.fortran else "C")
    try:
        ids, classes = arrays["ids"].tolist(), arrays["classes"].tolist()
    except ValueError as error:  # what is no letter
        raise DataError(f"its texts are damaged ({error})") from None
    return _checked(ids, classes, arrays["scores"])


def _safetensors(path: Path) -> Scores:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as f:
            metadata = f.metadata() or {}
            shape = f.get_slice("scores").get_shape()
            if len(shape) != 2:
                raise DataError(f"'scores' has the shape {tuple(shape)[:8]}")
            _check_size(*shape)
            scores = f.get_tensor("scores")
    # AttributeError or TypeError: a type that numpy does not have, such as float8.
    except (SafetensorError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"it is damaged or holds no tensor 'scores' ({error})") from None
    if scores.dtype.kind not in "fiu":
        raise DataError(f"'scores' is of the type {scores.dtype}")
    names = []
    for key in ("ids", "candidates"):
        if key not in metadata:
            raise DataError(f"its metadata lacks '{key}', a list in JSON")
        names.append(_parsed(metadata[key], f"its metadata '{key}'"))
    return _checked(names[0], names[1], scores)


def _json(path: Path) -> Scores:
    import numpy as np

    value = _parsed(path.read_bytes(), "it")
    if not isinstance(value, dict):
        raise DataError("it must hold an object with 'ids', 'classes' and 'scores'")
    for name in ("ids", "classes", "scores"):
        if not isinstance(value.get(name), list):
            raise DataError(f"its list '{name}' is missing")
    rows, width = value["scores"], len(value["classes"])
    _check_size(len(rows), width)
    scores = np.full((len(rows), width), np.nan)
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            raise DataError(f"row {number + 1} of 'scores' is no list of {width} numbers")
        for column, score in enumerate(row):
            if type(score) not in (int, float, type(None)):
                raise DataError(f"row {number + 1} of 'scores' holds {str(score)[:40]!r}")
            scores[number, column] = math.nan if score is None else _double(score)
    return _checked(value["ids"], value["classes"], scores)


def _parsed(data: bytes | str, what: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what} is not valid JSON ({str(error)[:200]})") from None


def _double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond all doubles
        return math.inf


def _csv(path: Path) -> Scores:
    import numpy as np

    ids: list[str] = []
    rows: list[NDArray[np.float64]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            head = [cell.strip() for cell in next(lines, [])]
            if not head or head[0].lower() != "id":
                raise DataError("its first line must be 'id' and the classes")
            for row in lines:
                if not row:
                    continue
                if len(row) != len(head):
                    raise DataError(f"line {lines.line_num} has {len(row)} cells, not {len(head)}")
                _check_size(len(rows) + 1, len(head) - 1)
                ids.append(row[0].strip())
                rows.append(np.array([_cell(c, lines.line_num) for c in row[1:]]))
    except UnicodeDecodeError:
        raise DataError("it is not UTF-8 text") from None
    except csv.Error as error:
        raise DataError(f"line {lines.line_num}: {error}") from None
    _check_size(len(rows), len(head) - 1)
    return _checked(ids, head[1:], np.array(rows))


def _cell(text: str, line: int) -> float:
    text = text.strip()
    if not text:
        return math.nan
    try:
        if "_" in text:  # Python's own notation, not a number to anybody else
            raise ValueError
        return float(text)
    except ValueError:
        raise DataError(f"line {line}: {text[:40]!r} is no number") from None


_READERS: dict[str, Callable[[Path], Scores]] = {
    ".npz": _npz,
    ".csv": _csv,
    ".safetensors": _safetensors,
    ".json": _json,
}
