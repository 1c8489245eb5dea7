"""CTR-GCN: graph convolutions whose topology is refined for every channel and every clip.

Chen, Zhang, Yuan, Li, Deng & Hu, "Channel-wise Topology Refinement Graph Convolution for
Skeleton-Based Action Recognition", ICCV 2021; the network that STAR and Neuron read their
features from. Kept: in each of three subsets of a joint's neighbours, a learnable topology A
(V, V) that all channels share, refined for every channel c by what the joints of this clip have
to do with each other,

    R_c(i, j) = A(i, j) + alpha * xi_c(tanh(phi(x_i) - psi(x_j))),

with x_i the mean of joint i over time, phi and psi linear maps to few channels, xi a linear map
to all of them, and alpha a learnable number that starts at zero. Joint i gets, summed over the
subsets, sum_j R_c(i, j) (x_j W)_c; A starts as the skeleton's graph. Then the temporal module of
four branches, each a pointwise convolution to a quarter of the channels, followed by
convolutions of dilation 1 and 2, a maximum over three frames, and nothing. Residuals around the
graph convolution and around the unit (not the first); batch normalisation of the input per joint
and channel; global average pooling and a linear classifier.

Different, and why:

* Input and training are those of ``st-gcn`` and ``shift-gcn`` (see ``_input`` and ``_recipe``):
  skeletons are centred, scaled and turned, clips resampled, bodies that are absent left out,
  AdamW with half a cosine instead of SGD with steps. A difference between two encoders is thus
  one between their networks.
* The subsets are those of ``st-gcn`` (itself, towards the root, away from it), with the root of
  the data set's joint layout as the centre; rows of the first topology sum to one.
* The paper adds up the scores of four networks, one for each of joints, bones and the motion of
  both. Here the streams are input channels of one network; ``paper`` reads the joints alone.
* Batch normalisation behind the graph convolution starts at 1. Theirs starts near zero, so that
  deep stacks begin as their residuals; our rise of the learning rate serves the same end.
* Four units instead of ten for ``laptop``, with the widths of the other encoders' ``laptop`` and
  16 epochs instead of their 20, because a step takes twice as long. ``paper`` has the original's
  ten units, widths, 64 frames, 65 epochs and batch.

The ``laptop`` values were set by time alone, not tuned: no accuracy was looked at.

Shapes: R bodies, C channels, C' channels of the unit, D reduced channels, T frames, V joints,
K = 3 subsets, S classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from zsar_bench.params import science
from zsar_bench.views import Layout
from zsar_encoders import _recipe
from zsar_encoders.st_gcn import spatial_partition

FEWEST = 8  #: reduced channels, however few the input has: the joints' three would leave none
PLAIN = 2  #: branches without a temporal convolution: the maximum, and the pointwise one


class Params(_recipe.Params):
    """What can be changed about the encoder; the defaults are the ``laptop`` network."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "laptop": {},
        "paper": {
            "channels": (64, 64, 64, 64, 128, 128, 128, 256, 256, 256),
            "strides": (1, 1, 1, 1, 2, 1, 1, 2, 1, 1),
            "frames": 64,
            "streams": ("joint",),
            "epochs": 65,
            "max_steps": 0,
            "batch": 64,
        },
    }

    epochs: int = science(16, "passes over the training clips", ge=1)
    reduction: int = science(
        8, f"joints are compared in so many times fewer channels, at least {FEWEST}", ge=1
    )
    kernel: int = science(5, "frames a temporal convolution reads (odd)", ge=1)
    dilations: tuple[int, ...] = science(
        (1, 2), "gaps between the frames a temporal convolution reads, one branch each"
    )

    @model_validator(mode="after")
    def _branches_fit(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")
        if any(dilation < 1 for dilation in self.dilations):
            raise ValueError("dilations must be positive")
        branches = len(self.dilations) + PLAIN
        if any(width % branches for width in self.channels):
            raise ValueError(f"{branches} branches in time: channels must be multiples of that")
        return self


# --------------------------------------------------------------------------------- space


class Space(nn.Module):
    """The refined graph convolutions (CTR-GC) of all subsets, summed, with a residual.

    Args:
        graph: (K, V, V) what the topologies A start from.
        c_in: C.
        c_out: C'.
        reduced: D.
    """

    def __init__(self, graph: Tensor, c_in: int, c_out: int, reduced: int) -> None:
        super().__init__()
        k = len(graph)
        self.topology = nn.Parameter(graph.clone())  # A
        self.alpha = nn.Parameter(torch.zeros(()))
        self.phi = nn.Linear(c_in, k * reduced)
        self.psi = nn.Linear(c_in, k * reduced)
        self.xi = nn.ModuleList(nn.Linear(reduced, c_out) for _ in graph)
        self.values = nn.Conv2d(c_in, k * c_out, 1)  # W
        self.norm = nn.BatchNorm2d(c_out)
        self.skip: nn.Module = nn.Identity()
        if c_in != c_out:
            self.skip = nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))

    def refined(self, x: Tensor) -> Tensor:
        """R: (R, K, C', V, V), how much of joint j (last axis) goes into joint i (the other)."""
        k, v, _ = self.topology.shape
        mean = x.mean(dim=2).transpose(1, 2)  # (R, V, C)
        phi, psi = self.phi(mean).transpose(1, 2), self.psi(mean).transpose(1, 2)  # (R, K D, V)
        apart = (phi[..., None] - psi[..., None, :]).tanh().flatten(2)
        apart = apart.unflatten(1, (k, phi.shape[1] // k))  # (R, K, D, V V)
        # alpha times the small weights is alpha times the large result.
        weight = self.alpha * torch.stack([xi.weight for xi in self.xi])  # (K, C', D)
        bias = self.alpha * torch.stack([xi.bias for xi in self.xi])  # (K, C')
        start = self.topology.flatten(1)[:, None] + bias[..., None]  # (K, C', V V)
        return (start + weight @ apart).unflatten(-1, (v, v))

    def graph_convolution(self, x: Tensor) -> Tensor:
        """x: (R, C, T, V) to (R, C', T, V)."""
        k, c_out = len(self.topology), self.norm.num_features
        values = self.values(x).unflatten(1, (k, c_out))  # (R, K, C', T, V)
        moved: Tensor = (values @ self.refined(x).transpose(-1, -2)).sum(dim=1)
        return moved

    def forward(self, x: Tensor) -> Tensor:
        """x: (R, C, T, V) to (R, C', T, V)."""
        return F.relu(self.norm(self.graph_convolution(x)) + self.skip(x))


# ---------------------------------------------------------------------------------- time


class Time(nn.Module):
    """Branches that look at several time scales, side by side in the channels."""

    def __init__(self, channels: int, stride: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        width = channels // (len(dilations) + PLAIN)

        def reduce(step: int = 1) -> list[nn.Module]:
            point = nn.Conv2d(channels, width, 1, (step, 1), bias=False)
            return [point, nn.BatchNorm2d(width)]

        def over_time(dilation: int) -> nn.Conv2d:
            reach = dilation * (kernel // 2)
            return nn.Conv2d(
                width, width, (kernel, 1), (stride, 1), (reach, 0), (dilation, 1), bias=False
            )

        middles = [*map(over_time, dilations), nn.MaxPool2d((3, 1), (stride, 1), (1, 0))]
        branches = [
            nn.Sequential(*reduce(), nn.ReLU(), middle, nn.BatchNorm2d(width)) for middle in middles
        ]
        self.branches = nn.ModuleList([*branches, nn.Sequential(*reduce(stride))])

    def forward(self, x: Tensor) -> Tensor:
        """x: (R, C, T, V) to (R, C, ceil(T / stride), V)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


# --------------------------------------------------------------------------- the network


class Unit(nn.Module):
    """``Space``, then ``Time``, with a residual around both in every unit but the first."""

    def __init__(
        self, graph: Tensor, c_in: int, c_out: int, stride: int, params: Params, first: bool
    ) -> None:
        super().__init__()
        self.space = Space(graph, c_in, c_out, max(FEWEST, c_in // params.reduction))
        self.time = Time(c_out, stride, params.kernel, params.dilations)
        self.skip: nn.Module | None = None if first else nn.Identity()
        if not first and (c_in != c_out or stride != 1):
            point = nn.Conv2d(c_in, c_out, 1, (stride, 1), bias=False)
            self.skip = nn.Sequential(point, nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """x: (R, C, T, V) to (R, C', T / stride, V)."""
        y = self.time(self.space(x))
        return F.relu(y if self.skip is None else y + self.skip(x))


class Network(_recipe.Network):
    """The units and the classifier.

    Args:
        params: widths, strides, streams, and what ``Params`` adds.
        graph: (K, V, V) topologies that every unit starts from.
        classes: S.
    """

    undecayed = ("topology",)

    def __init__(self, params: Params, graph: Tensor, classes: int) -> None:
        super().__init__(params)
        c_in = 3 * len(params.streams)
        self.norm = nn.BatchNorm1d(graph.shape[1] * c_in)
        widths = (c_in, *params.channels)
        self.units = nn.ModuleList(
            Unit(graph, widths[i], widths[i + 1], stride, params, first=i == 0)
            for i, stride in enumerate(params.strides)
        )
        self.head = nn.Linear(widths[-1], classes)

    def maps(self, x: Tensor) -> Tensor:
        """x: (R, T, V, C) to the last unit's (R, T', V, C')."""
        r, t, v, c = x.shape
        x = self.norm(x.reshape(r * t, v * c)).view(r, t, v, c)
        # A topology a channel is a small matrix product a channel: these want channels first.
        x = x.permute(0, 3, 1, 2).contiguous()
        for unit in self.units:
            x = unit(x)
        return x.permute(0, 2, 3, 1)


# --------------------------------------------------------------------------- the encoder


class CTRGCN(_recipe.Encoder):
    """``contracts.SkeletonEncoder``."""

    def build(self, layout: Layout, classes: int) -> Network:
        return Network(self.params, spatial_partition(layout), classes)

    def rebuild(self, state: Mapping[str, Tensor]) -> Network:
        graph = state["units.0.space.topology"]  # of the right shape; the state fills in the rest
        return Network(self.params, graph, len(state["head.weight"]))
