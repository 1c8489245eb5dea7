"""Released features: what is refused, what a run with them sees and leaves, how they rank."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import tomllib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from kit.command import Cli, environment
from kit.made_features import CHANNELS, SEEN, UNSEEN, arrays, protocol, write
from kit.paths import PLUGINS, SHARED_DATA
from zsar_bench.catalogue import catalogue
from zsar_bench.common.classes import ActionClass
from zsar_bench.comparison.sections import compare
from zsar_bench.data.protocols.lookup import find_protocol
from zsar_bench.errors import DataError, UserError
from zsar_bench.features.encoding import ensure
from zsar_bench.features.released.folder import read_array
from zsar_bench.features.released.released import open_released
from zsar_bench.plans.request import Request, seed_pairs
from zsar_bench.records.files import read_predictions, read_record
from zsar_bench.records.schema import Record
from zsar_bench.reporters import words

# --- Folders -------------------------------------------------------------------------------------


def test_a_good_folder_is_read_as_it_is(tmp_path: Path) -> None:
    values = arrays()
    folder = write(tmp_path / "shift_5", values)
    np.save(folder / "val.npy", values["train"])
    np.save(folder / "val_label.npy", values["train_label"])
    found = open_released(folder, protocol())
    assert found.counts == {"train": 40, "ztest": 21, "gtest": 61}
    (one,) = found.sources
    columns = one.dataset.clips
    assert len(columns["id"]) == 40 + 21 + 61
    for name, rows in (("train", one.round.train), ("ztest", one.round.test_unseen)):
        assert [columns["id"][i] for i in rows] == [f"{name}/{n}" for n in range(len(rows))]
    labels = [int(columns["class"][i][1:]) - 1 for i in one.round.test_unseen]
    assert labels == values["z_label"].tolist()
    assert [columns["class"][i] for i in one.round.test_seen] == [
        f"c{n + 1}" for n in values["g_label"] if n in SEEN
    ]
    assert {*columns["subject"]} == {""}  # nobody knows
    assert "not read: val.npy, val_label.npy" in found.choice[2]


def test_the_hash_is_of_values_and_labels_only(tmp_path: Path) -> None:
    values = arrays()
    plain = open_released(write(tmp_path / "a", values), protocol()).hash
    total = hashlib.sha256()  # what the page of the function says, once more
    labels = {"train": "train_label", "ztest": "z_label", "gtest": "g_label"}
    for name in ("gtest", "train", "ztest"):
        total.update(f"{name} {values[name].shape}\n".encode())
        total.update(values[name].tobytes() + values[labels[name]].tobytes())
    assert plain == total.hexdigest()

    same = {
        "float64": {n: a.astype(float) if a.dtype == np.float32 else a for n, a in values.items()},
        "big-endian": {n: a.astype(a.dtype.newbyteorder(">")) for n, a in values.items()},
        "int32 labels": {n: a.astype("i4") if a.ndim == 1 else a for n, a in values.items()},
        "columns": {n: np.asfortranarray(a) for n, a in values.items()},
        "trailing ones": {n: a[..., None, None] for n, a in values.items()},
        "no lists": {n: a for n, a in values.items() if "/" not in n},
    }
    for name, changed in same.items():
        folder = write(tmp_path / name, changed)
        if name == "no lists":
            (folder / "label_splits").rmdir()
        assert open_released(folder, protocol()).hash == plain, name

    other = {**values, "ztest": values["ztest"] + np.float32(1e-3)}
    assert open_released(write(tmp_path / "b", other), protocol()).hash != plain
    order = np.arange(40)[::-1]
    other = {**values, "train": values["train"][order], "train_label": values["train_label"][order]}
    assert open_released(write(tmp_path / "c", other), protocol()).hash != plain


def test_what_only_gzsl_needs_may_be_missing(tmp_path: Path) -> None:
    values = {n: a for n, a in arrays().items() if not n.startswith("g")}
    found = open_released(write(tmp_path, values), protocol())
    assert found.counts == {"train": 40, "ztest": 21}
    assert found.sources[0].round.test_seen == []


Change = Callable[[dict[str, Any]], dict[str, Any]]


def without(*names: str) -> Change:
    return lambda v: {n: a for n, a in v.items() if n not in names}


def with_(**changes: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda v: v | {n.replace("__", "/"): make(v) for n, make in changes.items()}


def at(name: str, place: Any, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(values: dict[str, Any]) -> Any:
        array = values[name].copy()
        array[place] = value
        return array

    return change


BAD: dict[str, tuple[Change, type[UserError], str]] = {
    "two files missing": (without("ztest", "train_label"), UserError, "lacks train_label.npy, zt"),
    "half of gtest": (without("g_label"), UserError, "lacks g_label.npy"),
    "fewer labels": (
        with_(train_label=lambda v: v["train_label"][:-1]),
        DataError,
        "train.npy has 40 rows, but train_label.npy 39",
    ),
    "label of no class": (
        with_(z_label=at("z_label", 3, 6)),
        UserError,
        r"z_label.npy: label 6 is none of the 6 classes of toy-motion \(0 to 5\)",
    ),
    "negative label": (with_(g_label=at("g_label", 0, -1)), UserError, "g_label.npy: label -1"),
    "labels from 1": (
        with_(train_label=lambda v: v["train_label"] + 1),
        UserError,
        "seem to count from 1",
    ),
    "seen label in ztest": (
        with_(z_label=at("z_label", 0, 4)),
        UserError,
        r"z_label.npy: label 4 \(c5\): seen in the protocol 'toy-4-2', but this file is of its un",
    ),
    "unseen label in train": (
        with_(train_label=at("train_label", slice(0, 2), (1, 2))),
        UserError,
        r"labels 1 \(c2\), 2 \(c3\): unseen in the protocol",
    ),
    "a seen class without clips": (
        with_(train_label=lambda v: np.where(v["train_label"] == 5, 4, v["train_label"])),
        UserError,
        r"no clips of label 5 \(c6\)",
    ),
    "an unseen class without clips": (
        with_(z_label=lambda v: np.ones_like(v["z_label"])),
        UserError,
        "ztest.npy has no clips of c3",
    ),
    "NaN": (
        with_(train=at("train", (17, 2), np.nan)),
        DataError,
        "train.npy: 1 rows hold NaN.*the first is row 17",
    ),
    "infinity": (with_(ztest=at("ztest", (0, 0), -np.inf)), DataError, "ztest.npy: 1 rows"),
    "too large for float32": (
        with_(gtest=lambda v: v["gtest"].astype(float) * 1e60),
        DataError,
        "gtest.npy: 61 rows",
    ),
    "whole numbers": (
        with_(train=lambda v: v["train"].astype(int)),
        DataError,
        "train.npy holds int64, not floating-point numbers",
    ),
    "labels as floats": (
        with_(z_label=lambda v: v["z_label"].astype(float)),
        DataError,
        "z_label.npy holds float64, not whole numbers",
    ),
    "tokens": (
        with_(train=lambda v: v["train"][:, None].repeat(3, axis=1)),
        DataError,
        r"train.npy has the shape \(40, 3, 7\), not \(clips, channels\)",
    ),
    "one axis": (with_(train=lambda v: v["train"][:, 0]), DataError, r"the shape \(40,\)"),
    "two axes of labels": (
        with_(z_label=lambda v: np.stack([v["z_label"]] * 2, axis=1)),
        DataError,
        r"z_label.npy has the shape \(21, 2\)",
    ),
    "empty": (with_(ztest=lambda v: v["ztest"][:0]), DataError, "ztest.npy is empty"),
    "other channels": (
        with_(ztest=lambda v: v["ztest"][:, :6]),
        DataError,
        "different numbers of channels: train.npy 7, ztest.npy 6, gtest.npy 7",
    ),
    "objects": (
        with_(train=lambda v: v["train"].astype(object)),
        DataError,
        "train.npy holds Python objects",
    ),
    "texts": (with_(train=lambda v: v["train"].astype(str)), DataError, "train.npy holds <U"),
    "records": (
        with_(z_label=lambda v: v["z_label"].view([("a", "i8")])),
        DataError,
        "z_label.npy holds",
    ),
    "list of another split": (
        with_(
            label_splits__ru2=lambda v: np.array([0, 1]),
            label_splits__rs4=lambda v: np.arange(2, 6),
        ),
        UserError,
        r"lists other classes .* labels 0 \(c1\), 2 \(c3\)",
    ),
    "overlapping lists": (
        with_(label_splits__rs4=lambda v: np.array([0, 2, 3, 4])),
        UserError,
        r"label 2 \(c3\) is in both lists",
    ),
    "a list too short": (
        with_(label_splits__rs4=lambda v: np.array([0, 3, 4])),
        UserError,
        "rs4.npy should list 4 classes, but holds 3 labels",
    ),
    "a list that repeats": (
        with_(label_splits__ru2=lambda v: np.array([1, 1])),
        UserError,
        "ru2.npy should list 2 classes, but holds 2 labels, 1 of them different",
    ),
    "a class that does not exist in a list": (
        with_(label_splits__rs4=lambda v: np.array([0, 3, 4, 77])),
        UserError,
        r"disagree on labels 5 \(c6\), 77",
    ),
    "lists of other numbers": (
        lambda v: without("label_splits/ru2")(v) | {"label_splits/ru3": np.arange(3)},
        UserError,
        "has no ru2.npy, which .* needs .* it has rs4.npy, ru3.npy",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_and_named(name: str, tmp_path: Path) -> None:
    change, kind, words = BAD[name]
    folder = write(tmp_path / "folder", change(arrays()))
    with pytest.raises(UserError, match=words) as caught:
        open_released(folder, protocol())
    assert type(caught.value) is kind
    assert str(folder) in str(caught.value)


def test_the_same_folder_fits_one_protocol_only(tmp_path: Path) -> None:
    values = {n: a for n, a in arrays().items() if "/" not in n}
    folder = write(tmp_path, values)
    (folder / "label_splits").rmdir()
    open_released(folder, protocol())
    swapped = protocol(id="other", seen=("c1", "c2", "c5", "c6"), unseen=("c3", "c4"))
    with pytest.raises(UserError, match="unseen in the protocol 'other'"):
        open_released(folder, swapped)


PUBLISHED = {
    # The split that SynSE's paper and every later repository use, with whose lists it is found.
    "55/5": ("MSF-GZSSAR", [10, 11, 19, 26, 56], None),
    "48/12": ("MSF-GZSSAR", [3, 5, 9, 12, 15, 40, 42, 47, 51, 56, 58, 59], None),
    # An early commit lists another 48/12 split, which was never published.
    "old 48/12": (
        "synse-zsl",
        [3, 5, 9, 12, 15, 40, 42, 47, 51, 56, 58, 59],
        r"lists other classes .* labels 3 \(A4\)",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_label_lists(name: str, tmp_path: Path) -> None:
    """A folder with the lists of all splits, as repositories keep them beside features."""
    archive = SHARED_DATA / "zsar_splits_semantics" / "zsar_splits_semantics.zip"
    if not archive.is_file():
        pytest.skip("the published lists are not here")
    source, unseen, refused = PUBLISHED[name]
    seen = [n for n in range(60) if n not in unseen]
    values = {
        "train": np.zeros((len(seen), 2), dtype=np.float32),
        "train_label": np.array(seen),
        "ztest": np.zeros((len(unseen), 2), dtype=np.float32),
        "z_label": np.array(unseen),
    }
    folder = write(tmp_path, values)
    with zipfile.ZipFile(archive) as lists:
        for entry in lists.namelist():
            if entry.startswith(f"{source}/label_splits/") and entry.endswith(".npy"):
                (folder / "label_splits" / Path(entry).name).write_bytes(lists.read(entry))
    classes = tuple(ActionClass(f"A{n}", f"class {n}", "", "") for n in range(1, 61))
    ids = {"seen": tuple(f"A{n + 1}" for n in seen), "unseen": tuple(f"A{n + 1}" for n in unseen)}
    wanted = protocol(classes=classes, **ids)
    if refused is None:
        assert open_released(folder, wanted).counts == {"train": len(seen), "ztest": len(unseen)}
    else:
        with pytest.raises(UserError, match=refused):
            open_released(folder, wanted)


@pytest.mark.parametrize("what", ["nothing", "file", "empty", "npz"])
def test_a_path_that_is_no_folder_of_features(what: str, tmp_path: Path) -> None:
    path = tmp_path / "there"
    if what == "file":
        path.write_bytes(b"")
    elif what in ("empty", "npz"):
        path.mkdir()
        if what == "npz":
            np.savez(path / "features.npz", **{n: a for n, a in arrays().items() if "/" not in n})
    with pytest.raises(
        UserError, match=r"there is a file|no folder .*there|there lacks train\.npy"
    ):
        open_released(path, protocol())


def npy(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A ``.npy`` file with any header."""
    text = header.encode("latin1")
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text + body


HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n"


def whole() -> bytes:
    stream = io.BytesIO()
    np.save(stream, arrays()["train"])
    return stream.getvalue()


class Bomb:
    """Unpickling it would be seen."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was read",))


def test_no_file_can_make_the_reader_allocate_run_or_crash(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    good = whole()
    files = {
        "nothing": b"",
        "cut": good[:-1],
        "longer": good + b"\0",
        "cut header": good[:20],
        "a pickle": pickle.dumps(Bomb()),
        "a pickled array": stream.getvalue(),
        "terabytes": npy(HEADER % ("<f4", "(1000000000000, 256)"), b"\0" * 64),
        "more than any address": npy(HEADER % ("<f8", "(4611686018427387904, 16)"), b"\0" * 8),
        "negative": npy(HEADER % ("<f4", "(-1, -4)"), b"\0" * 16),
        "code": npy("__import__('os').abort()\n"),
        "brackets": npy("(" * 5000),
        "not closed": npy("{'descr': '<f4', 'shape': (1,"),
        "no shape": npy("{'descr': '<f4', 'fortran_order': False}\n"),
        "no type": npy(HEADER % ("<q9", "(1,)")),
        "nested": npy(HEADER % ("<f4", "((1,),)")),
        "future": npy(HEADER % ("<f4", "(1,)"), b"\0" * 4, (9, 9)),
        "a huge header": npy("{" + " " * 200_000, b"", (2, 0)),
        "text": b"1 2 3\n4 5 6\n",
        "truth for a size": npy(HEADER % ("<f4", "(True, 2)"), b"\0" * 8),
        "too many axes": npy(HEADER % ("<f4", f"({'1, ' * 70})"), b"\0" * 4),
    }  # fmt: skip
    path = tmp_path / "train.npy"
    for name, blob in files.items():
        path.write_bytes(blob)
        with pytest.raises(DataError, match=r"train\.npy"):
            read_array(path, "f", name)
    for at_byte in range(140):  # any byte of magic, version and header
        for value in (0, 1, 0x28, 0x7B, 0xFF):
            path.write_bytes(good[:at_byte] + bytes([value]) + good[at_byte + 1 :])
            try:
                found = read_array(path, "f", "numbers")
            except DataError:
                continue
            assert found.nbytes == 40 * CHANNELS * 4
    path.write_bytes(good)
    np.testing.assert_array_equal(read_array(path, "f", "numbers"), arrays()["train"])


def test_a_signalling_nan_is_refused_without_a_word(tmp_path: Path) -> None:
    """numpy would warn of it as it makes a single of a double."""
    values = arrays()
    values["train"] = values["train"].astype(np.float64)
    values["train"].view(np.uint64)[17, 2] = 0x7FF0000000000001
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="the first is row 17"):
            open_released(write(tmp_path, values), protocol())


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_that_python_2_wrote_are_read_without_a_word(order: str, tmp_path: Path) -> None:
    """numpy would warn of every one: its integers end in L."""
    values = np.arange(6, dtype=">f8").reshape((2, 3))
    about = "{'descr': '>f8', 'fortran_order': %s, 'shape': (2L, 3L), }\n" % (order == "F")
    path = tmp_path / "train.npy"
    path.write_bytes(npy(about, values.tobytes(order)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_array(path, "f", "numbers")
    np.testing.assert_array_equal(found, values)
    assert isinstance(found, np.memmap)


def test_rounds_are_subfolders_only_where_the_protocol_has_as_many(tmp_path: Path) -> None:
    for number, name in enumerate(("half-1", "half-2")):
        write(tmp_path / "both" / name, arrays(number))
    both = open_released(tmp_path / "both", protocol())
    assert [one.round.name for one in both.sources] == ["half-1", "half-2"]
    assert both.counts == {"train": 80, "ztest": 42, "gtest": 122}
    columns = both.dataset.clips
    assert len(set(columns["id"])) == len(columns["id"]) == 2 * 122
    for number, one in enumerate(both.sources):
        assert one.dataset is both.dataset  # runs join all rounds with one table
        tested = [columns["id"][i] for i in one.round.test_unseen]
        assert tested == [f"half-{number + 1}/ztest/{n}" for n in range(21)]
        labels = [int(columns["class"][i][1:]) - 1 for i in one.round.test_unseen]
        assert labels == arrays(number)["z_label"].tolist()
        seen = [int(columns["class"][i][1:]) - 1 for i in one.round.test_seen]
        assert seen == [n for n in arrays(number)["g_label"].tolist() if n in SEEN]
    assert arrays(0)["z_label"].tolist() != arrays(1)["z_label"].tolist()
    alone = [open_released(tmp_path / "both" / n, protocol()).hash for n in ("half-1", "half-2")]
    assert len({both.hash, *alone}) == 3
    for name in ("half-1", "half-2"):
        write(tmp_path / "twice" / name, arrays())
    with pytest.raises(UserError, match="half-1 and half-2 hold the same features"):
        open_released(tmp_path / "twice", protocol())
    one_round = protocol(groups=())
    with pytest.raises(UserError, match=r"2 feature folders \(half-1, half-2\), but .* 1 rounds"):
        open_released(tmp_path / "both", one_round)


# --- Runs ----------------------------------------------------------------------------------------

RUN = ("--protocol", "toy-4-2", "--text-encoder", "toy-hash", "--quiet")


@pytest.fixture(scope="module")
def base(toy_store: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three methods, one of which writes down what it sees, on a machine without any data set."""
    folder = tmp_path_factory.mktemp("released")
    source = (PLUGINS / "witness.py").read_text()
    assert source.count('wants=("tokens",)') == 1
    witness = folder / "witness_pooled.py"
    witness.write_text(source.replace('wants=("tokens",)', "wants=()"))
    seen = folder / "seen"
    seen.mkdir()
    home = folder / "home"  # no skeletons: all that is known is the plugins
    shutil.copytree(toy_store / "catalogue", home / "catalogue")
    features = write(folder / "shift_5", arrays())
    cli = Cli(home, toy_site, folder, real=False)
    words = ("--features", features, "--plugin", witness, *RUN, "--json")
    env = {"ZSAR_BENCH_TEST_SEEN": str(seen)}
    answers = [
        json.loads(cli("run", *what, *words, env=env, write_to=seen).stdout)
        for what in (("witness", "prototypes"), ("toy-ridge", "--seeds", "0-1"))
    ]
    rows = [row for answer in answers for row in answer["runs"]]
    calls: dict[str, list[dict[str, np.ndarray]]] = {}
    for path in sorted(seen.glob("*.safetensors")):
        call, pid, _ = path.name.split("-")
        calls.setdefault(f"{call} {pid}", []).append(load_file(path))
    return SimpleNamespace(
        rows=rows,
        runs={(r["method"], r["seeds"][1]): Path(r["folder"]) for r in rows},
        calls=calls,
        home=home,
        folder=folder,
        features=features,
        site=toy_site,
        witness=witness,
    )


def test_no_data_set_is_needed_and_the_encoder_has_no_seed(base: Any) -> None:
    assert not (base.home / "data").exists()
    assert not (base.home / "encoders").exists()
    assert [(r["method"], *r["seeds"]) for r in base.rows] == [
        ("witness", 0, 0),
        ("prototypes", 0, 0),
        ("toy-ridge", 0, 0),
        ("toy-ridge", 0, 1),
    ]
    assert {r["status"] for r in base.rows} == {"done"}


def together(features: np.ndarray, labels: Any) -> list[tuple[float, ...]]:
    """Clips with their labels, in one order."""
    return sorted((*row, int(n)) for row, n in zip(features.tolist(), labels, strict=True))


def test_fit_sees_the_seen_clips_with_their_labels_and_nothing_else(base: Any) -> None:
    values = arrays()
    fits = [calls[0] for name, calls in base.calls.items() if name.startswith("fit")]
    assert len(fits) == 1
    for seen in fits:
        assert set(seen) == {"pooled", "labels", "subjects", "texts"}
        assert not seen["subjects"].any()
        given = together(seen["pooled"], seen["labels"])
        place = {label: n for n, label in enumerate(SEEN)}
        true = [place[label] for label in values["train_label"].tolist()]
        assert given == together(values["train"], true)


def test_score_sees_the_unseen_clips_in_an_order_of_their_own(base: Any) -> None:
    values = arrays()
    scored = [calls for name, calls in base.calls.items() if name.startswith("score")]
    at_once, alone = sorted(scored, key=len)  # and some again, one by one, by another worker
    assert [len(call["pooled"]) for call in at_once] == [21]
    assert [len(call["pooled"]) for call in alone] == [1] * 21
    for calls in scored:
        assert all(set(call) == {"pooled"} for call in calls)
        clips = np.concatenate([call["pooled"] for call in calls])
        assert sorted(map(tuple, clips)) == sorted(map(tuple, values["ztest"]))
        assert not np.array_equal(clips, values["ztest"])


def test_the_fit_job_names_shards_of_train_only(base: Any) -> None:
    cli = Cli(base.home, base.site, base.folder, real=False)
    words = ("toy-faulty", "--features", base.features, *RUN, "--set", "fault=nan")
    cli("run", *words, "--results", "faults", check=1)
    (job,) = (base.folder / "faults").rglob("fit.job.json")
    bundle = json.loads(job.read_bytes())["bundle"]
    files = [Path(f) for row in bundle for f in row["features"]]
    assert [f.relative_to(base.home / "features").parts[1:] for f in files] == [
        ("train", f"{label}.safetensors") for label in SEEN
    ]
    assert [len(load_file(f)["pooled"]) for f in files] == [10] * 4
    assert all(set(row) == {"features", "label", "subject", "lengths"} for row in bundle)


def test_predictions_are_in_the_files_order_and_the_metrics_follow(base: Any) -> None:
    values = arrays()
    folder = base.runs["toy-ridge", 0]
    ids, labels, candidates, scores = read_predictions(folder / "predictions.safetensors")
    assert ids == [f"ztest/{n}" for n in range(21)]
    assert candidates == ["c2", "c3"]
    assert [candidates[k] for k in labels] == [f"c{n + 1}" for n in values["z_label"]]
    metrics = read_record(folder).metrics
    right = scores.argmax(axis=1) == labels
    assert metrics.top1 == pytest.approx(right.mean())
    assert metrics.mean_class == pytest.approx(np.mean([right[labels == k].mean() for k in (0, 1)]))
    assert metrics.cells == {
        f"c{k + 2}": {"": (float(right[labels == k].sum()), n)} for k, n in ((0, 10), (1, 11))
    }


def words_of(text: str) -> np.ndarray:
    """What ``toy-hash`` makes of a text, of unit length."""
    rows = []
    for word in text.split():
        bits = f"{int.from_bytes(hashlib.sha256(word.encode()).digest(), 'big'):0256b}"[::-1]
        rows.append([1.0 if b == "1" else -1.0 for b in bits[:32]])
    mean = np.mean(rows, axis=0)
    return mean / np.linalg.norm(mean)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_the_scores_are_those_of_the_folder_s_numbers(base: Any) -> None:
    """``prototypes`` by hand, straight from the folder's arrays and the texts."""
    values = {n: a.astype(float) if a.dtype == np.float32 else a for n, a in arrays().items()}
    said = tomllib.loads((base.site / "zsar_toy" / "data" / "texts-a.toml").read_text())
    texts = np.array(
        [
            np.concatenate([words_of(said[f"c{n}"][f]) for f in ("motion", "description")])
            for n in range(1, 7)
        ]
    )
    seen, unseen = texts[list(SEEN)], texts[list(UNSEEN)]
    mean, spread = values["train"].mean(axis=0), values["train"].std(axis=0)
    train, test = (unit((values[n] - mean) / spread) for n in ("train", "ztest"))
    looks = np.array([train[values["train_label"] == label].mean(axis=0) for label in SEEN])
    centre = seen.mean(axis=0)
    weights = np.exp(unit(unseen - centre) @ unit(seen - centre).T / 0.1)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = test @ unit(weights @ looks).T
    folder = base.runs["prototypes", 0]
    _, _, candidates, scores = read_predictions(folder / "predictions.safetensors")
    assert candidates == ["c2", "c3"]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
    assert len({*scores.argmax(axis=1)}) == 2


def test_the_record_says_where_the_features_are_from(base: Any) -> None:
    one = read_record(base.runs["toy-ridge", 1])
    total = open_released(base.features, protocol()).hash
    part = one.encoder
    assert (part.origin, part.name, part.plugin, part.digest) == ("released", "released", "", total)
    assert part.released is not None
    assert part.released.model_dump() == {
        "hash": total,
        "folder": "shift_5",
        "channels": CHANNELS,
        "clips": {"train": 40, "ztest": 21, "gtest": 61},
        "dropped_clips": 32 - 21,
        "train_classes": ["c1", "c4", "c5", "c6"],
    }
    (told,) = part.rounds
    assert (told.train_clips, told.train_subjects, told.seen_accuracy) == (40, [], None)
    assert one.identity["features"] == [told.key]
    assert one.identity["seeds"] == [0, 1]
    assert (one.encoder_seed, one.method_seed) == (0, 1)
    assert (one.protocol.data, one.protocol.expected_clips) == (total, 32)
    choices = {c.what: c for c in one.choices}
    assert choices["features"].value == f"released {total[:12]}"
    assert "train 40, ztest 21, gtest 61" in choices["features"].reason


def test_the_store_is_addressed_by_content(base: Any, tmp_path: Path) -> None:
    total = open_released(base.features, protocol()).hash
    kept = [p.name for p in (base.home / "features").iterdir()]
    assert kept == [total]
    for part, labels in (("train", SEEN), ("ztest", UNSEEN), ("gtest", range(6))):
        files = sorted(p.name for p in (base.home / "features" / total / part).iterdir())
        assert files == [f"{label}.safetensors" for label in labels]
    copy = write(tmp_path / "another-name", arrays())
    cli = Cli(base.home, base.site, base.folder, real=False)
    again = cli("run", "toy-ridge", "--features", copy, *RUN, "--dry-run", "--json")
    (run,) = json.loads(again.stdout)["runs"]
    assert run["state"] == "cached"  # the same run, wherever the folder lies
    listed = json.loads(cli("features", "list", "--json").stdout)
    assert [(r["kind"], r["key"], r["name"], r["parts"]) for r in listed] == [
        ("released", total[:16], "released: shift_5", {"train": 40, "ztest": 21, "gtest": 61})
    ]


def test_the_table_says_all_that_must_be_known(base: Any) -> None:
    (section,) = compare([read_record(p) for p in base.runs.values()])["sections"]
    total = open_released(base.features, protocol()).hash
    assert words.title(section) == (
        f"toy-4-2 - released features {total[:12]}, ranked among themselves"
    )
    assert (section["origin"], section["subjects"], section["clips"]) == ("released", 0, 21)
    told = " ".join(words.caption(section))
    assert "released in 'shift_5' (train 40, ztest 21, gtest 61; 7 channels)" in told
    assert "every spread excludes it" in told
    assert "11 fewer test clips than the complete data set's 32: these rows are not" in told
    assert "No interval: the subjects are not known" in told
    assert "fewer than 6 subjects" not in told
    for row in section["rows"]:
        assert row["interval"] is None
        assert row["beats_chance"] is None
    seeds = {row["method"]: words.cells(row)["seeds"] for row in section["rows"]}
    once = dict.fromkeys(("witness", "prototypes"), "1")
    assert seeds == {"toy-ridge": "2 (spread excludes the encoder)", **once}
    assert [r["not_shown_to_differ"] for r in section["rows"]] == [False, True, True]


def moved(one: Record, **changes: Any) -> Record:
    assert one.encoder.released is not None
    released = one.encoder.released.model_copy(update=changes)
    return one.model_copy(update={"encoder": one.encoder.model_copy(update={"released": released})})


def test_other_hashes_and_certified_runs_are_ranked_elsewhere(base: Any) -> None:
    one, two = (read_record(base.runs[m, 0]) for m in ("toy-ridge", "witness"))
    assert len(compare([one, two])["sections"]) == 1
    assert len(compare([one, moved(two, hash="f" * 64)])["sections"]) == 2
    trained = two.encoder.model_copy(update={"origin": "certified", "released": None})
    sections = compare([one, two.model_copy(update={"encoder": trained})])["sections"]
    assert sorted(s["origin"] for s in sections) == ["certified", "released"]


def test_more_clips_than_there_are_is_said_too(base: Any) -> None:
    one = moved(read_record(base.runs["toy-ridge", 0]), dropped_clips=-3)
    (section,) = compare([one])["sections"]
    assert "3 more test clips than" in " ".join(words.caption(section))
    (section,) = compare([moved(one, dropped_clips=0)])["sections"]
    assert "test clips than" not in " ".join(words.caption(section))


def test_the_same_command_again_does_nothing(base: Any) -> None:
    before = {p: (p / "run.json").stat().st_mtime_ns for p in base.runs.values()}
    cli = Cli(base.home, base.site, base.folder, real=False)
    cli("run", "toy-ridge", "--features", base.features, *RUN, "--seeds", "0-1")
    assert before == {p: (p / "run.json").stat().st_mtime_ns for p in base.runs.values()}


# --- Requests ------------------------------------------------------------------------------------


def test_seeds_are_the_methods() -> None:
    request = Request(("m",), "p", Path("r"), seeds=(0, 4), features=Path("f"))
    assert seed_pairs(request) == [(0, 0), (0, 4)]


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "an encoder too": (
        ("toy-ridge", "--skeleton-encoder", "toy-mean"),
        "--features and --skeleton-encoder exclude each other",
    ),
    "method seeds": (("toy-ridge", "--method-seeds", "0-1"), "have no encoder seed"),
    "a held encoder": (("toy-ridge", "--fix-encoder", "1"), "have no encoder seed"),
    "a method that wants tokens": (
        ("witness", "--plugin", str(PLUGINS / "witness.py")),
        "The method 'witness' needs tokens; released features hold one pooled vector a clip.",
    ),
    "parameters of an encoder": (
        ("toy-ridge", "--set", "toy-mean.steps=3"),
        "Unknown name in --set 'toy-mean'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_cannot_be_are_refused(name: str, base: Any) -> None:
    words, told = REFUSED[name]
    cli = Cli(base.home, base.site, base.folder, real=False)
    done = cli("run", *words, "--features", base.features, *RUN, check=2)
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_methods_that_need_more_are_refused(tmp_path: Path) -> None:
    from zsar_bench.features.released.released import check_method

    def method(wants: tuple[str, ...], needs_encoder: bool) -> Any:
        spec = {"wants": wants, "needs_encoder": needs_encoder}
        return catalogue.Entry("methods", "m", "p", "d", spec, {}, {})

    check_method(method((), False))
    for wants, needs, told in (
        (("clips",), False, "needs clips;"),
        (("logits", "tokens"), False, "needs logits, tokens;"),
        ((), True, "needs the trained encoder;"),
    ):
        with pytest.raises(UserError, match=told):
            check_method(method(wants, needs))


def test_a_folder_that_changes_after_the_check_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(tmp_path / "home"))
    folder = write(tmp_path / "f", arrays())
    (one,) = open_released(folder, protocol()).sources
    write(folder, arrays(1))
    with pytest.raises(UserError, match="has changed since"):
        ensure(one, (), lambda event: None)
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_a_damaged_store_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(tmp_path / "home"))
    (one,) = open_released(write(tmp_path / "f", arrays()), protocol()).sources
    ensure(one, (), lambda event: None)
    shard = one.folder / "ztest" / "2.safetensors"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"2\.safetensors is damaged.*\nDelete the folder"):
        one.read(one.round.test_unseen, ())


def test_the_toy_protocol_is_the_one_that_is_written_down_here(toy_process: Path) -> None:
    found = find_protocol("toy-4-2", catalogue.load())
    assert (found.seen, found.unseen) == (protocol().seen, protocol().unseen)
    assert found.test_clips == protocol().test_clips


def test_a_process_without_numpy_reads_the_command_line(toy_site: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, zsar_bench.cli, zsar_bench.plans.plan, zsar_bench.cli.features\n"
        "print([m for m in ('numpy', 'torch', 'pydantic', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path, toy_site),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
