"""What texts of strangers have to be: whole, readable, one a class, in the official order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from zsar_bench.datasets import ActionClass
from zsar_bench.errors import DataError

LONGEST_TEXT = 4000  #: characters; the longest that were met have 900
AGREEING = 0.8  #: share of names that must share a word; other orders reach 0.4, other texts 0.5

FILLERS = {"the", "and", "for", "with", "from"}  #: words that say nothing of a class
#: Control characters, halves of a pair, and the sign that a program could not read a letter.
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
        for (line, raw), one in zip(rows, self.classes, strict=False):
            text = cleaned(raw, f"{self.name}, {unit} {line}")
            if distinct and text in first:
                raise DataError(
                    f"{self.name}, {unit} {line}: the same text as in {unit} {first[text]}."
                )
            first[text] = line
            texts[one.id] = text
        return texts

    def check_count(self, rows: int, unit: str) -> None:
        """A list is of this data set, or begins with its classes.

        Raises:
            WrongCount: if its length says otherwise.
        """
        if rows not in (len(self.classes), *self.longer):
            known = " or ".join(map(str, (len(self.classes), *self.longer)))
            raise WrongCount(f"{self.name} has {rows} {unit}; this data set needs {known}.")

    def check_names(self, names: dict[str, str], hint: str) -> None:
        """Names that share no word with the data set's are no names, or stand in another order.

        Raises:
            DataError: if it is so for more than a few.
        """
        said = [(words_of(c.name), words_of(names[c.id])) for c in self.classes]
        said = [(ours, theirs) for ours, theirs in said if ours]
        agreeing = sum(
            any(a.startswith(b) or b.startswith(a) for a in ours for b in theirs)
            for ours, theirs in said
        )
        if agreeing < AGREEING * len(said):
            raise DataError(
                f"{self.name} does not hold this data set's class names in official order: only "
                f"{agreeing} of {len(said)} share a word with the name at their place.",
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
