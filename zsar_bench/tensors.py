"""Views as safetensors and back: what is stored, what travels, what a worker rebuilds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.views import Clips, Features, Layout, SkeletonInputs, TextBank, TextFeatures

if TYPE_CHECKING:
    from torch import Tensor

PER_CLIP = ("pooled", "tokens", "logits")  #: feature tensors with a row a clip
PER_TOKEN = ("joint", "part", "phase")  #: int64 (M,), the same for every clip
LABELS = "labels"  #: int64 (N,), sent to nobody but a run that is marked as leaking


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
    """Tensors from safetensors' bytes, each in memory of its own that is aligned as torch aligns
    it: sums may differ in their last bits with the address that a buffer happens to have."""
    from safetensors.torch import load

    return {name: tensor.clone() for name, tensor in load(blob).items()}


def real(name: str, tensor: Tensor) -> Tensor:
    """The tensor, unless its numbers are complex: torch would drop half of each in silence.

    Raises:
        TypeError: naming it.
    """
    if tensor.is_complex():
        raise TypeError(f"{name} has the type {tensor.dtype}, not real numbers")
    return tensor


def features_to_tensors(features: Features, wants: Iterable[str]) -> dict[str, Tensor]:
    """The wanted parts of an encoder's answer, on the CPU, contiguous, float32."""
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
    """Padded clips from frames laid end to end.

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
