"""Class texts: the input of a text encoder for every class of a data set.

A text set is a TOML file with one table a class and the same fields in each; other files hold
single fields (``text_files``). Every set has the fields ``name``, ``verb`` and ``noun`` of the data
set's class list; a file's own names replace them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsar_bench.common.classes import ActionClass, read_toml
from zsar_bench.common.hashing import digest
from zsar_bench.data.texts.text_files import TextFile, WrongCount, is_known, read_text_file
from zsar_bench.errors import UserError, nearest, unknown

CLASS_LIST = ("name", "verb", "noun")
#: The only field that may be empty, beside others: many actions have no object. Such classes share
#: the features of the empty text.
OBJECT = "noun"
NEWEST = 10**6  #: version of a set
HEAD = ("version", "dataset", "set", "author", "style", "oracle")


@dataclass(frozen=True)
class ClassTexts:
    """The texts of one set.

    Attributes:
        name: id of the set, or the file's name for a user's own; files of others have the
            beginning of their SHA-256 in it.
        version: of the set; a change of frozen texts is a new version. Files of others have 1.
        fields: field -> class id -> text.
        oracle: whether texts and clips were made from the same facts. Such texts give an upper
            bound and are never ranked with written ones.
        faults: field -> why it cannot be used, where a file's other fields can.
        about: how files of others were read, for people; empty for a set.
    """

    name: str
    version: int
    fields: Mapping[str, Mapping[str, str]]
    oracle: bool = False
    faults: Mapping[str, str] = field(default_factory=dict)
    about: str = ""

    def digest(self, fields: Iterable[str]) -> str:
        """SHA-256 of the texts of these fields, in this order."""
        return digest([[name, dict(self.fields[name])] for name in fields])

    def check_fields(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """The wanted fields, if this set has them.

        Raises:
            UserError: for an unknown or missing field.
        """
        wanted = tuple(wanted)
        for name in wanted:
            if name in self.faults:
                raise UserError(f"The text field '{name}': {self.faults[name]}", self._usable())
            if name not in self.fields:
                close = nearest(name, self.fields)
                hint = f"Did you mean {' or '.join(close)}? " if close else ""
                raise UserError(
                    f"Unknown text field in set '{self.name}': '{name}'.",
                    hint + self._usable([*wanted, *close]),
                )
            empty = [c for c, text in self.fields[name].items() if not text]
            partly_filled = len(empty) < len(self.fields[name])
            if empty and not (name == OBJECT and partly_filled and len(wanted) > 1):
                raise UserError(
                    f"The text field '{name}' is empty for {', '.join(empty[:5])}.",
                    self._usable(wanted),
                )
        if not wanted:
            raise UserError("No text field was named.", "For example: --text-fields motion,name")
        return wanted

    def _usable(self, wanted: Iterable[str] = ()) -> str:
        """A hint: the fields with a text for every class, and the option for the wanted ones."""
        usable = [name for name, texts in self.fields.items() if all(texts.values())]
        written = [name for name in usable if name not in CLASS_LIST]
        ask = [name for name in wanted if name in usable] or written[-1:] or usable[:1]
        if not ask:
            return ""
        return f"It has: {', '.join(usable)}. Type: --text-fields {','.join(ask)}"


def class_list_texts(classes: Sequence[ActionClass]) -> ClassTexts:
    """A set with the fields of the class list only, for a data set without text sets."""
    return ClassTexts(name="class-list", version=1, fields=_class_list(classes))


def choose_texts(
    source: str | None, sets: Mapping[str, str], classes: Sequence[ActionClass], bare: bool
) -> tuple[ClassTexts, str]:
    """The class texts that a request means, and why these.

    Args:
        source: as ``read_texts`` takes it; None: the first of the data set's own sets.
        sets: registered set id -> file.
        classes: of the data set.
        bare: whether fields were named, so that those of the class list may do.

    Raises:
        UserError: as ``read_texts``, and if there are no texts at all.
    """
    if not sets and source is None:
        if not bare:
            raise UserError(
                "The data set has no class texts.",
                "Give --texts FILE (.toml, .csv, .txt, .xlsx) or a folder of them; or, for what "
                "the class list has, --text-fields name",
            )
        return class_list_texts(classes), "the data set has no text set"
    texts = read_texts(source or min(sets), sets, classes)
    reason = "named" if source else "first of the data set's text sets"
    return texts, f"{reason}: {texts.about}" if texts.about else reason


def read_texts(source: str, sets: Mapping[str, str], classes: Iterable[ActionClass]) -> ClassTexts:
    """A text set by id, from a user's TOML file, or from the field's own files.

    A registered set may serve several data sets, so it may hold more classes than this one.

    Args:
        source: id of a registered set, a file name ending in ``.toml``, or what
            ``text_sources`` reads.
        sets: registered set id -> file.
        classes: of the data set.

    Raises:
        UserError: for an unknown set and for a file whose classes or fields are not complete.
    """
    classes = list(classes)
    if source not in sets and is_source(source):
        return _of_files(source, sets, classes)
    if source.endswith(".toml"):
        path, set_id = Path(source).expanduser(), Path(source).stem
    elif source in sets:
        path, set_id = Path(sets[source]), source
    else:
        raise unknown("text set", source, sets)
    data = read_toml(path)
    tables = {k: v for k, v in data.items() if isinstance(v, dict)}
    shared = source in sets
    for key in data:
        if key not in tables and key not in HEAD:
            raise unknown(f"entry in {path}:", key, HEAD)
    ids = [c.id for c in classes]
    for class_id in tables:
        if class_id not in ids and not shared:
            raise unknown(f"class in {path}:", class_id, ids)
    missing = [c for c in ids if c not in tables]
    if missing:
        raise UserError(f"{path}: there are no texts for {', '.join(missing[:8])}.")
    names = list(tables[ids[0]])
    for class_id in ids:
        if set(tables[class_id]) != set(names):
            odd = set(tables[class_id]) ^ set(names)
            raise UserError(f"{path}: class {class_id} lacks or adds {', '.join(sorted(odd))}.")
    _check_kinds(data, path, {c: tables[c] for c in ids})
    fields = {name: {c: tables[c][name].strip() for c in ids} for name in names}
    for name in names:
        if len(set(fields[name].values())) < len(ids):
            raise UserError(f"{path}: two classes have the same text in field '{name}'.")
    return ClassTexts(
        name=set_id,
        version=data.get("version", 1),
        fields={**_class_list(classes), **fields},
        oracle=data.get("oracle", False),
    )


def _check_kinds(data: Mapping[str, Any], path: Path, tables: Mapping[str, Any]) -> None:
    """Refuse values of wrong types."""
    version, oracle = data.get("version", 1), data.get("oracle", False)
    if type(version) is not int or not 1 <= version <= NEWEST:
        raise UserError(f"{path}: 'version' must be a whole number from 1 on.")
    if not isinstance(oracle, bool):
        raise UserError(f"{path}: 'oracle' must be true or false.")
    for class_id, table in tables.items():
        for name, text in table.items():
            if not isinstance(text, str):
                raise UserError(f"{path}: class {class_id}, field '{name}' must be a text.")


def _class_list(classes: Sequence[ActionClass]) -> dict[str, dict[str, str]]:
    """The fields that every text set has."""
    return {key: {c.id: getattr(c, key) for c in classes} for key in CLASS_LIST}


def _of_files(source: str, sets: Mapping[str, str], classes: Sequence[ActionClass]) -> ClassTexts:
    read = read_text_source(source, sets, classes, _longer_lists(sets, classes))
    fields = {**_class_list(classes), **read.fields}
    return ClassTexts(
        name=read.name,
        version=1,
        fields={name: texts for name, texts in fields.items() if name not in read.faults},
        faults=read.faults,
        about=read.about,
    )


def _longer_lists(sets: Mapping[str, str], classes: Sequence[ActionClass]) -> list[int]:
    """Lengths of longer class lists that begin with this data set's, from shared text sets."""
    ids = [c.id for c in classes]
    lists = [
        [k for k, v in read_toml(Path(p)).items() if isinstance(v, dict)] for p in sets.values()
    ]
    return sorted(
        {len(listed) for listed in lists if len(listed) > len(ids) and listed[: len(ids)] == ids}
    )


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
        match = re.fullmatch("([a-z][a-z_]{0,29})=(.+)", text)
        if match:
            field, text = match[1], match[2]
    if not os.path.exists(_path(text)):
        match = re.fullmatch(r"(?i)(.+\.xlsx):(.+)", text)
        if match:
            text, sheet = match[1], match[2].strip()
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
    files: list[tuple[_Part, TextFile]] = []
    for path in paths:
        try:
            files.append((_Part(path), _Part(path).read(classes, longer)))
        except WrongCount:  # a file of another data set
            continue
    exact = [f for f in files if f[1].rows == len(classes)]
    held = {name for _, file in exact for name in _held(file)}
    chosen = exact + [f for f in files if f not in exact and not held & _held(f[1])]
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
