"""The pipe between parent and worker: JSON and tensors in length-prefixed frames.

A frame is one byte (``J`` JSON, ``T`` safetensors), eight bytes of length (little endian) and
the payload. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import IO, Any

HEADER = struct.Struct("<cQ")
LARGEST = 1 << 36  #: bytes; a longer frame is a broken stream


class BrokenStream(Exception):
    """The other side is gone or does not speak the protocol."""


def send_json(stream: IO[bytes], message: Mapping[str, Any]) -> None:
    """Send one JSON message."""
    _send(stream, b"J", json.dumps(message).encode())


def send_tensors(stream: IO[bytes], blob: bytes) -> None:
    """Send tensors already serialised by safetensors."""
    _send(stream, b"T", blob)


def _send(stream: IO[bytes], kind: bytes, payload: bytes) -> None:
    try:
        stream.write(HEADER.pack(kind, len(payload)))
        stream.write(payload)
        stream.flush()
    except (OSError, ValueError) as error:
        raise BrokenStream(str(error)) from None


def receive(stream: IO[bytes]) -> tuple[str, Any]:
    """The next frame: ``("J", dict)`` or ``("T", bytes)``.

    Raises:
        BrokenStream: at the end of the stream or on a malformed frame.
    """
    kind, length = HEADER.unpack(_exactly(stream, HEADER.size))
    if kind not in (b"J", b"T") or length > LARGEST:
        raise BrokenStream("malformed frame")
    payload = _exactly(stream, length)
    if kind == b"T":
        return "T", payload
    try:
        return "J", json.loads(payload)
    except ValueError:
        raise BrokenStream("malformed JSON frame") from None


def _exactly(stream: IO[bytes], size: int) -> bytes:
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise BrokenStream("end of stream")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
