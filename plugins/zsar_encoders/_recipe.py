"""How the skeleton encoders here are trained and asked, whatever their units compute.

One recipe for all of them, so that a difference between two encoders is a difference between
their networks: AdamW, a linear rise of the rate and half a cosine, label smoothing, dropout on
the pooled feature, and the augmentations of ``_input``. Every draw after the first weights
comes from the run's own generator, and a checkpoint holds all there is: a killed training goes
on to the same bytes. No step waits for the device.

An encoder's own file has its network (a ``Network`` that defines ``maps``), its parameters (a
``Params``) and an ``Encoder`` that says how the network is built.

Shapes: N clips, T frames, V joints, C channels, S classes, R rows (bodies that are there).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Generator, Tensor, nn

from zsar_bench.params import runtime, science
from zsar_bench.views import Clips, EncoderTrain, Features, Layout
from zsar_encoders._input import InputParams, Skeletons, all_rows, batches, prepare

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext

PARTS = ("head", "arms", "torso", "legs")  #: order in which ``Features.part`` counts
PHASES = 3  #: thirds of the clip


class Params(InputParams):
    """What can be changed about any of the encoders."""

    channels: tuple[int, ...] = science(
        (32, 64, 128, 256), "width of each unit; the last is the width of the features"
    )
    strides: tuple[int, ...] = science((2, 2, 2, 2), "temporal stride of each unit")
    dropout: float = science(0.3, "dropout on the pooled feature", ge=0, lt=1)

    epochs: int = science(20, "passes over the training clips", ge=1)
    max_steps: int = science(
        600, "training ends after so many steps whatever epochs says; 0: no limit", ge=0
    )
    batch: int = science(16, "clips a training step", ge=2)
    lr: float = science(3e-3, "highest learning rate of AdamW", gt=0)
    warmup: float = science(0.1, "share of the steps in which the rate rises linearly", ge=0, lt=1)
    weight_decay: float = science(0.05, "weight decay of AdamW, on weights only", ge=0)
    smoothing: float = science(0.1, "label smoothing", ge=0, lt=1)
    amp: bool = science(True, "bfloat16 mixed precision in training (on CUDA only)")

    # More at once is slower on a CPU: the intermediate results leave the cache.
    encode_batch: int = runtime(64, "clips encoded at once", ge=1)

    @model_validator(mode="after")
    def _consistent_units(self) -> Self:
        if not self.channels or len(self.channels) != len(self.strides):
            raise ValueError(
                f"strides needs one value a unit: {len(self.channels)} channels, "
                f"{len(self.strides)} strides"
            )
        if min(self.channels) < 1 or min(self.strides) < 1:
            raise ValueError("channels and strides must be positive")
        left = self.frames
        for stride in self.strides:
            left = -(-left // stride)
        if left < PHASES:
            raise ValueError(f"frames and strides leave {left} frames, fewer than {PHASES}")
        return self

    def steps(self, clips: int) -> tuple[int, int]:
        """Training steps of one epoch over so many clips, and of the whole training."""
        per_epoch = clips // min(self.batch, clips)
        total = self.epochs * per_epoch
        return per_epoch, min(total, self.max_steps) if self.max_steps else total


# ------------------------------------------------------------------------------- the network


class Network(nn.Module):
    """A network over single bodies; called with ``Clips`` it gives ``Features``, with gradients.

    Whoever derives from it sets ``head``, defines ``maps`` and names in ``undecayed`` the
    weights that weight decay must leave alone, norms and biases aside.
    """

    undecayed: ClassVar[tuple[str, ...]] = ()
    head: nn.Linear  #: from pooled features to the S classes

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.params = params

    def maps(self, x: Tensor) -> Tensor:
        """x: (R, T, V, C) to the last unit's (R, T', V, C')."""
        raise NotImplementedError

    def forward(self, clips: Clips) -> Features:
        """Features of the clips; see ``views.Features``."""
        skeletons = Skeletons.of(clips)
        rows = all_rows(skeletons.present)
        y = self.maps(prepare(skeletons, rows, self.params)).float()
        y = rows.average(y)  # (N, T', V, C)
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


# ------------------------------------------------------------------------------- the encoder


class Encoder:
    """``contracts.SkeletonEncoder`` around a network that a derived class knows to build."""

    def __init__(self, params: Any) -> None:
        self.params = params
        self._network: Network | None = None

    def build(self, layout: Layout, classes: int) -> Network:
        """A new network for these joints and so many classes."""
        raise NotImplementedError

    def rebuild(self, state: Mapping[str, Tensor]) -> Network:
        """A network of the shape of this state."""
        raise NotImplementedError

    def module(self) -> Network:
        if self._network is None:
            raise RuntimeError("no weights yet: call fit or load_state_dict first")
        return self._network

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in self.module().state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        network = self.rebuild(state)
        network.load_state_dict(dict(state))
        self._network = network.eval()

    @torch.no_grad()
    def encode(self, clips: Clips) -> Features:
        network, size = self.module().to(clips.data.device).eval(), self.params.encode_batch
        chunks = []
        for start in range(0, max(1, len(clips)), size):
            some = slice(start, start + size)
            chunks.append(network(Clips(clips.data[some], clips.lengths[some], clips.layout)))

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
        p: Params = self.params
        network = self.build(train.clips.layout, train.classes).to(run.device)
        self._network = network
        optimizer = _optimizer(network, p)
        batch = min(p.batch, len(train))
        per_epoch, total = p.steps(len(train))
        mixed = p.amp and run.device.type == "cuda"
        skeletons = Skeletons.of(train.clips)
        present = skeletons.present.cpu()

        step = 0
        if run.resume is not None:
            step = run.resume[0]
            _restore(network, optimizer, run.generator, run.resume[1])
        network.train()
        while step < total:
            order = torch.randperm(len(train), generator=run.generator, device=run.device)
            for rows in batches(present, order, batch)[: total - step]:
                for group in optimizer.param_groups:
                    group["lr"] = p.lr * _schedule(step, total, p.warmup)
                x = prepare(skeletons, rows, p, run.generator)
                with torch.autocast(run.device.type, torch.bfloat16, enabled=mixed):
                    pooled = rows.average(network.maps(x).mean(dim=(1, 2)))
                    pooled = _dropout(pooled, p.dropout, run.generator)
                    logits = network.head(pooled)
                loss = F.cross_entropy(
                    logits.float(), train.labels[rows.index], label_smoothing=p.smoothing
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                step += 1
                run.progress(step, total, loss=loss.detach())
            if step % per_epoch == 0:  # not in the middle of an order, which nobody would know
                run.checkpoint(step, lambda: _snapshot(network, optimizer, run.generator))
        network.eval()


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
    """AdamW; norms, biases and what the network names are not pulled towards zero."""
    decay: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, weight in network.named_parameters():
        spared = weight.ndim < 2 or name.rpartition(".")[2] in network.undecayed
        (rest if spared else decay).append(weight)
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
