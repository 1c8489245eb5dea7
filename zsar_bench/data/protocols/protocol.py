"""Protocols: which classes are seen and unseen, and which clips train and test. Data, not code.

``files`` reads protocols from files, ``lookup`` finds them by name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from zsar_bench.catalogue.catalogue import Catalogue, Entry
from zsar_bench.common.classes import ActionClass
from zsar_bench.common.hashing import hash_order
from zsar_bench.common.names import protocol_folder
from zsar_bench.errors import UserError

STAND_IN = "stand-in/"  #: prefix of the id of a protocol on synthetic clips
RANDOM = "/random:"  #: what stands in the id of a random split, behind its family's id
FOLDS = "/folds:"  #: the same where every class is unseen once


@dataclass(frozen=True)
class Protocol:
    """A published protocol, checked against its data set's class list.

    Attributes:
        id, title, dataset, family, source, confidence, notes, aliases: as in the file.
        seen, unseen: official class ids, in the data set's order.
        rule: name of the sample rule: a cross-fit, a transfer or one of ``DIVISIONS``.
        groups: subjects of each group of a cross-fit; of a transfer, pairs of setups: the one
            that trains and the one that is tested; else empty.
        train: values of the division's column whose clips train, else empty.
        column: by which a division divides, if not as in ``DIVISIONS``.
        stand_in_train, stand_in_column: the same two on a stand-in, where they differ.
        pseudo_unseen: published list of seen classes to hold out as pseudo-unseen; else empty.
        test_clips: unseen test clips of the complete data set; 0 if it has no fixed number.
        classes: all classes of the data set.
        stand_in_for: name of the real data set, where ``dataset`` is a synthetic one.
        family_of: id of the published protocol whose data and rule a random split shares.
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
    folds: tuple[tuple[str, ...], ...] = ()
    own_candidates: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of what determines the training and test clips.

        Defaults are left out, so that older protocols keep their digest. So are pseudo-unseen
        classes, which are a choice among training clips.
        """
        content: list[Any] = [self.dataset, self.seen, self.unseen, self.rule, self.groups]
        content += [self.train] if self.train else []
        content += [self.column] if self.column else []
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
        """The column of clips that decides which train: a subject's, for a cross-fit."""
        return self.column or DIVISIONS.get(self.rule, "subject")

    @property
    def folder(self) -> str:
        """Its id as the name of a folder."""
        return protocol_folder(self.id)

    @cached_property
    def place(self) -> dict[str, int]:
        """Official class id -> its place among all classes, from 0."""
        return {c.id: n for n, c in enumerate(self.classes)}


def folder_name(protocol: str) -> str:
    """A protocol's id, or a part of one, as the name of a folder."""
    return protocol.replace("/", "+")


@dataclass(frozen=True)
class ProtocolGroup:
    """Several protocols of which papers print the mean.

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


CROSS_FIT = "performer-cross-fit"


TRANSFER = "transfer"


#: Rules that divide clips once, and the column that they divide by unless a protocol names
#: another: some of its values train, all others test.
DIVISIONS: Mapping[str, str] = {
    "xsub": "subject",
    "xview": "camera",
    "xset": "setup",
    "split": "setup",
}


_RANDOM = re.compile(r"random:([1-9]\d{0,3})@(\d{1,9})")


_FOLDS = re.compile(r"folds:([1-9]\d{0,3})")


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

    Where a division needs a column of the real data set only, the protocol names another one.
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
