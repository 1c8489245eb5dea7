"""Class texts: what a text encoder reads about every class of a data set.

A text set is a TOML file with one table a class and the same fields in each. The fields
``name``, ``verb`` and ``noun`` come from the data set's class list, so that every set has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zsar_bench.datasets import ActionClass, read_toml
from zsar_bench.errors import UserError, unknown
from zsar_bench.identity import digest

HEAD = ("version", "dataset", "set", "author", "style", "oracle")


@dataclass(frozen=True)
class ClassTexts:
    """The texts of one set.

    Attributes:
        name: id of the set, or the file's name for a user's own.
        version: of the set; a change of frozen texts is a new version.
        fields: field -> class id -> text.
        oracle: whether the texts were made from what the clips were made from. They bound what
            texts could give and are never ranked with texts that somebody wrote.
    """

    name: str
    version: int
    fields: Mapping[str, Mapping[str, str]]
    oracle: bool = False

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
            if name not in self.fields:
                raise unknown(f"text field in set '{self.name}':", name, self.fields)
            empty = [c for c, text in self.fields[name].items() if not text]
            if empty:
                raise UserError(f"The text field '{name}' is empty for {', '.join(empty[:5])}.")
        if not wanted:
            raise UserError("No text field was named.", "For example: --text-fields motion,name")
        return wanted


def class_list_texts(classes: Sequence[ActionClass]) -> ClassTexts:
    """The fields that every set has, as a set: for a data set of which nobody wrote texts."""
    fields = {
        "name": {c.id: c.name for c in classes},
        "verb": {c.id: c.verb for c in classes},
        "noun": {c.id: c.noun for c in classes},
    }
    return ClassTexts(name="class-list", version=1, fields=fields)


def read_texts(source: str, sets: Mapping[str, str], classes: Iterable[ActionClass]) -> ClassTexts:
    """A text set by id, or from a user's TOML file.

    A registered set may serve several data sets, so it may hold more classes than this one.

    Args:
        source: id of a registered set, or a file name ending in ``.toml``.
        sets: registered set id -> file.
        classes: of the data set.

    Raises:
        UserError: for an unknown set and for a file whose classes or fields are not complete.
    """
    classes = list(classes)
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
    fields = {name: {c: str(tables[c][name]).strip() for c in ids} for name in names}
    for name in names:
        if len(set(fields[name].values())) < len(ids):
            raise UserError(f"{path}: two classes have the same text in field '{name}'.")
    return ClassTexts(
        name=set_id,
        version=int(data.get("version", 1)),
        fields={**class_list_texts(classes).fields, **fields},
        oracle=bool(data.get("oracle", False)),
    )
