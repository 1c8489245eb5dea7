"""Protocols by name, and variants of them in a name.

``NAME/random:5@3``: same data and rule, five unseen classes drawn with seed 3. ``NAME/folds:3``:
every class unseen once, in one of three folds. ``stand-in/NAME``: on synthetic clips.
NAME may also be a data set with its own division of clips.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.common.classes import read_toml
from zsar_bench.data.protocols.files import (
    AVERAGE,
    ClassLists,
    dataset_protocol,
    group_of,
    is_group,
    load_protocol,
    protocol_of,
)
from zsar_bench.data.protocols.protocol import (
    FOLDS,
    RANDOM,
    Protocol,
    ProtocolGroup,
    in_folds,
    random_split,
)
from zsar_bench.errors import UserError, unknown


def protocol_files(catalogue: Catalogue) -> dict[str, Path]:
    """Id of a protocol or a group -> file. An id is its file's name.

    Raises:
        UserError: if two files claim one id.
    """
    files: dict[str, Path] = {}
    for folder in catalogue.protocol_folders:
        for path in sorted(folder.glob("*.toml")):
            if path.stem in files:
                raise UserError(
                    f"Two files define the protocol '{path.stem}': {files[path.stem]}, {path}."
                )
            files[path.stem] = path
    return files


def find_protocol(name: str, catalogue: Catalogue) -> Protocol:
    """The protocol of this id or alias, or in this TOML file.

    ``NAME/random:5@3`` is NAME with five unseen classes drawn with seed 3, ``NAME/folds:3`` has
    every class unseen once. The caller has removed a leading ``stand-in/``.

    Raises:
        UserError: for an unknown name (suggests the nearest), a faulty file, or a name that is
            of a ``ProtocolGroup``.
    """
    for mark, vary in ((RANDOM, random_split), (FOLDS, in_folds)):
        base, _, words = name.rpartition(mark)
        if base:
            return vary(_base(base, catalogue), f"{mark[1:]}{words}")
    if name.endswith(".toml") and Path(name).is_file():
        return load_protocol(Path(name), None, catalogue)
    path, data = _find_file(name, catalogue)
    if is_group(data):
        group = _checked(group_of(data, path, protocol_files(catalogue)), path)
        raise UserError(
            f"'{name}' is the average of several protocols: {', '.join(group.of)}.",
            "Name one of them.",
        )
    lists = ClassLists(catalogue)
    dataset = data.get("dataset")
    return _checked(protocol_of(data, path, lists.of(dataset), lists.samples(dataset)), path)


def find_group(name: str, catalogue: Catalogue) -> ProtocolGroup | None:
    """The group of this id or alias; None if the name is a protocol's, or one of its variants.

    Raises:
        UserError: for an unknown name (suggests the nearest) or a faulty file.
    """
    if RANDOM in name or FOLDS in name or name.endswith(".toml"):
        return None
    path, data = _find_file(name, catalogue)
    if not is_group(data):
        return None
    return _checked(group_of(data, path, protocol_files(catalogue)), path)


def find_id(name: str, catalogue: Catalogue) -> str:
    """The id of a protocol or a group, from its id or alias.

    Raises:
        UserError: for an unknown name (suggests the nearest).
    """
    return _find_file(name, catalogue)[0].stem


def load_all(catalogue: Catalogue) -> tuple[list[Protocol], list[ProtocolGroup]]:
    """All protocols and groups, in the order of their files; every file is read once.

    Raises:
        UserError: for a faulty file.
    """
    files = protocol_files(catalogue)
    lists = ClassLists(catalogue)
    protocols, groups = [], []
    for path in files.values():
        data = read_toml(path)
        if is_group(data):
            groups.append(_checked(group_of(data, path, files), path))
        else:
            classes, samples = (f(data.get("dataset")) for f in (lists.of, lists.samples))
            protocols.append(_checked(protocol_of(data, path, classes, samples), path))
    return protocols, groups


def load_groups(catalogue: Catalogue) -> list[ProtocolGroup]:
    """All groups, in the order of their files; faults in other files are ignored.

    Raises:
        UserError: for a faulty file of a group.
    """
    files = protocol_files(catalogue)
    read = [(path, read_toml(path)) for path in files.values() if _mentions(path, AVERAGE)]
    return [_checked(group_of(d, path, files), path) for path, d in read if is_group(d)]


def _find_file(name: str, catalogue: Catalogue) -> tuple[Path, dict[str, Any]]:
    """File and content of a protocol or group, by id or alias.

    Raises:
        UserError: for an unknown name.
    """
    file = _named(name, catalogue)
    if file is None and name in catalogue.names("datasets"):
        raise UserError(
            f"'{name}' is a data set; a protocol also says which classes are unseen.",
            f"For example: --protocol {name}/folds:3",
        )
    if file is None:
        raise unknown("protocol", name, protocol_files(catalogue), "zsar-bench list protocols")
    return file


def _named(name: str, catalogue: Catalogue) -> tuple[Path, dict[str, Any]] | None:
    """The same, None for an unknown name.

    Files that contain the name are parsed before the others.
    """
    files = protocol_files(catalogue)
    if name in files:
        return files[name], read_toml(files[name])
    for path in sorted(files.values(), key=lambda path: not _mentions(path, name)):
        data = read_toml(path)
        aliases = data.get("aliases", ())
        if isinstance(aliases, list) and name in aliases:
            return path, data
    return None


def _mentions(path: Path, name: str) -> bool:
    try:
        return name.encode() in path.read_bytes()
    except OSError:  # read_toml reports it
        return False


Named = TypeVar("Named", Protocol, ProtocolGroup)


def _checked(read: Named, path: Path) -> Named:
    if read.id != path.stem:
        raise UserError(f"{path}: its id '{read.id}' is not its file's name.")
    return read


def _base(name: str, catalogue: Catalogue) -> Protocol:
    """What a split is a variant of: a protocol, or a data set with a rule of its own."""
    if name not in catalogue.names("datasets") or _named(name, catalogue):
        return find_protocol(name, catalogue)
    return dataset_protocol(catalogue.find("datasets", name))
