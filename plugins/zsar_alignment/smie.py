"""SMIE: a score network that estimates the mutual information of clips and class texts.

Y. Zhou, W. Qiang, A. Rao, N. Lin, B. Su, J. Wang, "Zero-shot Skeleton-based Action Recognition
via Mutual Information Estimation and Maximization", ACM MM 2023. A network g tells pairs of a
clip's feature x_i and its text s_i from pairs with the next clip of the batch (Jensen-Shannon):

    I      =  mean_i -softplus(-g(x_i, s_i))  -  mean_i softplus(g(x_{i+1}, s_i))

A clip without its most telling frames, encoded again to x'_i, should say less of its class, by
at least beta; its negatives are those of the whole clips:

    I'     =  mean_i -softplus(-g(x'_i, s_i))  -  mean_i softplus(g(x_{i+1}, s_i))
    L      =  -I  +  w max(0, beta - (I - I'))

The frames that go are those of largest motion, |p_t - p_{t-1}|^2 + |p_{t+1} - p_t|^2, and then
others at random, at the same places in all clips of a batch. Class c scores g(x, s_c).

``smie`` has the temporal term, wants raw clips and the frozen encoder. ``smie-features`` has it
not, and needs no more than features: so the authors ran it on SynSE's splits, whose features are
released without an encoder. ``smie --set temporal=false`` computes the same as ``smie-features``.

Where we differ from the authors' code (YujieOuO/SMIE), and why:

- The authors' clips all have 50 frames, of which 15 go by motion and 15 at random. Here clips
  have their own lengths, so the same *shares* of these go (``mask_motion``, ``mask_random``),
  rounded, with one frame left at least. The encoders here spread what is left evenly over their
  input; the authors' saw 20 frames.
- ``layer_norm``: the authors normalise features in training and not at test, so that scores
  depend on a scale that training never met. The default does so; ``both`` is consistent.
- ``masked_copies``: the default masks and encodes every batch anew, as published. On a laptop a
  few masked copies of all clips are encoded once, and each step takes one.
- The last, incomplete batch of an epoch is dropped, for it would be shifted against itself.
- Epochs are all trained and the referee chooses a checkpoint: not the best on test after the
  15th. Accuracy is per clip, not a mean of batches'.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsar_alignment import _training
from zsar_alignment._features import channel_statistics, joined
from zsar_bench import params as zp
from zsar_bench.params import between, runtime, science
from zsar_bench.views import Clips

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext, SkeletonEncoder, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------

LAPTOP: dict[str, Any] = {
    "hidden": 256,
    "hidden_2": 128,
    "normalize": "standardize",
    "layer_norm": "both",
    "lr": 1e-3,
    "batch": 64,
    "epochs": 100,
    "warmup": 10,
}


class FeatureParams(zp.Params):
    """Score network and schedule of SMIE. Defaults: the authors'."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "laptop": LAPTOP}

    hidden: int = science(1024, "channels of the score network's first hidden layer", ge=1)
    hidden_2: int = science(512, "channels of its second hidden layer", ge=1)
    normalize: Literal["none", "standardize"] = science(
        "none", "features: as they come, or each channel to mean 0 and variance 1"
    )
    layer_norm: Literal["train", "both", "none"] = science(
        "train", "when each clip's feature gets mean 0 and variance 1 over its channels"
    )
    lr: float = science(1e-5, "peak learning rate of Adam", search=between(1e-5, 3e-3), gt=0)
    batch: int = science(128, "clips a step", ge=1)
    epochs: int = science(100, "times that every clip is met", search=between(10, 100), ge=1)
    warmup: int = science(15, "epochs of linear warm-up from 0, before half a cosine", ge=0)
    score_batch: int = runtime(8192, "pairs of clip and candidate scored at once", ge=1)


class Params(FeatureParams):
    """All of SMIE."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "laptop": LAPTOP | {"masked_copies": 3},
    }

    temporal: bool = science(True, "whether masked clips must say less of their class")
    temporal_weight: float = science(
        0.5, "w: weight of the temporal term", search=between(0.05, 2.0), ge=0
    )
    margin: float = science(
        0.1, "beta: how much less masked clips must say", search=between(0.02, 1.0), ge=0
    )
    mask_motion: float = science(0.3, "share of frames that go, of largest motion", ge=0, lt=1)
    mask_random: float = science(0.3, "share of frames that go then, at random", ge=0, lt=1)
    masked_copies: int = science(
        0, "masked copies of each clip, encoded once; 0: masked and encoded anew every step", ge=0
    )


# --- Network and loss ------------------------------------------------------------------------


class ScoreNetwork(nn.Module):
    """g: three layers with ReLU over a feature and a text.

    Args:
        channels: C of a feature.
        text_channels: D of a text.
        hidden, hidden_2: of the layers between.
    """

    def __init__(self, channels: int, text_channels: int, hidden: int, hidden_2: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels + text_channels, hidden)
        self.second = nn.Linear(hidden, hidden_2)
        self.last = nn.Linear(hidden_2, 1)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """g of x (..., C) and s (..., D), which broadcast: (...)."""
        on_x, on_s = self.first.weight.split([x.shape[-1], s.shape[-1]], dim=1)
        y = F.linear(x, on_x, self.first.bias) + F.linear(s, on_s)  # of [x; s], not laid out
        y = self.second(y.relu()).relu()
        score: Tensor = self.last(y).squeeze(-1)
        return score


def information(matching: Tensor, shifted: Tensor) -> Tensor:
    """I from scores (B,) of pairs that belong together and of pairs that do not."""
    return -F.softplus(-matching).mean() - F.softplus(shifted).mean()


def learning_rate(epoch: int, p: FeatureParams) -> float:
    """Linear from 0 over ``warmup`` epochs, then half a cosine down to 0 at ``epochs``."""
    if epoch < p.warmup:
        return p.lr * epoch / p.warmup
    share = (epoch - p.warmup) / max(p.epochs - p.warmup, 1)
    return p.lr * 0.5 * (1 + math.cos(math.pi * share))


# --- Masks -----------------------------------------------------------------------------------


def motion(clips: Clips) -> Tensor:
    """(N, T) squared distances to the frames before and after, summed over joints and bodies."""
    x, places = clips.data, torch.arange(clips.data.shape[2], device=clips.data.device)
    steps = (x[:, :, 1:] - x[:, :, :-1]).square().sum(dim=(1, 3, 4))  # (N, T-1)
    steps = steps * (places[1:] < clips.lengths[:, None])  # a clip's end is no motion
    return F.pad(steps, (0, 1)) + F.pad(steps, (1, 0))


def mask(clips: Clips, by_motion: float, at_random: float, keys: Tensor) -> Clips:
    """Clips without some of their frames.

    Args:
        clips: N clips of up to T frames.
        by_motion: share of a clip's frames that go because they move most.
        at_random: share of its frames that go from the rest.
        keys: (T,) random numbers, the same for all clips: of a clip's remaining frames, those
            at the places of the largest keys go.
    """
    x, lengths = clips.data, clips.lengths
    there = torch.arange(x.shape[2], device=x.device) < lengths[:, None]  # (N, T)

    def without(kept: Tensor, weight: Tensor, share: float) -> Tensor:
        """Drop this share of a clip's frames, the heaviest first; one frame stays."""
        count = (share * lengths + 0.5).floor().long().minimum(kept.sum(dim=1) - 1)
        weight = weight.masked_fill(~kept, -torch.inf)
        rank = weight.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return kept & (rank >= count[:, None])

    kept = without(there, motion(clips), by_motion)
    place = kept.cumsum(dim=1).sub(1).clamp(min=0)
    kept = without(kept, keys[place], at_random)
    order = (~kept).to(torch.int8).argsort(dim=1, stable=True)  # kept frames first, as they were
    left = kept.sum(dim=1)
    order = order[:, : int(left.max())]
    moved = x.take_along_dim(order[:, None, :, None, None], dim=2)
    alive = kept.take_along_dim(order, dim=1)
    return Clips(moved * alive[:, None, :, None, None], left, clips.layout)


# --- The method ------------------------------------------------------------------------------


class SMIE:
    """SMIE as a method of the harness (``zsar_bench.contracts.Method``)."""

    _network: ScoreNetwork
    _mean: Tensor  #: (C,) taken off the features
    _spread: Tensor  #: (C,) that they are divided by
    _texts: Tensor  #: (K, D) of the candidates

    def __init__(self, params: FeatureParams) -> None:
        self.params = params
        self._masks = params if isinstance(params, Params) and params.temporal else None

    def prepare(self, pooled: Tensor, *, train: bool = False) -> Tensor:
        """Features (N, C) as the network sees them."""
        x = (pooled.float() - self._mean) / self._spread
        normed = self.params.layer_norm == "both" or (train and self.params.layer_norm == "train")
        return F.layer_norm(x, x.shape[-1:]) if normed else x

    # -- training

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Train g on the seen clips; continues at the last checkpoint of an interrupted fit."""
        p, pooled, labels = self.params, train.inputs.pooled.float(), train.labels
        texts = joined(run.texts).float()
        clips, channels = pooled.shape
        self._mean, self._spread = pooled.new_zeros(channels), pooled.new_ones(channels)
        if p.normalize == "standardize":
            self._mean, self._spread = channel_statistics(pooled)
        self._network = self._build(channels, texts.shape[1]).to(run.device)
        adam = torch.optim.Adam(self._network.parameters(), lr=p.lr)
        x = self.prepare(pooled, train=True)
        masked = _Masked(self._masks, train.inputs.clips, run) if self._masks else None
        batches = max(clips // min(p.batch, clips), 1)

        def update(step: int, rows: Tensor) -> dict[str, Tensor]:
            _training.set_rate(adam, learning_rate(step // batches, p))
            own, s = x[rows], texts[labels[rows]]
            shifted = self._network(own.roll(-1, dims=0), s)
            whole = information(self._network(own, s), shifted)
            loss, shown = -whole, {"information": whole}
            if masked is not None:
                less = self.prepare(masked.features(rows), train=True)
                drop = whole - information(self._network(less, s), shifted)
                loss = loss + masked.p.temporal_weight * (masked.p.margin - drop).clamp(min=0)
                shown["drop"] = drop
            _training.descend(adam, loss)
            return {"loss": loss, **shown}

        steps = p.epochs * batches
        _training.train(run, self._network, [adam], update, clips=clips, batch=p.batch, steps=steps)

    def _build(self, channels: int, text_channels: int) -> ScoreNetwork:
        return ScoreNetwork(channels, text_channels, self.params.hidden, self.params.hidden_2)

    # -- scoring

    def bind(self, candidates: TextBank) -> None:
        """Keep the candidates' texts."""
        self._texts = joined(candidates).float()

    @torch.no_grad()
    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K): g of every clip and candidate."""
        size = max(self.params.score_batch // len(self._texts), 1)
        parts = self.prepare(inputs.pooled).split(size)
        return torch.cat([self._network(x[:, None], self._texts) for x in parts])

    # -- state

    def state_dict(self) -> State:
        """Weights and channel statistics."""
        weights = {f"network.{k}": v for k, v in self._network.state_dict().items()}
        return {**weights, "mean": self._mean, "spread": self._spread}

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's state; sizes follow from the tensors' shapes."""
        self._mean, self._spread = state["mean"], state["spread"]
        channels = len(self._mean)
        network = self._build(channels, state["network.first.weight"].shape[1] - channels)
        network.load_state_dict(
            {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
        )
        self._network = network.to(self._mean.device).eval()


class _Masked:
    """Features of masked training clips, encoded anew or a few times in advance.

    Args:
        p: how clips are masked.
        clips: N training clips.
        run: of the fit, with the frozen encoder.
    """

    CHUNK = 128  #: clips masked at once

    def __init__(self, p: Params, clips: Clips | None, run: FitContext) -> None:
        assert clips is not None  # this method wants clips
        assert run.encoder is not None  # and needs the encoder
        self.p, self._clips, self._run = p, clips, run
        self._encoder: SkeletonEncoder = run.encoder
        everything = torch.arange(len(clips), device=run.device).split(self.CHUNK)
        # A copy's keys are the same in all its chunks, as in a batch.
        self._copies = [
            torch.cat([self._encode(rows, keys) for rows in everything])
            for keys in (self._keys() for _ in range(p.masked_copies))
        ]

    def _keys(self) -> Tensor:
        frames, run = self._clips.data.shape[2], self._run
        return torch.rand(frames, generator=run.generator, device=run.device)

    @torch.no_grad()
    def _encode(self, rows: Tensor, keys: Tensor) -> Tensor:
        some = mask(self._clips.rows(rows), self.p.mask_motion, self.p.mask_random, keys)
        return self._encoder.encode(some).pooled.float()

    def features(self, rows: Tensor) -> Tensor:
        """(B, C) of the clips at ``rows``, masked alike."""
        if not self._copies:
            return self._encode(rows, self._keys())
        # Drawn on the host: nothing in a training loop waits for the device.
        return self._copies[int(torch.randint(len(self._copies), ()))][rows]
