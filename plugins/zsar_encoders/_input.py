"""From raw clips to what a skeleton network reads: one row a body, normalised and resampled.

Skeletons are centred, scaled and turned to face the camera, and clips are resampled to a fixed
number of frames within their own length, so that a clip's input cannot depend on the clips
beside it. A body that is not there has no row: most clips of a data set of two bodies show one
person, and a network that reads zeros spends its time and its batch statistics on nothing.

Shapes: N clips, T frames, V joints, B bodies, C channels, R rows (bodies that are there).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import field_validator
from torch import Generator, Tensor

from zsar_bench.params import Params as BaseParams
from zsar_bench.params import science
from zsar_bench.views import Clips, Layout

STREAMS = ("joint", "velocity", "bone", "bone-velocity")
_CHUNK = 256  #: clips measured at once


class InputParams(BaseParams):
    """What the network reads, and how training varies it."""

    frames: int = science(48, "frames each clip is resampled to", ge=3)
    streams: tuple[str, ...] = science(
        ("joint", "velocity", "bone"), f"input channels, any of {', '.join(STREAMS)}"
    )
    rotate: float = science(
        30.0, "augmentation: turn about the vertical, up to so many degrees", ge=0, le=180
    )
    scale: float = science(0.1, "augmentation: size, up to this share", ge=0, lt=1)
    crop: float = science(0.8, "augmentation: shortest part of the clip kept", gt=0, le=1)
    jitter: float = science(
        0.04, "augmentation: std of a shift of each joint, in mean bone lengths", ge=0
    )

    @field_validator("streams")
    @classmethod
    def _known_streams(cls, streams: tuple[str, ...]) -> tuple[str, ...]:
        if not streams or set(streams) - set(STREAMS) or len(set(streams)) != len(streams):
            raise ValueError(f"streams takes any of {', '.join(STREAMS)}, each once")
        return streams


# ------------------------------------------------------------------- what is known of a clip


@dataclass(frozen=True)
class Skeletons:
    """Clips with what is read off each of them once.

    Attributes:
        clips: the raw clips.
        present: (N, B) bool, which bodies are there; the first one in a clip of zeros.
        parents: (V,) of the layout, on the device: to move it there in every training step
            would be to wait for the device in every step.
        origin: (N, 3), size: (N,), turn: (N, 3, 3): of ``body_frame``.
    """

    clips: Clips
    present: Tensor
    parents: Tensor
    origin: Tensor
    size: Tensor
    turn: Tensor

    @classmethod
    def of(cls, clips: Clips) -> Skeletons:
        """Measure the clips, some at a time: the raw data of a large data set fill the memory."""
        parents = torch.tensor(clips.layout.parents, device=clips.data.device)
        parts = []
        for start in range(0, max(1, len(clips)), _CHUNK):
            some = slice(start, start + _CHUNK)
            part = Clips(clips.data[some], clips.lengths[some], clips.layout)
            present = (part.data != 0).any(dim=(1, 2, 3))
            present[:, 0] |= ~present.any(dim=1)
            parts.append((present, *body_frame(part, present)))
        present, origin, size, turn = (torch.cat(values) for values in zip(*parts, strict=True))
        return cls(clips, present, parents, origin, size, turn)


def body_frame(clips: Clips, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where each clip's first body stands, how big it is and where it faces.

    The first body is the first one that is there at all. Place is its root in its first
    frame; size is the mean length of its bones; facing is the mean over its frames of the
    axis from right to left hip, made horizontal.

    Returns:
        origin (N, 3), size (N,), turn (N, 3, 3) such that ``turn @ (x - origin) / size``
        is upright, faces the camera and has bones of length 1 on average.
    """
    data, layout = clips.data, clips.layout
    rows = torch.arange(len(data), device=data.device)
    first = data[rows, ..., present.to(torch.int8).argmax(dim=1)]  # (N, 3, T, V)
    there = (first != 0).any(dim=3).any(dim=1)  # (N, T)
    count = there.sum(dim=1).clamp(min=1).to(data.dtype)

    start = there.to(torch.int8).argmax(dim=1)
    origin = first[rows, :, start, layout.root]

    parents = torch.tensor(layout.parents, device=data.device)
    # Squares and a root, because a norm over a middle axis is ten times slower.
    bones = (first - first[..., parents]).square().sum(dim=1).sqrt().sum(dim=2)  # (N, T)
    size = bones.sum(dim=1) / count / max(1, len(layout.parents) - 1)

    hips = (first[..., layout.left_hip] - first[..., layout.right_hip]).sum(dim=2)  # (N, 3)
    side, ahead = (layout.up + 2) % 3, (layout.up + 1) % 3  # x and z when y is up
    axis = torch.stack([hips[:, side], hips[:, ahead]], dim=1)
    length = axis.norm(dim=1, keepdim=True)
    # Without a horizontal hip axis (a body lying on its side) there is nothing to turn.
    still = torch.tensor([1.0, 0.0], device=data.device, dtype=data.dtype)
    cos, sin = torch.where(length > 1e-6, axis / length.clamp(min=1e-6), still).unbind(dim=1)
    return origin, size.clamp(min=1e-6), _turn(cos, sin, layout)


def _turn(cos: Tensor, sin: Tensor, layout: Layout) -> Tensor:
    """(N, 3, 3) rotation about the vertical that takes (cos, sin) to the side axis."""
    side, ahead = (layout.up + 2) % 3, (layout.up + 1) % 3
    turn = cos.new_zeros(len(cos), 3, 3)
    turn[:, layout.up, layout.up] = 1
    turn[:, side, side] = turn[:, ahead, ahead] = cos
    turn[:, side, ahead] = sin
    turn[:, ahead, side] = -sin
    return turn


# -------------------------------------------------------------------------- which rows there are


@dataclass(frozen=True)
class Rows:
    """n chosen clips, and the R bodies that are there in them, in the clips' order.

    Attributes:
        index: (n,) which of the clips were chosen.
        present: (n, B) bool.
        clip: (R,) in [0, n), the chosen clip a row belongs to.
        body: (R,) in [0, B), which of its bodies it is.
    """

    index: Tensor
    present: Tensor
    clip: Tensor
    body: Tensor

    def average(self, values: Tensor) -> Tensor:
        """(R, ...) to (n, ...): the mean over each clip's rows.

        Each row has a place of its own in the table that is summed, so that, unlike an
        ``index_add``, it gives the same bytes on a GPU every time.
        """
        if self.present.shape[1] == 1:
            return values
        rest = values.shape[1:]
        table = values.new_zeros(*self.present.shape, *rest)
        table = table.index_put((self.clip, self.body), values)
        count = self.present.sum(dim=1).to(values.dtype)
        return table.sum(dim=1) / count.view(-1, *(1 for _ in rest))


def all_rows(present: Tensor) -> Rows:
    """The rows of all clips, given (N, B); waits for the device once."""
    clip, body = present.nonzero(as_tuple=True)
    return Rows(torch.arange(len(present), device=present.device), present, clip, body)


def batches(present: Tensor, order: Tensor, batch: int) -> list[Rows]:
    """The rows of every batch of an epoch; the last incomplete batch is left out.

    The counting is done on the host and the result moved in one piece, so that no training
    step has to ask the device how many rows it has.

    Args:
        present: (N, B) on the host.
        order: (N,) the epoch's order, on the device.
        batch: clips a batch.
    """
    chosen = present[order.cpu()]
    place, body = chosen.nonzero(as_tuple=True)
    ends = [0, *chosen.sum(dim=1).cumsum(dim=0)[batch - 1 :: batch].tolist()]
    chosen, clip, body = (t.to(order.device) for t in (chosen, place % batch, body))
    found = []
    for i, (start, end) in enumerate(itertools.pairwise(ends)):
        some = slice(i * batch, (i + 1) * batch)
        found.append(Rows(order[some], chosen[some], clip[start:end], body[start:end]))
    return found


# ----------------------------------------------------------------------- the network's input


def frame_times(
    lengths: Tensor, frames: int, window: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Evenly spaced times within each clip's own length, for linear interpolation.

    Args:
        lengths: (R,) valid frames.
        frames: how many times to make.
        window: (R, 2) first and last time as a share of the clip in [0, 1]; None: all of it.

    Returns:
        left, right: (R, frames) the frames before and after each time; weight (R, frames) of
        the frame after.
    """
    last = (lengths - 1).clamp(min=0).float()[:, None]  # (R, 1)
    share = torch.linspace(0, 1, frames, device=lengths.device)[None]
    if window is not None:
        share = window[:, :1] + share * (window[:, 1:] - window[:, :1])
    time = share * last  # (R, frames)
    left = torch.minimum(time.floor(), last)
    right = torch.minimum(left + 1, last)
    return left.long(), right.long(), time - left


def prepare(
    skeletons: Skeletons, rows: Rows, params: InputParams, augment: Generator | None = None
) -> Tensor:
    """The network's input: (R, T, V, C), the streams side by side in C.

    Args:
        skeletons: raw clips and their body frames.
        rows: the bodies to prepare.
        params: frames, streams and the sizes of the augmentations.
        augment: source of random turns, sizes, crops and joint shifts, the same for all
            bodies of a clip; None: none of them.
    """
    clips, index = skeletons.clips, rows.index
    data, layout = clips.data, clips.layout
    size, turn, window = skeletons.size[index], skeletons.turn[index], None
    if augment is not None:
        noise = torch.rand(len(index), 4, generator=augment, device=data.device)
        angle = (2 * noise[:, 0] - 1) * math.radians(params.rotate)
        turn = _turn(angle.cos(), angle.sin(), layout) @ turn
        size = size * (1 + (2 * noise[:, 1] - 1) * params.scale)
        share = params.crop + (1 - params.crop) * noise[:, 2]
        begin = (1 - share) * noise[:, 3]
        window = torch.stack([begin, begin + share], dim=1)[rows.clip]

    source = index[rows.clip]  # (R,)
    left, right, weight = frame_times(clips.lengths[source], params.frames, window)
    origin = skeletons.origin[source][:, None, :, None]  # (R, 1, 3, 1)
    by_body = data.permute(0, 4, 2, 1, 3)  # (N, B, T', 3, V)

    def centred(time: Tensor) -> Tensor:  # (R, T) -> (R, T, 3, V)
        pose = by_body[source[:, None], rows.body[:, None], time]
        # A body may be lost for a while: such a frame stays at zero rather than at -origin.
        return (pose - origin) * (pose != 0).flatten(2).any(dim=2)[..., None, None]

    before, after = centred(left), centred(right)
    x = before + weight[..., None, None] * (after - before)
    matrix = (turn / size[:, None, None])[rows.clip]
    x = torch.einsum("rij,rtjv->rtvi", matrix, x)  # (R, T, V, 3)
    if augment is not None and params.jitter:
        shape = (len(index), 1, x.shape[2], 3)
        shift = torch.randn(shape, generator=augment, device=x.device) * params.jitter
        x = x + shift[rows.clip]

    bones = x - x[:, :, skeletons.parents] if any("bone" in s for s in params.streams) else x

    def stream(name: str) -> Tensor:
        y = bones if "bone" in name else x
        return F.pad(y[:, 1:] - y[:, :-1], (0, 0, 0, 0, 0, 1)) if "velocity" in name else y

    return torch.cat([stream(name) for name in params.streams], dim=-1)
