"""ST-GCN: spatial temporal graph convolutions over a skeleton.

Yan, Xiong & Lin, "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action
Recognition", AAAI 2018. Kept: the spatial-configuration partition of a joint's neighbours
into itself, the joint towards the root (centripetal) and the joints away from it
(centrifugal); the normalising term Z, i.e. the mean over each subset; learnable edge
importance; batch normalisation of the input per joint and channel; residual units of graph
convolution and temporal convolution; global average pooling and a linear classifier.

Different, and why:

* Skeletons are centred, scaled and turned to face the camera first, because a few hundred
  clips of four performers do not teach a network to ignore place, size and camera.
* Clips are resampled to a fixed number of frames instead of padded by repetition: cheaper,
  and a clip's features cannot depend on the clips beside it.
* Velocities and bones join the joints as input channels: one network, not an ensemble of
  streams.
* Four units instead of nine, each halving time: the default trains in well under a
  minute on two cores. ``paper`` has the original's nine units and widths.
* AdamW with a cosine schedule and label smoothing instead of SGD with steps; dropout acts
  on the pooled feature only.
* Several bodies are encoded one by one in the first body's frame and averaged over those
  present, so that an absent second body does not water down the feature.

How the ``laptop`` values were found: seven settings, one seed, both halves of UTD-MHAD's 22/5,
judged by the seen classes of the other half's performers (84.9 to 93.6 %). No clip of an unseen
class took part, but clips of the test performers did: their seen-class accuracy is a little
optimistic.

Shapes: N clips, C channels, T frames, V joints, B bodies, S classes, K = 3 subsets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Generator, Tensor, nn

from zsar_bench.params import Params as BaseParams
from zsar_bench.params import runtime, science
from zsar_bench.views import Clips, EncoderTrain, Features, Layout

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext

PARTS = ("head", "arms", "torso", "legs")  #: order in which ``Features.part`` counts
PHASES = 3  #: thirds of the clip


class Params(BaseParams):
    """What can be changed about the encoder; the defaults are the ``laptop`` network."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "laptop": {},
        "paper": {
            "channels": (64, 64, 64, 128, 128, 128, 256, 256, 256),
            "strides": (1, 1, 1, 2, 1, 1, 2, 1, 1),
            "kernel": 9,
            "frames": 108,
            "epochs": 80,
            "batch": 64,
        },
    }

    channels: tuple[int, ...] = science(
        (32, 64, 128, 256), "width of each unit; the last is the width of the features"
    )
    strides: tuple[int, ...] = science((2, 2, 2, 2), "temporal stride of each unit")
    kernel: int = science(5, "frames a temporal convolution spans (odd)", ge=1)
    frames: int = science(48, "frames each clip is resampled to", ge=3)
    streams: tuple[str, ...] = science(
        ("joint", "velocity", "bone"), "input channels, any of joint, velocity, bone"
    )
    dropout: float = science(0.3, "dropout on the pooled feature", ge=0, lt=1)

    epochs: int = science(20, "passes over the training clips", ge=1)
    batch: int = science(16, "clips a training step", ge=2)
    lr: float = science(3e-3, "highest learning rate of AdamW", gt=0)
    warmup: float = science(0.1, "share of the steps in which the rate rises linearly", ge=0, lt=1)
    weight_decay: float = science(0.05, "weight decay of AdamW, on weights only", ge=0)
    smoothing: float = science(0.1, "label smoothing", ge=0, lt=1)
    amp: bool = science(True, "bfloat16 mixed precision in training (on CUDA only)")

    rotate: float = science(
        30.0, "augmentation: turn about the vertical, up to so many degrees", ge=0, le=180
    )
    scale: float = science(0.1, "augmentation: size, up to this share", ge=0, lt=1)
    crop: float = science(0.8, "augmentation: shortest part of the clip kept", gt=0, le=1)
    jitter: float = science(
        0.04, "augmentation: std of a shift of each joint, in mean bone lengths", ge=0
    )

    encode_batch: int = runtime(256, "clips encoded at once", ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        if not self.channels or len(self.channels) != len(self.strides):
            raise ValueError(
                f"strides needs one value a unit: {len(self.channels)} channels, "
                f"{len(self.strides)} strides"
            )
        if min(self.channels) < 1 or min(self.strides) < 1:
            raise ValueError("channels and strides must be positive")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")
        left = self.frames
        for stride in self.strides:
            left = -(-left // stride)
        if left < PHASES:
            raise ValueError(f"frames and strides leave {left} frames, fewer than {PHASES}")
        wrong = set(self.streams) - {"joint", "velocity", "bone"}
        if wrong or not self.streams or len(set(self.streams)) != len(self.streams):
            raise ValueError("streams takes joint, velocity and bone, each once")
        return self


# ----------------------------------------------------------------------------- the graph


def spatial_partition(layout: Layout) -> Tensor:
    """(K, V, V) normalised adjacency: ``[k, v, w]`` weighs joint w in the sum for joint v.

    The spatial configuration of the paper with the root as centre of gravity: k = 0 the joint
    itself, 1 its neighbour nearer the root, 2 its neighbours further away. Rows are divided
    by the size of the subset (Z in the paper's sum over neighbours).
    """
    joints = len(layout.parents)
    graph = torch.zeros(3, joints, joints)
    graph[0] = torch.eye(joints)
    for joint, parent in enumerate(layout.parents):
        if joint != parent:
            graph[1, joint, parent] = 1
            graph[2, parent, joint] = 1
    return graph / graph.sum(dim=2, keepdim=True).clamp(min=1)


# ----------------------------------------------------------------- from clips to the input


def resample(data: Tensor, lengths: Tensor, frames: int, window: Tensor | None = None) -> Tensor:
    """Linear interpolation of every clip, within its own length, at evenly spaced times.

    Args:
        data: (N, C, T, V, B).
        lengths: (N,) valid frames.
        frames: how many to make.
        window: (N, 2) first and last time as a share of the clip in [0, 1]; None: all of it.

    Returns:
        (N, C, frames, V, B).
    """
    last = (lengths - 1).clamp(min=0).to(data.dtype)[:, None]  # (N, 1)
    share = torch.linspace(0, 1, frames, device=data.device, dtype=data.dtype)[None]
    if window is not None:
        share = window[:, :1] + share * (window[:, 1:] - window[:, :1])
    time = share * last  # (N, frames)
    left = time.floor().clamp(max=data.shape[2] - 1)
    weight = (time - left)[:, None, :, None, None]
    left = left.long()
    right = torch.minimum(left + 1, last.long())
    rows = torch.arange(len(data), device=data.device)[:, None]
    by_time = data.movedim(2, 1)  # (N, T, C, V, B)
    before = by_time[rows, left].movedim(1, 2)  # (N, C, frames, V, B)
    after = by_time[rows, right].movedim(1, 2)
    return before + weight * (after - before)


def body_frame(clips: Clips) -> tuple[Tensor, Tensor, Tensor]:
    """Where each clip's first body stands, how big it is and where it faces.

    The first body is the first one that is there at all. Place is its root in its first
    frame; size is the mean length of its bones; facing is the mean over its frames of the
    axis from right to left hip, made horizontal.

    Returns:
        origin (N, 3), size (N,), turn (N, 3, 3) such that ``turn @ (x - origin) / size``
        is upright, faces the camera and has bones of length 1 on average.
    """
    data, layout = clips.data, clips.layout
    body = (data != 0).any(dim=(1, 2, 3)).to(torch.int8).argmax(dim=1)  # (N,)
    rows = torch.arange(len(data), device=data.device)
    first = data[rows, ..., body]  # (N, 3, T, V)
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


def prepare(
    clips: Clips, params: Params, augment: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """The network's input.

    Args:
        clips: raw clips.
        params: frames, streams and the sizes of the augmentations.
        augment: source of random turns, sizes, crops and joint shifts; None: none of them.

    Returns:
        x (N, B, T, V, C), the streams side by side in C; present (N, B) bool.
    """
    data, layout = clips.data, clips.layout
    there = (data != 0).any(dim=3).any(dim=1)  # (N, T, B)
    present = there.any(dim=1)
    origin, size, turn = body_frame(clips)
    window = None
    if augment is not None:
        noise = torch.rand(len(data), 4, generator=augment, device=data.device)
        angle = (2 * noise[:, 0] - 1) * math.radians(params.rotate)
        turn = _turn(angle.cos(), angle.sin(), layout) @ turn
        size = size * (1 + (2 * noise[:, 1] - 1) * params.scale)
        share = params.crop + (1 - params.crop) * noise[:, 2]
        begin = (1 - share) * noise[:, 3]
        window = torch.stack([begin, begin + share], dim=1)

    # Before interpolation, so that an absent body stays at zero rather than at -origin.
    x = (data - origin[:, :, None, None, None]) * there[:, None, :, None, :]
    x = resample(x, clips.lengths, params.frames, window)
    x = torch.einsum("nij,njtvb->nbtvi", turn / size[:, None, None], x)  # (N, B, T, V, 3)
    if augment is not None and params.jitter:
        shape = (len(x), 1, 1, x.shape[3], 3)
        shift = torch.randn(shape, generator=augment, device=x.device) * params.jitter
        x = x + shift * present[:, :, None, None, None]

    streams = {"joint": x}
    if "velocity" in params.streams:
        streams["velocity"] = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 0, 0, 1))
    if "bone" in params.streams:
        streams["bone"] = x - x[:, :, :, torch.tensor(layout.parents, device=x.device)]
    return torch.cat([streams[s] for s in params.streams], dim=-1), present


# --------------------------------------------------------------------------- the network


class Unit(nn.Module):
    """Spatial graph convolution, then temporal convolution, with a residual connection.

    Joints and channels are the last two axes: the sum over neighbours is then one batched
    matrix product, the mixing of channels one plain product, and the temporal convolution
    sees the channels-last memory layout without a copy.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, graph: Tensor) -> None:
        super().__init__()
        self.importance = nn.Parameter(torch.ones_like(graph))  # (K, V, V), M in the paper
        self.mix = nn.Linear(len(graph) * c_in, c_out, bias=False)
        self.norm_space = nn.BatchNorm2d(c_out)
        self.time = nn.Conv2d(
            c_out, c_out, (kernel, 1), (stride, 1), padding=(kernel // 2, 0), bias=False
        )
        self.norm_time = nn.BatchNorm2d(c_out)
        self.skip: nn.Module = nn.Identity()
        if c_in != c_out or stride != 1:
            conv = nn.Conv2d(c_in, c_out, 1, (stride, 1), bias=False)
            self.skip = nn.Sequential(conv, nn.BatchNorm2d(c_out))

    def graph_convolution(self, x: Tensor, graph: Tensor) -> Tensor:
        """sum_k (A_k * M_k) x W_k for x (N, T, V, C): (N, T, V, C')."""
        n, t, v, c = x.shape
        weights = (graph * self.importance).transpose(0, 1).reshape(1, -1, v)  # (1, V*K, V)
        near = torch.bmm(weights.expand(n * t, -1, -1), x.reshape(n * t, v, c))  # (NT, V*K, C)
        mixed: Tensor = self.mix(near.view(n, t, v, len(graph) * c))
        return mixed

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """x: (N, T, V, C) to (N, T/stride, V, C')."""
        y = self.graph_convolution(x, graph).permute(0, 3, 1, 2)  # (N, C', T, V), channels last
        y = self.time(F.relu(self.norm_space(y)))
        y = self.norm_time(y) + self.skip(x.permute(0, 3, 1, 2))
        return F.relu(y).permute(0, 2, 3, 1)


class Network(nn.Module):
    """The units, the pooling and the classifier; called with ``Clips`` it gives ``Features``.

    Args:
        params: widths, strides, kernel, streams.
        graph: (K, V, V) of ``spatial_partition``.
        classes: S.
    """

    graph: Tensor

    def __init__(self, params: Params, graph: Tensor, classes: int) -> None:
        super().__init__()
        self.params = params
        self.register_buffer("graph", graph)
        c_in = 3 * len(params.streams)
        self.norm = nn.BatchNorm1d(graph.shape[1] * c_in)
        widths = (c_in, *params.channels)
        self.units = nn.ModuleList(
            Unit(widths[i], widths[i + 1], params.kernel, stride, graph)
            for i, stride in enumerate(params.strides)
        )
        self.head = nn.Linear(widths[-1], classes)

    def maps(self, x: Tensor) -> Tensor:
        """x: (N, T, V, C) to the last unit's (N, T', V, C')."""
        n, t, v, c = x.shape
        x = self.norm(x.reshape(n * t, v * c)).view(n, t, v, c)
        for unit in self.units:
            x = unit(x, self.graph)
        return x

    def bodies(self, x: Tensor, present: Tensor) -> Tensor:
        """(N, B, T, V, C) and (N, B) to the mean over present bodies (N, T', V, C')."""
        n, b = present.shape
        if b == 1:
            return self.maps(x[:, 0])
        y = self.maps(x.flatten(0, 1))
        y = y.view(n, b, *y.shape[1:])
        share = present / present.sum(dim=1, keepdim=True).clamp(min=1)
        return (y * share[:, :, None, None, None]).sum(dim=1)

    def forward(self, clips: Clips) -> Features:
        """Features of the clips, with gradients; see ``views.Features``."""
        y = self.bodies(*prepare(clips, self.params)).float()  # (N, T', V, C)
        pooled = y.mean(dim=(1, 2))
        n, _, v, c = y.shape
        thirds = F.adaptive_avg_pool2d(y.permute(0, 3, 2, 1), (v, PHASES))  # (N, C, V, 3)
        joint = torch.arange(v, device=y.device)
        part = torch.tensor([PARTS.index(p) for p in clips.layout.parts], device=y.device)
        return Features(
            pooled=pooled,
            tokens=thirds.permute(0, 2, 3, 1).reshape(n, v * PHASES, c),
            logits=self.head(pooled),
            joint=joint.repeat_interleave(PHASES),
            part=part.repeat_interleave(PHASES),
            phase=torch.arange(PHASES, device=y.device).repeat(v),
        )


# --------------------------------------------------------------------------- the encoder


class STGCN:
    """``contracts.SkeletonEncoder``."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._network: Network | None = None

    def module(self) -> Network:
        if self._network is None:
            raise RuntimeError("ST-GCN has no weights yet: call fit or load_state_dict first")
        return self._network

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in self.module().state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Rebuild the network: joints and classes are read off the tensors."""
        network = Network(self.params, state["graph"].clone(), len(state["head.weight"]))
        network.load_state_dict(dict(state))
        self._network = network.eval()

    @torch.no_grad()
    def encode(self, clips: Clips) -> Features:
        network = self.module().to(clips.data.device).eval()
        chunks = [
            network(_slice(clips, start, self.params.encode_batch))
            for start in range(0, max(1, len(clips)), self.params.encode_batch)
        ]

        def join(name: str) -> Tensor:
            return torch.cat([getattr(chunk, name) for chunk in chunks])

        first = chunks[0]
        return Features(
            pooled=join("pooled"),
            tokens=join("tokens"),
            logits=join("logits"),
            joint=first.joint,
            part=first.part,
            phase=first.phase,
        )

    def fit(self, train: EncoderTrain, run: FitContext) -> None:
        p, clips = self.params, train.clips
        network = Network(p, spatial_partition(clips.layout), train.classes).to(run.device)
        self._network = network
        optimizer = _optimizer(network, p)
        batch = min(p.batch, len(train))
        per_epoch = len(train) // batch
        total = p.epochs * per_epoch
        mixed = p.amp and run.device.type == "cuda"

        start = 0
        if run.resume is not None:
            start = run.resume[0] // per_epoch
            _restore(network, optimizer, run.generator, run.resume[1])
        network.train()
        for epoch in range(start, p.epochs):
            order = torch.randperm(len(train), generator=run.generator, device=run.device)
            for i in range(per_epoch):
                step = epoch * per_epoch + i
                rows = order[i * batch : (i + 1) * batch]
                # Not Clips.rows: cutting to the longest clip would wait for the device.
                some = Clips(clips.data[rows], clips.lengths[rows], clips.layout)
                for group in optimizer.param_groups:
                    group["lr"] = p.lr * _schedule(step, total, p.warmup)
                x, present = prepare(some, p, run.generator)
                with torch.autocast(run.device.type, torch.bfloat16, enabled=mixed):
                    pooled = network.bodies(x, present).mean(dim=(1, 2))
                    pooled = _dropout(pooled, p.dropout, run.generator)
                    logits = network.head(pooled)
                loss = F.cross_entropy(
                    logits.float(), train.labels[rows], label_smoothing=p.smoothing
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                run.progress(step + 1, total, loss=loss.detach())
            run.checkpoint(
                (epoch + 1) * per_epoch, lambda: _snapshot(network, optimizer, run.generator)
            )
        network.eval()


def _slice(clips: Clips, start: int, count: int) -> Clips:
    stop = start + count
    return Clips(clips.data[start:stop], clips.lengths[start:stop], clips.layout)


def _schedule(step: int, total: int, warmup: float) -> float:
    """Share of the highest learning rate: a linear rise, then half a cosine."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def _dropout(x: Tensor, rate: float, generator: Generator) -> Tensor:
    """Dropout from the run's own generator, which a checkpoint can hold."""
    if not rate:
        return x
    keep = torch.rand(x.shape, generator=generator, device=x.device) >= rate
    return x * keep / (1 - rate)


def _optimizer(network: Network, p: Params) -> torch.optim.AdamW:
    """AdamW; norms, biases and edge weights are not pulled towards zero."""
    decay = [w for n, w in network.named_parameters() if w.ndim > 1 and "importance" not in n]
    chosen = {id(w) for w in decay}
    rest = [w for w in network.parameters() if id(w) not in chosen]
    groups: list[dict[str, Any]] = [{"params": decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=p.lr, weight_decay=p.weight_decay, fused=True)


def _snapshot(
    network: Network, optimizer: torch.optim.AdamW, generator: Generator
) -> dict[str, Tensor]:
    """Everything a killed fit needs to go on, as flat tensors."""
    state = {f"network/{name}": value for name, value in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        state |= {f"adam/{index}/{name}": value for name, value in slots.items()}
    return state | {"generator": generator.get_state()}


def _restore(
    network: Network,
    optimizer: torch.optim.AdamW,
    generator: Generator,
    state: Mapping[str, Tensor],
) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    weights = {}
    for key, value in state.items():
        kind, _, rest = key.partition("/")
        if kind == "network":
            weights[rest] = value
        elif kind == "adam":
            index, _, name = rest.partition("/")
            slots.setdefault(int(index), {})[name] = value.clone()
    network.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    generator.set_state(state["generator"].cpu())
