"""Variants of a protocol: other classes, synthetic clips, dials turned. Each is a protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from zsar_bench.errors import UserError
from zsar_bench.protocol import STAND_IN, Protocol
from zsar_bench.rounds import TRANSFER
from zsar_bench.shuffling import hash_order

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
    if "seen" in dials and not protocol.one_split:
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
