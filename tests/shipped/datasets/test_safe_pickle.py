"""Pickles of strangers: honest ones are read, attacks name what they ask for and run nothing."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsar_datasets._safe_pickle import Array, load

from zsar_bench.errors import DataError

SHORT = 4096
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
RNG = np.random.default_rng(0)
ARRAYS = {
    "half": RNG.normal(size=(2, 30, 25, 3)).astype(np.float16),
    "single, big end first": RNG.normal(size=(3, 4)).astype(">f4"),
    "double, by columns": np.asfortranarray(RNG.normal(size=(50, 40))),
    "bytes of all values": np.arange(256, dtype=np.uint8).repeat(40).reshape(2, -1),
    "truth": RNG.normal(size=(7,)) > 0,
    "single value": np.array(-3, np.int64),
    "every other": np.arange(20, dtype=np.int16)[::2],
}
PLAIN = {
    "numbers": [0, -1, 255, 256, 65536, -(2**31), 2**31, 2**70, -(2**70), 1.5, -0.0, float("inf")],
    "constants": [None, True, False],
    "texts": ["", "é\n\\ \0 漢 \U0001f600", "x" * (SHORT - 1)],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "many": list(range(2500)),
    "again and again": [PROTOCOLS.start, [[]], {"a": {"b": []}}],
}


def read(data: bytes) -> Any:
    return load(io.BytesIO(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_honest_pickles_are_read(protocol: int) -> None:
    shared = ["one", "list"]
    ordered = OrderedDict(z=1, a=2)
    content = {**PLAIN, "arrays": ARRAYS, "twice": [shared, shared], "ordered": ordered}
    content["scalars"] = [np.int64(-5), np.float32(0.25), np.bool_(True), np.float16(2)]
    data = pickle.dumps(content, protocol)
    found = read(data)
    assert {name: found[name] for name in PLAIN} == PLAIN
    assert all(
        type(a) is type(b) for a, b in zip(found["constants"], PLAIN["constants"], strict=True)
    )
    assert found["twice"][0] is found["twice"][1]
    assert list(found["ordered"].items()) == [("z", 1), ("a", 2)]
    assert found["scalars"] == [-5, 0.25, True, 2.0]
    for name, array in ARRAYS.items():
        again = found["arrays"][name].read()
        assert again.dtype == array.dtype
        np.testing.assert_array_equal(again, array)


def test_names_of_older_and_newer_numpy_are_the_same() -> None:
    """numpy 2 calls ``numpy.core`` ``numpy._core``, and this may be either."""
    data = pickle.dumps([np.arange(3), np.float32(2)], 2)
    for core in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        other = data.replace(b"numpy._core.multiarray", core).replace(
            b"numpy.core.multiarray", core
        )
        assert core in other
        array, number = read(other)
        assert array.read().tolist() == [0, 1, 2]
        assert number == 2


# --- Attacks ---------------------------------------------------------------------------------


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def chain(sentinel: str) -> bytes:
    """``getattr`` up to ``os.system`` without naming it, in protocol 0."""
    return (
        b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(Vos\ntRVsystem\ntR(Vtouch "
        + sentinel.encode()
        + b"\ntR."
    )


def attacks(sentinel: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> a pickle that makes the file, and what its error must name."""
    touch = f"touch {sentinel}"
    code = f"open({str(sentinel)!r}, 'w').close()"
    found = {}
    for protocol in PROTOCOLS:
        found[f"os.system {protocol}"] = pickle.dumps(Calls(os.system, touch), protocol), "system"
        for function in (eval, exec):
            name = function.__name__
            found[f"{name} {protocol}"] = pickle.dumps(Calls(function, code), protocol), name
    found["getattr"] = chain(str(sentinel)), "builtins.getattr"
    found["old instance"] = f"(V{touch}\nios\nsystem\n.".encode(), "os.system"
    found["object"] = f"(cos\nsystem\nV{touch}\no.".encode(), "os.system"
    found["new object"] = (
        b"\x80\x02cos\nsystem\n(V" + touch.encode() + b"\nt\x81.",
        "os.system",
    )
    inside = np.array([Calls(os.system, touch)], dtype=object)
    found["in an array"] = pickle.dumps(inside), "an array in it is of the type 'O8'"
    found["as a dict's key"] = pickle.dumps({"a": [(Calls(os.system, touch),)]}), "system"
    return found


def test_no_attack_runs(tmp_path: Path) -> None:
    sentinel = tmp_path / "run"
    for name, (data, asked) in attacks(sentinel).items():
        if name != "new object":  # os.system is no class: harmless, and refused all the same
            pickle.loads(data)
            assert sentinel.exists(), f"{name} is no attack"
            sentinel.unlink()
        with pytest.raises(DataError) as caught:
            read(data)
        assert asked in caught.value.what, name
        assert not sentinel.exists(), name


def bare(shape: Any, dtype: Any, data: Any, fortran: Any = False, version: Any = 1) -> bytes:
    """An array as numpy writes it, but with these parts."""
    reconstruct = np.zeros(1).__reduce__()[0]
    state = (version, shape, dtype, fortran, data)
    return pickle.dumps(Calls(reconstruct, np.ndarray, (0,), b"b", state=state), 4)


def buffered(data: Any, dtype: Any, shape: Any, order: Any = "C") -> bytes:
    """The same for protocol 5."""
    function = np.zeros(1).__reduce_ex__(5)[0]
    return pickle.dumps(Calls(function, data, dtype, shape, order), 5)


F2 = np.dtype("<f2")
LONG = bytes(SHORT + 2)
UNREAL = {
    "objects": pickle.dumps(np.array([1, "a"], object)),
    "a record": pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "i4")])),
    "an array of arrays": bare((1,), np.dtype(("f4", (2,))), bytes(8)),
    "texts": pickle.dumps(np.array(["abc"])),
    "byte texts": pickle.dumps(np.array([b"abc"])),
    "complex": pickle.dumps(np.zeros(2, complex)),
    "dates": pickle.dumps(np.zeros(2, "M8[s]")),
    "voids": pickle.dumps(np.zeros(2, "V8")),
    "long double": pickle.dumps(np.zeros(2, np.longdouble)),
    "a type with more to say": bare((1,), np.dtype("f2", metadata={"a": 1}), bytes(2)),
    "negative": bare((-1,), F2, bytes(2)),
    "two negative": bare((-2, -3), F2, bytes(12)),
    "truth as a size": bare((True,), F2, bytes(2)),
    "a fraction": bare((1.0,), F2, bytes(2)),
    "no shape": bare(None, F2, bytes(2)),
    "a shape that is a list": bare([1], F2, bytes(2)),
    "too few bytes": bare((2, 3), F2, bytes(11)),
    "too many bytes": bare((2, 3), F2, bytes(13)),
    "huge": bare((2**62, 2**62), F2, bytes(12)),
    "huge and nothing": bare((2**70, 0), F2, bytes(12)),
    "too many dimensions": bare((1,) * 65, F2, bytes(2)),
    "values for bytes": bare((2,), F2, [1, 2]),
    "no type": bare((2,), None, bytes(4)),
    "another version": bare((2,), F2, bytes(4), version=2),
    "an odd order": bare((2,), F2, bytes(4), fortran="C"),
    "stored, too few": bare((SHORT,), F2, LONG),
    "buffer, too few": buffered(bytes(3), F2, (2,)),
    "buffer, negative": buffered(bytes(4), F2, (-2,)),
    "buffer, an odd order": buffered(bytes(4), F2, (2,), "A"),
    "buffer of text": buffered("ab", F2, (1,)),
    "scalar, too few": pickle.dumps(Calls(np.float64(1).__reduce__()[0], F2, b"1")),
    "scalar of objects": pickle.dumps(Calls(np.float64(1).__reduce__()[0], np.dtype("O"), b"1")),
}


@pytest.mark.parametrize("name", UNREAL)
def test_an_array_of_something_else_is_refused(name: str) -> None:
    with pytest.raises(DataError):
        read(UNREAL[name])


def test_those_arrays_are_read_when_they_are_right() -> None:
    """So the refusals above are not for how the tests write them."""
    values = np.arange(6, dtype=F2)
    for data in (bare((2, 3), F2, values.tobytes()), buffered(values.tobytes(), F2, (2, 3))):
        found = read(data)
        assert type(found) is Array
        np.testing.assert_array_equal(found.read(), values.reshape(2, 3))
    stored = bare((SHORT // 2 + 1,), F2, LONG)
    assert read(stored).read().shape == (SHORT // 2 + 1,)


def test_a_text_that_is_no_bytes_is_found_when_it_is_read() -> None:
    """Protocol 2, twice as many bytes as characters, but one of them is not Latin-1."""
    data = pickle.dumps(np.full(SHORT, 0xC3, np.uint8), 2)
    twice = "Ã".encode() * 2
    assert twice in data
    wrong = data.replace(twice, "漢a".encode(), 1)
    assert len(wrong) == len(data)
    with pytest.raises(DataError, match="has not the bytes"):
        read(wrong).read()


# --- Greed -----------------------------------------------------------------------------------

LAUGHS = b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(200))  # lists of two lists
GREEDY = {
    "memo place": b"\x80\x02Nr\xff\xff\xff\xff.",
    "memo place of gigabytes": b"\x80\x02Nr" + struct.pack("<I", 2**27) + b".",
    "memo place, as text": b"Np99999999999999999999\n.",
    "BINBYTES8": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.",
    "BINBYTES": b"\x80\x03B" + struct.pack("<I", 2**32 - 1) + b"abc.",
    "BINUNICODE8": b"\x80\x04\x8d" + struct.pack("<Q", 2**63 + 5) + b"abc.",
    "BINUNICODE": b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"abc.",
    "BYTEARRAY8": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.",
    "LONG4": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"abc.",
    "FRAME": b"\x80\x04\x95" + struct.pack("<Q", 2**50) + b"N.",
    "lists in lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "tuples in tuples": b"\x80\x02N" + b"\x85" * 10_000 + b".",
    "marks": b"(" * 200_000,
    "twofold lists": b"\x80\x02(]q\x00" + LAUGHS + b"l.",
    "a number of many digits": b"I" + b"9" * 10_000 + b"\n.",
    "a decimal of many digits": b"F" + b"9" * 10_000 + b"\n.",
    "a line without end": b"c" + b"a" * 300_000,
    "a text without end": b"V" + b"a" * 300_000,
}
HARMLESS = {"lists in lists", "twofold lists", "tuples in tuples"}
LIMITED = """
import io, resource, sys
from zsar_bench.errors import DataError
from zsar_datasets._safe_pickle import load
data = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_DATA, (400 << 20, 400 << 20))
try:
    load(io.BytesIO(data))
    print("read")
except (DataError, MemoryError) as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit memory")
@pytest.mark.parametrize("name", GREEDY)
def test_within_a_limit_of_memory_greed_ends_in_an_error(name: str) -> None:
    """As in the worker that reads raw files; what it is told by then is ``test_import_walls``'."""
    words = [sys.executable, "-c", LIMITED]
    done = subprocess.run(words, input=GREEDY[name], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.decode().strip() == "read") == (name in HARMLESS)


REFUSED = {
    "persistent id": (b"Pabc\n.", "stored elsewhere"),
    "binary persistent id": (b"\x80\x02NQ.", "stored elsewhere"),
    "EXT1": (b"\x80\x02\x82\x01.", "unregistered extension"),
    "EXT2": (b"\x80\x02\x83\x01\x00.", "unregistered extension"),
    "EXT4": (b"\x80\x02\x84\x01\x00\x00\x00.", "unregistered extension"),
    "buffer": (b"\x80\x05\x97.", "out-of-band"),
    "read-only buffer": (b"\x80\x05N\x98.", "no whole pickle"),
    "complex": (pickle.dumps(1j), "builtins.complex"),
    "a path": (pickle.dumps(Path("a")), "pathlib"),
    "a call of what is no function": (b"\x80\x02N)R.", "not callable"),
    "a call with no arguments": (b"\x80\x02cnumpy\ndtype\nNR.", "must be a tuple"),
    "ndarray itself": (b"\x80\x02cnumpy\nndarray\nK\x05\x85R.", "calls an array"),
    "ndarray as a class": (b"\x80\x02cnumpy\nndarray\nK\x05\x85\x81.", "no whole pickle"),
    "another encoding": (b"\x80\x02c_codecs\nencode\nX\1\0\0\0aX\5\0\0\0idna!\x86R.", "damaged"),
    "state for a function": (b"\x80\x02cnumpy\ndtype\n}X\1\0\0\0aNsb.", "cannot be changed"),
    "slots of a function": (b"\x80\x02cnumpy\ndtype\nN}X\1\0\0\0aNs\x86b.", "cannot be changed"),
    "an attribute of a function": (
        b"\x80\x04\x8c\5numpy\x8c\x0edtype.__init__\x93.",
        "dtype.__init__",
    ),
    "nothing to take": (b"\x80\x02s.", "stack underflow"),
    "beyond a mark": (b"\x80\x02N(\x85.", "unexpected MARK"),
    "no mark": (b"\x80\x02Nt.", "could not find MARK"),
    "never remembered": (b"\x80\x02h\x05.", "not found at index 5"),
    "more after the end": (b"\x80\x02N.N.", "after its end"),
    "empty": (b"", "truncated"),
    "text": (b"hello\n", "not found"),
    "a name of two lines": (b"\x80\x04Nh\x00\x93.", "not found"),
    "a name that is none": (b"\x80\x04NN\x93.", "requires str"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_else_is_refused(name: str) -> None:
    data, told = REFUSED[name]
    with pytest.raises(DataError) as caught:
        read(data)
    assert told in caught.value.what
    assert len(caught.value.what) < 300
    assert caught.value.hint


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_truncated_pickle_is_refused_wherever_it_ends(protocol: int) -> None:
    content = {"a": np.arange(12, dtype=np.float16).reshape(3, 4), "b": [1, 2.5, "x"], "c": (None,)}
    data = pickle.dumps(content, protocol)
    read(data)
    for length in range(len(data)):
        with pytest.raises(DataError):
            read(data[:length])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_give_data_errors(data: bytes) -> None:
    for head in (b"", b"\x80\x02", b"\x80\x04\x95\0\0\0\0\0\0\0\0"):
        try:
            read(head + data + b".")
        except (DataError, MemoryError):
            continue
