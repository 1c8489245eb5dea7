"""From numbers a phase to numbers a frame: all that does not depend on where limbs really are.

Shapes: N clips, B = 2 bodies, P = 5 phases, F frames, the first of which (0) is the beginning and
no frame of the clip. Components of vectors come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsar_datasets.stand_in import gait
from zsar_datasets.stand_in.curves import smooth
from zsar_datasets.stand_in.draws import Array
from zsar_datasets.stand_in.gait import Bools, Clock
from zsar_datasets.stand_in.grammar import grammar
from zsar_datasets.stand_in.script import Script

LYING = 5.0  # degrees of roll beyond which feet no longer carry


def columns(cues: Sequence[Any], depth: int) -> dict[str, Array]:
    """Cues of a batch, nested ``depth`` lists deep, as one array a field.

    The nesting becomes the last axes; what a field holds several of comes first.
    """
    shape = []
    for _ in range(depth):
        shape.append(len(cues))
        if len(shape) < depth:
            cues = [cue for part in cues for cue in part]
    counts = [shape[0]] + [n // m for m, n in zip(shape, shape[1:], strict=False)]
    out = {}
    for name, column in zip(cues[0]._fields, zip(*cues, strict=True), strict=True):
        values = np.array(column)
        out[name] = np.moveaxis(values.reshape(-1, *values.shape[1:]), 0, -1).copy()
        out[name] = out[name].reshape(*values.shape[1:], *counts)
    return out


@dataclass(frozen=True, eq=False)
class Signals:
    """What is known of a batch before its limbs move; (F, N, B) unless said otherwise.

    Attributes:
        clock: phases and times.
        root: (F, 3, N, B) x of the root, its height over standing, z.
        yaw: radians.
        height, back: of the hips, metres. heel: lift of the ankles.
        flex, roll, side, twist: posture and lean; side and twist towards the acting side and
            acting shoulder forward, radians. Moves of head and torso are not in them.
        arms: metres that free arms swing, forward when the acting foot goes forward.
        leaves, way, lift, stays: (F, N, B, 2), ``goal`` (F, 3, N, B, 2): free feet as in
            ``gait.Feet``, heights above the floor.
        lies: whether feet hang from the hips.
        look: how much of a new look has come, 0 to 1; shape: of new shapes.
    """

    clock: Clock
    root: Array
    yaw: Array
    height: Array
    back: Array
    heel: Array
    flex: Array
    roll: Array
    side: Array
    twist: Array
    arms: Array
    leaves: Bools
    way: Array
    lift: Array
    stays: Bools
    goal: Array
    lies: Bools
    settled: Array


def signals(scripts: Sequence[Script]) -> Signals:
    """Work out the signals of a batch; F is one more than the frames of the longest clip."""
    rules = grammar()["rules"]
    cues = columns([s.carriage for s in scripts], 3)
    k, g = gait.clock(scripts), gait.ground(scripts)
    rows, pair = np.arange(len(scripts))[:, None], np.arange(2)
    now = {name: value[..., rows, pair, k.phase] for name, value in cues.items()}
    start = gait.begins(scripts, cues, g)
    start = gait.Root(*(v[rows, pair, k.phase] for v in (start.x, start.z, start.turned)))
    root = gait.travelled(now, k.seconds, g, start, k.time)
    yaw = g.yaw + root.turned

    def blend(name: str, seconds: Array) -> Array:
        """From the previous phase's value to this one's."""
        old = cues[name][..., rows, pair, np.maximum(k.phase - 1, 0)]
        return old + smooth(k.time / np.minimum(seconds, k.seconds)) * (now[name] - old)

    enters, bends = now["settles"], rules["bend"] * k.slack
    lean, roll, heel = blend("lean", bends), blend("roll", enters), blend("heel", enters)
    # The trunk reels to the side to which the stagger sways.
    fade = smooth(k.time / gait.FADE) * smooth((k.seconds - k.time) / gait.FADE)
    reel = fade * now["reel"] * np.sin(2 * np.pi * now["hertz"][1] * k.time)
    reel = reel * g.aside * g.acting * np.sign(np.cos(g.lateral - yaw))

    lift, flight = gait.springs(now, k)
    leg = np.array([[b.G for b in s.subjects] for s in scripts])
    ankle = np.array([[b.bones.ankle_height for b in s.subjects] for s in scripts])
    feet = gait.feet(now, k, g, start, leg, flight)
    high = (ankle + heel)[..., None] + feet.up
    lies = np.abs(roll) > LYING
    leaves, way = _hanging(lies, k, feet.leaves, feet.way)
    x, z = _swaying(scripts, len(yaw))
    swing = -np.cos(np.pi * now["steps"] * k.time) * smooth(k.time / k.settle)
    return Signals(
        clock=k,
        root=np.stack([root.x + x, lift, root.z + z], axis=1),
        yaw=yaw,
        height=blend("height", enters),
        back=blend("back", enters),
        heel=heel,
        flex=np.radians(blend("flex", enters) + lean[0]),
        roll=np.radians(roll),
        side=np.radians(lean[1] + reel),
        twist=np.radians(lean[2]),
        arms=now["arms"] * swing,
        leaves=leaves,
        way=way,
        lift=feet.lift,
        stays=feet.stays,
        goal=np.stack([feet.goal[0], high, feet.goal[1]], axis=1),
        lies=lies,
        settled=np.where(k.phase > 0, smooth(k.time / np.minimum(k.settle, k.seconds)), 1.0),
    )


def _swaying(scripts: Sequence[Script], frames: int) -> tuple[Array, Array]:
    """(F, N, B) metres in x and z by which nobody ever stands quite still; feet do."""
    people = [s.subjects for s in scripts]
    size, hertz = (
        np.array([[getattr(p, name) for p in pair] for pair in people])
        for name in ("sway", "sway_hertz")
    )
    begin = np.array([s.sways for s in scripts])  # (N, B, 2)
    seconds = np.arange(frames)[:, None, None] / grammar()["rules"]["frames_per_second"]
    turns = hertz * seconds
    # Two rhythms without a common period.
    x = size * np.sin(2 * np.pi * (turns + begin[..., 0]))
    return x, size * np.sin(2 * np.pi * (0.618 * turns + begin[..., 1]))


def _hanging(lies: Bools, k: Clock, leaves: Bools, way: Array) -> tuple[Bools, Array]:
    """Feet that begin or cease to hang from the hips go there in ``settle`` seconds."""
    fps = grammar()["rules"]["frames_per_second"]
    turns = np.zeros_like(lies)
    turns[1:] = lies[1:] != lies[:-1]
    frame = np.arange(len(lies))[:, None, None]
    last = np.maximum.accumulate(np.where(turns, frame, -1000), axis=0)
    goes = smooth((frame - last + 1) / fps / k.settle)[..., None]
    hangs = lies[..., None]
    return (
        np.where(hangs, turns[..., None], leaves | turns[..., None]),
        np.where(hangs, goes, np.minimum(way, goes)),
    )
