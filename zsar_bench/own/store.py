"""Descriptions of the data sets of one's own that were imported, for the catalogue.

    <home>/own/<name>/dataset.toml  classes.toml  layout.toml  texts-<set>.toml  imported.json
                      seal.json

The files are copies: the folder they come from may change or go. Each was checked on its way in
and all are sealed; one that was damaged since is a broken data set in the catalogue, not a broken
catalogue. What a version before seals imported has no seal and is taken as it is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from zsar_bench import seals
from zsar_bench.datasets import read_toml
from zsar_bench.errors import UserError
from zsar_bench.own.description import ABOUT, CLASSES, LAYOUT, TEXTS
from zsar_bench.paths import discard, home, read_json
from zsar_bench.specs import DatasetSpec

TARGET = "zsar_bench.own:Reader"
IMPORTED = "imported.json"  #: the folder that was read, its number of clips and what they rest on
TAKEN_OVER = ("title", "fps", "bodies", "min_frames", "licence", "citation", "samples")


def own_folder(name: str = "") -> Path:
    """Where descriptions are kept, or that of one data set."""
    return home() / "own" / name


def own_names() -> list[str]:
    """Names of the data sets that have a description, sorted."""
    return sorted(p.parent.name for p in own_folder().glob(f"[!.]*/{IMPORTED}"))


def own_spec(folder: Path) -> DatasetSpec:
    """The data set that a description folder describes.

    Raises:
        UserError: if it was damaged.
    """
    if seals.sealed(folder):
        seals.check(folder, hint="Type: zsar-bench data import FOLDER")
    about = read_toml(folder / ABOUT)
    imported = read_imported(folder)
    texts = {m[1]: p for p in sorted(folder.iterdir()) if (m := TEXTS.fullmatch(p.name))}
    for path in (folder / CLASSES, folder / LAYOUT):
        read_toml(path)
    try:
        return DatasetSpec(
            name=about["name"],
            target=TARGET,
            classes=folder / CLASSES,
            layout=folder / LAYOUT,
            texts=texts,
            clips=imported["clips"],
            how_to_get=f"Your own data, in {imported['folder']}.",
            **{name: about[name] for name in TAKEN_OVER if name in about},
        )
    except KeyError as error:
        raise UserError(f"{folder} lacks {error}.") from None


def read_imported(folder: Path) -> dict[str, Any]:
    """What was noted at the import; empty if there was none.

    Raises:
        UserError: if it was damaged.
    """
    path = folder / IMPORTED
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise UserError(f"The file {path} is damaged: it holds no object.")
    return found


def own_state() -> list[tuple[str, str]]:
    """Every file of every description with its SHA-256: what the catalogue's entries rest on."""
    state = []
    for name in own_names():
        try:
            for path in sorted(own_folder(name).iterdir()):
                state.append((str(path), hashlib.sha256(path.read_bytes()).hexdigest()))
        except OSError as error:  # it is being replaced, or damaged: either way, ask again
            state.append((name, str(error)))
    return state


def keep_own(beside: Path, name: str) -> None:
    """Give a complete description its place, instead of an earlier one."""
    forget_own(name)
    try:
        beside.rename(own_folder(name))
    except OSError as error:
        raise UserError(f"Cannot write {own_folder(name)}: {error.strerror or error}.") from None


def forget_own(name: str) -> bool:
    """Delete a description; killed half-way, it is gone all the same.

    Returns:
        Whether there was one.
    """
    folder = own_folder(name)
    if not folder.is_dir():
        return False
    discard(folder)
    return True
