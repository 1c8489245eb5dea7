"""Where hands and feet go: targets, ways and cycles (GRAMMAR.md: limb, target, trajectory).

Shapes: N clips, B = 2 bodies, 2 limbs of a kind (the acting one, the other one); components of
vectors come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zsar_datasets.stand_in.cues import FRAMES, MEETING, PARTNER_PAIRS
from zsar_datasets.stand_in.curves import Keys, keys_at, smooth
from zsar_datasets.stand_in.draws import Array
from zsar_datasets.stand_in.gait import Bools
from zsar_datasets.stand_in.grammar import grammar
from zsar_datasets.stand_in.script import Script
from zsar_datasets.stand_in.signals import Signals, columns
from zsar_datasets.stand_in.vectors import Axes, across, cross, direction, dot, length

OUT = np.array([1.0, -1.0])  #: the acting limb's outward direction is the acting side
UP = np.array([0.0, 1.0, 0.0])[:, None, None, None]
_STEEP = np.cos(np.radians(18.0))

# Axes of each frame: 0 body, 1 head, 2 chest, 3 pelvis, 4 ground, 5 partner, 6 meeting.
_AXES = {"head": 1, "chest": 2, "pelvis": 3, "ground": 4}
_AXES_OF = np.array([_AXES.get(name, 0) for name in FRAMES] + [5] * (MEETING - len(FRAMES)) + [6])


@dataclass(frozen=True, eq=False)
class Around:
    """What a frame's targets are fastened to.

    Attributes:
        body, head, chest, pelvis, ground: axes (3, N, B).
        roots: (3, N, B, 2) shoulders or hips of these limbs.
        skull, top, base: (3, N, B) joints 4, 21 and 1.
        thighs, ankles, opposite: (3, N, B, 2) middle of hip and knee; ankle that ``foot`` means;
            hand or ankle that ``opposite`` means.
        others: (3, N, B) the partner's head and spine.
        pairs: (3, N, B, 2) the partner's shoulders, hips, feet.
        foot: whether the limbs are feet.
    """

    body: Axes
    head: Axes
    chest: Axes
    pelvis: Axes
    ground: Axes
    roots: Array
    skull: Array
    top: Array
    base: Array
    thighs: Array
    ankles: Array
    opposite: Array
    others: tuple[Array, Array]
    pairs: tuple[Array, Array, Array]
    foot: bool


def partner(v: Array) -> Array:
    """The same of the other body; N, B are axes 1 and 2."""
    return v[:, :, ::-1]


class Limbs:
    """The two hands or the two feet of a batch, frame after frame.

    Attributes:
        now: cues of the current phase, ``cues.Limb``'s fields as (k, N, B, 2).
        roll: (N, B, 2) degrees by which hands are turned about the forearm.
    """

    def __init__(self, scripts: Sequence[Script], foot: bool) -> None:
        limbs = slice(2, 4) if foot else slice(0, 2)
        self.rules = grammar()["rules"]
        rows = [[[phase[limbs] for phase in body] for body in s.limbs] for s in scripts]
        self.table = columns(rows, 4)
        self.now = {name: value[..., 0, :].copy() for name, value in self.table.items()}
        self.shape_before = self.now["shape"].copy()
        people = [s.subjects for s in scripts]
        self.unit = np.array([[p.G if foot else p.L for p in pair] for pair in people])[..., None]
        self.haste = np.array([[p.haste for p in pair] for pair in people])[..., None]
        shape = self.now["moves"].shape
        self.travel, self.count, self.left = np.zeros(shape), np.ones(shape), np.zeros(shape)
        self.cycle, self.near = np.ones(shape), np.zeros(shape, np.bool_)
        self.roll = np.zeros(shape)

    def begin(self, f: int, s: Signals) -> None:
        """Take the cues of the phases that begin in frame ``f``."""
        i, b = np.nonzero(s.clock.begins[f])
        if len(i):
            self.shape_before[:, i, b] = self.now["shape"][:, i, b]
            phase = s.clock.phase[f][i, b]
            for name, table in self.table.items():
                self.now[name][..., i, b, :] = table[..., i, b, phase, :]

    # --- where

    def points(self, f: int, s: Signals, around: Around, start: Array) -> Array:
        """(3, N, B, 2) where the limbs' moves put them; ``start`` is S in GRAMMAR.md."""
        c, k = self.now, s.clock
        begins, time, seconds = (v[f][..., None] for v in (k.begins, k.time, k.seconds))
        outward = np.where(c["swap"], -OUT, OUT)
        axes, base = self._target(around, outward, begins)
        base = np.where(
            c["joined"], (base + base[..., ::-1]) / 2 + c["gap"] * OUT * axes.side, base
        )
        base = (
            base
            + np.where(c["swings"], -OUT * s.arms[f][..., None], 0.0)
            * (around.body.forward[..., None])
        )
        basis = self._basis(around, axes, base, outward)

        if begins.any():
            first = self._offset(
                start, base, basis, keys_at(c["trajectory"], np.zeros_like(self.travel))
            )
            self._timetable(begins, seconds, length(first) / self.unit)
        since = time - self.travel - c["wait"] * self.cycle
        once = np.clip(since / np.maximum(self.left, 1e-6), 0.0, 1.0)
        cycles = np.clip(since / self.cycle, 0.0, self.count)
        within = np.where(cycles < self.count, cycles - np.floor(cycles), 1.0)
        keys = keys_at(c["trajectory"], np.where(c["once"], once, within))
        self.roll = keys.r * self.rules["twist_degrees"]
        x = np.minimum(time / np.maximum(self.travel, 1e-6), 1.0)
        gone = smooth(x)
        gone = np.where(self.travel > 0.0, gone + self.haste * (x - gone), 1.0)
        return start + gone * self._offset(start, base, basis, keys)

    def _target(self, a: Around, outward: Array, begins: Bools) -> tuple[Axes, Array]:
        """Axes of the targets' frames, and the targets' points."""
        c = self.now
        swapped = lambda v: np.where(c["swap"], v[..., ::-1], v)  # noqa: E731
        both = lambda v: v[..., None]  # noqa: E731
        kind = np.maximum(c["frame"] - PARTNER_PAIRS, 0) % 3
        one, two = (np.choose(kind, [both(pair[..., i]) for pair in a.pairs]) for i in (0, 1))
        nearer = length(two - a.roots) < length(one - a.roots)
        self.near = np.where(begins, nearer, self.near)
        facing = np.where(self.near ^ c["swap"], two, one)
        ground = a.base * np.array([1.0, 0.0, 1.0])[:, None, None]
        middle = (a.top + partner(a.top)) / 2
        origin = np.choose(
            c["frame"],
            [
                swapped(a.roots), both(a.skull), both(a.top), both(a.base), swapped(a.thighs),
                a.ankles if a.foot else swapped(a.ankles), a.opposite, both(ground),
                both(a.others[0]), both(a.others[1]), facing, facing, facing, both(middle),
            ],
        )  # fmt: skip
        kinds = [axes.limbs() for axes in (a.body, a.head, a.chest, a.pelvis, a.ground)]
        own, other = a.body, partner(a.body.forward)
        up = UP + np.zeros_like(kinds[0].up)
        kinds += [Axes(kinds[0].side, up, both(other)), Axes(kinds[0].side, up, both(own.forward))]
        code = _AXES_OF[c["frame"]]
        axes = Axes(*(np.choose(code, list(parts)) for parts in zip(*kinds, strict=True)))
        at = c["at"]
        point = origin + outward * at[0] * axes.side + at[1] * axes.up + at[2] * axes.forward
        return axes, point

    def _basis(self, a: Around, axes: Axes, base: Array, outward: Array) -> Axes:
        """The trajectory's axes S', U and N as side, up and forward."""
        c, body = self.now, a.body.limbs()
        side = OUT * body.side
        line, _ = direction(base - a.roots, body.forward)
        steep = np.abs(dot(line, body.up)) > _STEEP
        rise = across(np.where(steep, body.forward, body.up), line, body.side)
        normal, outside = c["normal"], outward * axes.side
        up, ahead = axes.up, axes.forward
        surface = Axes(
            np.choose(normal, [outside, outside, ahead, outside]),
            np.choose(normal, [up, up, up, ahead]),
            np.choose(normal, [ahead, -ahead, outside, up]),
        )
        return Axes(
            np.choose(c["axes"], [side, side, surface.side]),
            np.choose(c["axes"], [body.up, rise, surface.up]),
            np.choose(c["axes"], [body.forward, line, surface.forward]),
        )

    def _offset(self, start: Array, base: Array, basis: Axes, keys: Keys) -> Array:
        """From the start to the trajectory's point."""
        c = self.now
        swing = c["amplitude"] * (keys.n * basis.forward + keys.u * basis.up + keys.s * basis.side)
        swing = np.where(c["follow"] != 0, c["follow"] * swing[..., :1], swing)
        return np.asarray(keys.w * (base - start) + swing)

    # --- when

    def _timetable(self, begins: Bools, seconds: Array, way: Array) -> None:
        """Seconds of travel and cycles, and their number, for phases that begin."""
        c = self.now
        travel = c["travel"] * np.minimum(1.0, way / self.rules["full_way"])
        travel = np.where(c["goes"], np.minimum(travel, seconds), 0.0)
        # The two limbs of a pair set out together and begin their cycles together.
        travel = np.where(c["pair"], np.maximum(travel, travel[..., ::-1]), travel)
        left = seconds - travel
        fits = np.maximum(1.0, np.floor(left / (self.rules["squeeze"] * c["cycle"])))
        fills = np.maximum(1.0, np.floor(left / c["cycle"] - c["delta"] + 0.5))
        count = np.where(c["count"] > 0, np.minimum(c["count"], fits), fills)
        fitting = left / (count + c["delta"])
        cycle = np.where(c["count"] > 0, np.minimum(c["cycle"], fitting), fitting)
        self.travel = np.where(begins, travel, self.travel)
        self.left = np.where(begins, left, self.left)
        self.count = np.where(begins, count, self.count)
        self.cycle = np.where(begins, np.maximum(cycle, 1e-6), self.cycle)


def clamped(point: Array, roots: Array, size: Array, floor: Array, down: Array) -> Array:
    """Points above the floor and within a limb's reach; ``size`` is the limb's length."""
    rules = grammar()["rules"]
    point = point.copy()
    point[1] = np.maximum(point[1], floor)
    way, far = direction(point - roots, down)
    return np.asarray(roots + np.clip(far, rules["nearest"] * size, rules["reach"] * size) * way)


def middle(
    roots: Array,
    ends: Array,
    bones: tuple[Array, Array],
    hint: Array,
    bend: Array,
    turn: float,
    left: Array,
) -> tuple[Array, Array]:
    """Elbows or knees, and the directions in which they stand out.

    Args:
        roots, ends: (3, N, B, 2) of the limbs.
        bones: (N, B) lengths from the root to the joint and from there to the end.
        hint: (3, N, B, 2) where the joint should point.
        bend: the directions of the previous frame; zero in the first.
        turn: radians by which a direction may turn in a frame.
        left: (N, B, 2) 1 for left limbs, -1 for right ones.
    """
    upper, lower = bones[0][..., None], bones[1][..., None]
    line, far = direction(ends - roots, np.zeros_like(roots))
    old = across(bend, line, np.zeros_like(bend))
    goal = across(hint, line, old)
    old = np.where(dot(old, old) > 0.5, old, goal)
    cos = dot(old, goal)
    # A goal exactly opposite has two ways round; left and right limbs take mirrored ones.
    sense = across(goal - cos * old, old, left * cross(line, old))
    part = np.where(cos < np.cos(turn), np.cos(turn) * old + np.sin(turn) * sense, goal)
    part = across(part, line, goal)
    along = (upper * upper - lower * lower + far * far) / (2 * np.maximum(far, 1e-9))
    off = np.sqrt(np.maximum(upper * upper - along * along, 0.0))
    return roots + along * line + off * part, part
