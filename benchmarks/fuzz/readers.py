"""Targets: what reads the files of data sets."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz.mutate import Seed
from benchmarks.fuzz.registry import (
    Fuzzed,
    as_json,
    busy,
    inside,
    joints,
    lines,
    npy,
    sound,
    sound_container,
    target,
    zipped,
)
from kit.toy_files import Files


@target
def utd_mhad(folder: Path) -> Fuzzed:
    """MATLAB 5, also damaged before it was packed."""
    from scipy.io import savemat
    from zsar_datasets.utd_mhad import Reader

    def written(values: np.ndarray) -> bytes:
        out = io.BytesIO()
        savemat(out, {"d_skel": values.transpose(1, 2, 0)})
        return b"MATLAB 5.0 MAT-file".ljust(116) + out.getvalue()[116:]  # without the time of day

    plain = written(joints(3, 20, 3))

    def packed(element: bytes) -> bytes:
        held = zlib.compress(element)
        return plain[:128] + struct.pack("<II", 15, len(held)) + held

    head = (0, 200 - 128)
    seeds = [
        Seed(plain, hot=((116, 200),)),
        Seed(written(joints(2, 20, 3).astype(np.float32))),
        Seed(packed(plain[128:]), hot=((116, 160),)),
        Seed(plain[128:], packed, (head,)),
        Seed(plain[128:], lambda data: plain[:128] + data, (head,)),
    ]
    return Fuzzed(seeds, lambda data: sound(Reader().read(data), 1, 20, 3))


@target
def nw_ucla(folder: Path) -> Fuzzed:
    """JSON."""
    from zsar_datasets.nw_ucla import Reader

    made = as_json(file_name="a01", skeletons=joints(2, 20, 3).tolist())
    whole = as_json(skeletons=[[[1, 2, 3]] * 20, [[0, 0.5, 1e0]] * 20])
    return Fuzzed([Seed(made), Seed(whole)], lambda data: sound(Reader().read(data), 1, 20, 3))


@target
def msr_action3d(folder: Path) -> Fuzzed:
    """Lines of numbers."""
    from zsar_datasets.msr_action3d import Reader

    rows = np.column_stack([joints(60, 3), np.ones(60)])
    empty = rows.copy()
    empty[20:40] = 0
    seeds = [Seed(lines(rows[:40])), Seed(lines(empty).replace(b"\n", b"\r\n"))]
    return Fuzzed(seeds, lambda data: sound(Reader().read(data), 1, 20, 3))


@target
def sbu_kinect(folder: Path) -> Fuzzed:
    """Lines of numbers between commas."""
    from zsar_datasets.sbu_kinect import Reader

    rows = np.column_stack([np.arange(7, 10), np.abs(joints(3, 30, 3)).reshape(3, 90) / 3])
    seeds = [Seed(lines(rows[:2], ",")), Seed(lines(rows, ", "))]
    return Fuzzed(seeds, lambda data: sound(Reader().read(data), 2, 15, 3))


@target
def hdm05_asf(folder: Path) -> Fuzzed:
    """The skeleton of a motion capture."""
    from kit import toy_mocap

    return Fuzzed(
        [Seed(toy_mocap.SKELETON)],
        lambda data: sound(toy_mocap.clip_of(skeleton=data), 1, 31, 3),
    )


@target
def hdm05_amc(folder: Path) -> Fuzzed:
    """The motion of a skeleton."""
    from kit import toy_mocap

    moved = toy_mocap.amc(toy_mocap.FRAME, toy_mocap.FRAME, first=9)
    return Fuzzed(
        [Seed(toy_mocap.MOTION), Seed(moved)],
        lambda data: sound(toy_mocap.clip_of(motion=data), 1, 31, 3),
    )


@target
def ntu_skeleton(folder: Path) -> Fuzzed:
    """NTU RGB+D's text files, also with other white space than theirs."""
    from zsar_datasets.ntu import Reader

    rest = "276.1 190.1 1032.3 514.1 -0.17 0.04 0.97 -0.16 2"

    def body(number: int, at: np.ndarray) -> str:
        rows = [f"{x:.7g} {y:.7g} {z:.7g} {rest}" for x, y, z in at]
        return "\r\n".join([f"7205759403792{number} 0 1 1 1 1 0 0.1 -0.3 2", "25", *rows]) + "\r\n"

    one, two = joints(2, 25, 3), joints(2, 25, 3) + 0.5
    single = "2\r\n" + "".join("1\r\n" + body(1, pose) for pose in one)
    pair = "2\r\n2\r\n" + body(1, one[0]) + body(2, two[0]) + "0\r\n"
    seeds = [Seed(text.encode()) for text in (single, pair, single.replace(" 1", "  1"))]
    return Fuzzed(seeds, lambda data: sound(Reader().read(data), 2, 25, 3))


@target
def ntu_npz(folder: Path) -> Fuzzed:
    """CTR-GCN's arrays in an archive; the sizes are not the official ones but small."""
    from zsar_datasets import ntu_npz
    from zsar_datasets.ntu import Reader
    from zsar_datasets.ntu_lists import Sample

    train, test = [Sample(1, 1, 1, 1, 5)], [Sample(1, 1, 3, 1, 2)]
    parts: dict[str, bytes] = {}
    for side, chosen in (("train", train), ("test", test)):
        values = np.zeros((1, *ntu_npz.ROW), "<f2")
        values[0, :3, :75] = joints(3, 25, 3).reshape(3, 75)
        parts[f"x_{side}.npy"] = npy(values)
        parts[f"y_{side}.npy"] = npy(np.eye(60)[[chosen[0].action - 1]])
    whole = zipped(parts)
    body = parts["x_train.npy"][128:]
    deflated = inside(parts, "y_train.npy", zipfile.ZIP_DEFLATED)

    def labels(data: bytes) -> bytes:
        """Labels may be deflated, values may not."""
        out = io.BytesIO(deflated.pack(data))
        with zipfile.ZipFile(out) as archive:
            held = {name: archive.read(name) for name in archive.namelist()}
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for name, content in held.items():
                about = zipfile.ZipInfo(name)
                about.compress_type = zipfile.ZIP_DEFLATED if name[0] == "y" else zipfile.ZIP_STORED
                archive.writestr(about, content)
        return made.getvalue()

    seeds = [
        Seed(whole, hot=busy(whole)),
        inside(parts, "y_test.npy"),
        Seed(parts["y_train.npy"], labels),
        Seed(
            parts["x_train.npy"][:128],
            lambda head: zipped({**parts, "x_train.npy": head + body}),
        ),
    ]
    toy = [ntu_npz.Evaluation("toy", train, test)]

    def read(data: bytes) -> None:
        files = Files({"NTU60_CS.npz": data})
        found = ntu_npz.open_file("NTU60_CS.npz", files, Reader().clip_of, lambda classes: toy)
        sound_container(found, 2, 25, 3)

    return Fuzzed(seeds, read)


@target
def ntu_pyskl(folder: Path) -> Fuzzed:
    """PYSKL's pickles, written by every protocol that differs."""
    from zsar_datasets.ntu import Reader

    def annotation(name: str, label: int, keypoint: np.ndarray) -> dict[str, Any]:
        frames = keypoint.shape[1]
        return {"frame_dir": name, "label": label, "total_frames": frames, "keypoint": keypoint}

    short = joints(1, 2, 25, 3).astype(np.float16)
    long = joints(2, 15, 25, 3).astype(np.float16)
    first = annotation("S001C001P001R001A005", 4, short)
    second = annotation("S001C002P001R001A060", 59, long)
    content = {"split": {"xsub_train": [first["frame_dir"]]}, "annotations": [first]}
    both = {"annotations": [second, first]}
    pickled = [pickle.dumps(content, protocol) for protocol in (0, 2, 4, 5)]
    pickled += [pickle.dumps(both, protocol) for protocol in (2, 4, 5)]

    def read(data: bytes) -> None:
        files = Files({"ntu60_3danno.pkl": data})
        sound_container(Reader().open("ntu60_3danno.pkl", files), 2, 25, 3)

    return Fuzzed([Seed(data) for data in pickled], read, confined=True)


_STEM = "0002-L"
_PKU = {
    f"skeleton/{_STEM}.txt": lines(joints(4, 50, 3).reshape(4, 150)),
    f"label/{_STEM}.txt": b"23,1,2,2\n1,2,4,1\n",
    "Split/cross-subject.txt": b"Training videos: \n0002-L, 0002-M\nValidataion videos: \n0007-L\n",
}


def _pku(name: str) -> Fuzzed:
    from zsar_datasets.pku_mmd import Reader

    def read(data: bytes) -> None:
        found = Reader().open(f"skeleton/{_STEM}.txt", Files({**_PKU, name: data}))
        sound_container(found, 2, 25, 3)

    return Fuzzed([Seed(_PKU[name])], read)


@target
def pku_mmd_skeleton(folder: Path) -> Fuzzed:
    """A recording."""
    return _pku(f"skeleton/{_STEM}.txt")


@target
def pku_mmd_labels(folder: Path) -> Fuzzed:
    """The labels of a recording."""
    return _pku(f"label/{_STEM}.txt")


@target
def pku_mmd_split(folder: Path) -> Fuzzed:
    """The list of sides."""
    return _pku("Split/cross-subject.txt")


@target
def uwa3d_ii(folder: Path) -> Fuzzed:
    """MATLAB 7.3: in one piece, in the header, and in chunks, packed and not."""
    from zsar_datasets.uwa3d_ii import Reader

    from kit.toy_mat73 import mat

    values = joints(3, 15, 3)
    files = [mat(values), mat(values.astype("<f4"), compact=True), mat(values, (2, 15, 3))]
    files.append(mat((values * 1000).astype(">i4"), (3, 5, 2), packed=False))
    seeds = [Seed(data, hot=busy(data)) for data in files]
    return Fuzzed(seeds, lambda data: sound(Reader().read(data), 1, 15, 3), confined=True)


@target
def kinetics(folder: Path) -> Fuzzed:
    """JSON of people found in images."""
    from zsar_datasets.kinetics import Reader

    places = np.round(np.abs(np.sin(np.arange(36))), 3).tolist()
    person = {"pose": places, "score": places[:18]}
    frames = [
        {"frame_index": 1, "skeleton": [person, person]},
        {"frame_index": 2, "skeleton": []},
        {"frame_index": 4, "skeleton": [person]},
    ]
    made = as_json(data=frames, label="bowling", label_index=7)
    name = "kinetics_val/-0AbCdE_GhI.json"

    def read(data: bytes) -> None:
        sound_container(Reader().open(name, Files({name: data})), 2, 18, 3)

    return Fuzzed([Seed(made), Seed(as_json(data=frames[:1], label="", label_index=0))], read)
