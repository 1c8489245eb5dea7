"""The pipe between parent and worker: JSON and tensors in length-prefixed frames.

A frame is one byte (``J`` JSON, ``T`` safetensors), eight bytes of length (little endian) and
the payload. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from zsar_bench.views import Clips, Features, Layout, SkeletonInputs, TextBank, TextFeatures

if TYPE_CHECKING:
    from torch import Tensor


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
    """The other side sent something that violates the protocol."""


def receive(stream: IO[bytes], largest: int = LARGEST) -> tuple[str, Any]:
    """The next frame: ``("J", dict)`` or ``("T", bytes)``.

    Args:
        stream: to read from.
        largest: bytes that a frame of tensors may have.

    Raises:
        BrokenStream: at the end of the stream; ``Malformed`` for an invalid frame.
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


PER_CLIP = ("pooled", "tokens", "logits")  #: feature tensors with one row per clip


PER_TOKEN = ("joint", "part", "phase")  #: int64 (M,), the same for every clip


LABELS = "labels"  #: int64 (N,), sent only to runs that are marked as leaking


def layout_from_json(data: Mapping[str, Any]) -> Layout:
    """A ``Layout`` from a joint-layout file's values."""
    return Layout(
        joints=tuple(data["joints"]),
        parents=tuple(data["parents"]),
        parts=tuple(data["parts"]),
        mirror=tuple(data["mirror"]),
        left_hip=data["left_hip"],
        right_hip=data["right_hip"],
        up=data.get("up", 1),
    )


def unpack(blob: bytes) -> dict[str, Tensor]:
    """Tensors from safetensors' bytes, copied to memory that torch aligns: sums may otherwise
    differ in their last bits with a buffer's address."""
    from safetensors.torch import load

    return {name: tensor.clone() for name, tensor in load(blob).items()}


def real(name: str, tensor: Tensor) -> Tensor:
    """The tensor, unless it is complex: torch would silently drop the imaginary parts.

    Raises:
        TypeError: naming it.
    """
    if tensor.is_complex():
        raise TypeError(f"{name} has the type {tensor.dtype}, not real numbers")
    return tensor


def features_to_tensors(features: Features, wants: Iterable[str]) -> dict[str, Tensor]:
    """The wanted parts of an encoder's output, on the CPU, contiguous, float32."""
    import torch

    out: dict[str, Tensor] = {}
    for name in PER_CLIP:
        value = getattr(features, name)
        if name == "pooled" or name in wants:
            if value is None:
                raise TypeError(f"the skeleton encoder gives no {name}")
            out[name] = real(name, value).detach().to("cpu", torch.float32).contiguous()
    if "tokens" in wants:
        for name in PER_TOKEN:
            value = getattr(features, name)
            if value is not None:
                out[name] = torch.as_tensor(value, dtype=torch.int64).cpu().contiguous()
    return out


def inputs_from_tensors(
    tensors: Mapping[str, Tensor], clips: Clips | None = None
) -> SkeletonInputs:
    """``SkeletonInputs`` from stored or received feature tensors."""
    fields = {name: tensors.get(name) for name in (*PER_CLIP, *PER_TOKEN, LABELS)}
    return SkeletonInputs(**fields, clips=clips)  # type: ignore[arg-type]


def clips_from_flat(flat: Tensor, lengths: Sequence[int], layout: Layout) -> Clips:
    """Padded clips from concatenated frames.

    Args:
        flat: (sum of lengths, B, V, 3).
        lengths: frames of each clip.
    """
    import torch

    parts = torch.split(flat, list(lengths))
    padded = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)  # (N, T, B, V, 3)
    return Clips(
        data=padded.permute(0, 4, 1, 3, 2).contiguous(),
        lengths=torch.tensor(list(lengths), dtype=torch.int64),
        layout=layout,
    )


def bank_to_tensors(bank: TextBank) -> dict[str, Tensor]:
    """A text bank as flat tensors named ``field.part``; order of fields is kept separately."""
    return {
        f"{name}.{part}": getattr(text, part).contiguous()
        for name, text in bank.fields.items()
        for part in ("pooled", "tokens", "mask")
    }


def read_bank(path: Path, order: Iterable[str]) -> TextBank:
    """A text bank from a file written from ``bank_to_tensors``."""
    tensors = unpack(path.read_bytes())
    return TextBank(
        {
            name: TextFeatures(*(tensors[f"{name}.{p}"] for p in ("pooled", "tokens", "mask")))
            for name in order
        }
    )
