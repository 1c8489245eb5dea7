"""Protocols: which classes are seen and unseen, and which clips train and test. Data, not code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsar_bench.catalogue import Catalogue
from zsar_bench.datasets import ActionClass, Dataset, read_classes, read_toml
from zsar_bench.errors import UserError, unknown
from zsar_bench.registry import NAME

CROSS_FIT = "performer-cross-fit"
REQUIRED = ("id", "title", "dataset", "family", "source", "seen", "unseen", "samples")
OPTIONAL = ("confidence", "notes", "aliases")
SAMPLES = ("rule", "groups", "test_clips")


@dataclass(frozen=True)
class Round:
    """One training and the clips it is tested on; a cross-fit has one round a group.

    Attributes:
        name: e.g. ``half-1``.
        train: clip indices of seen classes by training performers.
        test_unseen: clip indices of unseen classes by test performers.
        test_seen: clip indices of seen classes by test performers.
    """

    name: str
    train: list[int]
    test_unseen: list[int]
    test_seen: list[int]


@dataclass(frozen=True)
class Protocol:
    """A published protocol, checked against its data set's class list.

    Attributes:
        id, title, dataset, family, source, confidence, notes, aliases: as in the file.
        seen, unseen: official class ids, in the data set's order.
        rule: name of the sample rule.
        groups: performers of each group of a cross-fit.
        test_clips: unseen test clips of the complete data set.
        classes: all classes of the data set.
    """

    id: str
    title: str
    dataset: str
    family: str
    source: str
    confidence: str
    notes: str
    aliases: tuple[str, ...]
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    rule: str
    groups: tuple[tuple[str, ...], ...]
    test_clips: int
    classes: tuple[ActionClass, ...] = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of what decides which clips train and test."""
        content = [self.dataset, self.seen, self.unseen, self.rule, self.groups]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def rounds(self, dataset: Dataset) -> list[Round]:
        """Clip indices of every round.

        Raises:
            UserError: if a round would have no clip of a class it needs.
        """
        clips = dataset.clips
        seen, unseen = set(self.seen), set(self.unseen)
        rounds = []
        for i, group in enumerate(self.groups):
            test = set(group)
            train = {s for g in self.groups for s in g} - test
            rows = list(enumerate(zip(clips["class"], clips["subject"], strict=True)))
            one = Round(
                name=f"half-{i + 1}" if len(self.groups) == 2 else f"group-{i + 1}",
                train=[n for n, (c, s) in rows if c in seen and s in train],
                test_unseen=[n for n, (c, s) in rows if c in unseen and s in test],
                test_seen=[n for n, (c, s) in rows if c in seen and s in test],
            )
            self._check_round(one, clips["class"])
            rounds.append(one)
        return rounds

    def _check_round(self, one: Round, class_of: list[str]) -> None:
        missing = set(self.seen) - {class_of[n] for n in one.train}
        if missing or not one.test_unseen:
            lack = f"training clips of {', '.join(sorted(missing))}" if missing else "test clips"
            raise UserError(
                f"Protocol '{self.id}', {one.name}: the imported data has no {lack}.",
                f"Import the complete data set: zsar-bench data import {self.dataset} PATH --force",
            )


def load_protocol(
    path: Path, classes: Iterable[ActionClass] | None, catalogue: Catalogue
) -> Protocol:
    """Read and check a protocol file.

    Args:
        path: TOML file.
        classes: of its data set; None: looked up in the catalogue.
        catalogue: to find the data set's classes.

    Raises:
        UserError: naming file and field, for missing or unknown fields and for classes that
            overlap, are missing, unknown or repeated.
    """
    data = read_toml(path)
    where = f"Protocol file {path}"
    for name in REQUIRED:
        if name not in data:
            raise UserError(f"{where}: the field '{name}' is missing.")
    for name in data:
        if name not in REQUIRED + OPTIONAL:
            raise unknown(f"field in {path.name}:", name, REQUIRED + OPTIONAL)
    _check_names(data, where)
    if classes is None:
        spec = catalogue.find("datasets", data["dataset"]).spec
        classes = read_classes(Path(spec["classes"]))
    classes = tuple(classes)
    _check_classes(data, [c.id for c in classes], where)
    rule, groups, test_clips = _samples(data["samples"], where)
    order = {c.id: i for i, c in enumerate(classes)}
    return Protocol(
        id=str(data["id"]),
        title=str(data["title"]),
        dataset=str(data["dataset"]),
        family=str(data["family"]),
        source=str(data["source"]),
        confidence=str(data.get("confidence", "")),
        notes=str(data.get("notes", "")),
        aliases=tuple(data.get("aliases", ())),
        seen=tuple(sorted(data["seen"], key=order.__getitem__)),
        unseen=tuple(sorted(data["unseen"], key=order.__getitem__)),
        rule=rule,
        groups=groups,
        test_clips=test_clips,
        classes=classes,
    )


def _check_names(data: dict[str, Any], where: str) -> None:
    if not NAME.fullmatch(str(data["id"])):  # it becomes a folder's name
        raise UserError(f"{where}: the 'id' {data['id']!r} must match {NAME.pattern}.")
    if not isinstance(data["dataset"], str):
        raise UserError(f"{where}: 'dataset' must be the name of a data set.")
    aliases = data.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(a, str) for a in aliases):
        raise UserError(f"{where}: 'aliases' must be a list of names.")


def _check_classes(data: dict[str, Any], known: list[str], where: str) -> None:
    for part in ("seen", "unseen"):
        ids = data[part]
        if not isinstance(ids, list) or not ids:
            raise UserError(f"{where}: '{part}' must be a list of class ids, and not empty.")
        for class_id in ids:
            if class_id not in known:
                raise unknown(f"class in '{part}' of {where}:", str(class_id), known)
        repeated = {c for c in ids if ids.count(c) > 1}
        if repeated:
            raise UserError(f"{where}: '{part}' repeats {', '.join(sorted(repeated))}.")
    both = set(data["seen"]) & set(data["unseen"])
    if both:
        raise UserError(f"{where}: {', '.join(sorted(both))} is both seen and unseen.")
    left_out = [c for c in known if c not in {*data["seen"], *data["unseen"]}]
    if left_out:
        raise UserError(f"{where}: {', '.join(left_out)} is neither seen nor unseen.")


def _samples(data: Any, where: str) -> tuple[str, tuple[tuple[str, ...], ...], int]:
    if not isinstance(data, dict) or data.get("rule") != CROSS_FIT:
        raise UserError(f"{where}: samples.rule must be '{CROSS_FIT}'.")
    for name in data:
        if name not in SAMPLES:
            raise unknown(f"entry in 'samples' of {where}:", name, SAMPLES)
    groups = data.get("groups")
    lists = isinstance(groups, list) and all(isinstance(g, list) and g for g in groups)
    if not isinstance(groups, list) or not lists or len(groups) < 2:
        raise UserError(f"{where}: samples.groups must hold at least two lists of performers.")
    flat = [s for g in groups for s in g]
    if not all(isinstance(s, str) for s in flat) or len(flat) != len(set(flat)):
        raise UserError(f"{where}: samples.groups must name each performer once, as text.")
    test_clips = data.get("test_clips")
    if type(test_clips) is not int or test_clips < 1:
        raise UserError(f"{where}: samples.test_clips must be the number of unseen test clips.")
    return CROSS_FIT, tuple(tuple(g) for g in groups), test_clips


def protocol_files(catalogue: Catalogue) -> dict[str, Path]:
    """Protocol id or alias -> file. An id is its file's name.

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

    Raises:
        UserError: for an unknown name (suggests the nearest) or a faulty file.
    """
    if name.endswith(".toml") and Path(name).is_file():
        return load_protocol(Path(name), None, catalogue)
    files = protocol_files(catalogue)
    if name not in files:
        for path in files.values():
            aliases = read_toml(path).get("aliases", ())
            if isinstance(aliases, list) and name in aliases:
                return load_protocol(path, None, catalogue)
        raise unknown("protocol", name, files, "zsar-bench list protocols")
    protocol = load_protocol(files[name], None, catalogue)
    if protocol.id != name:
        raise UserError(f"{files[name]}: its id '{protocol.id}' is not its file's name.")
    return protocol
