"""Where a performance is seen from, and what a Kinect v2 adds to it.

A camera's frame is Kinect's: metres, z into the depth, y up, x so that the frame is right-handed
(the left shoulder of a person who faces the camera has the smaller x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsar_datasets.stand_in.draws import Array, Draws
from zsar_datasets.stand_in.engine import ANKLES, ELBOWS, FEET, HANDS, KNEES, THUMBS, TIPS, WRISTS
from zsar_datasets.stand_in.grammar import grammar

AZIMUTHS = {"1": -45.0, "2": 0.0, "3": 45.0, "L": -45.0, "M": 0.0, "R": 45.0}  #: degrees
GRID = 16_000  #: coordinates are whole numbers of 1/16 mm
_AIM = 0.9  # metres over the floor: what a camera looks at
_KNOT = 12  # frames between two independent values of the slow noise
_SLIP = (3, 10)  # frames for which a lost limb is somewhere else

# Millimetres of noise from frame to frame, of slow noise, by joint; the trunk's are the others.
_TRUNK = (0.7, 6.0)
_NOISE = (
    (ELBOWS, 2.0, 10.0),
    (WRISTS, 3.5, 13.0),
    (HANDS, 5.0, 15.0),
    (TIPS, 8.0, 18.0),
    (THUMBS, 9.0, 20.0),
    (KNEES, 1.2, 9.0),
    (ANKLES, 2.0, 12.0),
    (FEET, 4.0, 15.0),
)
# Joints that slip together: a hand with what hangs on it, a foot.
_SLIPS = tuple((WRISTS[i], HANDS[i], TIPS[i], THUMBS[i]) for i in (0, 1)) + tuple(
    (ANKLES[i], FEET[i]) for i in (0, 1)
)


@dataclass(frozen=True, eq=False)
class Camera:
    """A rigid motion from the world into a camera's frame.

    Attributes:
        axes: (3, 3) the camera's x, y and z in the world, one a row.
        place: (3,) where it stands.
    """

    axes: Array
    place: Array

    def view(self, points: Array) -> Array:
        """World points (..., 3) as the camera sees them."""
        x, y, z = (points[..., i] - self.place[i] for i in range(3))
        return np.stack([a[0] * x + a[1] * y + a[2] * z for a in self.axes], axis=-1)


def camera(azimuth: float, height: float, distance: float, centre: Array) -> Camera:
    """The camera at this azimuth (degrees; 0 is where +z of the world points) round ``centre``.

    It looks at a point 0.9 m over the floor there.
    """
    turn, tilt = np.radians(azimuth), np.arctan2(height - _AIM, distance)
    sin, cos, down, level = np.sin(turn), np.cos(turn), np.sin(tilt), np.cos(tilt)
    ahead = np.array([-sin * level, -down, -cos * level])
    side = np.array([-cos, 0.0, sin])
    up = np.array([-sin * down, level, -cos * down])
    place = np.array([centre[0] + distance * sin, height, centre[2] + distance * cos])
    return Camera(np.stack([side, up, ahead]), place)


def stand(name: str, setup: str, pairs: bool, world: Array, *performance: object) -> Camera:
    """Camera ``name`` of a setup for a performance; the performance's own draws turn the scene.

    Args:
        name: one of ``AZIMUTHS``.
        setup: what its cameras' height and distance depend on.
        pairs: whether two persons stand behind one another and are seen from the side.
        world: (T, B, 25, 3); the cameras stand round its first frame.
    """
    version = grammar()["version"]
    draws = Draws("setup", version, setup)
    height, distance = float(draws.uniform(0.7, 2.1)), float(draws.uniform(2.4, 4.0))
    draws = Draws("scene", version, *performance)
    turn = float(draws.bell(9.0))
    side = 90.0 if draws.chance(0.5) else -90.0
    centre = world[0, :, 0].sum(axis=0) / world.shape[1] + draws.bell(0.15, (3,))
    azimuth = AZIMUTHS[name] + turn + (side if pairs else 0.0)
    return camera(azimuth, height, distance + 0.5 * (world.shape[1] - 1), centre)


def measured(clip: Array, *name: object) -> Array:
    """What a Kinect makes of a clip (T, B, 25, 3) in the camera's frame, by the clip's name.

    Noise from frame to frame and slow noise, stronger for hands and feet and for joints behind
    the body; now and then a hand or foot is lost for a few frames.
    """
    draws = Draws("sensor", grammar()["version"], *name)
    frames, bodies = clip.shape[:2]
    quality = float(draws.uniform(0.7, 1.5))
    white, slow = (np.full((25, 1), mm / 1000) for mm in _TRUNK)
    for joints, fast_mm, slow_mm in _NOISE:
        white[list(joints)], slow[list(joints)] = fast_mm / 1000, slow_mm / 1000
    behind = (clip[..., 2] - clip[:, :, :1, 2]) / 0.25
    worse = quality * (1.0 + 1.2 * np.clip(behind, 0.0, 1.0))[..., None]
    out = clip + worse * white * draws.bell(1.0, clip.shape)
    out = out + worse * slow * _wander(draws, frames, clip.shape[1:])
    for b in range(bodies):
        for joints in _SLIPS:
            if draws.chance(0.25):
                start, count = draws.whole(0, frames - 1), draws.whole(*_SLIP)
                gone = draws.bell(0.05 * quality, (3,))
                for joint in joints:
                    out[start : start + count, b, joint] += gone
    return out


def _wander(draws: Draws, frames: int, shape: tuple[int, ...]) -> Array:
    """(frames, *shape) smooth noise of spread 1 at its knots."""
    knots = draws.bell(1.0, (frames // _KNOT + 3, *shape))
    at = (np.arange(frames) + float(draws.uniform(0.0, _KNOT))) / _KNOT
    left = np.floor(at).astype(np.int64)
    x = (at - left).reshape(-1, *[1] * len(shape))
    return knots[left] + x * x * (3.0 - 2.0 * x) * (knots[left + 1] - knots[left])


def on_grid(clip: Array) -> NDArray[np.float32]:
    """Coordinates rounded to 1/16 mm, so that the last bits of a machine's sines do not matter."""
    return (np.rint(clip * GRID) / GRID).astype(np.float32)
