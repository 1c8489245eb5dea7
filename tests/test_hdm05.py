"""HDM05's reader: its files' parsers, forward kinematics, and the real archive."""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from damage import damaged
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from zsar_datasets import DATA, _amc, _asf
from zsar_datasets.hdm05 import CLASSES, Reader, bones

from zsar_bench.archives import RawFiles
from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError
from zsar_bench.import_job import list_files

ARCHIVE = Path(__file__).parents[2] / "shared" / "data" / "hdm05_11" / "hdm05_11_asfamc.zip"
real = pytest.mark.skipif(not ARCHIVE.is_file(), reason="the real archive is not here")
READER = Reader()
JOINTS = ["root", *bones()]
METRES = 0.0254 / 0.45  # of the real files' unit
NAME = "1/HDM_bd_squat1Reps_001_120.amc"


# --- Files made here -------------------------------------------------------------------------


class Files:
    """Some files (``zsar_bench.contracts.RawSource``)."""

    def __init__(self, **files: bytes) -> None:
        self.files = {name.replace("__", "/"): data for name, data in files.items()}

    @property
    def names(self) -> list[str]:
        return list(self.files)

    def size(self, name: str) -> int:
        return len(self.files[name])

    def read(self, name: str) -> bytes:
        return self.files[name]

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
    return READER.open(NAME, Files(**files)).read(0)


# --- Names and files that belong together ----------------------------------------------------


@pytest.mark.parametrize("folder", ["", "train/10/", "HDM05_cut_amc/squat1Reps/"])
@pytest.mark.parametrize("ending", ["amc", "AMC"])
def test_names(folder: str, ending: str) -> None:
    name = f"{folder}HDM_tr_squat1Reps_006_120.{ending}"
    assert READER.holds(name)
    assert READER.identify(name) is None
    assert READER.aside(name) == ""
    container = READER.open(name, Files(**{f"{folder}HDM_tr.asf": SKELETON}))
    assert list(container.clips) == [ClipName("HDM_tr_squat1Reps_006_120", "10", "tr")]


@pytest.mark.parametrize(
    "name",
    [
        "1/HDM_bd.asf",
        "1/HDM_xx_squat1Reps_006_120.amc",
        "1/HDM_bd_squat1Reps_006_120.amc.bak",
        "1/HDM_bd_squat1Reps_006_060.amc",
        "1/._HDM_bd_squat1Reps_006_120.amc",
        "__MACOSX/HDM_bd_squat1Reps_006_120.amc",
        "HDM_bd_01-01_01_120.amc",
        "",
    ],
)
def test_names_of_other_files(name: str) -> None:
    assert not READER.holds(name)
    assert READER.aside(name) == ""
    with pytest.raises(DataError):
        READER.open(name, Files())


def test_clips_of_other_classes_are_only_counted() -> None:
    name = "HDM05_cut_amc/cartwheelLHandStart1Reps/HDM_bd_cartwheelLHandStart1Reps_001_120.amc"
    assert not READER.holds(name)
    assert "other motion classes" in READER.aside(name)


def test_a_clip_needs_its_actors_skeleton_from_its_own_folder() -> None:
    others = {"2/HDM_bd.asf": SKELETON, "1/HDM_bk.asf": SKELETON, "HDM_bd.asf": SKELETON}
    with pytest.raises(DataError) as caught:
        READER.open(NAME, Files(**others))
    assert "HDM_bd.asf is not in the same folder" in caught.value.what
    assert "Put HDM_bd.asf" in caught.value.hint
    READER.open(NAME, Files(**{"1/hdm_BD.ASF": SKELETON}))


def test_opening_does_not_read_the_motion() -> None:
    class Only(Files):
        def read(self, name: str) -> bytes:
            assert name.endswith(".asf")
            return super().read(name)

    READER.open(NAME, Only(**{NAME: MOTION, "1/HDM_bd.asf": SKELETON}))


def test_angles_alone_are_refused() -> None:
    with pytest.raises(DataError, match="skeleton"):
        READER.read(MOTION)


def test_a_listing_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "squats"
    folder.mkdir(parents=True)
    for number in (1, 2):
        (folder / f"HDM_bd_squat1Reps_00{number}_120.amc").write_bytes(MOTION)
    (folder / "HDM_mm_squat1Reps_003_120.amc").write_bytes(MOTION)
    (folder / "HDM_bd.asf").write_bytes(SKELETON)
    (tmp_path / "classes.toml").write_text('[[class]]\nid = "10"\nname = "squat"\n')
    (tmp_path / "layout.toml").write_text(f"joints = {JOINTS}\n")
    files = {name: str(tmp_path / f"{name}.toml") for name in ("classes", "layout")}
    spec = {**files, "title": "HDM05", "bodies": 1, "min_frames": 1}
    listing = list_files(READER, spec, [tmp_path / "raw"])
    assert [clip.id for clip in listing["clips"]] == [
        "HDM_bd_squat1Reps_001_120",
        "HDM_bd_squat1Reps_002_120",
    ]
    assert [row["file"] for row in listing["bad"]] == ["squats/HDM_mm_squat1Reps_003_120.amc"]
    assert "HDM_mm.asf" in listing["bad"][0]["reason"]
    assert listing["aside"] == {}
    # Another skeleton makes another clip: an interrupted import must notice.
    stamp = listing["clips"][0].stamp
    (folder / "HDM_bd.asf").write_bytes(SKELETON + b"\n# changed\n")
    assert list_files(READER, spec, [tmp_path / "raw"])["clips"][0].stamp != stamp


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


# --- The real files --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw() -> RawFiles:
    return RawFiles(ARCHIVE)


@pytest.fixture(scope="module")
def clips(raw: RawFiles) -> dict[str, tuple[ClipName, np.ndarray, str]]:
    found = {}
    for name in filter(READER.holds, raw.names):
        container = READER.open(name, raw)
        (clip,) = container.clips
        found[clip.id] = clip, container.read(0)[:, 0].astype(float), name
    return found


@real
def test_every_class_and_actor(raw: RawFiles, clips) -> None:
    assert len(clips) == 288
    for clip, _, name in clips.values():
        assert name.split("/")[1] == clip.class_id  # the folder says the same
    classes = Counter(clip.class_id for clip, _, _ in clips.values())
    assert [classes[str(n)] for n in range(1, 12)] == [
        32, 27, 29, 36, 17, 29, 20, 16, 16, 52, 14,
    ]  # fmt: skip
    assert set(classes) == set(CLASSES.values())
    actors = Counter(clip.subject for clip, _, _ in clips.values())
    assert actors == {"bk": 66, "bd": 62, "dg": 61, "tr": 55, "mm": 44}
    lengths = [len(joints) for _, joints, _ in clips.values()]
    assert (min(lengths), np.median(lengths), max(lengths)) == (56, 207, 901)
    about = tomllib.loads((DATA / "hdm05" / "dataset.toml").read_text())
    assert about["clips"] == 288
    for half, group in zip(("train", "test"), about["samples"]["groups"], strict=True):
        of_half = {c.subject for c, _, name in clips.values() if name.startswith(half)}
        assert sorted(of_half) == group


@real
@pytest.mark.parametrize("actor", ["bd", "bk", "dg", "mm", "tr"])
def test_real_clips_against_the_slow_version(raw: RawFiles, clips, actor: str) -> None:
    of_actor = [row for row in clips.values() if row[0].subject == actor]
    for _, joints, name in of_actor[::9]:
        skeleton = raw.read(f"{name.rpartition('/')[0]}/HDM_{actor}.asf")
        expected = slow(skeleton, raw.read(name), 60)
        assert len(expected) == -(-len(joints) // 60)
        np.testing.assert_allclose(joints[::60], expected, atol=2e-6)


@real
def test_bones_keep_the_lengths_of_the_skeleton_file(raw: RawFiles, clips) -> None:
    for clip, joints, name in list(clips.values())[::5]:
        text = raw.read(f"{name.rpartition('/')[0]}/HDM_{clip.subject}.asf").decode("latin-1")
        lengths = dict(re.findall(r"name (\w+).*?length (\S+)", text, flags=re.S))
        for bone, parent in bones().items():
            apart = joints[:, JOINTS.index(bone)] - joints[:, JOINTS.index(parent)]
            length = np.linalg.norm(apart, axis=1)
            np.testing.assert_allclose(length, float(lengths[bone]) * METRES, atol=1e-4)


@real
def test_people_stand_on_the_floor_and_use_the_side_their_class_says(clips) -> None:
    at = {name: JOINTS.index(name) for name in JOINTS}
    feet = [at["lfoot"], at["rfoot"], at["ltoes"], at["rtoes"]]
    jumps, turns, slides = [], [], defaultdict(list)
    for clip, joints, _ in clips.values():
        up = joints[..., 1]
        assert 1.35 < up[0, at["head"]] < 2.0, clip.id
        assert -0.25 < up[:, feet].min() < 0.06, clip.id
        assert np.abs(up[0, feet]).max() < 0.25, clip.id
        if clip.class_id == "1":  # deposit on the floor with the right hand
            assert up[:, at["rhand"]].min() < up[:, at["lhand"]].min()
        elif clip.class_id == "3":  # grab high with the right hand
            assert up[:, at["rhand"]].max() > up[:, at["lhand"]].max()
        elif clip.class_id == "4":  # hop on both legs
            jumps.append(up[:, feet].min(axis=1).max())
        elif clip.class_id == "5":  # jog in a left circle: counter-clockwise seen from above
            path = np.diff(joints[::10, 0][:, [2, 0]], axis=0)
            turns.append((path[:-1, 0] * path[1:, 1] - path[:-1, 1] * path[1:, 0]).sum())
        elif clip.class_id == "6":  # kick with the left foot
            assert up[:, at["lfoot"]].max() > up[:, at["rfoot"]].max()
        elif clip.class_id == "7":  # lie down
            assert abs(up[-1, at["head"]]) < 0.15
        steps = np.diff(joints[:, [at["lfoot"], at["rfoot"]]], axis=0) * 120
        slides[clip.class_id].append(np.median(np.linalg.norm(steps, axis=-1).min(axis=1)))
    assert min(turns) > 0
    assert np.median(jumps) > 0.1
    assert np.median(slides["3"]) < 0.05  # metres a second: who stands does not slide
