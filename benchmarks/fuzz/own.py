"""Targets: what the harness itself reads, whatever the data set."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz.mutate import Seed
from benchmarks.fuzz.registry import (
    Files,
    Fuzzed,
    Make,
    as_json,
    inside,
    joints,
    lines,
    npy,
    sound,
    sound_container,
    target,
    zipped,
)

ROOT = Path(__file__).parents[2]


def from_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A parser that takes a file's path as one that takes bytes."""

    def reading(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return reading


# --- Data of one's own -----------------------------------------------------------------------

ABOUT = b"""name = "mine"
title = "two moves"
fps = 25
bodies = 2
min_frames = 1
[samples]
rule = "performer-cross-fit"
groups = [["p1"], ["p2"]]
"""
LAYOUT = b"""joints = ["hips", "left_hip", "right_hip", "head"]
parents = [0, 0, 0, 0]
parts = ["torso", "legs", "legs", "head"]
mirror = [0, 2, 1, 3]
left_hip = 1
right_hip = 2
up = 1
"""
LISTED = b"""[[class]]
id = "up"
name = "rise"
[[class]]
id = "down"
name = "sink"
verb = "sink"
"""
MANIFEST = b'clip,class,subject,camera\na.npy,up,p1,1\n"b/c.csv",down,p2,2\nd.json,up,p1,1\n'
SHAPE = (2, 4, 3)
ONE = joints(2, 4, 3)
MINE = {
    "dataset.toml": ABOUT,
    "layout.toml": LAYOUT,
    "classes.toml": LISTED,
    "manifest.csv": MANIFEST,
    "a.npy": npy(ONE),
    "b/c.csv": lines(ONE.reshape(2, 12), ","),
    "d.json": as_json(frames=ONE.tolist()),
}


def _mine(name: str) -> Make:
    """A folder of one's own whose one file is damaged; all clips are read."""

    def make(folder: Path) -> Fuzzed:
        from zsar_bench.own import Reader
        from zsar_bench.own.description import ABOUT as FILE
        from zsar_bench.protocol_file import check_samples

        def read(data: bytes) -> None:
            found = Reader().open("manifest.csv", Files({**MINE, name: data}))
            if found.description.samples:
                check_samples(found.description.samples, FILE)
            sound_container(found, *found.description.shape)

        return Fuzzed([Seed(MINE[name])], read)

    make.__name__ = f"own_{name.partition('.')[0]}"
    return make


for _name in ("dataset.toml", "layout.toml", "classes.toml", "manifest.csv"):
    target(_mine(_name))


def _clip(name: str, *seeds: bytes) -> Make:
    """One clip of one's own."""

    def make(folder: Path) -> Fuzzed:
        from zsar_bench.own.clips import read_clip

        return Fuzzed(
            [Seed(data) for data in seeds], lambda data: sound(read_clip(name, data, SHAPE), *SHAPE)
        )

    make.__name__ = f"own_{name.partition('.')[2]}"
    return make


_TWO = np.stack([ONE, ONE + 1], axis=1)
target(_clip("a.npy", npy(ONE), npy(np.asfortranarray(_TWO.astype(">f4"))), npy(_TWO.astype("f2"))))
target(_clip("a.csv", b"x,y\n" + MINE["b/c.csv"], lines(_TWO.reshape(2, 24), ",")))
target(_clip("a.json", MINE["d.json"], as_json(frames=_TWO.tolist(), fps=30)))


# --- Class texts and protocols -----------------------------------------------------------------

_NAMES = ("wave a hand", "bow", "kick the ball")


def _classes() -> Any:
    from zsar_bench.datasets import ActionClass

    return [ActionClass(f"A{n}", name, "", "") for n, name in enumerate(_NAMES, 1)]


def _texts(kind: str, name: str, *seeds: Seed) -> Make:
    """A file of class texts in a layout of others."""

    def make(folder: Path) -> Fuzzed:
        from zsar_bench.text_files import parse_text_file

        classes = _classes()
        return Fuzzed(seeds, lambda data: parse_text_file(name, data, classes, [5]))

    make.__name__ = f"texts_{kind}"
    return make


_MOVES = [f"{name}, {n} times" for n, name in enumerate(_NAMES)]
_LISTED = "idx,label\n" + "".join(f"{n},{name}\n" for n, name in enumerate(_NAMES))
_QUOTED = "idx,dcp\n" + "".join(f'{n},"{text}"\r\n' for n, text in enumerate(_MOVES, 1))
_SPACE = "http://schemas.openxmlformats.org"
_MAIN = f'xmlns="{_SPACE}/spreadsheetml/2006/main"'
_OFFICE = f"{_SPACE}/officeDocument/2006/relationships"
_BOOK = {
    "xl/workbook.xml": f'<workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="Six" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_SPACE}/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
    "</Relationships>",
    "xl/sharedStrings.xml": f"<sst {_MAIN}><si><t>Action labels</t></si><si><t>Head</t></si>"
    + "".join(f"<si><t>{name}</t></si>" for name in _NAMES)
    + "</sst>",
    "xl/worksheets/sheet1.xml": f"<worksheet {_MAIN}><sheetData>"
    '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
    + "".join(
        f'<row r="{n}"><c r="A{n}" t="s"><v>{n}</v></c>'
        f'<c r="B{n}" t="inlineStr"><is><t>up &amp; down {n}</t></is></c></row>'
        for n in (2, 3, 4)
    )
    + "</sheetData></worksheet>",
}
_PARTS = {name: text.encode() for name, text in _BOOK.items()}
target(_texts("csv", "m.csv", Seed(_LISTED.encode()), Seed(_QUOTED.encode())))
target(_texts("lines", "x_des.txt", Seed("\n".join(_MOVES).encode())))
target(
    _texts(
        "xlsx",
        "b.xlsx",
        Seed(zipped(_PARTS)),
        Seed(zipped(_PARTS, zipfile.ZIP_DEFLATED)),
        *(inside(_PARTS, name) for name in _PARTS),
    )
)


@target
def texts_toml(folder: Path) -> Fuzzed:
    """A text set of one's own."""
    from zsar_bench.texts import read_texts

    classes = _classes()
    made = 'version = 1\nauthor = "me"\n' + "".join(
        f'[A{n}]\nmotion = "{text}"\nhead = """still {n}"""\n' for n, text in enumerate(_MOVES, 1)
    )
    read = from_file(folder / "t.toml", lambda path: read_texts(str(path), {}, classes))
    return Fuzzed([Seed(made.encode())], read)


@target
def classes_toml(folder: Path) -> Fuzzed:
    """The class list of a data set."""
    from zsar_bench.datasets import read_classes

    return Fuzzed([Seed(LISTED)], from_file(folder / "classes.toml", read_classes))


_HEAD = 'id = "made"\ntitle = "Made 2/1"\nsource = "this file"\naliases = ["m"]\n'
_SPLIT = f'{_HEAD}dataset = "made"\nfamily = "tests"\nseen = ["A1", "A3"]\nunseen = ["A2"]\n'
_PROTOCOLS = (
    _SPLIT + '[samples]\nrule = "performer-cross-fit"\ngroups = [["1"], ["2"]]\ntest_clips = 8\n',
    _SPLIT + '[samples]\nrule = "xsub"\ntrain = ["1", "3"]\n[gzsl]\npseudo_unseen = ["A1"]\n'
    '[samples.stand-in]\ntrain = ["1"]\ncolumn = "camera"\n',
    f'{_HEAD}dataset = "made"\nfamily = "tests"\nfolds = [["A1"], ["A2"], ["A3"]]\n'
    '[samples]\nrule = "xset"\ntrain = ["1"]\n',
    f'{_HEAD}[average]\nof = ["one", "two"]\n',
)


@target
def protocol_toml(folder: Path) -> Fuzzed:
    """A protocol, or an average of some; with the data set's classes, and without."""
    from zsar_bench.datasets import read_toml
    from zsar_bench.protocol_file import group_of, is_group, protocol_of

    classes = _classes()

    def read(path: Path) -> None:
        data = read_toml(path)
        if is_group(data):
            group_of(data, path, ["one", "two"])
            return
        made = protocol_of(data, path, classes)
        assert made.digest
        if not made.folds:  # those need to know all classes
            protocol_of(data, path, None)

    return Fuzzed(
        [Seed(text.encode()) for text in _PROTOCOLS], from_file(folder / "made.toml", read)
    )


# --- Archives, arrays and results ------------------------------------------------------------


@target
def zip_archive(folder: Path) -> Fuzzed:
    """An archive whose names lead elsewhere; every file is read and opened."""
    from zsar_bench.archives import RawFiles
    from zsar_bench.errors import DataError

    parts = {"a/b.txt": b"one " * 9, "../../up.txt": b"two", "/etc/hosts": b"three", "d/": b""}
    seeds = [
        Seed(zipped(parts, packing))
        for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
    ]
    seeds.append(Seed(zipped({"l.txt": b"lzma", "m.txt": b"again"}, zipfile.ZIP_LZMA)))

    def read(path: Path) -> None:
        found = RawFiles(path)
        refused = None
        for name in found.names:
            try:
                found.encrypted(name)
                with found.open(name) as file:
                    data = file.read()
                assert data == found.read(name)
            except DataError as error:
                refused = error
        if refused is not None:
            raise refused

    return Fuzzed(seeds, from_file(folder / "raw.zip", read))


@target
def npy_features(folder: Path) -> Fuzzed:
    """Released features."""
    from zsar_bench.feature_folder import read_array

    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    seeds = [npy(values), npy(np.asfortranarray(values.astype(">f8")))]

    def read(path: Path) -> None:
        assert read_array(path, "f", "floating-point numbers").tobytes()

    read_bytes = from_file(folder / "train.npy", read)
    return Fuzzed([Seed(data, hot=((0, 132),)) for data in seeds], read_bytes)


@target
def npy_labels(folder: Path) -> Fuzzed:
    """The labels of released features."""
    from zsar_bench.feature_folder import read_labels

    seeds = [npy(np.arange(4, dtype=">i8")), npy(np.arange(3, dtype=np.uint8)[:, None])]

    def read(path: Path) -> None:
        labels = read_labels(path)
        assert labels.ndim == 1
        assert labels.dtype == np.int64

    read_bytes = from_file(folder / "train_label.npy", read)
    return Fuzzed([Seed(data, hot=((0, 132),)) for data in seeds], read_bytes)


@target
def predictions(folder: Path) -> Fuzzed:
    """The scores of a run."""
    from zsar_bench.record import read_predictions, write_predictions

    path = folder / "predictions.safetensors"
    scores = np.array([[0.5, 1], [2, -3]], np.float32)
    write_predictions(path, ["c1", "c2"], np.array([0, 1]), ["A1", "A2"], scores)

    def read(path: Path) -> None:
        ids, labels, candidates, found = read_predictions(path)
        assert found.shape == (len(ids), len(candidates)) == (len(labels), len(candidates))
        assert (found.dtype, labels.dtype) == (np.float32, np.int64)

    return Fuzzed([Seed(path.read_bytes())], from_file(path, read))


@target
def record(folder: Path) -> Fuzzed:
    """The record of a run, as others may pass it on."""
    from zsar_bench.record import read_record

    found = sorted((ROOT / "results" / "reference" / "runs").glob("*/*/*/run.json"))
    data = json.loads(found[0].read_bytes())
    cells = data["metrics"]["cells"]
    data["metrics"]["cells"] = {key: cells[key] for key in [*cells][:2]}
    path = folder / "run.json"
    read = from_file(path, lambda path: read_record(path.parent))
    return Fuzzed([Seed(json.dumps(data).encode())], read)


@target
def export_json(folder: Path) -> Fuzzed:
    """What a folder of exported features says of itself."""
    from zsar_bench.exported import FORMAT, read_export

    about = {
        "format": FORMAT,
        "protocol": {"id": "made", "digest": "0" * 64},
        "dataset": {"synthetic": False},
        "rounds": [{"folder": "round-0"}],
    }
    read = from_file(folder / "features.json", lambda path: read_export(path.parent))
    return Fuzzed([Seed(json.dumps(about).encode())], read)
