"""Sheets of an ``.xlsx`` workbook as rows of text, which are untrusted input.

A confined worker parses the file (``workbook_job``): it may read only a copy of it, has no network,
and limits of memory and time. Its answer is checked here.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from zsar_bench.common.files import DEFAULT_RESULTS, home
from zsar_bench.errors import DataError, RunFailed
from zsar_bench.sandbox.client import run_job

SHEETS = 100
ROWS = 50_000  #: of a sheet
COLUMNS = 64  #: cells further right are not read
LONGEST = 32_767  #: characters of a cell, as in the format
UNPACKED = 16 << 20  #: bytes of all parts, and characters of all texts

#: Row number, and its cells that hold something: column number and text; both count from 1.
Row = tuple[int, list[tuple[int, str]]]

LARGEST_FILE = 8 << 20  #: bytes of a workbook
MEMORY = 1 << 30  #: bytes that reading one may take
SECONDS = 60.0  #: that it may take, with the start of the worker; real ones take one

Sheet = dict[int, dict[int, str]]  #: row number -> column number -> text, both from 1


@functools.lru_cache(maxsize=4)
def read_workbook(data: bytes, name: str) -> dict[str, Sheet]:
    """The sheets of a workbook, in its order: the cells that hold something.

    Args:
        data: the whole file.
        name: of the file, for messages.

    Raises:
        DataError: if it is no workbook, is larger than a table of texts could be, or takes more
            memory or time than such a table would.
    """
    if len(data) > LARGEST_FILE:
        raise DataError(f"{name} is larger than {LARGEST_FILE >> 20} MiB.")
    with tempfile.TemporaryDirectory(prefix="zsar-bench-") as folder:
        file = Path(folder).resolve() / "book.xlsx"
        file.write_bytes(data)
        job = {
            "kind": "workbook",
            "file": str(file),
            "name": name,
            "protected": [str(path.absolute()) for path in (home(), DEFAULT_RESULTS)],
            "limits": {"seconds": SECONDS, "bytes": MEMORY},
        }
        try:
            return checked(run_job(job, file.parent))
        except RunFailed as error:
            if error.reason == "interrupted":
                raise
            raise DataError(
                f"{name} cannot be read with {MEMORY >> 30} GiB of memory in {SECONDS:.0f} s: "
                f"{error.reason}.",
                "Save the sheet that you need as .csv, or get the file again.",
            ) from None


def checked(answer: dict[str, Any]) -> dict[str, Sheet]:
    """The sheets that a worker answers with, if it can be what a workbook holds."""
    sheets: dict[str, Sheet] = {}
    left = UNPACKED
    try:
        for title, rows in answer["sheets"]:
            sheet: Sheet = {}
            for number, cells in rows:
                sheet[_within(number, ROWS)] = {_within(c, COLUMNS): str(t) for c, t in cells}
                longest = max(map(len, sheet[number].values()), default=0)
                left -= sum(map(len, sheet[number].values()))
                if longest > LONGEST or left < 0:
                    raise ValueError
            sheets[str(title)] = sheet
        if len(sheets) > SHEETS:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise RunFailed("the worker's answer is no table of texts") from None
    return sheets


def _within(number: Any, most: int) -> int:
    if type(number) is not int or not 1 <= number <= most:
        raise ValueError
    return number
