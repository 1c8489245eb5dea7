"""``toy-mean``: joint statistics under a small trained layer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsar_bench.params import Params, runtime, science
from zsar_bench.views import Clips, EncoderTrain, Features

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext, State

PARTS = ("head", "arms", "torso", "legs")
STATISTICS = 7  #: of a joint: deviation and mean by axis (3 + 3), mean speed


class MeanParams(Params):
    """What can be changed about ``toy-mean``."""

    steps: int = science(30, "steps of gradient descent", ge=1)
    hidden: int = science(8, "channels of the trained layer", ge=1)
    batch: int = science(16, "clips a step", ge=1)
    lr: float = science(0.3, "learning rate", gt=0)
    sleep: float = runtime(0.0, "seconds to wait after every step", ge=0)
    encode_sleep: float = runtime(0.0, "seconds that encoding waits", ge=0)


class Mean(nn.Module):
    """Statistics of every joint, standardised, beside a trained layer of them; pooled = mean."""

    def __init__(self, params: MeanParams) -> None:
        super().__init__()
        self.params = params

    def _build(self, joints: int, classes: int) -> None:
        hidden = self.params.hidden
        self.register_buffer("mean", torch.zeros(joints, STATISTICS))
        self.register_buffer("spread", torch.ones(joints, STATISTICS))
        self.weight = nn.Parameter(torch.zeros(joints, STATISTICS, hidden))
        self.head = nn.Parameter(torch.zeros(STATISTICS + hidden, classes))

    def _tokens(self, statistics: Tensor) -> Tensor:
        """(N, V, 7) -> (N, V, 7 + hidden)."""
        z = (statistics - self.mean) / self.spread
        return torch.cat([z, torch.tanh(torch.einsum("nvc,vch->nvh", z, self.weight))], dim=-1)

    def fit(self, train: EncoderTrain, run: FitContext) -> None:
        """Minibatch gradient descent on the cross-entropy; a checkpoint offered every step."""
        p = self.params
        statistics = joint_statistics(train.clips)
        self._build(statistics.shape[1], train.classes)
        self.mean = statistics.mean(dim=0)
        self.spread = statistics.std(dim=0).clamp_min(1e-3)
        for tensor in (self.weight, self.head):
            noise = torch.randn(tensor.shape, generator=run.generator)
            tensor.data.copy_(0.1 * noise)
        start = 0
        if run.resume is not None:
            start, state = run.resume
            self.weight.data.copy_(state["weight"])
            self.head.data.copy_(state["head"])
            run.generator.set_state(state["generator"])
        for step in range(start, p.steps):
            rows = torch.randint(len(train), (p.batch,), generator=run.generator)
            logits = self._tokens(statistics[rows]).mean(dim=1) @ self.head
            loss = F.cross_entropy(logits, train.labels[rows])
            gradients = torch.autograd.grad(loss, [self.weight, self.head])
            for tensor, gradient in zip((self.weight, self.head), gradients, strict=True):
                tensor.data.sub_(p.lr * gradient)
            if p.sleep:
                time.sleep(p.sleep)
            run.checkpoint(
                step + 1,
                lambda: {
                    "weight": self.weight,
                    "head": self.head,
                    "generator": run.generator.get_state(),
                },
            )
            run.progress(step + 1, p.steps, loss=loss.detach())

    @torch.no_grad()
    def encode(self, clips: Clips) -> Features:
        """Features of each clip by itself."""
        time.sleep(self.params.encode_sleep)
        return self(clips)

    def forward(self, clips: Clips) -> Features:
        """The same with gradients."""
        tokens = self._tokens(joint_statistics(clips))
        pooled = tokens.mean(dim=1)
        logits = torch.stack([row @ self.head for row in pooled])
        return Features(
            pooled=pooled,
            tokens=tokens,
            logits=logits,
            joint=torch.arange(tokens.shape[1]),
            part=torch.tensor([PARTS.index(p) for p in clips.layout.parts]),
            phase=torch.full((tokens.shape[1],), -1),
        )

    def module(self) -> nn.Module:
        """The network is the encoder itself."""
        return self

    def load_state_dict(self, state: State, *rest: Any, **named: Any) -> Any:
        """Build the layers to the state's sizes, then fill them."""
        self._build(state["mean"].shape[0], state["head"].shape[1])
        return super().load_state_dict(dict(state), *rest, **named)


def joint_statistics(clips: Clips) -> Tensor:
    """(N, V, 7): each joint's deviation and mean place by axis, and its mean speed.

    Clip by clip and without its padding, so that no clip can depend on its neighbours.
    """
    rows = []
    for data, length in zip(clips.data, clips.lengths.tolist(), strict=True):
        x = data[:, :length, :, 0]  # (3, T, V)
        x = x - x.mean(dim=1, keepdim=True)[:, :, clips.layout.root, None]
        speed = x.diff(dim=1).norm(dim=0).mean(dim=0)  # (V,)
        parts = [x.std(dim=1), x.mean(dim=1), speed[None]]
        rows.append(torch.cat(parts).T)
    return torch.stack(rows)
