"""The job that reads an ``.xlsx`` workbook: its sheets as rows of text.

calamine parses the file. It limits neither the unpacked size of a sheet nor the distance of its
cells, so it runs only here, confined, with a memory limit, and may read no other file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zsar_bench.data.texts.workbook import COLUMNS, LONGEST, ROWS, SHEETS, UNPACKED, Row
from zsar_bench.errors import DataError
from zsar_bench.worker.job import Job, Line


def run_workbook(job: Job, line: Line) -> None:
    """Send ``sheets``: names and rows, in the workbook's order."""
    line.send({"sheets": sheets_of(Path(job["file"]), str(job["name"]))})


def sheets_of(path: Path, name: str) -> list[tuple[str, list[Row]]]:
    """The sheets of a workbook.

    Args:
        path: ends in ``.xlsx``.
        name: of the file, for messages.

    Raises:
        DataError: if it is no workbook, or too large for a table of texts.
    """
    _check_size(path, name)
    try:
        return list(_sheets(path, name))
    except (DataError, MemoryError):
        raise
    except BaseException as error:
        # A failed assertion in calamine; it is no subclass of Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(f"{name} is damaged: {why}.") from None


def _check_size(path: Path, name: str) -> None:
    """Refuse files that are no archive, or whose declared unpacked size is too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = {entry.filename: entry.file_size for entry in archive.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise _no_workbook(name, why) from None
    if "xl/workbook.xml" not in parts:
        raise _no_workbook(name, "it lacks xl/workbook.xml")
    if sum(size for part, size in parts.items() if part.endswith((".xml", ".rels"))) > UNPACKED:
        raise DataError(f"{name} unpacks to more than {UNPACKED >> 20} MiB.")


def _sheets(path: Path, name: str) -> Iterator[tuple[str, list[Row]]]:
    from python_calamine import CalamineWorkbook, SheetTypeEnum

    book = CalamineWorkbook.from_path(path)
    named = [s.name for s in book.sheets_metadata if s.typ == SheetTypeEnum.WorkSheet]
    if len(named) > SHEETS:
        raise DataError(f"{name} has more than {SHEETS} sheets.")
    left = UNPACKED
    for title in named:
        sheet = book.get_sheet_by_name(title)
        if sheet.end and sheet.end[0] >= ROWS:
            raise DataError(f"{name} has a sheet of more than {ROWS} rows.")
        first = sheet.start[1] + 1 if sheet.start else 1
        rows: list[Row] = []
        for number, row in enumerate(sheet.iter_rows(), start=1):
            cells = [(first + n, _text(v)) for n, v in enumerate(row[: COLUMNS + 1 - first])]
            held = [(column, text) for column, text in cells if text]
            if any(len(text) > LONGEST for _, text in held):
                raise DataError(f"{name}: a cell is longer than {LONGEST} characters.")
            left -= sum(len(text) for _, text in held)
            if left < 0:
                raise DataError(f"{name} unpacks to more than {UNPACKED >> 20} MiB.")
            if held:
                rows.append((number, held))
        yield title, rows


def _text(value: Any) -> str:
    """A cell as typed: calamine turns every 1 into 1.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _no_workbook(name: str, why: str) -> DataError:
    return DataError(
        f"{name} is not an .xlsx workbook: {why}.",
        "A file with a password or an old .xls has to be saved as .xlsx first.",
    )
