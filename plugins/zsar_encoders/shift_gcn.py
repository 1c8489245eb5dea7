"""Shift-GCN: graph convolutions made of shifts and pointwise convolutions.

Cheng, Zhang, He, Chen, Cheng & Lu, "Skeleton-Based Action Recognition with Shift Graph
Convolutional Network", CVPR 2020; the family of networks behind the features that SynSE
released and TDSM reads. Kept: the non-local spatial shift, in which channel c of joint v is
read from joint (v + c) mod V before the pointwise convolution and moved back after it; the
learnable mask tanh(M) + 1 over joints and channels; the adaptive temporal shift, in which every
channel has a learnable displacement in frames, read by linear interpolation, before and after
the pointwise convolution of time, the second one with the unit's stride; the residuals; batch
normalisation of the input and of the spatial part per joint and channel; global average
pooling and a linear classifier. Following the authors' code (kchengiva/Shift-GCN, commit
7eb1e563) where the equations leave it open: displacements start anywhere within one frame
either way (``paper``), a stride of s adds (s - 1) / 2 frames to them, frames beyond the clip
are zero, a ReLU stands before the second temporal shift, and the first unit has no residual
around it.

Different, and why:

* Plain PyTorch instead of a CUDA kernel: both shifts are one index over joints, frames and
  channels. Their kernel keeps only the sign of a displacement's gradient and steps by 0.01;
  here it is the gradient itself, which AdamW brings to the size of the learning rate.
* Input and training are those of ``st-gcn`` (see ``_input`` and ``_recipe``): skeletons are
  centred, scaled and turned, clips resampled, bodies that are absent left out, AdamW instead
  of SGD. A difference between the two encoders is thus one between their networks.
* The paper adds up the scores of four networks, one for each of joints, bones and the motion
  of both (here ``velocity`` and ``bone-velocity``). Here the streams are input channels of one
  network. ``paper`` reads the joints alone, as the network behind SynSE's features does.
* Four units instead of ten for ``laptop``, and displacements that start within two frames.
  ``paper`` has the original's ten units, widths, 300 frames, 140 epochs and batch, and one
  frame.

How the ``laptop`` values were found: from those of ``st-gcn``, by four trainings with one seed
on the odd performers of UTD-MHAD's 22/5, judged by the seen classes of the even ones. A spread
of one frame gave 87.7 %, of two 88.6 %; with four times the weight decay 88.3 %, with the
motion of bones as a fourth stream 86.0 %. No clip of an unseen class took part. On 350 clips
one sees no difference below 3 points: nothing was gained by choosing, and a little optimism.

Shapes: R bodies, C channels, T frames, V joints, S classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsar_bench.params import science
from zsar_bench.views import Layout
from zsar_encoders import _recipe


class Params(_recipe.Params):
    """What can be changed about the encoder; the defaults are the ``laptop`` network."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "laptop": {},
        "paper": {
            "channels": (64, 64, 64, 64, 128, 128, 128, 256, 256, 256),
            "strides": (1, 1, 1, 1, 2, 1, 1, 2, 1, 1),
            "frames": 300,
            "streams": ("joint",),
            "spread": 1.0,
            "epochs": 140,
            "max_steps": 0,
            "batch": 64,
        },
    }

    spread: float = science(
        2.0, "temporal displacements start anywhere within so many frames either way", ge=0
    )


# ---------------------------------------------------------------------------- the two shifts


def spatial_index(joints: int, channels: int, sign: int) -> Tensor:
    """(V * C,) where each value of a flattened (V, C) comes from: joint (v + sign * c) mod V.

    The index for one sign undoes that for the other.
    """
    joint = torch.arange(joints)[:, None]
    channel = torch.arange(channels)
    return ((joint + sign * channel) % joints * channels + channel).flatten()


def spatial_shift(x: Tensor, index: Tensor) -> Tensor:
    """x (R, T, V, C), its values moved between joints as ``spatial_index`` says."""
    return x.flatten(2).index_select(2, index).view_as(x)


class TemporalShift(nn.Module):
    """Every channel displaced in time by a learnable number of frames.

    Args:
        channels: C.
        stride: only every so manieth frame is made.
        spread: displacements start uniformly in [-spread, spread].
    """

    def __init__(self, channels: int, stride: int, spread: float) -> None:
        super().__init__()
        self.stride = stride
        self.displacement = nn.Parameter(torch.empty(channels).uniform_(-spread, spread))

    def forward(self, x: Tensor) -> Tensor:
        """x (R, T, V, C) to (R, ceil(T / stride), V, C).

        y(t, c) = (1 - w) x(t * stride + k, c) + w x(t * stride + k + 1, c), where
        s = (stride - 1) / 2 + displacement(c), k = floor(s), w = s - k, and x is zero outside
        the clip.
        """
        r, frames, v, c = x.shape
        moved = (self.stride - 1) / 2 + self.displacement  # (C,)
        whole = moved.detach().floor()
        weight = moved - whole
        left = torch.arange(0, frames, self.stride, device=x.device)[:, None] + whole.long()
        place = torch.arange(v * c, device=x.device).view(v, c)
        flat = x.flatten(1)  # (R, T V C)

        def at(frame: Tensor, share: Tensor) -> Tensor:
            """Each channel's frame (T', C), times its share (C,)."""
            inside = (frame >= 0) & (frame < frames)
            # A frame outside stands for a zero: another is read in its place, and not counted.
            index = frame.clamp(0, frames - 1)[:, None] * (v * c) + place  # (T', V, C)
            value = flat.index_select(1, index.flatten()).view(r, *index.shape)
            return value * (share * inside).to(x.dtype)[:, None]

        return at(left, 1 - weight) + at(left + 1, weight)


# --------------------------------------------------------------------------- the network


def pointwise(c_in: int, c_out: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution that mixes channels only."""
    return nn.Conv2d(c_in, c_out, 1, (stride, 1), bias=bias)


class Space(nn.Module):
    """Spatial shift, mask, pointwise convolution and shift back, with a residual."""

    def __init__(self, joints: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.register_buffer("there", spatial_index(joints, c_in, 1), persistent=False)
        self.register_buffer("back", spatial_index(joints, c_out, -1), persistent=False)
        self.mask = nn.Parameter(torch.zeros(joints, c_in))  # M in the paper
        self.mix = pointwise(c_in, c_out)
        self.norm = nn.BatchNorm1d(joints * c_out)
        self.skip: nn.Module = nn.Identity()
        if c_in != c_out:
            self.skip = nn.Sequential(pointwise(c_in, c_out), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """x: (R, T, V, C) to (R, T, V, C')."""
        y = spatial_shift(x, self.there) * (self.mask.tanh() + 1).to(x.dtype)
        y = spatial_shift(_by_frame(self.mix, y), self.back)
        y = self.norm(y.reshape(-1, y.shape[2] * y.shape[3])).view_as(y)
        return F.relu(y + _by_frame(self.skip, x))


class Time(nn.Module):
    """Temporal shift, pointwise convolution and temporal shift with a stride."""

    def __init__(self, channels: int, stride: int, spread: float) -> None:
        super().__init__()
        self.norm_in = nn.BatchNorm2d(channels)
        self.shift_in = TemporalShift(channels, 1, spread)
        self.mix = pointwise(channels, channels, bias=True)
        self.shift_out = TemporalShift(channels, stride, spread)
        self.norm_out = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (R, T, V, C) to (R, T / stride, V, C)."""
        y = self.shift_in(_by_frame(self.norm_in, x))
        y = self.shift_out(F.relu(_by_frame(self.mix, y)))
        return _by_frame(self.norm_out, y)


class Unit(nn.Module):
    """``Space``, then ``Time``, with a residual around both in every unit but the first."""

    def __init__(
        self, joints: int, c_in: int, c_out: int, stride: int, spread: float, first: bool
    ) -> None:
        super().__init__()
        self.space = Space(joints, c_in, c_out)
        self.time = Time(c_out, stride, spread)
        self.skip: nn.Module | None = None if first else nn.Identity()
        if not first and (c_in != c_out or stride != 1):
            self.skip = nn.Sequential(pointwise(c_in, c_out, stride), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """x: (R, T, V, C) to (R, T / stride, V, C')."""
        y = self.time(self.space(x))
        return F.relu(y if self.skip is None else y + _by_frame(self.skip, x))


def _by_frame(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer for (R, C, T, V) applied to (R, T, V, C): the channels-last layout, no copy."""
    y: Tensor = layer(x.permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1)


class Network(_recipe.Network):
    """The units and the classifier.

    Args:
        params: widths, strides, streams, spread.
        joints: V.
        classes: S.
    """

    undecayed = ("mask",)

    def __init__(self, params: Params, joints: int, classes: int) -> None:
        super().__init__(params)
        c_in = 3 * len(params.streams)
        self.norm = nn.BatchNorm1d(joints * c_in)
        widths = (c_in, *params.channels)
        self.units = nn.ModuleList(
            Unit(joints, widths[i], widths[i + 1], stride, params.spread, first=i == 0)
            for i, stride in enumerate(params.strides)
        )
        self.head = nn.Linear(widths[-1], classes)

    def maps(self, x: Tensor) -> Tensor:
        """x: (R, T, V, C) to the last unit's (R, T', V, C')."""
        r, t, v, c = x.shape
        x = self.norm(x.reshape(r * t, v * c)).view(r, t, v, c)
        for unit in self.units:
            x = unit(x)
        return x


# --------------------------------------------------------------------------- the encoder


class ShiftGCN(_recipe.Encoder):
    """``contracts.SkeletonEncoder``."""

    def build(self, layout: Layout, classes: int) -> Network:
        return Network(self.params, len(layout.joints), classes)

    def rebuild(self, state: Mapping[str, Tensor]) -> Network:
        joints = len(state["norm.weight"]) // (3 * len(self.params.streams))
        return Network(self.params, joints, len(state["head.weight"]))
