"""A data set of the user's own: a folder with a description, a manifest and one file a clip.

    my-data/dataset.toml  layout.toml  [classes.toml]  [texts-<set>.toml]  manifest.csv  clips/...

No plugin is needed: this reader reads the description from the folder itself. ``store`` keeps the
descriptions of imported data sets, ``importing`` imports a folder.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from zsar_bench.catalogue.custom import (
    TEXTS,
    Description,
    decode,
    plain_class,
    read_description,
    shown,
)
from zsar_bench.common.classes import ActionClass
from zsar_bench.common.names import PLAIN
from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError, nearest, unknown

if TYPE_CHECKING:
    import numpy as np

    from zsar_bench.contracts import RawSource


class Container:
    """The clips that a manifest lists.

    Attributes:
        clips: of the manifest, in its order.
        files: the file of each clip.
        rows: the manifest's lines.
        description: of the folder; without classes of its own, with those of the manifest.
    """

    def __init__(self, source: RawSource, description: Description, rows: Sequence[Row]) -> None:
        self.source = source
        self.description = description
        self.rows = rows
        self.clips: Sequence[ClipName] = [row.clip for row in rows]
        self.files: Sequence[str] = [row.file for row in rows]

    def read(self, number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Clip ``number``: (T, B, V, 3) float32 in metres, zero where a body is absent.

        Raises:
            DataError: for a file that is no whole, finite clip of these joints; names it.
        """
        from zsar_bench.data.custom.clips import read_clip

        file = self.files[number]
        try:
            return read_clip(file, self.source.read(file), self.description.shape)
        except DataError as error:
            raise DataError(f"{file}: {error.what}", error.hint) from None


class Reader:
    """A ``zsar_bench.contracts.DatasetReader`` of any such folder."""

    def identify(self, name: str) -> ClipName | None:
        """None: clips are identified by the manifest, not by file names."""
        return None

    def read(self, data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Refuses: clips are read by way of the manifest."""
        raise DataError(f"a clip of one's own is read by way of {MANIFEST} only")

    def holds(self, name: str) -> bool:
        """Whether this file is the manifest, which stands for all clips."""
        return name == MANIFEST

    def aside(self, name: str) -> str:
        """The remark about a file that the manifest does not list."""
        return f"not in {MANIFEST}"

    def open(self, name: str, source: RawSource) -> Container:
        """The clips of the folder; none is read yet.

        Raises:
            DataError: for a faulty description or manifest, naming file, line and column.
        """
        names = {*source.names}
        description = read_description(names, source.read)
        if name not in names:
            raise DataError(f"There is no {MANIFEST}, which lists the clips.")
        data = source.read(name)
        if len(data) > LARGEST_MANIFEST:
            raise DataError(f"{name} is larger than {LARGEST_MANIFEST >> 20} MiB.")
        rows, classes = read_manifest(data, description.classes)
        for row in rows:
            if row.file not in names:
                close = nearest(row.file, names) if len(names) < 10_000 else []
                raise DataError(
                    f"{name}, line {row.line}, column 'clip': there is no file {row.file!r}.",
                    f"Did you mean {' or '.join(close)}?" if close else "",
                )
        # Opened once, they count as files of this container, and are watched for changes.
        for file in [*filter(TEXTS.fullmatch, names), *(row.file for row in rows)]:
            _touch(source, file)
        return Container(source, description.with_classes(classes), rows)


def _touch(source: RawSource, file: str) -> None:
    try:
        source.open(file).close()
    except DataError as error:
        raise DataError(f"{file} cannot be read: {error.what}.", error.hint) from None


MANIFEST = "manifest.csv"


REQUIRED = ("clip", "class", "subject")


OPTIONAL = ("camera", "setup", "id")


SUFFIXES = (".npy", ".csv", ".json")  #: of clip files


LARGEST_MANIFEST = 64 * 2**20  #: bytes


LONGEST = 200  #: characters of a path or an id


class Row(NamedTuple):
    """One clip: the line it stands in, its file below the folder, and what it is."""

    line: int
    file: str
    clip: ClipName


def read_manifest(
    data: bytes, classes: Sequence[ActionClass]
) -> tuple[list[Row], tuple[ActionClass, ...]]:
    """The rows of a manifest, and the classes of the data set.

    Args:
        data: the file, UTF-8 with or without byte order mark.
        classes: of the description; if there are none, those of the manifest in the order of
            their first clips, each with its id for a name.

    Raises:
        DataError: naming line and column.
    """
    lines = _lines(decode(data, MANIFEST))
    header = next(lines, None)
    if header is None:
        raise DataError(f"{MANIFEST} is empty.", f"Its first line is: {','.join(REQUIRED)}")
    columns = _columns(*header)
    names = {c.id: c.name for c in classes}
    full = _full(lines, columns)
    rows = [_row(line, dict(zip(columns, cells, strict=True)), names) for line, cells in full]
    if not rows:
        raise DataError(f"{MANIFEST} lists no clip.")
    _check_together(rows)
    class_ids = dict.fromkeys(row.clip.class_id for row in rows)
    return rows, tuple(classes) or tuple(plain_class(c) for c in class_ids)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of all lines that are not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line = max(1, reader.line_num)
            raise DataError(f"{MANIFEST}, line {line}: this is not CSV ({error}).") from None
        if any(cell.strip() for cell in cells):
            yield reader.line_num, [cell.strip() for cell in cells]


def _columns(line: int, header: list[str]) -> list[str]:
    where = f"{MANIFEST}, line {line}"
    known = (*REQUIRED, *OPTIONAL)
    if len(header) == 1 and (separator := re.search(r"[;\t]", header[0])):
        raise DataError(f"{where}: columns are separated by commas, not by {separator[0]!r}.")
    for number, name in enumerate(header):
        if name not in known:
            hint = unknown("column", name[:LONGEST], known).hint
            raise DataError(f"{where}: there is no column {shown(name)}.", hint)
        if name in header[:number]:
            raise DataError(f"{where}: the column '{name}' is there twice.")
    for name in REQUIRED:
        if name not in header:
            raise DataError(
                f"{where}: the column '{name}' is missing.", f"Columns: {', '.join(known)}"
            )
    return header


def _full(
    lines: Iterator[tuple[int, list[str]]], columns: list[str]
) -> Iterator[tuple[int, list[str]]]:
    """Lines with a cell for every column."""
    for line, cells in lines:
        if len(cells) != len(columns):
            raise DataError(
                f"{MANIFEST}, line {line}: {_count(len(cells), 'column')}, but the header has "
                f"{len(columns)}."
            )
        yield line, cells


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _row(line: int, cells: dict[str, str], names: dict[str, str]) -> Row:
    """One line, checked by itself."""

    def refuse(column: str, what: str, hint: str = "") -> DataError:
        return DataError(f"{MANIFEST}, line {line}, column '{column}': {what}.", hint)

    for column in ("class", "subject", "camera", "setup"):
        value = cells.get(column, "")
        if not PLAIN.fullmatch(value) and (value or column == "class"):
            what = (
                f"{shown(value)} is not 1 to 40 letters, digits and hyphens" if value else "empty"
            )
            hint = "Give the classes plain ids and proper names in classes.toml." * (
                column == "class" and bool(value) and not names
            )
            raise refuse(column, what, hint)
    class_id = cells["class"]
    if names and class_id not in names:
        known = next((c for c, name in names.items() if name == class_id), "")
        close = [known] if known else nearest(class_id, names)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(names)}."
        raise refuse("class", f"there is no class '{class_id}' in classes.toml", hint[:300])
    if fault := _bad_path(cells["clip"]):
        raise refuse("clip", f"{shown(cells['clip'])} {fault}")
    file = PurePosixPath(cells["clip"])
    clip_id = cells.get("id", "") or file.with_suffix("").as_posix()
    if len(clip_id) > LONGEST or not clip_id.isprintable():
        raise refuse("id", f"{shown(clip_id)} is too long or holds characters that cannot be shown")
    subject, camera, setup = (cells.get(c, "") for c in ("subject", "camera", "setup"))
    return Row(line, file.as_posix(), ClipName(clip_id, class_id, subject, camera, setup))


def _bad_path(path: str) -> str:
    """Why this may not be the path of a clip; empty if it may."""
    if not path:
        return "names no file"
    if "\\" in path:
        return "must be written with / between folders"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "is an absolute path; paths start below the data set's folder"
    if ".." in path.split("/"):
        return "leads out of the folder"
    if len(path) > LONGEST or not path.isprintable():
        return "is too long or holds characters that cannot be shown"
    if PurePosixPath(path).suffix not in SUFFIXES:
        return f"does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
    return ""


def _check_together(rows: list[Row]) -> None:
    """Every file and id once; subjects, cameras and setups of all clips or of none."""
    files: dict[str, int] = {}
    ids: dict[str, int] = {}
    for row in rows:
        for seen, value, column in ((files, row.file, "clip"), (ids, row.clip.id, "id")):
            if value in seen:
                raise DataError(
                    f"{MANIFEST}, line {row.line}, column '{column}': {shown(value)} is there "
                    f"already, in line {seen[value]}."
                )
            seen[value] = row.line
    for column in ("subject", "camera", "setup"):
        given = bool(getattr(rows[0].clip, column))
        for row in rows:
            if bool(getattr(row.clip, column)) != given:
                raise DataError(
                    f"{MANIFEST}, line {row.line}, column '{column}': "
                    f"{'empty' if given else 'filled'}, unlike line {rows[0].line}.",
                    f"Fill the column '{column}' for all clips, or for none.",
                )
