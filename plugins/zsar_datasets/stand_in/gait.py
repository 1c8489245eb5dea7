"""Where the root goes and where free feet stand: GRAMMAR.md's words of ``locomotion``.

Shapes: N clips, B = 2 bodies, P = 5 phases, F frames, 2 feet (acting, other). World coordinates:
x to the left of body one, y up, z ahead of it. A body's left is (cos yaw, -sin yaw) in x and z.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsar_datasets.stand_in.cues import PATHS, PHASES
from zsar_datasets.stand_in.curves import smooth
from zsar_datasets.stand_in.draws import Array
from zsar_datasets.stand_in.grammar import grammar
from zsar_datasets.stand_in.script import Script

FADE = 0.4  # seconds in which a stagger begins and ends
_BEHIND, _ABOVE = 0.35, 0.30  # of G: where the other ankle is while hopping
_FIRST, _SECOND = (0.0, 0.6), (0.4, 1.0)  # parts of a step in which the two feet swing
_DIP = 0.45  # share of a spring's cycle before the body leaves the ground

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Cues = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Clock:
    """Time of every body in every frame; all (F, N, B), rates and lengths in seconds.

    Attributes:
        phase: 0 is the beginning.
        time: since the phase began; its first frame is one frame's time old.
        begins: whether this is a phase's first frame.
        seconds: length of the phase.
        slack: (N, 1) how slow this clip is.
    """

    phase: Ints
    time: Array
    begins: Bools
    seconds: Array
    slack: Array

    @property
    def settle(self) -> Array:
        """Seconds in which free feet, look and shapes change."""
        return float(grammar()["rules"]["settle"]) * self.slack


def clock(scripts: Sequence[Script]) -> Clock:
    """The clock of a batch; frame 0 is the beginning and no frame of the clips."""
    fps = grammar()["rules"]["frames_per_second"]
    starts = np.array([s.starts for s in scripts])[:, None]  # (N, 1, P)
    late = np.array([s.late for s in scripts], np.float64)
    frame = np.arange(max(s.frames for s in scripts) + 1)[:, None, None] - 1 - late
    phase = np.sum(frame[..., None] >= starts[..., 1:], axis=-1)
    rows = np.arange(len(scripts))[:, None]
    began = starts[rows, 0, phase]
    return Clock(
        phase=phase,
        time=np.where(phase > 0, (frame - began + 1) / fps, 0.0),
        begins=frame == began,
        seconds=np.array([s.seconds for s in scripts])[rows, phase],
        slack=np.array([s.slack for s in scripts])[:, None],
    )


@dataclass(frozen=True, eq=False)
class Ground:
    """Where bodies begin; all (N, B), metres and radians.

    Attributes:
        x, z: the root. yaw: where the body faces. heading: where it walks to.
        acting: 1 where the acting side is the left one, else -1.
        aside: which way sideways goes, +1 or -1 times the left of ``lateral``: body one's.
    """

    x: Array
    z: Array
    yaw: Array
    heading: Array
    acting: Array
    aside: Array
    lateral: Array


def ground(scripts: Sequence[Script]) -> Ground:
    """The places of a batch of performances, before anybody walks."""
    acting = np.array([s.acting for s in scripts], np.float64)
    side = np.array([s.place[0] for s in scripts])
    distance, one, two = (np.array([s.place[i] for s in scripts]) for i in (1, 2, 3))
    none = np.zeros(len(scripts))
    yaw = np.stack([acting[:, 0] * np.radians(one), np.radians(two)], axis=1)
    heading = np.where(side[:, None], 0.0, yaw)
    return Ground(
        x=np.stack([none, np.where(side, acting[:, 0] * distance, 0.0)], axis=1),
        z=np.stack([none, np.where(side, 0.0, distance)], axis=1),
        yaw=yaw,
        heading=heading,
        acting=acting,
        aside=acting[:, :1] + np.zeros((1, 2)),
        lateral=heading[:, :1] + np.zeros((1, 2)),
    )


@dataclass(frozen=True, eq=False)
class Root:
    """A place on the floor and how far the body has turned since the clip began."""

    x: Array
    z: Array
    turned: Array


def travelled(c: Cues, seconds: Array, g: Ground, start: Root, t: Array) -> Root:
    """The root ``t`` seconds after a phase with cues ``c`` began at ``start``."""
    turn = np.radians(c["turn"]) * g.acting
    turned = start.turned + turn * smooth(t / np.minimum(c["turns"], seconds))
    direction = g.heading + start.turned + turn
    walking = np.maximum(t - np.where(c["turn"] != 0.0, 0.5 * c["turns"], 0.0), 0.0)
    fade = smooth(t / FADE) * smooth((seconds - t) / FADE)
    sway = fade * c["sway"] * np.sin(2 * np.pi * c["hertz"] * t)
    ahead = c["speed"][0] * walking + c["way"] * smooth(t / _stride(c, seconds)) + sway[0]
    aside = (c["speed"][1] * walking + sway[1]) * g.aside
    return Root(
        start.x + ahead * np.sin(direction) + aside * np.cos(g.lateral),
        start.z + ahead * np.cos(direction) - aside * np.sin(g.lateral),
        turned,
    )


def _stride(c: Cues, seconds: Array) -> Array:
    return np.minimum(c["stride"], seconds)


def begins(scripts: Sequence[Script], cues: Cues, g: Ground) -> Root:
    """The root at the beginning of every phase, (N, B, P).

    Where both walk towards each other, body two stands so much farther away that the distance
    of ``place`` holds at the end of the last such phase.
    """
    seconds = np.array([s.seconds for s in scripts])[:, None]  # (N, 1, P)
    at = Root(g.x, g.z, np.zeros_like(g.x))
    roots = []
    for p in range(PHASES):
        roots.append(at)
        if p > 0:
            now = {name: value[..., p] for name, value in cues.items()}
            at = travelled(now, seconds[..., p], g, at, seconds[..., p])
    ends = np.stack([root.z - g.z for root in (*roots[1:], at)], axis=-1)  # (N, B, P)
    meets = np.array([s.meets for s in scripts])
    way = ends[np.arange(len(scripts)), :, meets]
    farther = np.where(meets > 0, way[:, 0] - way[:, 1], 0.0)[:, None] * np.array([0.0, 1.0])
    return Root(
        np.stack([root.x for root in roots], axis=-1),
        np.stack([root.z + farther for root in roots], axis=-1),
        np.stack([root.turned for root in roots], axis=-1),
    )


def springs(c: Cues, k: Clock) -> tuple[Array, Array]:
    """Height of the body over standing, and how much of it is flight, which feet share."""
    jumps = np.maximum(1.0, np.floor(k.seconds / c["period"] + 0.5))
    share = np.minimum(k.time / k.seconds, 1.0) * jumps
    share = np.where(k.time < k.seconds, share - np.floor(share), 1.0)
    up = np.maximum((share - _DIP) / (1.0 - _DIP), 0.0)
    flight = c["spring"] * 4.0 * up * (1.0 - up)
    dips = np.sin(np.pi * np.minimum(share / _DIP, 1.0))
    bounce = c["bounce"] * np.abs(np.sin(np.pi * c["steps"] * k.time))
    return flight + bounce - c["dip"] * dips * dips, flight


@dataclass(frozen=True, eq=False)
class Feet:
    """Free feet; (F, N, B, 2).

    Attributes:
        leaves: whether a foot leaves its place in this frame.
        way: how much of the way from there to its goal it has gone, 0 to 1.
        lift: metres above that way.
        stays: whether the goal is where it was, on the floor.
        goal: (2, F, N, B, 2) x and z of the goal.
        up: how much higher than standing the goal is.
    """

    leaves: Bools
    way: Array
    lift: Array
    stays: Bools
    goal: Array
    up: Array


def feet(c: Cues, k: Clock, g: Ground, start: Root, leg: Array, flight: Array) -> Feet:
    """Steps, waiting feet, springing feet: where they go and when."""
    both = [_foot(c, k, number) for number in (0, 1)]
    leaves, way, lift, stays, lands = (np.stack(part, axis=-1) for part in zip(*both, strict=True))
    goals = []
    for number, out in ((0, 1.0), (1, -1.0)):
        root = travelled(c, k.seconds, g, start, lands[..., number])
        yaw, half = g.yaw + root.turned, out * g.acting * c["stance"]
        goals.append([root.x + half * np.cos(yaw), root.z - half * np.sin(yaw)])
    goal = np.stack([np.stack([foot[i] for foot in goals], axis=-1) for i in (0, 1)])

    # The other foot of a hop is drawn up behind.
    now = travelled(c, k.seconds, g, start, k.time)
    drawn = smooth(k.time / k.settle) * smooth((k.seconds - k.time) / k.settle) * c["hops"] * leg
    yaw = g.yaw + now.turned
    goal[0, ..., 1] -= _BEHIND * drawn * np.sin(yaw)
    goal[1, ..., 1] -= _BEHIND * drawn * np.cos(yaw)
    up = np.stack([flight, flight + _ABOVE * drawn], axis=-1)
    return Feet(leaves, way, lift, stays, goal, up)


def _foot(c: Cues, k: Clock, number: int) -> tuple[Bools, Array, Array, Bools, Array]:
    """Leaves, way, lift, stays, and the time for which its goal is the stance, of one foot."""
    t = k.time
    settles = np.where(k.phase > 0, smooth(t / k.settle), 1.0)

    # Steps in turn: this foot's latest one began at ``began`` (negative: none yet).
    rate = np.maximum(c["steps"], 1e-6)
    last = np.floor((t * rate - number) / 2.0) * 2.0 + number
    began = last / rate
    share = (t - began) * rate
    # One step forwards or back: the feet swing one after the other.
    part = _FIRST if number == 0 else _SECOND
    stride = _stride(c, k.seconds)
    once = (t - part[0] * stride) / ((part[1] - part[0]) * stride)

    paces, strides = c["steps"] > 0.0, c["path"] == PATHS.index("step")
    swing = np.where(paces, np.where(last >= 0.0, share, -1.0), np.where(strides, once, -1.0))
    swings = (k.phase > 0) & (swing > 0.0)
    fps = grammar()["rules"]["frames_per_second"]
    begun = np.where(paces, share / rate, once * (part[1] - part[0]) * stride)  # seconds ago
    starts = swings & (begun <= 1.0 / fps + 1e-9) & (begun > 1e-9)
    lift = np.where(swings, c["lift"] * np.sin(np.pi * np.clip(swing, 0.0, 1.0)), 0.0)
    lands = np.where(paces, np.minimum((last + 1.5) / rate, k.seconds), k.seconds)
    return (
        starts | k.begins,
        np.where(swings, smooth(swing), settles),
        lift,
        (paces | strides) & (k.phase > 0) & ~swings,
        np.where(k.phase > 0, lands, 0.0),
    )
