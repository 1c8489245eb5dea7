"""What one body does in a performance: words become numbers for every phase and limb.

Phases are counted from 1; phase 0 is the beginning, in which everybody waits in the first posture.
Limbs are counted acting hand, other hand, acting foot, other foot.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from zsar_datasets.stand_in.curves import trajectory_index
from zsar_datasets.stand_in.draws import Array
from zsar_datasets.stand_in.grammar import Body, Move, grammar
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


class Player:
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
