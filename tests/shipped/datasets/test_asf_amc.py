"""Acclaim skeletons and motions: forward kinematics, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets import _amc, _asf
from zsar_datasets.hdm05 import bones

from kit.damage import damaged
from kit.toy_mocap import DOFS, FRAME, MOTION, REST, SKELETON, amc, asf, clip_of, places, slow
from zsar_bench.errors import DataError

# --- Forward kinematics ----------------------------------------------------------------------


def test_bones_at_rest_lie_end_to_end() -> None:
    skeleton = asf({"a": "root", "b": "a"}, {}, b=("0.6 0 0.8", 5.0, "10 20 30"))
    found = places(skeleton, {"root": "1 2 3 0 0 0"})
    np.testing.assert_allclose(found, [[[1, 2, 3], [1, 4, 3], [4, 4, 7]]], atol=1e-9)


def test_lengths_are_inches_over_the_files_unit() -> None:
    body = _asf.skeleton(asf({"a": "root"}, {}, a=("1 0 0", 4.5, "0 0 0")))
    joints = _amc.joints(body, _amc.motion(amc({"root": "9 0 0 0 0 0"}), body))
    np.testing.assert_allclose(joints[0, :, 0], [20 * 0.0254, 30 * 0.0254])


def test_a_bone_turns_about_its_own_axes() -> None:
    """The bone's x axis is the world's y: 90 degrees about it carry x to -z."""
    skeleton = asf({"a": "root"}, {"a": "rx"}, a=("1 0 0", 3.0, "0 0 90"))
    np.testing.assert_allclose(places(skeleton, REST | {"a": "90"})[0, 1], [0, 0, -3], atol=1e-9)


def test_the_first_named_turn_comes_first() -> None:
    """y goes to z by 90 degrees about x and stays there; about z first, it would go to -x."""
    skeleton = asf({"a": "root"}, {"a": "rx rz"}, a=("0 1 0", 3.0, "0 0 0"))
    found = places(skeleton, REST | {"a": "90 90"})
    np.testing.assert_allclose(found[0, 1], [0, 0, 3], atol=1e-9)
    other = asf({"a": "root"}, {"a": "rz rx"}, a=("0 1 0", 3.0, "0 0 0"))
    np.testing.assert_allclose(places(other, REST | {"a": "90 90"})[0, 1], [-3, 0, 0], atol=1e-9)


def test_a_bone_carries_those_after_it() -> None:
    tree = {"a": "root", "b": "a"}
    skeleton = asf(tree, {"a": "rz", "b": "rz"}, a=("0 1 0", 2, "0 0 0"), b=("0 1 0", 1, "0 0 0"))
    found = places(
        skeleton, REST | {"a": "90", "b": "90"}, {"root": "0 0 0 0 0 180", "a": "0", "b": "0"}
    )
    np.testing.assert_allclose(found[0], [[0, 0, 0], [-2, 0, 0], [-2, -1, 0]], atol=1e-9)
    np.testing.assert_allclose(found[1], [[0, 0, 0], [0, -2, 0], [0, -3, 0]], atol=1e-9)


def test_angles_may_go_round() -> None:
    """Real ones reach some thousand degrees."""
    turned = FRAME | {"head": "3610 -720 5"}
    same = FRAME | {"head": "10 0 5"}
    np.testing.assert_allclose(clip_of(amc(turned)), clip_of(amc(same)), atol=1e-6)


def test_bones_may_stand_in_any_order() -> None:
    mixed = dict(reversed(FRAME.items()))
    np.testing.assert_array_equal(clip_of(amc(mixed)), clip_of(amc(FRAME)))
    np.testing.assert_array_equal(clip_of(amc(FRAME, first=41)), clip_of(amc(FRAME)))


def test_forward_kinematics_against_a_slow_version() -> None:
    np.testing.assert_allclose(clip_of()[:, 0], slow(SKELETON, MOTION, 1), atol=1e-6)


# --- What is no skeleton or no motion --------------------------------------------------------


def replaced(data: bytes, old: str, new: str) -> bytes:
    assert old.encode() in data
    return data.replace(old.encode(), new.encode(), 1)


def without(line: str) -> bytes:
    lines = SKELETON.split(b"\r\n")
    lines.remove(line.encode())
    return b"\r\n".join(lines)


OTHER = {name: parent for name, parent in bones().items() if name != "lthumb"}
LAST_BLOCK = SKELETON[SKELETON.rindex(b"  begin\r\n     id ") : SKELETON.index(b":hierarchy")]

BAD_SKELETONS = {
    "empty": (b"", "empty"),
    "white": (b"\n\n", "empty"),
    "large": (SKELETON + b"#" * (64 << 10), "too large"),
    "a motion": (MOTION, "degrees"),
    "cut in the head": (SKELETON[:80], "degrees"),
    "cut in a bone": (SKELETON[:3000], "truncated"),
    "cut before the hierarchy": (SKELETON[: SKELETON.index(b":hierarchy")], "hierarchy"),
    "cut in the hierarchy": (SKELETON[:-60], "hierarchy"),
    "radians": (replaced(SKELETON, "angle deg", "angle rad"), "degrees"),
    "no unit": (replaced(SKELETON, "length 0.45", "length"), "length"),
    "unit zero": (replaced(SKELETON, "length 0.45", "length 0"), "unit"),
    "unit negative": (replaced(SKELETON, "length 0.45", "length -0.45"), "unit"),
    "unit NaN": (replaced(SKELETON, "length 0.45", "length nan"), "finite"),
    "a bone without a name": (without("     name head"), "name"),
    "a bone twice": (SKELETON.replace(b":hierarchy", LAST_BLOCK + b":hierarchy"), "two of one"),
    "a bone called root": (SKELETON.replace(b"name head", b"name root"), "two of one name"),
    "no direction": (replaced(SKELETON, "direction 0 1 0", "direction 0 1"), "direction"),
    "direction of 2": (replaced(SKELETON, "direction 0 1 0", "direction 0 2 0"), "no person"),
    "direction infinite": (replaced(SKELETON, "direction 0 1 0", "direction 0 inf 0"), "finite"),
    "a long bone": (replaced(SKELETON, "length 2.0", "length 200"), "no person"),
    "a negative bone": (replaced(SKELETON, "length 2.0", "length -2"), "no person"),
    "a long number": (replaced(SKELETON, "length 2.0", "length " + "1" * 5000), "number"),
    "axis of two letters": (replaced(SKELETON, "0 0 0  XYZ", "0 0 0  XY"), "axis"),
    "axis of one letter thrice": (replaced(SKELETON, "0 0 0  XYZ", "0 0 0  XXX"), "axis"),
    "axis of two numbers": (replaced(SKELETON, "axis 0 0 0", "axis 0 0"), "axis"),
    "root far away": (replaced(SKELETON, "position 0 0 0", "position 0 0 900"), "metres"),
    "a stretching bone": (replaced(SKELETON, "dof rx ry rz", "dof rx ry l"), "freedom"),
    "a turn twice": (replaced(SKELETON, "dof rx ry rz", "dof rx rx rz"), "freedom"),
    "root of five": (replaced(SKELETON, "order TX TY TZ RX RY RZ", "order TX TY TZ RX RY"), "root"),
    "no root": (SKELETON.replace(b":root", b":foot"), "root"),
    "a child unknown": (replaced(SKELETON, "root lhipjoint", "root hipjoint"), "unknown"),
    "a bone loose": (SKELETON.replace(b"    root ", b"    head "), "loose"),
    "a loop": (SKELETON.replace(b"    rhand rfingers", b"    rhand root"), "twice"),
    "two parents": (SKELETON.replace(b"    rhand rfingers", b"    rhand rfingers head"), "twice"),
    "a bone in no place": (SKELETON.replace(b"    rhand rfingers\r\n", b""), "does not hold all"),
    "a line outside": (replaced(SKELETON, "  end", "  end\r\n more"), "outside"),
    "other bones": (asf(OTHER, DOFS), "other bones"),
    "another tree": (asf(bones() | {"lthumb": "lhand"}, DOFS), "other bones"),
    "another order": (asf(dict(reversed(bones().items())), DOFS), "loose|other bones"),
    "1000 bones": (asf({f"b{n}": "root" for n in range(400)}, {}), "401 bones"),
    "UTF-16": (SKELETON.decode("latin-1").encode("utf-16"), "degrees"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_SKELETONS)
def test_bad_skeletons_are_refused_with_the_reason(kind: str) -> None:
    data, reason = BAD_SKELETONS[kind]
    with pytest.raises(DataError) as caught:
        clip_of(skeleton=data)
    assert re.search(reason, caught.value.what)
    assert len(caught.value.what) < 200


def frame_with(bone: str, values: str) -> bytes:
    return amc(FRAME, FRAME | {bone: values}, FRAME)


LACKING = {name: values for name, values in FRAME.items() if name != "head"}

BAD_MOTIONS = {
    "empty": (b"", "empty"),
    "white": (b" \n", "empty"),
    "a skeleton": (SKELETON, "line"),
    "only a head": (amc(), "no frames"),
    "not in degrees": (replaced(MOTION, ":DEGREES\n", ""), "degrees"),
    "cut in a frame": (MOTION[:-100], "truncated|line"),
    "a bone lacking": (amc(FRAME, LACKING, FRAME), "truncated"),
    "a bone lacking at the end": (amc(FRAME, LACKING), "truncated"),
    "a bone twice": (replaced(MOTION, "head ", f"head {FRAME['head']}\nhead "), "line"),
    "a bone too many": (replaced(MOTION, "head ", "tail 1 2 3\nhead "), "line"),
    "a bone that cannot turn": (replaced(MOTION, "head ", "lhipjoint 1\nhead "), "line"),
    "too few values": (frame_with("head", "1 2"), "line"),
    "too many values": (frame_with("head", "1 2 3 4"), "line"),
    "no values": (frame_with("head", ""), "line|number|truncated"),
    "a bone before the first frame": (replaced(MOTION, "\n1\n", "\nhead 1 2 3\n1\n"), "line"),
    "a frame missing": (replaced(MOTION, "\n2\n", "\n3\n"), "next frame"),
    "a frame twice": (replaced(MOTION, "\n2\n", "\n1\n"), "next frame"),
    "no frame number": (replaced(MOTION, "\n2\n", "\n"), "line"),
    "a long frame number": (replaced(MOTION, "\n1\n", "\n" + "1" * 9000 + "\n"), "number"),
    "a comment in a frame": (replaced(MOTION, "\n2\n", "\n#2\n"), "truncated|next frame"),
    "NaN": (frame_with("head", "1 nan 2"), "not finite"),
    "infinite": (frame_with("head", "1 -inf 2"), "not finite"),
    "overflow": (frame_with("head", "1 1e999 2"), "not finite"),
    "absurd": (frame_with("head", "1 1e7 2"), "absurd"),
    "far away": (frame_with("root", "1000 0 0 0 0 0"), "metres"),
    "a long number": (frame_with("head", "1 2 " + "3" * 5000), "number"),
    "a Python number": (frame_with("head", "1 2 3_0"), "number"),
    "a word": (frame_with("head", "1 2 x"), "number"),
    "large": (MOTION + b" " * (8 << 20), "larger"),
    "UTF-16": (MOTION.decode("latin-1").encode("utf-16"), "line"),
    "binary": (bytes(range(256)) * 9, "line"),
}


@pytest.mark.parametrize("kind", BAD_MOTIONS)
def test_bad_motions_are_refused_with_the_reason(kind: str) -> None:
    data, reason = BAD_MOTIONS[kind]
    with pytest.raises(DataError) as caught:
        clip_of(data)
    assert re.search(reason, caught.value.what)
    assert len(caught.value.what) < 200


def test_no_more_frames_than_any_clip_has() -> None:
    body = _asf.skeleton(asf({"a": "root"}, {}))
    few = b":DEGREES\n" + b"".join(b"%d\nroot 0 0 0 0 0 0\n" % n for n in range(_amc.MAX_FRAMES))
    assert len(_amc.motion(few, body)[0]) == _amc.MAX_FRAMES
    with pytest.raises(DataError, match="more than"):
        _amc.motion(few + b"%d\nroot 0 0 0 0 0 0\n" % _amc.MAX_FRAMES, body)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.just(MOTION).flatmap(damaged))
def test_a_damaged_motion_is_refused_or_still_a_clip(data: bytes) -> None:
    check(data, SKELETON)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.just(SKELETON).flatmap(damaged))
def test_a_damaged_skeleton_is_refused_or_still_one(data: bytes) -> None:
    check(MOTION, data)


def check(motion: bytes, skeleton: bytes) -> None:
    try:
        clip = clip_of(motion, skeleton)
    except DataError:
        return
    assert clip.dtype == np.float32
    assert clip.shape[1:] == (1, 31, 3)
    assert len(clip) >= 1
    assert np.abs(clip).max() <= 50
