"""Checks of GZSL requests, and the pseudo-unseen splits that calibrate GZSL on training clips.

A pseudo-unseen split is a rotation of held-out classes (the published list where there is one,
else those of ``selection.rotations``) crossed with held-out subjects. Encoder and method learn
from the kept classes' clips of the other training subjects. The pseudo-seen clips are of the
held-out subjects, so the fit has seen neither these clips nor their subjects.

Pseudo-unseen clips are those of the held-out subjects, if every held-out class has at least
``ENOUGH`` of them: then both sides are of new subjects, as in the test. With fewer clips a mean
class accuracy is mostly noise, and all training subjects' clips are taken. In simulations,
held-out subjects alone gain up to 0.4 points of H where subjects differ much, and lose up to 0.6
with few clips where they do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from zsar_bench.data.protocols.splits import Round
from zsar_bench.errors import UserError, unknown
from zsar_bench.features.source import FeatureSource
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import (
    PSEUDO_UNSEEN,
    SEEN_VAL,
    peeks,
    rotated,
    rotations,
    validation_subjects,
)

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Entry
    from zsar_bench.data.protocols.protocol import Protocol

CONSTANT = "constant"
GATE = "gate"
KINDS = {
    CONSTANT: "one number off the scores of seen classes before the highest score wins",
    GATE: "a logistic regression sends each clip to the method or to the encoder's classifier",
}
ENOUGH = 5  #: pseudo-unseen clips of a class below which all training subjects' are taken
WITHOUT = "Run it without --gzsl."


@dataclass(frozen=True)
class PseudoUnseenSplit:
    """A rotation of a GZSL run.

    Attributes:
        round: of training clips only; its test clips are the pseudo-unseen and pseudo-seen ones.
        subjects: held-out training subjects.
        unseen_of: subjects of the pseudo-unseen clips: the held-out, or all training subjects.
    """

    round: Round
    subjects: list[str]
    unseen_of: Literal["validation", "training"]


def check_gzsl(
    kind: str | None, protocol: Protocol, methods: Sequence[Entry], rules: Sequence[str],
    *, released: bool, control: str | None,
) -> None:  # fmt: skip
    """Refuse requests that GZSL cannot serve.

    Args:
        kind: as the user named it; None: no GZSL.
        protocol, methods, rules: of the request.
        released: whether released features are used.
        control: text control.

    Raises:
        UserError: for an unknown kind, and for such requests.
    """
    if kind is None:
        return
    if kind not in KINDS:
        raise unknown("kind of GZSL", kind, KINDS)
    if control is not None:
        raise UserError("--gzsl and --text-control exclude each other: controls are about ZSL.")
    if released:
        raise UserError(
            "GZSL is calibrated on encoders that are trained without some seen classes"
            + (", reads the encoder's own logits," if kind == GATE else "")
            + " and needs new subjects; released features have nothing of this.",
            WITHOUT,
        )
    if not protocol.one_split or protocol.own_candidates:
        raise UserError(
            f"GZSL judges every clip over all classes, and in '{protocol.id}' rounds or clips "
            "differ in theirs.",
            WITHOUT
            if protocol.own_candidates
            else f"For one split: --protocol {protocol.dataset}/random:5@0",
        )
    on_test = [rule for rule in rules if peeks(rule)]
    if on_test:
        raise UserError(
            f"GZSL by '{on_test[0]}' would be chosen on test twice over.", "Use --selection last."
        )
    for method in methods:
        if method.spec["setting"] == "transductive":
            raise UserError(
                f"The method '{method.name}' is transductive: its scores depend on which clips "
                "come together, so no calibration on others holds for them.",
                WITHOUT,
            )


def pseudo_unseen_splits(
    protocol: Protocol, round_: Round, clips: Mapping[str, Sequence[Any]]
) -> list[PseudoUnseenSplit]:
    """The pseudo-unseen splits of a round.

    Args:
        protocol: may name pseudo-unseen classes.
        one: the round.
        clips: class and subject of every clip.

    Raises:
        UserError: if the round has no seen test clips of new subjects, or no such split.
    """
    subject, classes = clips["subject"], clips["class"]
    where = f"{round_.name} of '{protocol.id}'"
    known = {subject[i] for i in round_.train}
    tested = {subject[i] for i in round_.test_seen}
    if not tested or tested & known or "" in tested:
        raise UserError(
            f"GZSL tests seen classes on new subjects, and {where} has no such clips"
            + (": its test subjects also train." if tested & known else "."),
            WITHOUT,
        )
    try:
        turns, held = rotations(protocol, round_), validation_subjects(round_, clips)
    except UserError as error:
        raise UserError(f"GZSL is calibrated on training clips: {error.what}", WITHOUT) from None
    splits = []
    for number, out in enumerate(turns, 1):
        kept = tuple(c for c in round_.seen if c not in out)
        new = [i for i in round_.train if classes[i] in out]
        of_held = [i for i in new if subject[i] in held]
        counts = Counter(classes[i] for i in of_held)
        enough = all(counts[c] >= ENOUGH for c in out)
        turned = replace(
            round_,
            name=f"{round_.name} gzsl-{number}",
            train=[i for i in round_.train if classes[i] not in out and subject[i] not in held],
            test_unseen=of_held if enough else new,
            test_seen=[i for i in round_.train if classes[i] in kept and subject[i] in held],
            seen=kept,
            unseen=tuple(out),
        )
        if not turned.test_seen:
            raise UserError(
                f"GZSL is calibrated on clips of some training subjects, and without "
                f"{', '.join(out)} {where} tests no seen class on {', '.join(held)}.",
                WITHOUT,
            )
        splits.append(PseudoUnseenSplit(turned, held, "validation" if enough else "training"))
    return splits


def rotation_sources(plan: RunPlan, number: int) -> list[tuple[PseudoUnseenSplit, FeatureSource]]:
    """The pseudo-unseen splits of a round, each with an encoder of its own; none without GZSL.

    Raises:
        UserError: as ``pseudo_unseen_splits``.
    """
    if not plan.gzsl:
        return []
    source = plan.encoders[number]
    splits = pseudo_unseen_splits(plan.protocol, source.round, source.dataset.clips)
    return [(split, source.retrained(split.round)) for split in splits]


def trial_sources(plan: RunPlan, number: int) -> list[FeatureSource]:
    """The features of a round's trials: of the same encoder to validate on seen classes, of
    encoders trained without the held-out classes to test on these.

    Raises:
        UserError: if the rule is not possible on this round.
    """
    source = plan.encoders[number]
    if plan.rule == SEEN_VAL:
        validation_subjects(source.round, source.dataset.clips)  # refused before any work
        return [source]
    if plan.rule != PSEUDO_UNSEEN:
        return []
    classes = source.dataset.clips["class"]
    return [
        source.retrained(rotated(source.round, r, held, classes))
        for r, held in enumerate(rotations(plan.protocol, source.round))
    ]
