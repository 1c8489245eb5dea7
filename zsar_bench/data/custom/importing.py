"""Import of a folder of the user's own data: checked, read, then registered.

The description is registered only after the clips were read; a failed import changes nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.answers import CORE
from zsar_bench.catalogue.catalogue import Catalogue, Entry
from zsar_bench.catalogue.custom import (
    ABOUT,
    CLASSES,
    IMPORTED,
    LAYOUT,
    TARGET,
    TEXTS,
    Description,
    custom_folder,
    custom_spec,
    read_imported,
    store_custom,
)
from zsar_bench.common import checksums
from zsar_bench.common.classes import ActionClass
from zsar_bench.common.code_digest import code_closure, code_digest
from zsar_bench.common.files import locked, make_folder, write_bytes, write_json
from zsar_bench.common.hashing import digest
from zsar_bench.data.clips.store import Dataset, open_dataset, prepared
from zsar_bench.data.custom import reader
from zsar_bench.data.custom.reader import MANIFEST, Container, Reader
from zsar_bench.data.protocols.files import check_samples
from zsar_bench.data.protocols.protocol import CROSS_FIT, DIVISIONS
from zsar_bench.data.texts.texts import read_texts
from zsar_bench.errors import DataError, UserError, nearest
from zsar_bench.rawfiles.archives import RawFiles
from zsar_bench.registry import spec_as_json

Read = Callable[[Entry], Dataset]


@dataclass(frozen=True)
class OwnData:
    """A folder that was checked without reading clips.

    Attributes:
        folder: where it lies.
        description: with its classes.
        clips: how many.
        files: name -> bytes of the description's files.
        reads: digest of all that the stored clips depend on, except the clips themselves.
    """

    folder: Path
    description: Description
    clips: int
    files: dict[str, bytes]
    reads: str


def is_own(path: Path) -> bool:
    """Whether this is a folder of one's own data."""
    try:
        return (path.expanduser() / ABOUT).is_file()
    except (OSError, RuntimeError):  # a name too long for a file, an unknown user
        return False


def read_own(folder: Path) -> OwnData:
    """Check a folder's description, manifest and links.

    Raises:
        UserError: for the first fault, naming file and field, or line and column.
    """
    folder = folder.expanduser().absolute()
    source = RawFiles(folder)
    descriptions = [name for name in (ABOUT, CLASSES, LAYOUT, MANIFEST) if name in source.names]
    texts = [name for name in source.names if TEXTS.fullmatch(name)]
    _check_links(folder, [*descriptions, *texts])
    opened = Reader().open(MANIFEST, source)
    _check_links(folder, opened.files)
    description = opened.description
    if description.samples:
        _check_samples(description, opened)
    for name in texts:
        read_texts(str(folder / name), {}, description.classes)
    files = {n: source.read(n) for n in (ABOUT, LAYOUT, *texts)}
    given = CLASSES in descriptions
    files[CLASSES] = source.read(CLASSES) if given else _classes_file(description.classes)
    classes = [vars(c) for c in description.classes]
    content = [description.layout, classes, description.bodies, description.min_frames]
    manifest = [[row.file, *vars(row.clip).values()] for row in opened.rows]
    return OwnData(folder, description, len(opened.clips), files, digest([content, manifest]))


def import_own(
    user_data: OwnData, catalogue: Catalogue, read: Read, force: bool = False
) -> tuple[Dataset, str]:
    """Read a folder into the store, unless that is done, and register it.

    Args:
        user_data: the checked folder.
        catalogue: to check that its name is free.
        read: makes the prepared data set of an entry, replacing an earlier one.
        force: read the clips even if the stored ones are whole and up to date.

    Returns:
        The data set, and a sentence if the clips were not read.

    Raises:
        UserError: if a plugin has the name, or for files that cannot be read.
    """
    name = user_data.description.name
    _check_free(name, catalogue)
    lock = custom_folder(f".{name}.import")
    with locked(lock):
        try:
            beside = _written(user_data, lock / "description")
            known = _known(custom_folder(name))
            same = name in prepared() and known.get("reads") == user_data.reads and not force
            whole = _whole(name) if same else None
            dataset = whole or read(_entry(beside))
            store_custom(beside, name)
        finally:
            shutil.rmtree(lock)
    remark = f"Already imported; the clips in {user_data.folder} were not read." if whole else ""
    return dataset, remark


# --- Parts ---------------------------------------------------------------------------------------


def _known(folder: Path) -> dict[str, Any]:
    """The notes of the last import; empty if they are damaged: clips are then read again."""
    if checksums.broken(folder):
        return {}
    return read_imported(folder)


def _whole(name: str) -> Dataset | None:
    """The prepared data set; None if a byte of it is damaged."""
    try:
        dataset = open_dataset(name)
        dataset.check(dataset.about["shards"])
    except checksums.Damaged:
        return None
    return dataset


def _written(user_data: OwnData, beside: Path) -> Path:
    """The description in this folder, and nothing else."""
    shutil.rmtree(beside, ignore_errors=True)  # of an import that was killed
    make_folder(beside)
    for file, data in user_data.files.items():
        write_bytes(beside / file, data)
    note = {"folder": str(user_data.folder), "clips": user_data.clips, "reads": user_data.reads}
    write_json(beside / IMPORTED, note)
    checksums.seal(beside)
    return beside


def _entry(folder: Path) -> Entry:
    """The catalogue entry of a description, before the catalogue has it."""
    spec = custom_spec(folder)
    code = code_digest(code_closure(reader.__name__, Path(str(reader.__file__))))
    facts = spec_as_json(spec) | {"plugin": CORE}
    return Entry("datasets", spec.name, CORE, code, facts, {}, {})


def _check_free(name: str, catalogue: Catalogue) -> None:
    """Refuse the name of a plugin's data set, and one that published protocols run on."""
    for entry in catalogue.entries("datasets"):
        if entry.spec["target"] != TARGET and name in (entry.name, entry.spec["stand_in_for"]):
            raise UserError(
                f"{ABOUT}: the name '{name}' is taken: the plugin '{entry.plugin}' has the data "
                f"set '{entry.name}' ({entry.spec['title']}).",
                "Choose another 'name' for yours.",
            )
    claimed = catalogue.data["conflicts"].get("datasets", {}).get(name, [])
    plugins = [plugin for plugin in claimed if plugin != CORE]
    if plugins:
        raise UserError(
            f"{ABOUT}: the name '{name}' is taken: the plugin '{plugins[0]}' has a data set of it.",
            "Choose another 'name' for yours. To drop the one that has it already, type: "
            f"zsar-bench data rm {name}",
        )


def _check_links(folder: Path, files: Iterable[str]) -> None:
    """Refuse files that only a link leads to, out of the folder."""
    root = os.path.realpath(folder)
    inside: dict[str, bool] = {}  # by folder: a data set has many clips and few folders
    for file in files:
        path = os.path.join(folder, file)
        where = path if os.path.islink(path) else os.path.dirname(path)
        if where not in inside:
            real = os.path.realpath(where)
            inside[where] = os.path.commonpath([root, real]) == root
        if not inside[where]:
            raise DataError(
                f"{file} is a link that leaves the folder {folder}.",
                "Put the file itself there: only what is below the folder is read.",
            )


def _check_samples(description: Description, opened: Container) -> None:
    """Check [samples] as in a protocol file, and that the manifest has whom it names."""
    samples = check_samples(description.samples, ABOUT)
    for name in ("test_clips", "stand-in"):
        if name in samples:
            raise UserError(f"{ABOUT}: samples.{name} belongs into a protocol file.")
    if samples["rule"] not in (CROSS_FIT, *DIVISIONS):
        raise UserError(f"{ABOUT}: the rule '{samples['rule']}' belongs into a protocol file.")
    cross = samples["rule"] == CROSS_FIT
    column = "subject" if cross else samples.get("column", DIVISIONS[samples["rule"]])
    values = {getattr(clip, column) for clip in opened.clips}
    named = [s for group in samples["groups"] for s in group] if cross else samples["train"]
    for value in named:
        if value not in values:
            close = nearest(value, values)
            raise UserError(
                f"{ABOUT}: [samples] names the {column} '{value}', whom {MANIFEST} does not have.",
                f"Did you mean {' or '.join(close)}?" if close else "",
            )


def _classes_file(classes: tuple[ActionClass, ...]) -> bytes:
    """A classes.toml of classes whose ids are their names."""
    return "\n".join(f'[[class]]\nid = "{c.id}"\nname = "{c.name}"\n' for c in classes).encode()
