"""``--texts`` as files: one, several with a comma between, or a folder of them.

``[FIELD=]FILE[:SHEET]`` is one file. A source's name holds each file's name and the beginning
of its SHA-256, so that two files of one name are never taken for the same texts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zsar_bench.datasets import ActionClass
from zsar_bench.errors import UserError
from zsar_bench.text_checks import WrongCount
from zsar_bench.text_files import TextFile, is_known, read_text_file

_DIGEST = re.compile("@[0-9a-f]{8}(?=[+]|$)")


@dataclass(frozen=True)
class TextSource:
    """Class texts of one or several files.

    Attributes:
        name: of the files, with the beginning of each one's SHA-256.
        fields: field -> class id -> text.
        faults: field -> why it cannot be used.
        about: which field was read how, for people.
    """

    name: str
    fields: Mapping[str, Mapping[str, str]]
    faults: Mapping[str, str]
    about: str


@dataclass(frozen=True)
class _Part:
    """One file as the user named it."""

    path: Path
    field: str = ""
    sheet: str = ""

    def read(self, classes: Sequence[ActionClass], longer: Sequence[int]) -> TextFile:
        return read_text_file(self.path, classes, longer, self.field, self.sheet)


def is_source(source: str) -> bool:
    """Whether this names files of this module rather than a set by id or a whole TOML file."""
    if source.endswith(".toml") and "," not in source:
        return False
    return (
        any(sign in source for sign in (",", "=", os.sep))
        or re.search(r"(?i)\.(csv|txt|xlsx?)(:|$)", source) is not None
        or os.path.exists(_path(source))
    )


def bare_name(name: str) -> str:
    """A source's name without the digests, as a user would type it."""
    return _DIGEST.sub("", name)


def read_text_source(
    source: str, sets: Iterable[str], classes: Sequence[ActionClass], longer: Sequence[int]
) -> TextSource:
    """The class texts of files.

    Args:
        source: what the user typed.
        sets: ids of the registered text sets, which are not mixed with files.
        classes: of the data set, in official order.
        longer: lengths of longer lists that begin with these classes.

    Raises:
        UserError: if a file is not read, or two of them hold the same field.
    """
    path = _path(source)
    if os.path.isdir(path):
        files = _of_folder(path, classes, longer)
    else:
        parts = [source] if os.path.exists(path) else [p.strip() for p in source.split(",")]
        for part in parts:
            if not part or part in sets or part.lower().endswith(".toml"):
                what = f"'{part}' stands for whole texts" if part else f"'{source}' has a gap"
                raise UserError(
                    f"--texts {source}: {what}; only files that hold single fields go together.",
                    "For example: --texts names.csv,motions.csv",
                )
        named = [_parsed(part) for part in parts]
        files = [(part, part.read(classes, longer)) for part in named]
    _refuse_clash(files)
    return TextSource(
        name="+".join(_name(part, file) for part, file in files),
        fields={held: texts for _, file in files for held, texts in file.fields.items()},
        faults={held: why for _, file in files for held, why in file.faults.items()},
        about="; ".join(_about(file, len(classes)) for _, file in files),
    )


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))


def _parsed(text: str) -> _Part:
    """``[FIELD=]FILE[:SHEET]``; a file that really has such a name is just that file."""
    field = sheet = ""
    if not os.path.exists(_path(text)):
        said = re.fullmatch("([a-z][a-z_]{0,29})=(.+)", text)
        if said:
            field, text = said[1], said[2]
    if not os.path.exists(_path(text)):
        said = re.fullmatch(r"(?i)(.+\.xlsx):(.+)", text)
        if said:
            text, sheet = said[1], said[2].strip()
    return _Part(_path(text), field, sheet)


def _of_folder(
    folder: Path, classes: Sequence[ActionClass], longer: Sequence[int]
) -> list[tuple[_Part, TextFile]]:
    """The files of a folder that have as many classes as the data set.

    A longer list is taken for fields that no list of the right length holds.
    """
    try:
        paths = sorted(p for p in folder.iterdir() if is_known(p) and p.is_file())
    except OSError as error:
        raise UserError(f"Cannot read {folder}: {error.strerror or error}.") from None
    found: list[tuple[_Part, TextFile]] = []
    for path in paths:
        try:
            found.append((_Part(path), _Part(path).read(classes, longer)))
        except WrongCount:  # of another data set, whose files often lie in the same folder
            continue
    exact = [f for f in found if f[1].rows == len(classes)]
    held = {name for _, file in exact for name in _held(file)}
    chosen = exact + [f for f in found if f not in exact and not held & _held(f[1])]
    if not chosen:
        what = f"None of the text files in {folder} has the {len(classes)} classes of this data set"
        raise UserError(
            f"{what if paths else f'There are no text files in {folder}'}.",
            "Name files: --texts names.csv,motions.csv",
        )
    return sorted(chosen, key=lambda f: f[0].path)


def _held(file: TextFile) -> set[str]:
    return {*file.fields, *file.faults}


def _refuse_clash(files: list[tuple[_Part, TextFile]]) -> None:
    seen: dict[str, Path] = {}
    for part, file in files:
        for name in sorted(_held(file)):
            if name in seen:
                raise UserError(
                    f"Both {seen[name]} and {part.path} hold the text field '{name}'.",
                    f"Name one of them: --texts {part.path}",
                )
            seen[name] = part.path


def _name(part: _Part, file: TextFile) -> str:
    field = f"{part.field}=" if part.field else ""
    sheet = f":{file.sheet}" if file.sheet else ""
    return f"{field}{part.path.name}{sheet}@{file.sha256[:8]}"


def _about(file: TextFile, classes: int) -> str:
    first = f", first {classes} of {file.rows}" if file.rows != classes else ""
    return f"{', '.join(_held_in_order(file))} {file.layout}{first}"


def _held_in_order(file: TextFile) -> list[str]:
    return [*file.fields, *(f"no {name}" for name in file.faults)]
