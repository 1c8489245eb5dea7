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
LARGEST_JSON = 1 << 28  #: bytes of a JSON frame


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


class Malformed(BrokenStream):
    """The other side is there and speaks something else."""


def receive(stream: IO[bytes], largest: int = LARGEST) -> tuple[str, Any]:
    """The next frame: ``("J", dict)`` or ``("T", bytes)``.

    Args:
        stream: where it comes from.
        largest: bytes of tensors that may come; no more than that is ever held for a frame.

    Raises:
        BrokenStream: at the end of the stream; ``Malformed`` for what is no frame.
    """
    kind, length = HEADER.unpack(_exactly(stream, HEADER.size))
    if length > {b"J": LARGEST_JSON, b"T": largest}.get(kind, -1):
        raise Malformed("malformed frame")
    payload = _exactly(stream, length)
    if kind == b"T":
        return "T", payload
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        raise Malformed("malformed JSON frame") from None
    if not isinstance(message, dict):
        raise Malformed("malformed JSON frame")
    return "J", message


def _exactly(stream: IO[bytes], size: int) -> bytes:
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise BrokenStream("end of stream")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
