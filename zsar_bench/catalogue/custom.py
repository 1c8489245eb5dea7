"""Descriptions of custom data sets: dataset.toml, classes.toml and layout.toml of a folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zsar_bench.common import checksums
from zsar_bench.common.classes import ActionClass, read_toml
from zsar_bench.common.files import discard, home, parse_toml, read_json
from zsar_bench.common.names import NAME, PLAIN
from zsar_bench.errors import DataError, UserError, unknown
from zsar_bench.specs import DatasetSpec

ABOUT, CLASSES, LAYOUT = "dataset.toml", "classes.toml", "layout.toml"
TEXTS = re.compile(r"texts-([a-z0-9][a-z0-9-]{0,39})\.toml")
PARTS = ("head", "arms", "torso", "legs")
LARGEST_TOML = 4 * 2**20  #: bytes
MOST_JOINTS, MOST_BODIES = 1000, 16
SHOWN = 60  #: characters of an invalid value in an error

REQUIRED = {"name": str, "title": str}
OPTIONAL = {
    "fps": float,
    "bodies": int,
    "min_frames": int,
    "licence": str,
    "citation": str,
    "samples": dict,
}
WORDS = {str: "a text", float: "a number", int: "a whole number", dict: "a table"}
CLASS_FIELDS = ("id", "name", "verb", "noun")
LAYOUT_FIELDS = ("joints", "parents", "parts", "mirror", "left_hip", "right_hip", "up")


@dataclass(frozen=True)
class Description:
    """A checked description.

    Attributes:
        name, title, fps, bodies, min_frames, licence, citation: as in ``DatasetSpec``.
        samples: how subjects are split, as in a protocol file; unchecked, may be empty.
        classes: in the file's order; empty if there is no such file.
        layout: the joints, as the arguments of ``views.Layout``.
    """

    name: str
    title: str
    layout: dict[str, Any]
    classes: tuple[ActionClass, ...] = ()
    fps: float = 30.0
    bodies: int = 1
    min_frames: int = 1
    licence: str = ""
    citation: str = ""
    samples: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, V, 3) of every frame."""
        return self.bodies, len(self.layout["joints"]), 3

    def with_classes(self, classes: Iterable[ActionClass]) -> Description:
        """The same with these classes."""
        return replace(self, classes=tuple(classes))


def read_description(names: Collection[str], read: Callable[[str], bytes]) -> Description:
    """The description of a folder.

    Args:
        names: its files.
        read: returns the bytes of a file.

    Raises:
        DataError: naming the file and the field.
    """
    fields = _dataset_fields(_toml(ABOUT, names, read))
    classes = _classes(_toml(CLASSES, names, read)) if CLASSES in names else ()
    layout = _layout(_toml(LAYOUT, names, read))
    return Description(**fields, layout=layout, classes=classes)


def shown(value: str) -> str:
    """An invalid value as an error shows it: quoted, and shortened if it is long."""
    return repr(value if len(value) <= SHOWN else f"{value[: SHOWN - 3]}...")


def plain_class(name: str) -> ActionClass:
    """A class of which only the id is known."""
    return ActionClass(name, name, "", "")


def decode(data: bytes, name: str) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        DataError: naming the line that is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{name}, line {line}: this is not UTF-8 text.", "Save the file as UTF-8."
        ) from None


def _toml(name: str, names: Collection[str], read: Callable[[str], bytes]) -> dict[str, Any]:
    if name not in names:
        raise DataError(f"There is no {name}.", "See docs/own-data.md for what is in it.")
    data = read(name)
    if len(data) > LARGEST_TOML:
        raise DataError(f"{name} is larger than {LARGEST_TOML >> 20} MiB.")
    try:
        return parse_toml(decode(data, name))
    except ValueError as error:
        raise DataError(f"{name} is not valid TOML: {str(error)[:200]}.") from None


def _dataset_fields(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of dataset.toml, checked for type and range."""
    fields = REQUIRED | OPTIONAL
    for name, value in data.items():
        if name not in fields:
            raise _unknown(f"field in {ABOUT}:", name, fields)
        kind = fields[name]
        good = type(value) is kind or (kind is float and type(value) is int)
        if not good or (kind is str and not value.strip()):
            raise DataError(f"{ABOUT}: '{name}' must be {WORDS[kind]}, and not empty.")
    for name in REQUIRED:
        if name not in data:
            raise DataError(f"{ABOUT}: the field '{name}' is missing.")
    if not NAME.fullmatch(data["name"]):
        raise DataError(
            f"{ABOUT}: the 'name' {shown(data['name'])} must match {NAME.pattern}.",
            'For example: name = "my-data"',
        )
    for name, low, high in (
        ("fps", 0.1, 10_000),
        ("bodies", 1, MOST_BODIES),
        ("min_frames", 1, 10_000),
    ):
        if not low <= data.get(name, low) <= high:  # NaN included
            raise DataError(f"{ABOUT}: '{name}' must lie between {low} and {high}.")
    return data


def _classes(data: dict[str, Any]) -> tuple[ActionClass, ...]:
    rows = data.get("class")
    if set(data) != {"class"} or not isinstance(rows, list) or len(rows) < 2:
        raise DataError(f"{CLASSES} must hold class_ [[class]] table a class, at least two.")
    classes: dict[str, ActionClass] = {}
    names: set[str] = set()
    for number, row in enumerate(rows, 1):
        where = f"{CLASSES}, class number {number}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: this is no table.")
        for name, value in row.items():
            if name not in CLASS_FIELDS:
                raise _unknown(f"field in {where}:", name, CLASS_FIELDS)
            if not isinstance(value, str):
                raise DataError(f"{where}: '{name}' must be a text.")
        class_ = ActionClass(*(row.get(name, "").strip() for name in CLASS_FIELDS))
        if not PLAIN.fullmatch(class_.id):
            raise DataError(
                f"{where}: the 'id' {shown(class_.id)} is not 1 to 40 letters, digits and hyphens."
            )
        if not class_.name:
            raise DataError(f"{where}: the 'name' of {class_.id} is missing.")
        if class_.id in classes or class_.name in names:
            raise DataError(f"{where}: the id or the name of {class_.id} is there already.")
        classes[class_.id] = class_
        names.add(class_.name)
    return tuple(classes.values())


def _layout(data: dict[str, Any]) -> dict[str, Any]:
    """The joint layout, checked: a tree of named joints, each with part and mirror joint."""
    for name in data:
        if name not in LAYOUT_FIELDS:
            raise _unknown(f"field in {LAYOUT}:", name, LAYOUT_FIELDS)
    for name in LAYOUT_FIELDS[:-1]:
        if name not in data:
            raise DataError(f"{LAYOUT}: the field '{name}' is missing.")
    joints = data["joints"]
    if not isinstance(joints, list) or not 2 <= len(joints) <= MOST_JOINTS:
        raise DataError(f"{LAYOUT}: 'joints' must list 2 to {MOST_JOINTS} names.")
    if not all(isinstance(j, str) and j for j in joints) or len({*joints}) < len(joints):
        raise DataError(f"{LAYOUT}: 'joints' must name each joint once, as a text.")
    for name in ("parents", "parts", "mirror"):
        if not isinstance(data[name], list) or len(data[name]) != len(joints):
            raise DataError(f"{LAYOUT}: '{name}' must have one entry for each of 'joints'.")
    for number, part in enumerate(data["parts"]):
        if part not in PARTS:
            raise _unknown(f"part of joint '{joints[number]}' in {LAYOUT}:", str(part), PARTS)
    numbers = [(n, i) for n in ("parents", "mirror") for i in data[n]]
    numbers += [(n, data[n]) for n in ("left_hip", "right_hip")]
    for name, index in numbers:
        if type(index) is not int or not 0 <= index < len(joints):
            raise DataError(
                f"{LAYOUT}: '{name}' must give numbers of joints, from 0 to {len(joints) - 1}."
            )
    _check_tree(joints, data["parents"])
    mirror, left, right = data["mirror"], data["left_hip"], data["right_hip"]
    for number, other in enumerate(mirror):
        if mirror[other] != number:
            raise DataError(
                f"{LAYOUT}: '{joints[other]}' is the 'mirror' of '{joints[number]}', but not the "
                "other way round."
            )
    if left == right or mirror[left] != right:
        raise DataError(f"{LAYOUT}: 'left_hip' and 'right_hip' must mirror each other.")
    up = data.get("up", 1)
    if type(up) is not int or up not in (0, 1, 2):
        raise DataError(f"{LAYOUT}: 'up' must be the number of the vertical axis: 0, 1 or 2.")
    return data


def _check_tree(joints: list[str], parents: list[int]) -> None:
    roots = [joints[v] for v, p in enumerate(parents) if v == p]
    if len(roots) != 1:
        raise DataError(
            f"{LAYOUT}: exactly one joint, the root, must be its own parent in 'parents'; here "
            f"{', '.join(roots[:5]) or 'none'} is."
        )
    safe = {joints.index(roots[0])}
    for joint in range(len(joints)):
        way: list[int] = []
        while joint not in safe:
            if joint in way:
                raise DataError(f"{LAYOUT}: 'parents' goes in a circle at '{joints[joint]}'.")
            way.append(joint)
            joint = parents[joint]
        safe |= {*way}


def _unknown(kind: str, name: str, known: Iterable[str]) -> DataError:
    error = unknown(kind, name[:SHOWN], known)
    return DataError(error.what, error.hint)


TARGET = "zsar_bench.data.custom.reader:Reader"


IMPORTED = "imported.json"  #: the imported folder, its number of clips and their state


TAKEN_OVER = ("title", "fps", "bodies", "min_frames", "licence", "citation", "samples")


def custom_folder(name: str = "") -> Path:
    """The folder of all descriptions, or of one data set's."""
    return home() / "own" / name


def custom_names() -> list[str]:
    """Names of the data sets that have a description, sorted."""
    return sorted(p.parent.name for p in custom_folder().glob(f"[!.]*/{IMPORTED}"))


def custom_spec(folder: Path) -> DatasetSpec:
    """The data set that a description folder describes.

    Raises:
        UserError: if it was damaged.
    """
    checksums.check(folder, hint="Type: zsar-bench data import FOLDER")
    values = read_toml(folder / ABOUT)
    imported = read_imported(folder)
    texts = {m[1]: p for p in sorted(folder.iterdir()) if (m := TEXTS.fullmatch(p.name))}
    for path in (folder / CLASSES, folder / LAYOUT):
        read_toml(path)
    try:
        return DatasetSpec(
            name=values["name"],
            target=TARGET,
            classes=folder / CLASSES,
            layout=folder / LAYOUT,
            texts=texts,
            clips=imported["clips"],
            how_to_get=f"Your own data, in {imported['folder']}.",
            **{name: values[name] for name in TAKEN_OVER if name in values},
        )
    except KeyError as error:
        raise UserError(f"{folder} lacks {error}.") from None


def read_imported(folder: Path) -> dict[str, Any]:
    """The stored facts about the import; empty if there are none.

    Raises:
        UserError: if it was damaged.
    """
    path = folder / IMPORTED
    imported = read_json(path) if path.is_file() else {}
    if not isinstance(imported, dict):
        raise UserError(f"The file {path} is damaged: it holds no object.")
    return imported


def custom_state() -> list[tuple[str, str]]:
    """Every file of every description with its SHA-256: the catalogue's entries depend on them."""
    state = []
    for name in custom_names():
        try:
            for path in sorted(custom_folder(name).iterdir()):
                state.append((str(path), hashlib.sha256(path.read_bytes()).hexdigest()))
        except OSError as error:  # being replaced, or damaged: in both cases read it again
            state.append((name, str(error)))
    return state


def store_custom(beside: Path, name: str) -> None:
    """Move a complete description into place, replacing an earlier one."""
    delete_custom(name)
    try:
        beside.rename(custom_folder(name))
    except OSError as error:
        raise UserError(f"Cannot write {custom_folder(name)}: {error.strerror or error}.") from None


def delete_custom(name: str) -> bool:
    """Delete a description.

    Returns:
        Whether there was one.
    """
    folder = custom_folder(name)
    if not folder.is_dir():
        return False
    discard(folder)
    return True
