"""What the worker does that reads an ``.xlsx`` workbook: its sheets as rows of text.

calamine parses the file. It bounds neither what a sheet unpacks to nor how far apart its cells lie,
so it only runs here, within a limit of memory, and may read nothing but this file.
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
    """Answer with ``sheets``: name and rows of each, in the workbook's order."""
    line.say({"sheets": sheets_of(Path(job["file"]), str(job["name"]))})


def sheets_of(path: Path, name: str) -> list[tuple[str, list[Row]]]:
    """The sheets of a workbook.

    Args:
        path: ends in ``.xlsx``.
        name: of the file, for messages.

    Raises:
        DataError: if it is no workbook, or larger than a table of texts could be.
    """
    _check_size(path, name)
    try:
        return list(_sheets(path, name))
    except (DataError, MemoryError):
        raise
    except BaseException as error:
        # How an assertion of calamine's arrives; it is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(f"{name} is damaged: {why}.") from None


def _check_size(path: Path, name: str) -> None:
    """Refuse what is no archive, or says itself that it unpacks to more than a table of texts."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = {one.filename: one.file_size for one in archive.infolist()}
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
    named = [one.name for one in book.sheets_metadata if one.typ == SheetTypeEnum.WorkSheet]
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
    """A cell as one would type it: calamine makes 1.0 of every 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _no_workbook(name: str, why: str) -> DataError:
    return DataError(
        f"{name} is not an .xlsx workbook: {why}.",
        "A file with a password or an old .xls has to be saved as .xlsx first.",
    )
