"""Protocols: which classes are seen and unseen, and which clips train and test. Data, not code.

How protocols are found by name, and what a name may say beyond its file, is ``lookup``'s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from zsar_bench.catalogue import Catalogue, Entry
from zsar_bench.datasets import ActionClass, Dataset, read_classes, read_toml
from zsar_bench.errors import UserError, unknown
from zsar_bench.registry import NAME
from zsar_bench.shuffling import hash_order

CROSS_FIT = "performer-cross-fit"
#: Rules that divide clips once, and the column that they divide by: some of its values train,
#: all others test.
DIVISIONS: Mapping[str, str] = {"xsub": "subject", "xview": "camera", "xset": "setup"}
SHOWN = 8  #: classes named in an error
STAND_IN = "stand-in/"  #: what the id of a protocol on synthetic clips begins with
RANDOM = "/random:"  #: what stands in the id of a random split, behind its family's id
REQUIRED = ("id", "title", "dataset", "family", "source", "seen", "unseen")
OPTIONAL = ("confidence", "notes", "aliases", "samples")
SAMPLES = ("rule", "groups", "train", "test_clips")


@dataclass(frozen=True)
class Round:
    """One training and the clips it is tested on; a cross-fit has one round a group.

    Attributes:
        name: e.g. ``half-1`` or ``xsub``.
        train: clip indices of seen classes on the training side.
        test_unseen: clip indices of unseen classes on the test side.
        test_seen: clip indices of seen classes on the test side.
        encoder_train: the part of ``train`` that the encoder learns from; all of it unless the
            dial ``encoder`` says less.
    """

    name: str
    train: list[int]
    test_unseen: list[int]
    test_seen: list[int]
    encoder_train: list[int]


@dataclass(frozen=True)
class Protocol:
    """A published protocol, checked against its data set's class list.

    Attributes:
        id, title, dataset, family, source, confidence, notes, aliases: as in the file.
        seen, unseen: official class ids, in the data set's order.
        rule: name of the sample rule: a cross-fit or one of ``DIVISIONS``.
        groups: performers of each group of a cross-fit, else empty.
        train: values of the division's column whose clips train, else empty.
        test_clips: unseen test clips of the complete data set; 0 if it has no fixed number.
        classes: all classes of the data set.
        stand_in_for: name of the real data set, where ``dataset`` is a synthetic one.
        family_of: id of the published protocol whose data and rule a random split shares.
        dials: what was turned, name -> value.
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
    train: tuple[str, ...] = ()
    stand_in_for: str = ""
    family_of: str = ""
    dials: tuple[tuple[str, float], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of what decides which clips train and test."""
        content: list[Any] = [self.dataset, self.seen, self.unseen, self.rule, self.groups]
        content += [self.train] if self.train else []
        content += [self.dials] if self.dials else []
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def synthetic(self) -> bool:
        """Whether its clips are made, not recorded."""
        return bool(self.stand_in_for)

    @property
    def folder(self) -> str:
        """Its id as the name of a folder."""
        return folder_name(self.id)

    @cached_property
    def place(self) -> dict[str, int]:
        """Official class id -> its place among all classes, from 0."""
        return {c.id: n for n, c in enumerate(self.classes)}

    def rounds(self, dataset: Dataset) -> list[Round]:
        """Clip indices of every round.

        Raises:
            UserError: if a round would have no clip of a class it needs.
        """
        if self.rule == CROSS_FIT:
            names = ["half-1", "half-2"] if len(self.groups) == 2 else []
            names = names or [f"group-{n}" for n in range(1, len(self.groups) + 1)]
            everybody = {s for group in self.groups for s in group}
            parts = [(everybody - {*g}, {*g}) for g in self.groups]
            rounds = [
                self._round(name, dataset, "subject", train, test)
                for name, (train, test) in zip(names, parts, strict=True)
            ]
        else:
            column = DIVISIONS[self.rule]
            test = {*dataset.clips[column]} - {*self.train}
            rounds = [self._round(self.rule, dataset, column, {*self.train}, test)]
        for one in rounds:
            self._check_round(one, dataset.clips["class"])
        return rounds

    def _round(
        self, name: str, dataset: Dataset, column: str, train: set[str], test: set[str]
    ) -> Round:
        """The round whose clips train or test by their value in a column."""
        clips, seen, unseen = dataset.clips, {*self.seen}, {*self.unseen}
        rows = list(enumerate(zip(clips["class"], clips[column], strict=True)))
        learn = [n for n, (c, v) in rows if c in seen and v in train]
        share = dict(self.dials).get("encoder", 1.0)
        performers = hash_order({clips["subject"][n] for n in learn}, "encoder")
        few = {*performers[: max(1, round(share * len(performers)))]}
        return Round(
            name=name,
            train=learn,
            test_unseen=[n for n, (c, v) in rows if c in unseen and v in test],
            test_seen=[n for n, (c, v) in rows if c in seen and v in test],
            encoder_train=[n for n in learn if clips["subject"][n] in few],
        )

    def _check_round(self, one: Round, class_of: list[str]) -> None:
        missing = set(self.seen) - {class_of[n] for n in one.encoder_train}
        if missing or not one.test_unseen:
            some = [c for c in self.seen if c in missing][:SHOWN]
            more = f" and {len(missing) - SHOWN} more classes" if len(missing) > SHOWN else ""
            lack = f"training clips of {', '.join(some)}{more}" if missing else "test clips"
            raise UserError(
                f"Protocol '{self.id}', {one.name}: the imported data has no {lack}.",
                f"Import the complete data set: zsar-bench data import {self.dataset} PATH --force",
            )


def folder_name(protocol: str) -> str:
    """A protocol's id, or a part of one, as the name of a folder."""
    return protocol.replace("/", "+")


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
        classes = read_classes(Path(dataset_entry(data["dataset"], catalogue).spec["classes"]))
    classes = tuple(classes)
    _check_classes(data, [c.id for c in classes], where)
    samples = check_samples(_samples(data, where, catalogue), where)
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
        rule=samples["rule"],
        groups=tuple(tuple(g) for g in samples.get("groups", ())),
        train=tuple(samples.get("train", ())),
        test_clips=samples.get("test_clips", 0),
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


def _samples(data: dict[str, Any], where: str, catalogue: Catalogue) -> Any:
    """How clips train and test: as the protocol says, or else as its data set does."""
    if "samples" in data:
        return data["samples"]
    found = dataset_entry(data["dataset"], catalogue).spec.get("samples")
    if not found:
        raise UserError(f"{where}: the field 'samples' is missing.")
    return found


def check_samples(data: Any, where: str) -> dict[str, Any]:
    """The table ``[samples]`` of a protocol or a data set, if it makes sense.

    Raises:
        UserError: beginning with ``where``.
    """
    rules = (CROSS_FIT, *DIVISIONS)
    if not isinstance(data, dict) or data.get("rule") not in rules:
        raise UserError(f"{where}: samples.rule must be one of {', '.join(rules)}.")
    for name in data:
        if name not in SAMPLES:
            raise unknown(f"entry in 'samples' of {where}:", name, SAMPLES)
    test_clips = data.get("test_clips", 1)
    if type(test_clips) is not int or test_clips < 1:
        raise UserError(
            f"{where}: samples.test_clips must be the number of unseen test clips, or be left "
            "out where nobody has counted them."
        )
    needed, other = ("groups", "train") if data["rule"] == CROSS_FIT else ("train", "groups")
    if other in data:
        raise UserError(f"{where}: samples.{other} has no meaning for the rule '{data['rule']}'.")
    if needed == "train":
        _check_texts(data.get("train"), where, DIVISIONS[data["rule"]])
        return data
    groups = data.get("groups")
    lists = isinstance(groups, list) and all(isinstance(g, list) and g for g in groups)
    if not isinstance(groups, list) or not lists or len(groups) < 2:
        raise UserError(f"{where}: samples.groups must hold at least two lists of performers.")
    flat = [s for g in groups for s in g]
    if not all(isinstance(s, str) for s in flat) or len(flat) != len(set(flat)):
        raise UserError(f"{where}: samples.groups must name each performer once, as text.")
    return data


def _check_texts(values: Any, where: str, column: str) -> None:
    good = isinstance(values, list) and values and all(isinstance(v, str) for v in values)
    if not good or len(values) != len(set(values)):
        raise UserError(
            f"{where}: samples.train must name each training {column} once, as a list of texts."
        )


def dataset_entry(name: str, catalogue: Catalogue) -> Entry:
    """The data set of this name; where only its stand-in is registered, that one."""
    if name not in catalogue.names("datasets"):
        for entry in stand_ins(name, catalogue):
            return entry
    return catalogue.find("datasets", name)


def stand_ins(dataset: str, catalogue: Catalogue) -> list[Entry]:
    """The synthetic data sets that stand in for this one."""
    entries = catalogue.entries("datasets")
    return [e for e in entries if e.spec.get("stand_in_for", "") == dataset]
