"""Sheets of an ``.xlsx`` workbook as rows of text, for files that come from strangers.

Of the format (ECMA-376, SpreadsheetML) this reads what a table of texts needs: the list of
sheets, shared and inline strings, numbers as they are written. It is small because that is all,
and it is ours because a general library bounds neither what a part unpacks to nor what a
damaged file raises. A document type declaration is refused, so there are no entities to expand.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.parsers import expat

from zsar_bench.errors import DataError

LARGEST_FILE = 8 << 20  #: bytes of a workbook
UNPACKED = 16 << 20  #: bytes of all parts that are read together
SHEETS = 100
ROWS = 50_000  #: of a sheet, with something in them
LONGEST = 32_767  #: characters of a cell, as in the format
COLUMNS = 64  #: cells further right are not read

Attributes = dict[str, str]


@dataclass
class _Cell:
    """A cell while it is read: where it is, what it is, and its text so far."""

    row: int
    column: int
    kind: str
    text: list[str] = field(default_factory=list)


class Workbook:
    """The sheets of a workbook, read one at a time.

    Args:
        data: the whole file.
        name: of the file, for messages.

    Attributes:
        sheets: their names, in the workbook's order.

    Raises:
        DataError: if it is no workbook, or unpacks to more than a table of texts could.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self._left = UNPACKED
        if len(data) > LARGEST_FILE:
            raise DataError(f"{name} is larger than {LARGEST_FILE >> 20} MiB.")
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(
                f"{name} is not an .xlsx workbook: {error}.",
                "A file with a password or an old .xls has to be saved as .xlsx first.",
            ) from None
        self._parts = self._find_parts()
        self.sheets = list(self._parts)
        self._strings: list[str] | None = None

    def rows(self, sheet: str) -> dict[int, dict[int, str]]:
        """Row number -> column number -> text, of cells that hold something, both from 1.

        Raises:
            DataError: if the sheet is damaged.
        """
        if self._strings is None:
            self._strings = self._read_strings()
        return self._read_sheet(self._parts[sheet], self._strings)

    def _find_parts(self) -> dict[str, str]:
        """Sheet name -> part, and the part of the shared strings in ``_shared``."""
        links: list[tuple[str, str]] = []
        targets: dict[str, str] = {}
        self._shared = ""

        def sheet(tag: str, given: Attributes) -> None:
            if tag == "sheet":
                link = next((v for k, v in given.items() if k.endswith("|id")), "")
                links.append((given.get("name", ""), link))

        def target(tag: str, given: Attributes) -> None:
            if tag == "Relationship":
                place = given.get("Target", "")
                part = place[1:] if place.startswith("/") else f"xl/{place}"
                targets[given.get("Id", "")] = part
                if given.get("Type", "").endswith("/sharedStrings"):
                    self._shared = part

        self._parse("xl/workbook.xml", sheet)
        self._parse("xl/_rels/workbook.xml.rels", target)
        parts = {name: targets[link] for name, link in links if link in targets}
        if not parts or len(parts) != len(links):
            raise DataError(f"{self.name} is damaged: its list of sheets is not complete.")
        if len(parts) > SHEETS:
            raise DataError(f"{self.name} has more than {SHEETS} sheets.")
        return parts

    def _read_strings(self) -> list[str]:
        strings: list[str] = []
        pieces: list[str] = []
        spoken = 0  # depth inside a phonetic run, which is no part of the text

        def start(tag: str, given: Attributes) -> None:
            nonlocal spoken
            spoken += tag == "rPh"

        def end(tag: str) -> None:
            nonlocal spoken
            spoken -= tag == "rPh"
            if tag == "si":
                strings.append(self._text(pieces))
                pieces.clear()

        def text(tag: str, data: str) -> None:
            if tag == "t" and not spoken:
                pieces.append(data)

        if self._shared:
            self._parse(self._shared, start, end, text)
        return strings

    def _read_sheet(self, part: str, strings: list[str]) -> dict[int, dict[int, str]]:
        rows: dict[int, dict[int, str]] = {}
        row = column = 0
        cell: _Cell | None = None

        def start(tag: str, given: Attributes) -> None:
            nonlocal row, column, cell
            if tag == "row":
                row, column = self._number(given.get("r", str(row + 1))), 0
            elif tag == "c":
                column = self._column(given["r"]) if "r" in given else column + 1
                cell = _Cell(row, column, given.get("t", "n"))

        def end(tag: str) -> None:
            nonlocal cell
            if tag == "c" and cell is not None:
                value = self._value(cell, strings)
                if value and cell.column <= COLUMNS:
                    if len(rows) > ROWS:
                        raise DataError(f"{self.name}: a sheet has more than {ROWS} rows.")
                    rows.setdefault(cell.row, {})[cell.column] = value
                cell = None

        def text(tag: str, data: str) -> None:
            if cell is not None and tag == ("t" if cell.kind == "inlineStr" else "v"):
                cell.text.append(data)

        self._parse(part, start, end, text)
        return dict(sorted(rows.items()))

    def _value(self, cell: _Cell, strings: list[str]) -> str:
        value = self._text(cell.text)
        if cell.kind == "s" and value:
            at = self._number(value.strip())
            if at >= len(strings):
                raise DataError(f"{self.name} is damaged: row {cell.row} has a text that is not.")
            return strings[at]
        if cell.kind == "e":  # such as #REF!: there is no text
            return ""
        return value

    def _text(self, pieces: list[str]) -> str:
        """A text; characters that XML cannot hold are written ``_xHHHH_`` (ST_Xstring)."""
        text = "".join(pieces)
        if len(text) > LONGEST:
            raise DataError(f"{self.name}: a cell is longer than {LONGEST} characters.")
        return re.sub("_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), text)

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= 7):
            raise DataError(f"{self.name} is damaged: '{text[:20]}' is no number of a row or text.")
        return int(text)

    def _column(self, place: str) -> int:
        """Column of a cell such as ``AB12``, from 1."""
        letters = re.match("[A-Z]{1,3}(?=[0-9])", place)
        if letters is None:
            raise DataError(f"{self.name} is damaged: '{place[:20]}' is no place of a cell.")
        column = 0
        for letter in letters[0]:
            column = 26 * column + ord(letter) - ord("A") + 1
        return column

    def _parse(
        self,
        part: str,
        start: Callable[[str, Attributes], None],
        end: Callable[[str], None] = lambda tag: None,
        text: Callable[[str, str], None] = lambda tag, data: None,
    ) -> None:
        """Go through a part; tags come without their namespace, attributes as ``space|name``."""
        data = self._unpack(part)
        open_tags: list[str] = []

        def on_start(tag: str, given: Attributes) -> None:
            open_tags.append(tag.rpartition("|")[2])
            start(open_tags[-1], given)

        def on_end(tag: str) -> None:
            end(open_tags.pop())

        def refuse(*_: object) -> None:
            raise DataError(f"{self.name} is refused: {part} declares a document type.")

        parser = expat.ParserCreate(namespace_separator="|")
        parser.StartDoctypeDeclHandler = refuse
        parser.StartElementHandler = on_start
        parser.EndElementHandler = on_end
        parser.CharacterDataHandler = lambda piece: text(open_tags[-1], piece)
        try:
            parser.Parse(data, True)
        # An encoding that expat does not know is looked up in Python: LookupError, ValueError.
        except (expat.ExpatError, LookupError, ValueError) as error:
            raise DataError(f"{self.name} is damaged: {part}: {error}.") from None

    def _unpack(self, part: str) -> bytes:
        try:
            about = self._archive.getinfo(part)
        except KeyError:
            raise DataError(f"{self.name} is not an .xlsx workbook: it lacks {part}.") from None
        if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{self.name}: {part} is packed in a way that no workbook is.")
        try:
            with self._archive.open(about) as entry:
                data = entry.read(self._left + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as why:
            raise DataError(f"{self.name} is damaged: {part}: {why}.") from None
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self.name} unpacks to more than {UNPACKED >> 20} MiB.")
        return data
