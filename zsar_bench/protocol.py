"""Protocols: which classes are seen and unseen, and which clips train and test. Data, not code.

How files become protocols is ``protocol_file``'s; how protocols are found by name, and what a name
may say beyond its file, is ``lookup``'s.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from zsar_bench.catalogue import Catalogue, Entry
from zsar_bench.datasets import ActionClass, Dataset
from zsar_bench.names import protocol_folder
from zsar_bench.rounds import DIVISIONS, TRANSFER, Round, make_rounds

STAND_IN = "stand-in/"  #: what the id of a protocol on synthetic clips begins with
RANDOM = "/random:"  #: what stands in the id of a random split, behind its family's id
FOLDS = "/folds:"  #: the same where every class is unseen once


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
        column: what a division divides by, where that is not what ``DIVISIONS`` says.
        stand_in_train, stand_in_column: the same two on a stand-in, where those are other ones.
        pseudo_unseen: seen classes that were published to be held out in the place of unseen
            ones, when something is to be chosen without these; empty where nobody named any.
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
    column: str = ""
    stand_in_train: tuple[str, ...] = ()
    stand_in_column: str = ""
    pseudo_unseen: tuple[str, ...] = ()
    stand_in_for: str = ""
    family_of: str = ""
    dials: tuple[tuple[str, float], ...] = ()
    folds: tuple[tuple[str, ...], ...] = ()
    own_candidates: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of what decides which clips train and test.

        What is at its default is left out, so that older protocols keep theirs. Pseudo-unseen
        classes are no part of it: they are a choice inside the training clips.
        """
        content: list[Any] = [self.dataset, self.seen, self.unseen, self.rule, self.groups]
        content += [self.train] if self.train else []
        content += [self.column] if self.column else []
        content += [self.dials] if self.dials else []
        content += [{"folds": self.folds}] if self.folds else []
        content += [{"candidates": "setup"}] if self.own_candidates else []
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def synthetic(self) -> bool:
        """Whether its clips are made, not recorded."""
        return bool(self.stand_in_for)

    @property
    def one_split(self) -> bool:
        """Whether all rounds have the same seen and unseen classes."""
        return not self.folds and self.rule != TRANSFER

    @property
    def divides_by(self) -> str:
        """The column of clips that decides which train: a performer's, for a cross-fit."""
        return self.column or DIVISIONS.get(self.rule, "subject")

    @property
    def folder(self) -> str:
        """Its id as the name of a folder."""
        return protocol_folder(self.id)

    @cached_property
    def place(self) -> dict[str, int]:
        """Official class id -> its place among all classes, from 0."""
        return {c.id: n for n, c in enumerate(self.classes)}

    def rounds(self, dataset: Dataset) -> list[Round]:
        """Clip indices of every round.

        Raises:
            UserError: if a round would have no clip of a class it needs.
        """
        return make_rounds(self, dataset)


def folder_name(protocol: str) -> str:
    """A protocol's id, or a part of one, as the name of a folder."""
    return protocol.replace("/", "+")


@dataclass(frozen=True)
class ProtocolGroup:
    """Several protocols of which papers print one number, the mean of theirs.

    Attributes:
        id, title, source, family, confidence, notes, aliases: as in the file.
        of: ids of the protocols.
    """

    id: str
    title: str
    source: str
    aliases: tuple[str, ...]
    of: tuple[str, ...]
    family: str = ""
    confidence: str = ""
    notes: str = ""


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
