"""A small HDM05: a skeleton and a motion in its formats, and a slow way to place the joints."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np
from scipy.spatial.transform import Rotation
from zsar_datasets import _amc, _asf
from zsar_datasets.hdm05 import Reader, bones

from kit import toy_files

NAME = "1/HDM_bd_squat1Reps_001_120.amc"
METRES = 0.0254 / 0.45  # of the real files' unit


class Files(toy_files.Files):
    """Some files; those of a clip are small and read at once."""

    def open(self, name: str) -> BinaryIO:
        raise NotImplementedError


def asf(tree: dict[str, str], dofs: dict[str, str], **special: tuple[str, float, str]) -> bytes:
    """A skeleton file; ``special`` gives a bone's direction, length and axis."""
    lines = [
        "# f\u00fcr Bonn",
        ":version 1.10",
        ":name VICON",
        ":units",
        "  mass 1.0",
        "  length 0.45",
        "  angle deg",
        ":documentation",
        "   begin nowhere",
        ":root",
        "   order TX TY TZ RX RY RZ",
        "   axis XYZ",
        "   position 0 0 0",
        "   orientation 0 0 0",
        ":bonedata",
    ]
    for n, name in enumerate(tree):
        direction, length, axis = special.get(name, ("0 1 0", 2.0, "0 0 0"))
        lines += ["  begin", f"     id {n + 1}", f"     name {name}", f"     direction {direction}"]
        lines += [f"     length {length}", f"     axis {axis}  XYZ"]
        if name in dofs:
            lines += [
                f"    dof {dofs[name]}",
                "    limits (-160.0 20.0)",
                "           (-70.0 70.0)",
            ]
        lines += ["  end"]
    lines += [":hierarchy", "  begin"]
    for parent in dict.fromkeys(tree.values()):
        children = " ".join(child for child, other in tree.items() if other == parent)
        lines += [f"    {parent} {children}"]
    return "\r\n".join([*lines, "  end", ""]).encode("latin-1")


def amc(*frames: dict[str, str], first: int = 1) -> bytes:
    lines = ["#!OML:ASF X:\\f\u00fcr_Bonn\\Bastian.ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for n, frame in enumerate(frames, first):
        lines += [str(n), *(f"{bone} {values}" for bone, values in frame.items())]
    return "\n".join([*lines, ""]).encode("latin-1")


REST = {"root": "0 0 0 0 0 0"}


def places(skeleton: bytes, *frames: dict[str, str]) -> np.ndarray:
    """(T, bones, 3) in the files' units of length."""
    body = _asf.skeleton(skeleton)
    return _amc.joints(body, _amc.motion(amc(*frames), body)) / METRES


DOFS = {name: "rx ry rz" for name in bones() if "hipjoint" not in name and "wrist" not in name}
DOFS |= {"lwrist": "ry", "rwrist": "ry"}
SKELETON = asf(bones(), DOFS)
FRAME = {"root": "1 17 -4 10 20 30"} | {
    name: " ".join(str(7 * n + k) for k, _ in enumerate(dof.split()))
    for n, (name, dof) in enumerate(DOFS.items())
}
MOTION = amc(FRAME, FRAME | {"root": "2 17 -4 10 20 30"}, FRAME | {"head": "1 2e1 -.3"})


def clip_of(motion: bytes = MOTION, skeleton: bytes = SKELETON) -> np.ndarray:
    files = {NAME: motion, "1/HDM_bd.asf": skeleton}
    return Reader().open(NAME, Files(**files)).read(0)


def slow(skeleton: bytes, motion: bytes, every: int) -> np.ndarray:
    """(T, 31, 3) metres of each so-manieth frame: another parser, 4 x 4 matrices, scipy."""
    text = skeleton.decode("latin-1")
    found = re.findall(
        r"name (\w+)\s+direction ([^\n]+)\s+length (\S+)\s+axis (\S+) (\S+) (\S+)\s+XYZ"
        r"(?:\s+dof ([a-z ]+))?",
        text,
    )
    assert len(found) == 30
    parents = {}
    for line in text.partition(":hierarchy")[2].splitlines():
        for child in line.split()[1:]:
            parents[child] = line.split()[0]
    frames = re.split(r"^\d+\s*$", motion.decode("latin-1"), flags=re.M)[1::every]
    result = []
    for frame in frames:
        given = {w[0]: [float(x) for x in w[1:]] for w in map(str.split, frame.splitlines()) if w}
        x, y, z, *turns = given["root"]
        root = np.eye(4)
        root[:3, :3] = Rotation.from_euler("xyz", turns, degrees=True).as_matrix()
        root[:3, 3] = x, y, z
        world = {"root": root}
        for name, direction, length, *axis, dof in found:
            frame_c = np.eye(4)
            turned = Rotation.from_euler("xyz", [float(a) for a in axis], degrees=True)
            frame_c[:3, :3] = turned.as_matrix()
            matrix = np.eye(4)
            if dof.split():
                kinds = "".join(word[1] for word in dof.split())
                angles = given[name] if len(kinds) > 1 else given[name][0]
                about = Rotation.from_euler(kinds, angles, degrees=True)
                matrix[:3, :3] = about.as_matrix().reshape(3, 3)
            shift = np.eye(4)
            shift[:3, 3] = float(length) * np.array([float(d) for d in direction.split()])
            local = frame_c @ matrix @ np.linalg.inv(frame_c) @ shift
            world[name] = world[parents[name]] @ local
        result.append([world[name][:3, 3] for name in ("root", *(row[0] for row in found))])
    return np.array(result) / 0.45 * 0.0254
