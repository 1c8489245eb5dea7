"""One performance: words, subjects and draws become numbers; what both bodies share is here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zsar_datasets.stand_in.cues import PHASES, Carriage, Limb, Player, Turn
from zsar_datasets.stand_in.draws import Array, Draws
from zsar_datasets.stand_in.grammar import Motion, grammar
from zsar_datasets.stand_in.subjects import Subject

_WAIT = (-0.15, 0.40)  # share of its length by which a clip begins before its motion


@dataclass(frozen=True, eq=False)
class Script:
    """A performance in numbers; B = 2 bodies, P = 5 phases.

    Attributes:
        frames: length of the clip.
        bodies: of them, how many are real; the second is always there for the first to look at.
        subjects: (B,).
        acting: (B,) 1 where the acting side is the left one, else -1.
        late: (B,) frames that a body waits in its beginning.
        starts: (P,) first frame of each phase on that line; ``seconds`` (P,) their length.
        carriage: B x P; limbs: B x P x 4; turns: B x P x (head, torso).
        place: bearing is side (or front); distance in metres; yaw of body one and of body two.
        meets: the last phase in which somebody walks towards the other, or 0.
        slack: seconds a thing takes, as a share of the grammar's.
        sways: (B, 4) where in the four rhythms of their swaying bodies begin, shares of a turn.
    """

    frames: int
    bodies: int
    subjects: tuple[Subject, Subject]
    acting: tuple[int, int]
    late: tuple[int, int]
    starts: tuple[float, ...]
    seconds: tuple[float, ...]
    carriage: list[list[Carriage]]
    limbs: list[list[list[Limb]]]
    turns: list[list[list[Turn]]]
    place: tuple[bool, float, float, float]
    meets: int
    slack: float
    sways: Array


def perform(motion: Motion, subjects: tuple[Subject, Subject], *name: object) -> Script:
    """How these subjects do this motion in the performance of this name."""
    words, rules = grammar()["vocabulary"], grammar()["rules"]
    version, fps = grammar()["version"], rules["frames_per_second"]
    follows = words["second"][motion.second].get("follows", "")

    draws = Draws("acting", version, *name)
    dominant = [draws.chance(words["hand"][motion.hand]["chance"]) for _ in subjects]
    acting = [1 if d == s.left else -1 for d, s in zip(dominant, subjects, strict=True)]
    if not follows:
        acting[1] = acting[0]

    draws = Draws("time", version, *name)
    clip_pace = 1.0 + float(draws.bell(0.06))
    slack = subjects[0].pace * clip_pace
    seconds = words["length"][motion.length]["seconds"] * slack * (1.0 + float(draws.bell(0.05)))
    counts = draws.uniform(0.0, 1.0, (2, PHASES, 4))
    starts, lengths = _phases(motion, subjects[0], seconds, draws)
    bounds = {"phase": rules["echo"], "partner": rules["react"]}.get(follows, (0.0, 0.0))
    late = round(fps * float(draws.uniform(*bounds)))
    waits = max(0, round(fps * seconds * float(draws.uniform(*_WAIT))))

    draws = Draws("reach", version, *name)
    size = 1.0 + draws.bell(0.12, (2,))
    misses = draws.bell(0.035, (2, PHASES, 4, 3))
    sways = draws.uniform(0.0, 1.0, (2, 4))

    plays = []
    for b, subject in enumerate(subjects):
        bodies = [p.first if b == 0 else motion.second_body(p) for p in motion.phases]
        drawn = counts[0 if follows != "partner" else b]
        other = subjects[1 - b]
        plays.append(
            Player(subject, other, slack, float(size[b]), lengths, misses[b], drawn).play(bodies)
        )

    arm = (subjects[0].L + subjects[1].L) / 2
    place = words["place"][motion.place if follows else "near"]
    side = place["bearing"] == "side"
    pairs = [(p.first, motion.second_body(p)) for p in motion.phases]
    walks = [i for i, pair in enumerate(pairs, 1) if any(b.locomotion == "walk" for b in pair)]
    faces = bool(follows) and not side and place["yaw_two"] == 180.0
    return Script(
        frames=waits + round(sum(lengths[1 : 1 + len(motion.phases)]) * fps),
        bodies=2 if follows else 1,
        subjects=subjects,
        acting=(acting[0], acting[1]),
        late=(waits, waits + late),
        starts=starts,
        seconds=lengths,
        carriage=[play[0] for play in plays],
        limbs=[play[1] for play in plays],
        turns=[play[2] for play in plays],
        place=(side, place["distance"] * arm, place["yaw_one"], place["yaw_two"]),
        meets=max(walks) if faces and walks else 0,
        slack=slack,
        sways=sways,
    )


def _phases(
    motion: Motion, subject: Subject, seconds: float, draws: Draws
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Starts in frames and lengths in seconds of the five phases, whole frames, at least one."""
    fps = grammar()["rules"]["frames_per_second"]
    shares = np.array([phase.share for phase in motion.phases])
    shares = shares * subject.timing[: len(shares)] * (1.0 + draws.bell(0.26, (4,))[: len(shares)])
    ends = np.cumsum(shares) / shares.sum() * seconds * fps
    starts, at = [float("-inf")], 0
    frames = []
    for end in ends:
        starts.append(float(at))
        frames.append(max(1, round(float(end)) - at))
        at += frames[-1]
    missing = PHASES - 1 - len(frames)
    lengths = [1.0, *(n / fps for n in frames), *[1.0] * missing]
    return tuple(starts + [float("inf")] * missing), tuple(lengths)
