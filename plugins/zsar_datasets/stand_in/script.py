"""One performance: words, subjects and draws become numbers for every phase, body and limb.

Phases are counted from 1; phase 0 is the beginning, in which everybody waits in the first posture.
Limbs are counted acting hand, other hand, acting foot, other foot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from zsar_datasets.stand_in.curves import trajectory_index
from zsar_datasets.stand_in.draws import Array, Draws
from zsar_datasets.stand_in.grammar import Body, Motion, Move, grammar
from zsar_datasets.stand_in.subjects import Subject

PHASES = 5  #: the beginning and at most four
FRAMES = ("root", "head", "chest", "pelvis", "leg", "foot", "opposite", "ground")
JOINTS = ("head", "spine", "shoulder", "hip", "foot")  #: of the partner; they follow FRAMES
MEETING = len(FRAMES) + len(JOINTS)
OPPOSITE = FRAMES.index("opposite")
PARTNER_PAIRS = len(FRAMES) + 2  #: from here on a partner's joint has a left and a right
AXES, NORMALS = ("body", "line", "surface"), ("forward", "back", "side", "up")
PATHS = ("still", "line", "step", "sway", "spring")
FREE = Move("", "rest", "hold", "medium", "once", "medium", "mirror", "relaxed")


class Limb(NamedTuple):
    """What a hand or foot does in a phase; lengths in metres, times in seconds."""

    moves: bool  # False: a foot that only carries
    swings: bool  # a free hand, which swings while walking
    trajectory: int
    goes: bool  # travels to its target before the cycles begin
    once: bool  # the trajectory fills the phase, whatever the repetition
    cycle: float
    travel: float
    count: int  # 0: as many as fill the phase
    delta: float  # share of a cycle by which the second limb of the pair is late
    wait: float  # the same, if this is the second limb
    pair: bool
    follow: int  # 1, -1: takes the first limb's displacement, or its opposite
    frame: int
    at: tuple[float, float, float]
    axes: int
    normal: int
    swap: bool
    joined: bool
    gap: float
    amplitude: float
    hint: tuple[float, float, float]
    shape: tuple[float, ...]  # forearm tip and thumb, body tip and thumb


class Turn(NamedTuple):
    """What head or torso does in a phase: ``count`` cycles of ``cycle`` seconds, in degrees."""

    trajectory: int
    cycle: float
    count: int
    amplitude: float


class Carriage(NamedTuple):
    """Posture, locomotion, look and lean of a phase; metres, seconds, degrees."""

    height: float
    back: float
    flex: float
    roll: float
    stance: float
    heel: float
    settles: float
    lean: tuple[float, float, float]  # forward, towards the acting side, acting shoulder forward
    look: tuple[float, float, float]
    gaze: int  # 0: a direction, 1: the acting hand, 2: the partner
    path: int
    speed: tuple[float, float]
    steps: float
    lift: float
    bounce: float
    arms: float
    turn: float
    turns: float
    way: float
    stride: float
    sway: tuple[float, float]
    hertz: tuple[float, float]
    reel: float
    hops: bool
    period: float
    spring: float
    dip: float


@dataclass(frozen=True, eq=False)
class Script:
    """A performance in numbers; B = 2 bodies, P = 5 phases.

    Attributes:
        frames: length of the clip.
        bodies: of them, how many are real; the second is always there for the first to look at.
        subjects: (B,).
        acting: (B,) 1 where the acting side is the left one, else -1.
        late: (B,) frames by which a body's time line is shifted.
        starts: (P,) first frame of each phase on that line; ``seconds`` (P,) their length.
        carriage: B x P; limbs: B x P x 4; turns: B x P x (head, torso).
        place: bearing is side (or front); distance in metres; yaw of body one and of body two.
        meets: the last phase in which somebody walks towards the other, or 0.
        slack: seconds a thing takes, as a share of the grammar's.
        sways: (B, 2) where in their swaying bodies begin, forward and aside, as shares of a turn.
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
    late = (0, round(fps * float(draws.uniform(*bounds))))

    draws = Draws("reach", version, *name)
    size = 1.0 + draws.bell(0.08, (2,))
    misses = draws.bell(0.014, (2, PHASES, 4, 3))
    sways = draws.uniform(0.0, 1.0, (2, 2))

    plays = []
    for b, subject in enumerate(subjects):
        bodies = [p.first if b == 0 else motion.second_body(p) for p in motion.phases]
        drawn = counts[0 if follows != "partner" else b]
        other = subjects[1 - b]
        plays.append(
            _Player(subject, other, slack, float(size[b]), lengths, misses[b], drawn).play(bodies)
        )

    arm = (subjects[0].L + subjects[1].L) / 2
    place = words["place"][motion.place if follows else "near"]
    side = place["bearing"] == "side"
    pairs = [(p.first, motion.second_body(p)) for p in motion.phases]
    walks = [i for i, pair in enumerate(pairs, 1) if any(b.locomotion == "walk" for b in pair)]
    faces = bool(follows) and not side and place["yaw_two"] == 180.0
    return Script(
        frames=round(sum(lengths[1 : 1 + len(motion.phases)]) * fps),
        bodies=2 if follows else 1,
        subjects=subjects,
        acting=(acting[0], acting[1]),
        late=late,
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
    shares = shares * subject.timing[: len(shares)] * (1.0 + draws.bell(0.08, (4,))[: len(shares)])
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


# --- What one body does ----------------------------------------------------------------------


class _Player:
    """Turns one body's words into numbers."""

    def __init__(
        self,
        subject: Subject,
        other: Subject,
        slack: float,
        size: float,
        seconds: tuple[float, ...],
        misses: Array,
        counts: Array,
    ) -> None:
        self.s, self.other, self.slack, self.seconds = subject, other, slack, seconds
        self.size, self.misses, self.counts = size * subject.amplitude, misses, counts
        self.words, self.rules = grammar()["vocabulary"], grammar()["rules"]

    def play(self, bodies: list[Body]) -> tuple[list[Carriage], list[list[Limb]], list[list[Turn]]]:
        """The phases of a body, the beginning before them; unused ones repeat the last."""
        first = bodies[0].posture
        posture = first if self.words["posture"][first]["starts"] else "standing"
        bodies = [Body(posture, "none", "ahead", "upright", ()), *bodies]
        bodies += bodies[-1:] * (PHASES - len(bodies))
        return (
            [self._carriage(body) for body in bodies],
            [self._limbs(p, body) for p, body in enumerate(bodies)],
            [self._turns(p, body) for p, body in enumerate(bodies)],
        )

    def _carriage(self, body: Body) -> Carriage:
        s, slack = self.s, self.slack
        posture, lean = self.words["posture"][body.posture], self.words["lean"][body.lean]
        look, go = self.words["look"][body.look], self.words["locomotion"][body.locomotion]
        tall = s.bones.stature
        pair = lambda word, scale: tuple(scale * x for x in go.get(word, (0.0, 0.0)))  # noqa: E731
        return Carriage(
            height=posture["height"] * s.G,
            back=posture["back"] * s.G,
            flex=posture["flex"],
            roll=posture["roll"],
            stance=posture["stance"] * s.G,
            heel=posture["heel"] * s.G,
            settles=posture["seconds"] * slack,
            lean=(lean["flex"], -lean["side"], -lean["twist"]),
            look=(look.get("pitch", 0.0), look.get("yaw", 0.0), look.get("roll", 0.0)),
            gaze={"": 0, "hand": 1, "partner": 2}[look.get("at", "")],
            path=PATHS.index(go["path"]),
            speed=pair("speed", tall / slack),
            steps=go.get("steps", 0.0) / slack,
            lift=go.get("lift", 0.0) * tall,
            bounce=go.get("bounce", 0.0) * tall,
            arms=go.get("arms", 0.0) * s.L * self.size,
            turn=go.get("turn", 0.0),
            turns=go.get("turn_seconds", 1.0) * slack,
            way=go.get("way", 0.0) * tall * self.size,
            stride=go.get("seconds", 1.0) * slack,
            sway=pair("sway", tall * self.size),
            hertz=pair("hertz", 1 / slack),
            reel=go.get("roll", 0.0) * self.size,
            hops=go.get("feet") == 1,
            period=go.get("period", 1.0) * slack,
            spring=go.get("height", 0.0) * tall * self.size,
            dip=go.get("dip", 0.0) * tall * self.size,
        )

    def _turns(self, phase: int, body: Body) -> list[Turn]:
        still = Turn(trajectory_index("hold"), 1.0, 1, 0.0)
        found = {"head": still, "torso": still}
        for i, move in enumerate(body.do):
            if move.limb in found:
                length = self.seconds[phase]
                cycle = self._cycle(move)
                count = self._count(move, phase, i)
                if not self.words["trajectory"][move.trajectory]["repeats"]:
                    n, cycle = 1, length
                elif count:
                    n = min(count, max(1, int(length / (self.rules["squeeze"] * cycle))))
                    cycle = min(cycle, length / n)
                else:
                    n = max(1, int(length / cycle + 0.5))
                    cycle = length / n
                size = self.words["amplitude"][move.amplitude][move.limb] * self.size
                found[move.limb] = Turn(trajectory_index(move.trajectory), cycle, n, size)
        return list(found.values())

    def _limbs(self, phase: int, body: Body) -> list[Limb]:
        idle = self.words["posture"][body.posture]["idle"]
        out: list[Limb | None] = [None] * 4
        meet = [m.limb for m in body.do if m.target == "opposite-hand" and "hand" in m.limb]
        for i, move in enumerate(body.do):
            entry = self.words["limb"][move.limb]
            for k, (limb, acting) in enumerate(zip(entry["limbs"], entry["acting"], strict=True)):
                if limb in ("hand", "foot"):
                    number = (0 if limb == "hand" else 2) + (0 if acting else 1)
                    target = move.target
                    two = len(entry["limbs"]) == 2 or len(meet) > 1
                    if limb == "hand" and target == "opposite-hand" and two:
                        target = "front-mid"
                    out[number] = self._limb(phase, i, number, k, move, target)
        for number in range(4):
            if out[number] is None:
                target = idle if number < 2 else "rest"
                limb = self._limb(phase, 0, number, 0, FREE, target)
                out[number] = limb._replace(moves=number < 2, swings=number < 2)
        return [limb for limb in out if limb is not None]

    def _cycle(self, move: Move) -> float:
        trajectory, tempo = self.words["trajectory"], self.words["tempo"]
        return float(
            tempo[move.tempo]["cycle"] * trajectory[move.trajectory]["stretch"] * self.slack
        )

    def _count(self, move: Move, phase: int, index: int) -> int:
        bounds = self.words["repetition"][move.repetition]["cycles"]
        if not bounds:
            return 0
        return int(bounds[0] + int(self.counts[phase, index] * (bounds[1] - bounds[0] + 1)))

    def _limb(self, phase: int, index: int, number: int, k: int, move: Move, target: str) -> Limb:
        """``number`` says which limb, ``k`` whether it is the second one of its move."""
        s, foot = self.s, number >= 2
        entry = self.words["limb"].get(move.limb, {"limbs": [""]})
        pair, joined = len(entry["limbs"]) == 2, entry.get("joined", False)
        symmetry = self.words["symmetry"][move.symmetry]
        if not pair and not symmetry["swap"]:
            symmetry = self.words["symmetry"]["mirror"]
        point, trajectory = self.words["target"][target], self.words["trajectory"][move.trajectory]
        frame, unit = point["frame"], self._unit(point["frame"], foot)
        miss = s.habit[number] + self.misses[phase, number]
        if frame == "partner":
            code = len(FRAMES) + JOINTS.index(point["joint"])
        else:
            code = MEETING if frame == "meeting" else FRAMES.index(frame)
        hint = self.rules["knee"]["forward"] if foot else self.rules["elbow"][point["elbow"]]
        return Limb(
            moves=True,
            swings=False,
            trajectory=trajectory_index(move.trajectory),
            goes=trajectory["travel"],
            once=not trajectory["repeats"],
            cycle=self._cycle(move),
            travel=self.words["tempo"][move.tempo]["travel"] * self.slack,
            count=self._count(move, phase, index),
            delta=symmetry["delay"],
            wait=symmetry["delay"] if k else 0.0,
            pair=pair,
            follow=0 if symmetry["flip"] or not k else symmetry["sign"],
            frame=code,
            at=tuple(unit * x + float(d) for x, d in zip(point["at"], miss, strict=True)),
            axes=AXES.index(trajectory["axes"]),
            normal=NORMALS.index(point["normal"]),
            swap=symmetry["swap"],
            joined=joined,
            gap=self.rules["gap"] * s.L * (-1.0 if symmetry["swap"] else 1.0),
            amplitude=self.words["amplitude"][move.amplitude]["foot" if foot else "hand"]
            * (s.G if foot else s.L)
            * self.size,
            hint=tuple(hint),
            shape=tuple(x * s.bones.finger for x in _shape(move.shape)),
        )

    def _unit(self, frame: str, foot: bool) -> float:
        """The length in which a frame's targets count; the partner's are the partner's."""
        s = self.s
        if frame == "root":
            return s.G if foot else s.L
        if frame == "partner":
            return self.other.T
        return {"head": s.h, "opposite": s.L, "ground": s.L}.get(frame, s.T)


@cache
def _shape(name: str) -> tuple[Any, ...]:
    """12 numbers: tip and thumb in the forearm's basis, then in the body's; one pair is zero."""
    shape = grammar()["vocabulary"]["shape"][name]
    own, none = (*shape["tip"], *shape["thumb"]), (0.0,) * 6
    return own + none if shape["basis"] == "forearm" else none + own
