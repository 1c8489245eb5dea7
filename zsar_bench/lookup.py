"""Protocols by name, and what a name may say beyond its file.

``NAME/random:5@3``: same data and rule, five unseen classes drawn with seed 3. ``NAME/folds:3``:
every class unseen once, in one of three folds. ``stand-in/NAME``: on synthetic clips.
``NAME[seen=30]``: with a dial turned. NAME may be a data set too, which then says how its clips
are divided.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from zsar_bench.catalogue import Catalogue
from zsar_bench.datasets import read_toml
from zsar_bench.errors import UserError, unknown
from zsar_bench.protocol import FOLDS, RANDOM, STAND_IN, Protocol, ProtocolGroup
from zsar_bench.protocol_file import (
    ClassLists,
    dataset_protocol,
    group_of,
    is_group,
    load_protocol,
    protocol_of,
)
from zsar_bench.rounds import TRANSFER
from zsar_bench.shuffling import hash_order

_RANDOM = re.compile(r"random:([1-9]\d{0,3})@(\d{1,9})")
_FOLDS = re.compile(r"folds:([1-9]\d{0,3})")


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
    every class unseen once. A leading ``stand-in/`` is the caller's business.

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


def _find_file(name: str, catalogue: Catalogue) -> tuple[Path, dict[str, Any]]:
    """File and content of a protocol or group, by id or alias.

    Raises:
        UserError: for an unknown name.
    """
    found = _named(name, catalogue)
    if found is None and name in catalogue.names("datasets"):
        raise UserError(
            f"'{name}' is a data set; a protocol also says which classes are unseen.",
            f"For example: --protocol {name}/folds:3",
        )
    if found is None:
        raise unknown("protocol", name, protocol_files(catalogue), "zsar-bench list protocols")
    return found


def _named(name: str, catalogue: Catalogue) -> tuple[Path, dict[str, Any]] | None:
    """The same, None for an unknown name.

    Files that so much as mention an alias are parsed before the others: it may be spelt with
    escapes, but nobody does that.
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
    except OSError:  # read_toml will say so
        return False


Named = TypeVar("Named", Protocol, ProtocolGroup)


def _checked(one: Named, path: Path) -> Named:
    if one.id != path.stem:
        raise UserError(f"{path}: its id '{one.id}' is not its file's name.")
    return one


def _base(name: str, catalogue: Catalogue) -> Protocol:
    """What a split is a variant of: a protocol, or a data set with a rule of its own."""
    if name not in catalogue.names("datasets") or _named(name, catalogue):
        return find_protocol(name, catalogue)
    return dataset_protocol(catalogue.find("datasets", name))


# --- Variants of a protocol ----------------------------------------------------------------------


def random_split(base: Protocol, words: str) -> Protocol:
    """The same data and sample rule with other unseen classes.

    Args:
        base: the protocol to start from.
        words: ``random:<unseen>@<seed>``.

    Raises:
        UserError: for other words, or a number of classes that leaves none seen.
    """
    match = _RANDOM.fullmatch(words)
    classes = [c.id for c in base.classes]
    if match is None or not int(match[1]) < len(classes):
        raise UserError(
            f"'{words}' is not random:UNSEEN@SEED with fewer than {len(classes)} unseen classes.",
            f"For example: {base.id}/random:{len(base.unseen)}@0",
        )
    _check_splittable(base)
    unseen = {*hash_order(classes, words)[: int(match[1])]}
    return replace(
        base,
        id=f"{base.id}/{words}",
        title=f"{base.title}, {match[1]} unseen classes drawn with seed {match[2]}",
        aliases=(),
        seen=tuple(c for c in classes if c not in unseen),
        unseen=tuple(c for c in classes if c in unseen),
        pseudo_unseen=(),
        test_clips=0,
        family_of=base.id,
        folds=(),
    )


def in_folds(base: Protocol, words: str) -> Protocol:
    """The same data and sample rule with every class unseen once.

    Args:
        base: the protocol to start from.
        words: ``folds:<number>``; classes are dealt out in an order that their ids decide.

    Raises:
        UserError: for other words, or folds of a single class.
    """
    match = _FOLDS.fullmatch(words)
    classes = [c.id for c in base.classes]
    if match is None or not 2 <= int(match[1]) <= len(classes) // 2:
        raise UserError(
            f"'{words}' is not folds:NUMBER with 2 to {len(classes) // 2} folds.",
            f"For example: {base.id}/folds:3",
        )
    _check_splittable(base)
    count = int(match[1])
    fold = {c: n % count for n, c in enumerate(hash_order(classes, words))}
    return replace(
        base,
        id=f"{base.id}/{words}",
        title=f"{base.title}, every class unseen in one of {count} folds",
        aliases=(),
        seen=tuple(classes),
        unseen=tuple(classes),
        test_clips=0,
        family_of=base.id,
        folds=tuple(tuple(c for c in classes if fold[c] == n) for n in range(count)),
    )


def _check_splittable(base: Protocol) -> None:
    if base.rule == TRANSFER:
        raise UserError(
            f"The classes of '{base.id}' follow from its parts; they cannot be drawn.",
            f"On the same data: --protocol {base.dataset}/folds:3",
        )


def on_stand_in(protocol: Protocol, dataset: str) -> Protocol:
    """The same protocol on a synthetic data set of this name.

    Where a division needs a column that only the real data set has, the protocol says who trains
    instead.
    """
    if protocol.stand_in_train:
        protocol = replace(
            protocol,
            train=protocol.stand_in_train,
            column=protocol.stand_in_column,
            stand_in_train=(),
            stand_in_column="",
        )
    return replace(
        protocol,
        id=STAND_IN + protocol.id,
        title=f"{protocol.title}, on synthetic clips",
        dataset=dataset,
        aliases=(),
        test_clips=0,
        stand_in_for=protocol.dataset,
        family_of=STAND_IN + protocol.family_of if protocol.family_of else "",
    )


def with_dials(protocol: Protocol, dials: Mapping[str, float]) -> Protocol:
    """The protocol with dials turned; without any it is the protocol itself.

    ``seen=30`` keeps 30 seen classes, ``encoder=0.5`` trains the encoder on half of the training
    performers. Both nest: what a smaller value keeps, a larger one keeps too. Any other dial is
    a parameter of the data set's generator, which the caller sees to.

    Raises:
        UserError: for a value out of range.
    """
    if not dials:
        return protocol
    seen = protocol.seen
    if "seen" in dials and (protocol.folds or protocol.rule == TRANSFER):
        raise UserError(
            f"The dial 'seen' has no meaning for '{protocol.id}': its seen classes take turns.",
            f"For one split: --protocol {protocol.dataset}/random:5@0",
        )
    if "seen" in dials:
        count = dials["seen"]
        if not count.is_integer() or not 2 <= count <= len(seen):
            raise UserError(
                f"The dial seen={count:g} must be a whole number from 2 to {len(seen)}."
            )
        kept = {*hash_order(seen, "seen")[: int(count)]}
        seen = tuple(c for c in seen if c in kept)
    if not 0 < dials.get("encoder", 1.0) <= 1:
        raise UserError(f"The dial encoder={dials['encoder']:g} must be above 0 and at most 1.")
    words = ",".join(f"{name}={value:g}" for name, value in sorted(dials.items()))
    return replace(
        protocol,
        id=f"{protocol.id}[{words}]",
        title=f"{protocol.title}, {words}",
        aliases=(),
        seen=seen,
        pseudo_unseen=protocol.pseudo_unseen if seen == protocol.seen else (),
        dials=tuple(sorted(dials.items())),
    )
