"""Frames: trunk, head, legs, arms and fingers of a batch of performances (GRAMMAR.md, section 3).

Frame after frame, because limbs start from where they were and elbows turn no faster than they
may; all clips of a batch at once, because numpy is slow for one. Shapes: N clips, B = 2 bodies,
pairs of limbs (the acting one, the other one); components of vectors come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zsar_datasets.stand_in.cues import OPPOSITE
from zsar_datasets.stand_in.curves import keys_at, smooth
from zsar_datasets.stand_in.draws import Array
from zsar_datasets.stand_in.grammar import grammar
from zsar_datasets.stand_in.limbs import OUT, Around, Limbs, clamped, middle, partner
from zsar_datasets.stand_in.script import Script
from zsar_datasets.stand_in.signals import columns, signals
from zsar_datasets.stand_in.vectors import Axes, across, cross, dot

_FLOOR, _HAND_FLOOR = 0.01, 0.02  # metres: no joint, no hand is lower
_HANGING = 0.97  # of G: how far below their hips the ankles of somebody who lies are

# Kinect's joints, counted from 0. Of pairs the left one comes first; here it is the acting one.
SPINE_BASE, SPINE_MID, NECK, HEAD, SPINE_SHOULDER = 0, 1, 2, 3, 20
SHOULDERS, ELBOWS, WRISTS, HANDS, TIPS, THUMBS = (
    (4, 8),
    (5, 9),
    (6, 10),
    (7, 11),
    (21, 23),
    (22, 24),
)
HIPS, KNEES, ANKLES, FEET = (12, 16), (13, 17), (14, 18), (15, 19)
MIRROR = (0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22)


def skeletons(scripts: Sequence[Script]) -> list[Array]:
    """(T, B, 25, 3) metres in the world of each performance, B being its real bodies.

    World: y up, floor at 0; body one begins over the origin and, unless its place says otherwise,
    faces +z, with its left towards +x.
    """
    joints = _Stage(scripts).play()
    out = []
    for i, script in enumerate(scripts):
        clip = joints[1 : script.frames + 1, :, :, i, : script.bodies]
        clip = np.moveaxis(clip, 3, 1).copy()
        for b in range(script.bodies):
            if script.acting[b] < 0:
                clip[:, b] = clip[:, b, list(MIRROR)]
        out.append(clip)
    return out


@dataclass(frozen=True, eq=False)
class _Trunk:
    """Axes and joints of the trunk and the head in one frame, (3, N, B) and pairs (3, N, B, 2)."""

    ground: Axes
    body: Axes
    pelvis: Axes
    chest: Axes
    head: Axes
    base: Array
    mid: Array
    top: Array
    neck: Array
    skull: Array
    shoulders: Array
    hips: Array


class _Stage:
    """A batch while it plays: what has to be remembered from one frame to the next."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        rules = grammar()["rules"]
        self.rules, self.signals = rules, signals(scripts)
        people = [s.subjects for s in scripts]
        names = [name for name in grammar()["body"] if name != "stature"]
        self.bone = {
            name: np.array([[getattr(p.bones, name) for p in pair] for pair in people])
            for name in names
        }
        self.acting = np.array([s.acting for s in scripts], np.float64)
        self.left = self.acting[..., None] * OUT  # 1 for left limbs, -1 for right ones
        self.stoop, self.gaze = (
            np.radians([[getattr(p, name) for p in pair] for pair in people])
            for name in ("stoop", "gaze")
        )
        self.hand_reach = self.bone["upper_arm"] + self.bone["forearm"] + self.bone["palm"]
        self.leg = self.bone["thigh"] + self.bone["shin"]
        self.turn = np.radians(rules["joint_turn"]) / rules["frames_per_second"]
        carriage = columns([s.carriage for s in scripts], 3)
        self.looks = {name: carriage[name] for name in ("look", "gaze")}
        self.turns = columns([s.turns for s in scripts], 4)
        self.hands, self.feet = Limbs(scripts, foot=False), Limbs(scripts, foot=True)

        shape = self.acting.shape
        self.rows, self.pair = np.arange(shape[0])[:, None], np.arange(2)
        zero, limbs = np.zeros((3, *shape)), np.zeros((3, *shape, 2))
        self.neck = zero  # joint 3
        self.hand, self.ankle, self.knee = limbs, limbs, limbs
        self.hand_from = limbs  # S of hands, from the shoulder in body axes
        self.hand_kept = limbs  # where hands are, in the same way
        self.ankle_from, self.free_from, self.free = limbs, limbs, limbs
        self.look = self.look_from = zero
        self.elbow_bend, self.knee_bend = limbs, limbs

    def play(self) -> Array:
        """(F, 25, 3, N, B) joints; frame 0 is the beginning."""
        frames = len(self.signals.yaw)
        joints = np.zeros((frames, 25, 3, *self.acting.shape))
        for f in range(frames):
            self.hands.begin(f, self.signals)
            self.feet.begin(f, self.signals)
            trunk = self._trunk(f)
            self._legs(f, trunk, joints[f])
            self._arms(f, trunk, joints[f])
            for joint, point in (
                (SPINE_BASE, trunk.base),
                (SPINE_MID, trunk.mid),
                (SPINE_SHOULDER, trunk.top),
                (NECK, trunk.neck),
                (HEAD, trunk.skull),
            ):
                joints[f, joint] = point
            np.maximum(joints[f, :, 1], _FLOOR, out=joints[f, :, 1])
            self.neck = trunk.neck
        return joints

    # --- trunk and head

    def _trunk(self, f: int) -> _Trunk:
        s, bone = self.signals, self.bone
        yaw, zero = s.yaw[f], np.zeros_like(s.yaw[f])
        left = np.stack([np.cos(yaw), zero, -np.sin(yaw)])
        ahead = np.stack([np.sin(yaw), zero, np.cos(yaw)])
        ground = Axes(self.acting * left, np.stack([zero, zero + 1.0, zero]), ahead)
        body = ground.tipped(s.roll[f])

        moves = self._turns(f)  # pitch, turn, twist; head, torso
        pitch, turn, roll = self._look(f, body) + moves[..., 0]
        flex = s.flex[f] + self.stoop + moves[0, ..., 1]
        side, twist = s.side[f] + moves[1, ..., 1], s.twist[f] + moves[2, ..., 1]

        def bent(share: float, drag: Array) -> Axes:
            return body.pitched(share * flex).tipped(share * side).twisted(share * twist - drag)

        first, second, _ = self.rules["flex_split"]
        pelvis, spine = bent(first, zero), bent(first + second, zero)
        chest = bent(1.0, self.rules["head_drags"] * turn)
        nod = pitch + self.gaze - self.rules["head_keeps"] * flex
        head = chest.twisted(-turn).pitched(nod).tipped(roll)

        x, lift, z = s.root[f]
        ankle = bone["ankle_height"] + s.heel[f]
        height = ankle + s.height[f] + lift + bone["hip_drop"]
        base = np.stack([x, height, z]) - s.back[f] * ahead
        mid = base + bone["lower_spine"] * spine.up
        top = mid + bone["upper_spine"] * chest.up
        neck = top + bone["neck"] * chest.up
        return _Trunk(
            ground=ground,
            body=body,
            pelvis=pelvis,
            chest=chest,
            head=head,
            base=base,
            mid=mid,
            top=top,
            neck=neck,
            skull=neck + bone["head"] * head.up + bone["head_forward"] * head.forward,
            shoulders=_sides(top, chest, bone["shoulder_half_width"], bone["shoulder_drop"]),
            hips=_sides(base, pelvis, bone["hip_half_width"], bone["hip_drop"]),
        )

    def _turns(self, f: int) -> Array:
        """(3, N, B, 2) radians by which head and torso moves pitch, turn and twist."""
        k = self.signals.clock
        c = {name: v[..., self.rows, self.pair, k.phase[f], :] for name, v in self.turns.items()}
        time, seconds = k.time[f][..., None], k.seconds[f][..., None]
        cycles = np.clip(time / c["cycle"], 0.0, c["count"])
        within = np.where(cycles < c["count"], cycles - np.floor(cycles), 1.0)
        keys = keys_at(c["trajectory"], within)
        ramp = np.minimum(self.rules["ramp"], seconds / 2)
        size = np.radians(c["amplitude"]) * smooth(time / ramp) * smooth((seconds - time) / ramp)
        return size * np.stack([keys.n - keys.u, keys.s, keys.r])

    def _look(self, f: int, body: Axes) -> Array:
        """(3, N, B) pitch, yaw and roll of the look, radians; blended from the last one's."""
        k = self.signals.clock
        at = (..., self.rows, self.pair, k.phase[f])
        gaze, goal = self.looks["gaze"][at], np.radians(self.looks["look"][at])
        if f == 0:
            return goal
        self.look_from = np.where(k.begins[f], self.look, self.look_from)
        point = np.where(gaze == 1, self.hand[..., 0], partner(self.neck))
        side, up, ahead = body.coordinates(point - self.neck)
        low, high = np.radians(self.rules["gaze_pitch"])
        pitch = np.clip(-np.arctan2(up, np.sqrt(side * side + ahead * ahead)), low, high)
        limit = np.radians(self.rules["gaze_yaw"])
        turn = np.clip(np.arctan2(side, ahead), -limit, limit)
        goal = np.where(gaze > 0, np.stack([pitch, turn, np.zeros_like(turn)]), goal)
        self.look = self.look_from + self.signals.settled[f] * (goal - self.look_from)
        return self.look

    # --- legs

    def _legs(self, f: int, t: _Trunk, joints: Array) -> None:
        s, bone = self.signals, self.bone
        leaves, begins = s.leaves[f], s.clock.begins[f][..., None]
        self.free_from = np.where(leaves, self.free, self.free_from)
        self.ankle_from = np.where(leaves | begins, self.ankle, self.ankle_from)
        self.free = self._carrying(f, t, self.free_from)
        ankles = self._carrying(f, t, self.ankle_from)
        moves = self.feet.now["moves"]
        if moves.any():
            around = self._around(
                t, t.hips, self.knee, self.ankle[..., ::-1], self.ankle[..., ::-1]
            )
            ankles = np.where(moves, self.feet.points(f, s, around, self.ankle_from), ankles)
        floor = bone["ankle_height"][..., None]
        down = -t.body.up[..., None]
        ankles = clamped(ankles, t.hips, self.leg[..., None], floor, down)
        bones, hint = (bone["thigh"], bone["shin"]), self._hint(self.feet, t.body)
        knees, self.knee_bend = middle(
            t.hips, ankles, bones, hint, self.knee_bend, self.turn, self.left
        )
        feet = ankles + bone["foot_forward"][..., None] * t.body.forward[..., None]
        feet[1] -= bone["foot_down"][..., None]
        self.ankle, self.knee = ankles, knees
        _write(joints, ((HIPS, t.hips), (KNEES, knees), (ANKLES, ankles), (FEET, feet)))

    def _carrying(self, f: int, t: _Trunk, left: Array) -> Array:
        """(3, N, B, 2) ankles without a move, which left their places ``left`` some time ago."""
        s = self.signals
        goal = s.goal[f].copy()
        for i in (0, 2):
            goal[i] = np.where(s.stays[f], left[i], goal[i])
        hanging = t.hips - _HANGING * (self.leg * t.body.up)[..., None]
        goal = np.where(s.lies[f][..., None], hanging, goal)
        way = s.way[f]
        ankles = np.where(way < 1.0, left + way * (goal - left), goal)
        ankles[1] += s.lift[f]
        return ankles

    # --- arms

    def _arms(self, f: int, t: _Trunk, joints: Array) -> None:
        s, bone, body = self.signals, self.bone, t.body.limbs()
        begins = s.clock.begins[f][..., None]
        self.hand_from = np.where(begins, self.hand_kept, self.hand_from)
        start = t.shoulders + body.vector(self.hand_from)

        def hands(opposite: Array) -> Array:
            around = self._around(t, t.shoulders, self.knee, self.ankle, opposite)
            point = self.hands.points(f, s, around, start)
            floor = np.array(_HAND_FLOOR)
            return clamped(point, t.shoulders, self.hand_reach[..., None], floor, -body.up)

        # A hand on the other hand comes after it.
        found = hands(self.hand[..., ::-1])
        follows = self.hands.now["frame"] == OPPOSITE
        if follows.any():
            found = np.where(follows, hands(found[..., ::-1]), found)

        lower, hint = bone["forearm"] + bone["palm"], self._hint(self.hands, t.body)
        elbows, self.elbow_bend = middle(
            t.shoulders,
            found,
            (bone["upper_arm"], lower),
            hint,
            self.elbow_bend,
            self.turn,
            self.left,
        )
        along = (found - elbows) / lower[..., None]
        wrists = found - bone["palm"][..., None] * along
        tips, thumbs = self._fingers(f, body, along)
        self.hand, self.hand_kept = found, body.coordinates(found - t.shoulders)
        _write(
            joints,
            (
                (SHOULDERS, t.shoulders),
                (ELBOWS, elbows),
                (WRISTS, wrists),
                (HANDS, found),
                (TIPS, found + tips),
                (THUMBS, found + thumbs),
            ),
        )

    def _fingers(self, f: int, body: Axes, along: Array) -> tuple[Array, Array]:
        """(3, N, B, 2) from the hand joints to the tips and to the thumbs."""
        old, new = self.hands.shape_before, self.hands.now["shape"]
        c = old + self.signals.settled[f][..., None] * (new - old)
        up = across(-self.elbow_bend, along, body.up)
        side = self.left * cross(up, along)
        arm, turned = Axes(side, up, along), Axes(OUT * body.side, body.up, body.forward)
        angle = np.radians(self.hands.roll)
        cos, sin = np.cos(angle), -self.left * np.sin(angle)

        def rolled(v: Array) -> Array:
            return v * cos + cross(along, v) * sin + along * (dot(along, v) * (1.0 - cos))

        tips = rolled(arm.vector(c[0:3]) + turned.vector(c[6:9]))
        return tips, rolled(arm.vector(c[3:6]) + turned.vector(c[9:12]))

    # --- for both

    def _around(
        self, t: _Trunk, roots: Array, knees: Array, ankles: Array, opposite: Array
    ) -> Around:
        other = partner
        return Around(
            body=t.body,
            head=t.head,
            chest=t.chest,
            pelvis=t.pelvis,
            ground=t.ground,
            roots=roots,
            skull=t.skull,
            top=t.top,
            base=t.base,
            thighs=(t.hips + knees) / 2,
            ankles=ankles,
            opposite=opposite,
            others=(other(t.skull), other(t.mid)),
            pairs=(other(t.shoulders), other(t.hips), other(self.free)),
            foot=roots is t.hips,
        )

    def _hint(self, limbs: Limbs, body: Axes) -> Array:
        """(3, N, B, 2) where elbows or knees should point."""
        hint = limbs.now["hint"]
        return np.asarray(
            OUT * hint[0] * body.side[..., None]
            + hint[1] * body.up[..., None]
            + hint[2] * body.forward[..., None]
        )


def _sides(origin: Array, axes: Axes, half: Array, drop: Array) -> Array:
    """(3, N, B, 2) the two points beside and below an origin."""
    down = origin - drop * axes.up
    return np.stack([down + half * axes.side, down - half * axes.side], axis=-1)


def _write(joints: Array, points: Sequence[tuple[tuple[int, int], Array]]) -> None:
    for pair, point in points:
        for i in (0, 1):
            joints[pair[i]] = point[..., i]
