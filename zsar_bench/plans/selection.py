"""Selection rules: which state of a training is scored. Plugins cannot add any.

A *state* is a ``state_dict``; states are taken at evenly spaced steps of the declared schedule and
named by their fraction of it.

- ``last``: the last state; there is no choice.
- ``seen-val``: the method is fitted without the clips of one in five of the training subjects;
  the state with the best mean class accuracy on these clips, over the seen classes, is taken.
  (The shared encoder was trained on these subjects.)
- ``pseudo-unseen``: three rotations each hold out some seen classes: encoder and method are
  trained without them, and every state is tested on their training clips. The median of the three
  best fractions of the schedule is taken over to the fit on all seen classes.
- ``oracle@E``: the best of E states on the test clips, as in papers. It measures the gain from
  test-set selection; it is always marked, never the default and never ranked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zsar_bench.common.hashing import hash_order
from zsar_bench.data.protocols.splits import Round
from zsar_bench.errors import UserError, unknown

if TYPE_CHECKING:
    from zsar_bench.data.protocols.protocol import Protocol

LAST = "last"
SEEN_VAL = "seen-val"
PSEUDO_UNSEEN = "pseudo-unseen"
ORACLE = "oracle"

RULES = {
    LAST: "the last step of the declared schedule; nothing is chosen",
    SEEN_VAL: "best on seen classes of held-out training subjects",
    PSEUDO_UNSEEN: "median best fraction of the schedule over rotations of held-out seen classes",
    f"{ORACLE}@E": "best of E states on the test clips, as papers do; never ranked",
}
STATES = 20  #: states of a training that ``seen-val`` and ``pseudo-unseen`` choose among
EVALUATIONS = 50  #: E of ``oracle`` alone: about what papers evaluate
MOST_EVALUATIONS = 1000
ROTATIONS = 3
VALIDATION_SHARE = 0.2  #: of the training subjects


def find_rule(name: str) -> str:
    """The rule of this name, spelt out: ``oracle`` is ``oracle@50``.

    Raises:
        UserError: if there is none.
    """
    name = f"{ORACLE}@{EVALUATIONS}" if name == ORACLE else name
    if re.fullmatch(rf"{ORACLE}@[1-9][0-9]{{0,3}}", name) and evaluations(name) <= MOST_EVALUATIONS:
        return name
    if name not in (LAST, SEEN_VAL, PSEUDO_UNSEEN):
        raise unknown("selection rule", name, [*RULES, ORACLE])
    return name


def parse_rules(text: str) -> tuple[str, ...]:
    """Rules from ``last``, ``last,oracle@20`` or ``all``.

    Raises:
        UserError: for anything else.
    """
    if text == "all":
        return LAST, SEEN_VAL, PSEUDO_UNSEEN, find_rule(ORACLE)
    return tuple(dict.fromkeys(find_rule(part.strip()) for part in text.split(",")))


def peeks(rule: str) -> bool:
    """Whether the rule selects on test clips."""
    return rule.startswith(f"{ORACLE}@")


def evaluations(rule: str) -> int:
    """E of an oracle rule."""
    return int(rule.partition("@")[2])


def kept_states(rule: str) -> int:
    """How many evenly spaced states of the fit on all seen classes the rule needs; 0: the last."""
    if peeks(rule):
        return evaluations(rule)
    return STATES if rule == PSEUDO_UNSEEN else 0


def rotations(protocol: Protocol, round_: Round) -> list[tuple[str, ...]]:
    """The classes held out in each rotation of a round: the published list where one exists.

    Without one: three disjoint draws of v = min(K_u, K_s/4) seen classes. They depend on the
    classes only, so that all methods and seeds share them and their encoders.

    Raises:
        UserError: if v is below 2.
    """
    if protocol.pseudo_unseen and {*protocol.pseudo_unseen} < {*round_.seen}:
        return [protocol.pseudo_unseen]
    count = min(len(round_.unseen), len(round_.seen) // 4)
    if count < 2:
        raise UserError(
            f"'{PSEUDO_UNSEEN}' needs at least 2 classes to hold out; {round_.name} of "
            f"'{protocol.id}' has {len(round_.seen)} seen and {len(round_.unseen)} unseen ones.",
            f"Use --selection {SEEN_VAL} or {LAST}.",
        )
    drawn = hash_order(round_.seen, PSEUDO_UNSEEN)
    held = [{*drawn[r * count : (r + 1) * count]} for r in range(ROTATIONS)]
    return [tuple(c for c in round_.seen if c in classes) for classes in held]


def rotated(round_: Round, number: int, held: Sequence[str], classes: Sequence[str]) -> Round:
    """The round in which held-out seen classes are the unseen ones, on training clips only.

    Args:
        round_: the original round.
        number: of the rotation, from 0.
        held: official ids of the held-out classes.
        classes: class of every clip.
    """
    return replace(
        round_,
        name=f"{round_.name} rotation-{number + 1}",
        train=[i for i in round_.train if classes[i] not in held],
        test_unseen=[i for i in round_.train if classes[i] in held],
        test_seen=[],
        seen=tuple(c for c in round_.seen if c not in held),
        unseen=tuple(held),
    )


def validation_subjects(round_: Round, clips: Mapping[str, Sequence[Any]]) -> list[str]:
    """One in five of a round's training subjects, at least one; every class keeps training clips.

    Raises:
        UserError: if subjects are not known, or there is no such choice.
    """
    cells = {(clips["subject"][i], clips["class"][i]) for i in round_.train}
    drawn = hash_order({s for s, _ in cells if s}, SEEN_VAL)
    count = max(1, round(VALIDATION_SHARE * len(drawn)))
    for start in range(len(drawn)):
        held = {drawn[(start + n) % len(drawn)] for n in range(count)}
        if {c for s, c in cells if s not in held} == {*round_.seen}:
            return sorted(held)
    raise UserError(
        f"'{SEEN_VAL}' holds out training subjects, and {round_.name} has none without whom "
        "every seen class keeps training clips.",
        f"Use --selection {PSEUDO_UNSEEN} or {LAST}.",
    )


def due(step: int, before: int, total: int, grids: Sequence[int]) -> bool:
    """Whether a state has to be taken after ``step``, the report before it being ``before``.

    Point i of a grid of E states is due at the first report at or after step i * total / E. The
    last point is the final state and is not taken here.
    """
    return step < total and any(step * e // total > before * e // total for e in grids)


def state_step(point: int, grid: int, total: int, kept: Sequence[int]) -> int | None:
    """The step of the state for a point of a grid; None: the final state.

    Args:
        point: 1 to ``grid``.
        grid: E.
        total: steps of the schedule; 0 if the method reports none.
        kept: ascending steps at which states were taken.
    """
    if point == grid:
        return None
    return next((s for s in kept if s * grid >= point * total), None)


def best_point(accuracies: Sequence[float]) -> int:
    """The earliest of the points, from 1, with the highest accuracy."""
    return max(range(len(accuracies)), key=lambda i: (accuracies[i], -i)) + 1


def median_point(points: Sequence[int]) -> int:
    """The middle one; the earlier of two."""
    return sorted(points)[(len(points) - 1) // 2]
