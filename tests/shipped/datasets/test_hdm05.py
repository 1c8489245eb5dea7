"""HDM05's reader: which files belong together, and the real archive."""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from zsar_datasets import DATA
from zsar_datasets.hdm05 import CLASSES, Reader, bones

from kit.paths import SHARED_DATA
from kit.toy_mocap import METRES, MOTION, NAME, SKELETON, Files, slow
from zsar_bench.contracts import ClipName
from zsar_bench.data.clips.import_job import list_files
from zsar_bench.errors import DataError
from zsar_bench.rawfiles.archives import RawFiles

ARCHIVE = SHARED_DATA / "hdm05_11" / "hdm05_11_asfamc.zip"
real = pytest.mark.skipif(not ARCHIVE.is_file(), reason="the real archive is not here")
READER = Reader()
JOINTS = ["root", *bones()]

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
