"""Protocols: which classes are seen and unseen, and which clips train and test. Data, not code.

How protocols are found by name, and what a name may say beyond its file, is ``lookup``'s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from zsar_bench.catalogue import Catalogue, Entry
from zsar_bench.datasets import ActionClass, Dataset, read_classes, read_toml
from zsar_bench.errors import UserError, unknown
from zsar_bench.registry import NAME
from zsar_bench.rounds import CROSS_FIT, DIVISIONS, TRANSFER, Round, make_rounds

STAND_IN = "stand-in/"  #: what the id of a protocol on synthetic clips begins with
RANDOM = "/random:"  #: what stands in the id of a random split, behind its family's id
FOLDS = "/folds:"  #: the same where every class is unseen once
REQUIRED = ("id", "title", "dataset", "family", "source", "samples")
OPTIONAL = ("confidence", "notes", "aliases", "seen", "unseen", "folds")
SAMPLES = ("rule", "groups", "pairs", "train", "candidates", "test_clips")
#: Sample rule -> the entry that says how it divides the clips.
NEEDS = {CROSS_FIT: "groups", TRANSFER: "pairs", **dict.fromkeys(DIVISIONS, "train")}


@dataclass(frozen=True)
class Protocol:
    """A published protocol, checked against its data set's class list.

    Attributes:
        id, title, dataset, family, source, confidence, notes, aliases: as in the file.
        seen, unseen: official class ids, in the data set's order.
        rule: name of the sample rule: a cross-fit, a transfer or one of ``DIVISIONS``.
        groups: performers of each group of a cross-fit; of a transfer, pairs of setups: the one
            that trains and the one that is tested; else empty.
        train: values of the division's column whose clips train, else empty.
        test_clips: unseen test clips of the complete data set; 0 if it has no fixed number.
        classes: all classes of the data set.
        stand_in_for: name of the real data set, where ``dataset`` is a synthetic one.
        family_of: id of the published protocol whose data and rule a random split shares.
        dials: what was turned, name -> value.
        folds: classes that take turns at being unseen; then ``seen`` and ``unseen`` are all.
        own_candidates: whether a clip's candidates are only those unseen classes that its own
            setup has; for pooled data sets.
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
    folds: tuple[tuple[str, ...], ...] = ()
    own_candidates: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of what decides which clips train and test."""
        content: list[Any] = [self.dataset, self.seen, self.unseen, self.rule, self.groups]
        content += [self.train] if self.train else []
        content += [self.dials] if self.dials else []
        content += [{"folds": self.folds}] if self.folds else []
        content += [{"candidates": "setup"}] if self.own_candidates else []
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

    @property
    def class_folds(self) -> tuple[tuple[str, ...], ...]:
        """Classes that are unseen together; one group unless it has folds."""
        return self.folds or (self.unseen,)

    def rounds(self, dataset: Dataset) -> list[Round]:
        """Clip indices of every round.

        Raises:
            UserError: if a round would have no clip of a class it needs.
        """
        return make_rounds(self, dataset)


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
    samples = _samples(data["samples"], where)
    ids = [c.id for c in classes]
    folds = _folds(data, ids, samples["rule"], where)
    order = {c: i for i, c in enumerate(ids)}

    def ordered(name: str) -> tuple[str, ...]:
        return tuple(sorted(data.get(name, ids), key=order.__getitem__))

    return Protocol(
        id=str(data["id"]),
        title=str(data["title"]),
        dataset=str(data["dataset"]),
        family=str(data["family"]),
        source=str(data["source"]),
        confidence=str(data.get("confidence", "")),
        notes=str(data.get("notes", "")),
        aliases=tuple(data.get("aliases", ())),
        seen=ordered("seen"),
        unseen=ordered("unseen"),
        rule=samples["rule"],
        groups=tuple(tuple(g) for g in samples.get("groups", samples.get("pairs", ()))),
        folds=tuple(tuple(sorted(fold, key=order.__getitem__)) for fold in folds),
        own_candidates="candidates" in samples,
        train=tuple(samples.get("train", ())),
        test_clips=samples.get("test_clips", 0),
        classes=classes,
    )


def dataset_protocol(entry: Entry) -> Protocol:
    """All classes of a data set and its own sample rule, to be split into seen and unseen.

    Raises:
        UserError: if the data set has no rule, or a faulty one.
    """
    where = f"Data set '{entry.name}'"
    if not entry.spec.get("samples"):
        raise UserError(f"{where} does not say how its clips are divided into train and test.")
    samples = _samples(entry.spec["samples"], where)
    classes = tuple(read_classes(Path(entry.spec["classes"])))
    ids = tuple(c.id for c in classes)
    return Protocol(
        id=entry.name,
        title=entry.spec["title"],
        dataset=entry.name,
        family=entry.name,
        source="The classes are divided by zsar-bench; nobody has published this split.",
        confidence="",
        notes="",
        aliases=(),
        seen=ids,
        unseen=ids,
        rule=samples["rule"],
        groups=tuple(tuple(g) for g in samples.get("groups", ())),
        test_clips=0,
        classes=classes,
        train=tuple(samples.get("train", ())),
        own_candidates="candidates" in samples,
    )


def _check_names(data: dict[str, Any], where: str) -> None:
    if not NAME.fullmatch(str(data["id"])):  # it becomes a folder's name
        raise UserError(f"{where}: the 'id' {data['id']!r} must match {NAME.pattern}.")
    if not isinstance(data["dataset"], str):
        raise UserError(f"{where}: 'dataset' must be the name of a data set.")
    aliases = data.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(a, str) for a in aliases):
        raise UserError(f"{where}: 'aliases' must be a list of names.")


def _folds(data: dict[str, Any], ids: list[str], rule: str, where: str) -> list[list[str]]:
    """The folds of a file, none for one with seen and unseen classes; all checked."""
    given = [name for name in ("seen", "unseen", "folds") if name in data]
    if rule == TRANSFER:
        if given:
            raise UserError(
                f"{where}: '{given[0]}' has no meaning for the rule '{TRANSFER}': seen is what "
                "the training setup has, and unseen what only the tested one has."
            )
        return []
    if "folds" not in given:
        for name in ("seen", "unseen"):
            if name not in data:
                raise UserError(f"{where}: the field '{name}' is missing.")
        _check_classes(data, ids, where)
        return []
    if len(given) > 1:
        raise UserError(f"{where}: 'folds' and '{given[0]}' exclude each other.")
    folds = data["folds"]
    lists = isinstance(folds, list) and all(isinstance(f, list) and f for f in folds)
    if not lists or len(folds) < 2:
        raise UserError(f"{where}: 'folds' must hold at least two lists of class ids.")
    for number, fold in enumerate(folds, 1):
        rest = [c for other in folds[: number - 1] + folds[number:] for c in other]
        _check_classes({"seen": rest, "unseen": fold}, ids, f"{where}, fold {number}")
    return list(folds)


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


def _samples(data: Any, where: str) -> dict[str, Any]:
    rules = tuple(NEEDS)
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
    needed = NEEDS[data["rule"]]
    for other in {*NEEDS.values()} - {needed}:
        if other in data:
            rule = data["rule"]
            raise UserError(f"{where}: samples.{other} has no meaning for the rule '{rule}'.")
    if data.get("candidates", "setup") != "setup":
        raise UserError(f"{where}: samples.candidates can only be 'setup', or be left out.")
    if needed == "train":
        _check_texts(data.get("train"), where, DIVISIONS[data["rule"]])
    elif needed == "pairs":
        _check_pairs(data.get("pairs"), where)
    else:
        _check_groups(data.get("groups"), where)
    return data


def _check_pairs(pairs: Any, where: str) -> None:
    good = (
        isinstance(pairs, list)
        and pairs
        and all(
            isinstance(p, list) and len(p) == 2 and all(isinstance(s, str) for s in p)
            for p in pairs
        )
    )
    if not good or any(p[0] == p[1] for p in pairs):
        raise UserError(f"{where}: samples.pairs must hold pairs of setups: train, test.")
    tested = [p[1] for p in pairs]
    if len(tested) != len(set(tested)):
        raise UserError(f"{where}: samples.pairs must test each setup at most once.")


def _check_groups(groups: Any, where: str) -> None:
    lists = isinstance(groups, list) and all(isinstance(g, list) and g for g in groups)
    if not isinstance(groups, list) or not lists or len(groups) < 2:
        raise UserError(f"{where}: samples.groups must hold at least two lists of performers.")
    flat = [s for g in groups for s in g]
    if not all(isinstance(s, str) for s in flat) or len(flat) != len(set(flat)):
        raise UserError(f"{where}: samples.groups must name each performer once, as text.")


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
