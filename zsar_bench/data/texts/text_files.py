"""Class texts in the field's usual file layouts.

- ``by index``: CSV ``idx,label`` or ``idx,dcp``, one row a class, counted from 0 or from 1.
- ``by line``: plain text, one class a line.
- ``by row``: a workbook with a sheet a data set, one row a class, one column a field.

Files spell class names differently, so texts are assigned to classes by their place in the official
order; if a file has names too, most of them must share a word with the data set's. The header or
the file's name gives the text field, else the user must.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zsar_bench.common.classes import ActionClass
from zsar_bench.errors import DataError, UserError, nearest

LARGEST_FILE = 8 << 20  #: bytes

#: Field of the second column of a list by index, unless the file's name has it.
HEADERS = {"label": "name", "dcp": "motion"}
PREFIXES = {"lb": "name", "ad": "description", "md": "motion"}  #: of ``lb_60.csv`` and so on
ENDINGS = {  #: of the names of files by line
    "_llm": "description",
    "_des": "description",
    "_label": "name",
    "_labelmap": "name",
}
#: Column of a workbook -> field, and whether two classes may share a text.
COLUMNS = {
    "action labels": ("name", False),
    "head": ("head", True),
    "hands": ("arms", True),
    "torso": ("torso", True),
    "legs": ("legs", True),
    "start": ("start", True),
    "middle": ("middle", True),
    "end": ("end", True),
    "global desc": ("description", False),
}


@dataclass(frozen=True)
class TextFile:
    """The class texts of one file.

    Attributes:
        layout: ``by index``, ``by line`` or ``by row``.
        fields: field -> class id -> text.
        rows: how many classes the file has; the first ones are those of the data set.
        sha256: of the file.
        sheet: of a workbook, else empty.
        faults: field -> why it cannot be used, where others of the file can.
    """

    layout: str
    fields: dict[str, dict[str, str]]
    rows: int
    sha256: str
    sheet: str
    faults: dict[str, str]


def is_known(path: Path) -> bool:
    """Whether this module may read a file of this name."""
    kind = path.suffix.lower()
    return kind in (".csv", ".xlsx") or (kind == ".txt" and bool(_by_ending(path.name)))


def read_text_file(
    path: Path,
    classes: Sequence[ActionClass],
    longer: Sequence[int] = (),
    field: str = "",
    sheet: str = "",
) -> TextFile:
    """The class texts of one file.

    Args:
        path: ends in ``.csv``, ``.txt`` or ``.xlsx``.
        classes: of the data set, in official order.
        longer: lengths of longer lists that begin with these classes.
        field: of the texts, if the user names it.
        sheet: of a workbook; without it, the one that has as many classes.

    Raises:
        WrongCount: if the file has as many classes as another data set.
        UserError: naming file and line, if it is not read, not complete, or of no known layout.
    """
    if not os.path.isfile(path):
        raise UserError(f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    return parse_text_file(str(path), data, classes, longer, field, sheet)


def parse_text_file(
    name: str,
    data: bytes,
    classes: Sequence[ActionClass],
    longer: Sequence[int] = (),
    field: str = "",
    sheet: str = "",
) -> TextFile:
    """``read_text_file`` of a file's name and content."""
    if len(data) > LARGEST_FILE:
        raise DataError(f"{name} is larger than {LARGEST_FILE >> 20} MiB.")
    wanted = Wanted(name, classes, sorted(n for n in set(longer) if n > len(classes)))
    readers: dict[str, Callable[[], TextFile]] = {
        ".csv": lambda: _by_index(wanted, data, field),
        ".txt": lambda: _by_line(wanted, data, field),
        ".xlsx": lambda: _by_row(wanted, data, field, sheet),
    }
    kind = Path(name).suffix.lower()
    if kind not in readers:
        raise UserError(f"{name}: class texts are read from .toml, .csv, .txt and .xlsx files.")
    return readers[kind]()


def _by_index(wanted: Wanted, data: bytes, field: str) -> TextFile:
    name = wanted.name
    table = _csv_rows(name, decoded(name, data))
    line, header = next(table, (1, []))
    head = [cell.strip().lower() for cell in header]
    held = field or _by_prefix(name) or HEADERS.get(head[1] if len(head) == 2 else "", "")
    if len(head) != 2 or head[0] != "idx" or not held:
        raise DataError(
            f"{name}, line {line}: this is not the header of class texts by index.",
            f"It has to be idx,label or idx,dcp; or say what it holds: --texts motion={name}",
        )
    by_index: dict[int, tuple[int, str]] = {}
    for line, row in table:
        if len(row) != 2:
            raise DataError(
                f"{name}, line {line} has {len(row)} columns in place of 2.",
                'A text with a comma has to stand in quotes: 7,"one, two"',
            )
        index = row[0].strip()
        if not (index.isascii() and index.isdecimal() and len(index) <= 6):
            raise DataError(f"{name}, line {line}: '{index[:20]}' is not the index of a class.")
        if int(index) in by_index:
            raise DataError(f"{name}, line {line}: index {int(index)} was on a line before.")
        by_index[int(index)] = line, row[1]
    if by_index:
        start = min(by_index)
        gap = next((i for i in range(start, start + len(by_index)) if i not in by_index), None)
        if start > 1 or gap is not None:
            missing = gap if start <= 1 else 1
            raise DataError(f"{name} has no line with index {missing}; they count from 0 or 1.")
    return _one_field(
        wanted, data, "by index", held, [by_index[i] for i in sorted(by_index)], field
    )


def _by_line(wanted: Wanted, data: bytes, field: str) -> TextFile:
    name = wanted.name
    held = field or _by_ending(name)
    if not held:
        raise UserError(
            f"Neither the name nor the content of {name} says which text field it holds.",
            f"Say it: --texts description={name}",
        )
    lines = list(enumerate(decoded(name, data).split("\n"), start=1))
    empty = next((line for line, text in lines if not text.strip()), None)
    if empty:  # before the count, which would be wrong
        raise DataError(f"{name}, line {empty}: there is no text.")
    return _one_field(wanted, data, "by line", held, lines, field)


def _one_field(
    wanted: Wanted, data: bytes, layout: str, held: str, rows: Rows, named: str
) -> TextFile:
    texts = wanted.counted(rows, "line")
    if held == "name" and not named:
        wanted.check_names(
            texts, f"Say what it holds: --texts motion={wanted.name} (or description=, or name=)"
        )
    return TextFile(layout, {held: texts}, len(rows), hashlib.sha256(data).hexdigest(), "", {})


def _by_row(wanted: Wanted, data: bytes, field: str, sheet: str) -> TextFile:
    name = wanted.name
    if field:
        raise UserError(f"{name}: the columns of a workbook say what they hold, not {field}=.")
    from zsar_bench.data.texts.workbook import read_workbook

    return of_sheets(wanted, data, read_workbook(data, name), sheet)


def of_sheets(
    wanted: Wanted, data: bytes, book: Mapping[str, dict[int, dict[int, str]]], sheet: str
) -> TextFile:
    """The class texts of a workbook: of the sheet that is named, or the one that fits."""
    name = wanted.name
    if sheet and sheet not in book:
        close = nearest(sheet, book) or [*book, sheet]
        raise UserError(f"{name} has no sheet '{sheet}'.", f"Type: --texts '{name}:{close[0]}'")
    tables = {title: _columns(book[title]) for title in ([sheet] if sheet else book)}
    fitting: list[str] = []
    for count in (len(wanted.classes), *wanted.longer):
        fitting = fitting or [s for s, (columns, n) in tables.items() if columns and n == count]
    if sheet and not tables[sheet][0]:
        raise DataError(f"{name}, sheet {sheet} has no column that is known.", _known_columns())
    if sheet and not fitting:
        wanted.check_count(tables[sheet][1], f"rows in sheet {sheet}")
    if not fitting:
        counts = ", ".join(f"{s} {n}" for s, (columns, n) in tables.items() if columns)
        raise WrongCount(
            f"No sheet of {name} has the {len(wanted.classes)} classes of this data set "
            f"(found: {counts or 'none with known columns'}).",
            "" if counts else _known_columns(),
        )
    if len(fitting) > 1:
        both = " and ".join(fitting[:3])
        raise UserError(
            f"The sheets {both} of {name} have as many classes as this data set.",
            f"Name one: --texts '{name}:{fitting[0]}'",
        )
    return _of_sheet(Wanted(f"{name}:{fitting[0]}", wanted.classes, wanted.longer), data,
                     fitting[0], *tables[fitting[0]])  # fmt: skip


def _of_sheet(
    wanted: Wanted, data: bytes, sheet: str, columns: dict[str, Rows], count: int
) -> TextFile:
    fields: dict[str, dict[str, str]] = {}
    faults: dict[str, str] = {}
    for head, rows in columns.items():
        held, shared = COLUMNS[head]
        try:
            fields[held] = wanted.counted(rows, "row", distinct=not shared)
        except WrongCount:
            raise
        except DataError as error:
            faults[held] = f"{error.what} It is in the column {head}."
    if not fields:
        raise DataError(next(iter(faults.values())))
    # Names show the order even if two of them are equal, which makes them no field.
    raw = [text[:LONGEST_TEXT] for _, text in columns.get("action labels", ())]
    if raw:
        names = {c.id: text for c, text in zip(wanted.classes, raw, strict=False)}
        wanted.check_names(names, "Rows have to stand in the data set's official order.")
    return TextFile("by row", fields, count, hashlib.sha256(data).hexdigest(), sheet, faults)


def _columns(rows: dict[int, dict[int, str]]) -> tuple[dict[str, Rows], int]:
    """Known columns of a sheet, each with a text (perhaps empty) a row, and the number of rows."""
    head, *body = rows or {0: {}}
    places: dict[str, int] = {}
    for column, title in rows.get(head, {}).items():
        known = " ".join(title.lower().split())
        if known in COLUMNS:
            if known in places:
                return {}, 0
            places[known] = column
    used = [r for r in body if any(rows[r].get(c, "").strip() for c in places.values())]
    numbers = range(head + 1, used[-1] + 1 if used else head + 1)
    if len(numbers) > 2 * len(used):  # far more gaps than rows: no list of classes
        return {}, 0
    columns = {t: [(r, rows.get(r, {}).get(c, "")) for r in numbers] for t, c in places.items()}
    return dict(columns), len(numbers)


def _known_columns() -> str:
    return f"Known columns: {', '.join(COLUMNS)}."


def _csv_rows(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of every row of a CSV file."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{name}, line {line}: {error}.", "Is a quote left open?") from None
        if reader.line_num > line:
            raise DataError(f"{name}, line {line}: a text goes over several lines.")
        yield line, row
        line = reader.line_num + 1


def _by_prefix(name: str) -> str:
    match = re.fullmatch(r"([a-z]+)(_\d+)?\.csv", Path(name).name.lower())
    return PREFIXES.get(match[1], "") if match else ""


def _by_ending(name: str) -> str:
    stem = Path(name).stem.lower()
    return next((held for ending, held in ENDINGS.items() if stem.endswith(ending)), "")


LONGEST_TEXT = 4000  #: characters; the longest that were met have 900


AGREEING = 0.8  #: share of names that must share a word; at most 0.5 in other lists


FILLERS = {"the", "and", "for", "with", "from"}  #: words without information about a class


#: Control characters, surrogates and the replacement character.
_UNREADABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff\ufffd-\uffff]")


Rows = Sequence[tuple[int, str]]  #: line or row of the file, and the text there


class WrongCount(DataError):
    """A file that has as many classes as another data set."""


@dataclass(frozen=True)
class Wanted:
    """The classes that texts are wanted for, and longer lists that begin with them."""

    name: str  # of the file, for messages
    classes: Sequence[ActionClass]
    longer: Sequence[int]

    def counted(self, rows: Rows, unit: str, distinct: bool = True) -> dict[str, str]:
        """Class id -> text, of rows in official order.

        Raises:
            WrongCount: if they are not as many as a list that is known.
            DataError: for a text that is none, or stands there twice and is to be distinct.
        """
        self.check_count(len(rows), f"{unit}s")
        texts: dict[str, str] = {}
        first: dict[str, int] = {}
        for (line, raw), action in zip(rows, self.classes, strict=False):
            text = cleaned(raw, f"{self.name}, {unit} {line}")
            if distinct and text in first:
                raise DataError(
                    f"{self.name}, {unit} {line}: the same text as in {unit} {first[text]}."
                )
            first[text] = line
            texts[action.id] = text
        return texts

    def check_count(self, rows: int, unit: str) -> None:
        """Refuse a list that is neither of this data set's length nor of a longer list's.

        Raises:
            WrongCount: if so.
        """
        if rows not in (len(self.classes), *self.longer):
            known = " or ".join(map(str, (len(self.classes), *self.longer)))
            raise WrongCount(f"{self.name} has {rows} {unit}; this data set needs {known}.")

    def check_names(self, names: dict[str, str], hint: str) -> None:
        """Refuse names that are none, or are in another order.

        Raises:
            DataError: if more than a few share no word with the data set's.
        """
        words = [(words_of(c.name), words_of(names[c.id])) for c in self.classes]
        words = [(ours, theirs) for ours, theirs in words if ours]
        agreeing = sum(
            any(a.startswith(b) or b.startswith(a) for a in ours for b in theirs)
            for ours, theirs in words
        )
        if agreeing < AGREEING * len(words):
            raise DataError(
                f"{self.name} does not hold this data set's class names in official order: only "
                f"{agreeing} of {len(words)} share a word with the name at their place.",
                hint,
            )


def decoded(name: str, data: bytes) -> str:
    """Text of a file in UTF-8, with lines that end in one newline and no empty last ones.

    Raises:
        DataError: naming the line, if it is not UTF-8; or if there is nothing.
    """
    hint = "Save it as UTF-8: iconv -f ENCODING -t UTF-8 OLD > NEW"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{name} is in UTF-16.", hint)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
        raise DataError(f"{name}, line {line}: this is not UTF-8, perhaps Latin-1.", hint) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    if not text:
        raise DataError(f"{name} is empty.")
    return text


def cleaned(text: str, where: str) -> str:
    """A text without space around it.

    Raises:
        DataError: naming where it stands, if it is empty, too long or not readable.
    """
    if len(text) > LONGEST_TEXT:
        raise DataError(f"{where}: a text is longer than {LONGEST_TEXT} characters.")
    text = text.strip()
    if not text:
        raise DataError(f"{where}: there is no text.")
    odd = _UNREADABLE.search(text)
    if odd:
        raise DataError(f"{where}: the character U+{ord(odd[0]):04X} is no part of a text.")
    return text


def words_of(text: str) -> set[str]:
    """Beginnings of the longer words: drink and drinking are one."""
    words = re.findall(r"\w+", text.lower())
    return {word[:4] for word in words if len(word) > 2 and word not in FILLERS}
