"""Targets: archives, and what runs and exports leave: arrays, scores, records."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from benchmarks.fuzz.attempt import ROOT
from benchmarks.fuzz.mutate import Seed
from benchmarks.fuzz.registry import Fuzzed, from_file, npy, target, zipped


@target
def zip_archive(folder: Path) -> Fuzzed:
    """An archive whose names lead elsewhere; every file is read and opened."""
    from zsar_bench.errors import DataError
    from zsar_bench.rawfiles.archives import RawFiles

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
    from zsar_bench.features.released.folder import read_array

    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    seeds = [npy(values), npy(np.asfortranarray(values.astype(">f8")))]

    def read(path: Path) -> None:
        assert read_array(path, "f", "floating-point numbers").tobytes()

    read_bytes = from_file(folder / "train.npy", read)
    return Fuzzed([Seed(data, hot=((0, 132),)) for data in seeds], read_bytes)


@target
def npy_labels(folder: Path) -> Fuzzed:
    """The labels of released features."""
    from zsar_bench.features.released.folder import read_labels

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
    from zsar_bench.records.files import read_predictions, write_predictions

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
    from zsar_bench.records.files import read_record, seal_run

    def sealed(path: Path) -> None:  # whoever passes on a record can seal it, too
        seal_run(path.parent)
        read_record(path.parent)

    found = sorted((ROOT / "results" / "reference" / "runs").glob("*/*/*/run.json"))
    data = json.loads(found[0].read_bytes())
    for name in ("cells", "guesses"):
        by_class = data["metrics"][name]
        data["metrics"][name] = {key: by_class[key] for key in [*by_class][:2]}
    path = folder / "run.json"
    return Fuzzed([Seed(json.dumps(data).encode())], from_file(path, sealed))


@target
def export_json(folder: Path) -> Fuzzed:
    """What a folder of exported features says of itself."""
    from zsar_bench.features.exported import FORMAT, read_export

    about = {
        "format": FORMAT,
        "protocol": {"id": "made", "digest": "0" * 64},
        "dataset": {"synthetic": False},
        "rounds": [{"folder": "round-0"}],
    }
    read = from_file(folder / "features.json", lambda path: read_export(path.parent))
    return Fuzzed([Seed(json.dumps(about).encode())], read)
