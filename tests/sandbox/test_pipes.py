"""The pipe between parent and worker: what goes in comes out, and anything else is an error."""

from __future__ import annotations

import io
import json
import os
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsar_bench.sandbox.wire import HEADER, LARGEST, BrokenStream, receive, send_json, send_tensors

MESSAGE = {"progress": {"step": 3, "total": 7, "loss": 0.25}, "text": "Äther | \n \x1b[0m"}


def frame(kind: bytes, payload: bytes) -> bytes:
    """A frame by hand: one byte, eight bytes little endian, the payload."""
    return kind + struct.pack("<Q", len(payload)) + payload


def test_the_format_on_the_wire() -> None:
    out = io.BytesIO()
    send_json(out, {"a": 1})
    send_tensors(out, b"\x00\xff" * 3)
    assert out.getvalue() == frame(b"J", b'{"a": 1}') + frame(b"T", b"\x00\xff" * 3)


def test_frames_come_back_in_order_and_whole() -> None:
    stream = io.BytesIO()
    blobs = [b"", b"x", os.urandom(100_000)]
    for blob in blobs:
        send_tensors(stream, blob)
        send_json(stream, MESSAGE)
    stream.seek(0)
    for blob in blobs:
        assert receive(stream) == ("T", blob)
        assert receive(stream) == ("J", MESSAGE)
    with pytest.raises(BrokenStream, match="end of stream"):
        receive(stream)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_any_json_comes_back(message: dict[str, object]) -> None:
    stream = io.BytesIO()
    send_json(stream, message)
    stream.seek(0)
    assert receive(stream) == ("J", json.loads(json.dumps(message)))


@pytest.mark.parametrize("cut", range(1, len(frame(b"J", b'{"a": 1}'))))
def test_a_stream_cut_anywhere_is_broken(cut: int) -> None:
    whole = frame(b"J", b'{"a": 1}')
    with pytest.raises(BrokenStream):
        receive(io.BytesIO(whole[:-cut]))


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        frame(b"P", b"\x80\x04."),  # a pickle has no kind
        frame(b"\x00", b""),
        HEADER.pack(b"T", LARGEST + 1),
        HEADER.pack(b"J", 2**64 - 1),
        frame(b"J", b"{"),
        frame(b"J", b"\xff\xfe"),
        b"Traceback (most recent call last):\n",
    ],
)
def test_anything_else_is_broken(broken: bytes) -> None:
    with pytest.raises(BrokenStream):
        receive(io.BytesIO(broken))


class Trickle(io.RawIOBase):
    """A stream that gives one byte a read."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.data.read(min(size, 1))


def test_short_reads_are_put_together() -> None:
    assert receive(Trickle(frame(b"T", b"abcdef"))) == ("T", b"abcdef")  # type: ignore[arg-type]


def test_through_a_real_pipe_larger_than_its_buffer() -> None:
    read_end, write_end = os.pipe()
    blob = os.urandom(1 << 20)
    with os.fdopen(read_end, "rb") as source, os.fdopen(write_end, "wb") as sink:
        writer = threading.Thread(target=send_tensors, args=(sink, blob))
        writer.start()
        assert receive(source) == ("T", blob)
        writer.join()


def test_writing_to_a_reader_that_is_gone_is_broken() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    sink = os.fdopen(write_end, "wb")
    with pytest.raises(BrokenStream):
        send_tensors(sink, bytes(1 << 20))
    with pytest.raises(OSError, match="Broken pipe"):
        sink.close()  # its buffer cannot be flushed either
    with pytest.raises(BrokenStream):
        send_json(sink, {"to": "a closed file"})


def test_what_is_not_json_is_a_bug_of_ours_not_a_broken_stream() -> None:
    with pytest.raises(TypeError):
        send_json(io.BytesIO(), {"path": object()})
