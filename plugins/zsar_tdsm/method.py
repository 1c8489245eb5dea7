"""TDSM: triplet diffusion for skeleton-text matching.

Do and Kim, "Bridging the Skeleton-Text Modality Gap: Diffusion-Powered Modality Alignment for
Zero-shot Skeleton-based Action Recognition", ICCV 2025, arXiv 2411.10745. Written from the
equations; where paper and official code (KAIST-VICLab/TDSM, commit 7469361b) disagree, the
defaults below, which are the ``paper`` profile, follow the code that made the numbers.

A transformer learns to tell the noise in a noised skeleton feature, given a class text. The
true text should let it do so better than another class's text by a margin; a clip of an unseen
class goes to the candidate under which the noise is told best.

Where we differ from the official code, and why:

- The referee chooses the checkpoint. The official code keeps the epoch with the best accuracy
  on the unseen test set.
- ``steps`` is exact; theirs runs on to the end of the epoch. A training set smaller than the
  batch is one batch (theirs would train on nothing).
- Every draw (weights, order, negatives, steps, noises) comes from the one generator of the fit,
  on its device; theirs takes the negatives from Python's generator. This needs no copy between
  host and device, and an interrupted fit continues to the same bytes.
- Keys and values are all the last block computes of its text stream: nothing reads the rest.
- ``normalize``, ``normalize_text`` and ``mask_padding`` are ours; off by default.
- Mixed precision is on by default, on CUDA only, and in training only: scores are differences
  of small errors and are always computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Generator, Tensor

from zsar_bench import params
from zsar_bench.contracts import FitContext
from zsar_bench.params import runtime, science
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank
from zsar_tdsm.diffusion import Prediction, Schedule
from zsar_tdsm.dit import Condition, JointDiT, TextTokens

# --------------------------------------------------------------------------------------
# Parameters


class Params(params.Params):
    """Every choice of the method; the defaults are the published setting."""

    profiles = {  # noqa: RUF012 - a ClassVar of the base
        "paper": {},
        "laptop": {
            "width": 128,
            "depth": 2,
            "heads": 4,
            "mlp_ratio": 2.0,
            "local_tokens": 16,
            "normalize": "standardize",
            "normalize_text": "unit-variance",
            "lr": 1e-3,
            "warmup": 30,
            "steps": 350,
            "batch": 64,
            "score_batch": 256,
        },
    }

    # network
    width: int = science(768, "channels of the transformer", ge=2)
    depth: int = science(12, "joint-attention blocks", ge=1)
    heads: int = science(12, "attention heads; must divide the width", ge=1)
    mlp_ratio: float = science(4.0, "hidden width of the MLPs over the width", gt=0)
    time_channels: int = science(256, "channels of the sin/cos step embedding", ge=2, multiple_of=2)
    position_embedding: bool = science(False, "learn one for the skeleton token (paper, not code)")

    # text and features
    text_tokens: TextTokens = science("both", "read the pooled text, its tokens, or both")
    local_tokens: int = science(35, "text tokens kept; shorter texts are zero-padded", ge=1)
    mask_padding: bool = science(False, "hide padding from the attention (official code: shown)")
    normalize: Literal["none", "standardize"] = science(
        "none", "features as they come, or by mean and deviation of the seen training clips"
    )
    normalize_text: Literal["none", "unit-variance"] = science(
        "none", "texts as they come, or each vector and token to mean 0 and variance 1"
    )

    # diffusion
    timesteps: int = science(50, "length T of the chain", ge=1)
    beta_start: float = science(0.00085, "first beta", gt=0, lt=1)
    beta_end: float = science(0.012, "last beta", gt=0, lt=1)
    prediction: Prediction = science("epsilon", "what the network predicts: noise, feature or v")

    # loss
    loss: Literal["both", "diffusion", "triplet"] = science("both", "terms of the loss")
    margin: float = science(1.0, "tau: gap asked for between wrong and true text", ge=0)
    triplet_weight: float = science(1.0, "lambda: weight of the triplet term", ge=0)
    negatives: Literal["with-replacement", "distinct"] = science(
        "with-replacement",
        "negative class from all seen classes, collisions masked (code), or another class (paper)",
    )
    training_noise: Literal["fresh", "fixed"] = science(
        "fresh", "new noise for every sample and step, or one noise for the whole fit (ablation)"
    )

    # optimisation
    lr: float = science(1e-4, "peak learning rate of AdamW", gt=0)
    weight_decay: float = science(0.01, "weight decay of AdamW", ge=0)
    warmup: int = science(100, "steps of linear warm-up before the cosine", ge=0)
    steps: int = science(50_000, "optimiser steps", ge=1)
    batch: int = science(256, "clips a step; each is denoised under two texts", ge=1)
    amp: bool = science(True, "train in bfloat16 autocast on CUDA; no effect elsewhere")

    # scoring
    t_test: int = science(25, "step at which clips are noised for scoring", ge=0)
    test_noises: int = science(3, "fixed noises whose errors are summed", ge=1)
    score_batch: int = runtime(1024, "rows (clip, noise, class) scored at once", ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        if self.t_test >= self.timesteps:
            raise ValueError(f"t_test ({self.t_test}) must be below timesteps ({self.timesteps})")
        return self


# --------------------------------------------------------------------------------------
# Inputs


Texts = tuple[Tensor, Tensor, Tensor | None]  #: z_g (K, Dg), z_l (K, L, Dl), mask (K, L)


def class_texts(bank: TextBank, p: Params) -> Texts:
    """The class texts as the network reads them, the bank's fields joined by channel.

    Returns:
        z_g (K, Dg), z_l (K, L, Dl) and, if padding is hidden, mask (K, L): True where any of the
        joined texts has a token. L is ``p.local_tokens``; longer texts are cut.
    """

    def fit_length(x: Tensor) -> Tensor:  # (K, l, ...) -> (K, L, ...)
        missing = max(p.local_tokens - x.shape[1], 0)
        return F.pad(x[:, : p.local_tokens], (0, 0) * (x.ndim - 2) + (0, missing))

    def scaled(x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:]) if p.normalize_text == "unit-variance" else x

    fields = list(bank.fields.values())
    z_g = torch.cat([scaled(f.pooled) for f in fields], dim=-1)
    z_l = torch.cat([fit_length(scaled(f.tokens)) for f in fields], dim=-1)
    if not p.mask_padding:
        return z_g, z_l, None
    return z_g, z_l, torch.stack([fit_length(f.mask) for f in fields]).any(dim=0)


# --------------------------------------------------------------------------------------
# Loss


def denoising_error(target: Tensor, answer: Tensor) -> Tensor:
    """d: mean squared error over the channels, (..., C) -> (...)."""
    return (target - answer.float()).square().mean(dim=-1)


def triplet_loss(d_pos: Tensor, d_neg: Tensor, differs: Tensor, margin: float) -> Tensor:
    """mean_i m_i max(0, d+_i - d-_i + tau); masked samples stay in the mean.

    Args:
        d_pos, d_neg: (B,) errors under the true text and under the negative.
        differs: (B,) bool m, False where the negative is the true class.
        margin: tau.
    """
    return (differs * (d_pos - d_neg + margin).clamp(min=0)).mean()


def draw_negatives(positive: Tensor, classes: int, p: Params, g: Generator) -> Tensor:
    """A negative class in [0, classes) for each positive one (B,)."""
    if p.negatives == "with-replacement":
        return torch.randint(classes, positive.shape, generator=g, device=positive.device)
    others = max(classes - 1, 1)  # a single class can only collide with itself
    step = torch.randint(others, positive.shape, generator=g, device=positive.device)
    return (positive + 1 + step) % classes


def learning_rate(step: int, p: Params) -> float:
    """Linear warm-up to ``lr``, then half a cosine down to zero at ``steps``."""
    if step < p.warmup:
        return p.lr * (step + 1) / p.warmup
    done = (step - p.warmup) / max(p.steps - p.warmup, 1)
    return p.lr * 0.5 * (1 + math.cos(math.pi * done))


# --------------------------------------------------------------------------------------
# The method


class TDSM:
    """The method as ``zsar_bench.contracts.Method`` asks for it."""

    _network: JointDiT
    _noises: Tensor  #: (test_noises, C), shared by all clips and classes
    _mean: Tensor  #: (C,) taken off the features
    _deviation: Tensor  #: (C,) the features are divided by
    _schedule: Schedule
    _candidates: tuple[Tensor | None, Condition, Tensor | None]  #: f_l, modulations, mask

    def __init__(self, params: Params) -> None:
        self.params = params

    def _build(self, channels: int, global_channels: int, local_channels: int) -> JointDiT:
        p = self.params
        return JointDiT(
            channels=channels,
            global_channels=global_channels,
            local_channels=local_channels,
            width=p.width,
            depth=p.depth,
            heads=p.heads,
            mlp_ratio=p.mlp_ratio,
            time_channels=p.time_channels,
            local_tokens=p.local_tokens,
            text_tokens=p.text_tokens,
            position_embedding=p.position_embedding,
        )

    def _use(self, where: torch.device) -> None:
        """Put the network and its companions on a device."""
        p = self.params
        self._network.to(where)
        self._noises, self._mean = self._noises.to(where), self._mean.to(where)
        self._deviation = self._deviation.to(where)
        self._schedule = Schedule.scaled_linear(p.timesteps, p.beta_start, p.beta_end, where)

    # -- training

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Train on the seen clips; continues at the last checkpoint of an interrupted fit."""
        p, g, device = self.params, run.generator, run.device
        pooled, labels = train.inputs.pooled.float(), train.labels
        texts = class_texts(run.texts, p)
        clips, channels = pooled.shape
        batch = min(p.batch, clips)
        batches = clips // batch  # the incomplete last batch of an epoch is dropped

        if run.resume is None:
            first, saved = 0, dict[str, Tensor]()
            self._start(pooled, texts, g)
            fixed_noise = torch.randn(1, channels, generator=g, device=device)
            order = torch.arange(clips, device=device)
        else:
            first, saved = run.resume
            self.load_state_dict(_under("model.", saved))
            fixed_noise, order = saved["fixed_noise"].to(device), saved["order"].to(device)
            g.set_state(saved["generator"].cpu())
        self._use(device)
        optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=p.lr, weight_decay=p.weight_decay, fused=True
        )
        if saved:
            _restore_optimiser(optimiser, _under("optimiser.", saved))

        def state() -> dict[str, Tensor]:
            return {
                **{f"model.{k}": v for k, v in self.state_dict().items()},
                **{f"optimiser.{k}": v for k, v in _optimiser_tensors(optimiser).items()},
                "fixed_noise": fixed_noise,
                "order": order,
                "generator": g.get_state(),
            }

        x = (pooled - self._mean) / self._deviation
        autocast = torch.autocast(device.type, torch.bfloat16, p.amp and device.type == "cuda")
        # Nothing in this loop may wait for the device: no .item(), no branch on a tensor.
        for step in range(first, p.steps):
            if step % batches == 0:
                order = torch.randperm(clips, generator=g, device=device)
            rows = order[step % batches * batch :][:batch]
            if p.training_noise == "fresh":
                eps = torch.randn(batch, channels, generator=g, device=device)
            else:
                eps = fixed_noise
            with autocast:
                losses = self._losses(x[rows], labels[rows], eps, texts, g)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, p)
            optimiser.zero_grad(set_to_none=True)
            losses["loss"].backward()
            optimiser.step()
            run.progress(step + 1, p.steps, **{k: v.detach() for k, v in losses.items()})
            run.checkpoint(step + 1, state)

    def _start(self, pooled: Tensor, texts: Texts, g: Generator) -> None:
        """Draw test noises and weights, and measure the features' scaling."""
        p, (z_g, z_l, _) = self.params, texts
        channels = pooled.shape[1]
        self._mean, self._deviation = pooled.new_zeros(channels), pooled.new_ones(channels)
        if p.normalize == "standardize":
            self._mean = pooled.mean(dim=0)
            self._deviation = pooled.std(dim=0, correction=0).clamp(min=1e-6)
        self._noises = torch.randn(p.test_noises, channels, generator=g, device=pooled.device)
        self._network = self._build(channels, z_g.shape[-1], z_l.shape[-1]).to(pooled.device)
        self._network.initialise(g)

    def _losses(
        self, x: Tensor, positive: Tensor, eps: Tensor, texts: Texts, g: Generator
    ) -> dict[str, Tensor]:
        """Both terms and the loss of clean features x (B, C) with classes ``positive`` (B,)."""
        p, (z_g, z_l, mask) = self.params, texts
        negative = draw_negatives(positive, len(z_g), p, g)
        t = torch.randint(p.timesteps, positive.shape, generator=g, device=x.device)
        pair = torch.stack([positive, negative])  # (2, B)
        c, f_l = self._network.embed_texts(z_g, z_l)  # of all S classes, then gathered
        answer = self._network(
            self._schedule.add_noise(x, eps, t),  # (B, C)
            None if f_l is None else f_l[pair],  # (2, B, L, D)
            self._network.condition(t, c[pair]),
            None if mask is None else mask[pair],
        )  # (2, B, C)
        d_pos, d_neg = denoising_error(self._schedule.target(x, eps, t, p.prediction), answer)
        diffusion = d_pos.mean()
        triplet = triplet_loss(d_pos, d_neg, positive != negative, p.margin)
        loss = {
            "both": diffusion + p.triplet_weight * triplet,
            "diffusion": diffusion,
            "triplet": p.triplet_weight * triplet,
        }[p.loss]
        return {"loss": loss, "diffusion": diffusion, "triplet": triplet}

    # -- scoring

    @torch.no_grad()
    def bind(self, candidates: TextBank) -> None:
        """Compute all that depends on the candidate classes and the test step, once."""
        z_g, z_l, mask = class_texts(candidates, self.params)
        self._use(z_g.device)
        c, f_l = self._network.embed_texts(z_g, z_l)
        t = torch.tensor(self.params.t_test, device=z_g.device)
        self._candidates = f_l, self._network.condition(t, c), mask

    @torch.no_grad()
    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K): minus the sum over the test noises of the mean squared denoising error."""
        p = self.params
        f_l, condition, mask = self._candidates
        classes, noises = condition.final.shape[0], len(self._noises)
        x = (inputs.pooled.float() - self._mean) / self._deviation
        x = x.repeat_interleave(noises, dim=0)  # (N * noises, C), a clip's noises side by side
        eps = self._noises.repeat(len(inputs), 1)
        t = torch.full((len(x),), p.t_test, device=x.device)
        x_t = self._schedule.add_noise(x, eps, t)
        target = self._schedule.target(x, eps, t, p.prediction)
        errors = x.new_empty(len(x), classes)
        chunk = max(p.score_batch // classes, 1)
        for at in range(0, len(x), chunk):
            rows = slice(at, at + chunk)
            answer = self._network(x_t[rows, None], f_l, condition, mask)  # (n, K, C)
            errors[rows] = denoising_error(target[rows, None], answer)
        return -errors.view(len(inputs), noises, classes).sum(dim=1)

    # -- state

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, test noises and the scaling of the features."""
        weights = self._network.state_dict()
        return {
            **{f"network.{name}": tensor for name, tensor in weights.items()},
            "noises": self._noises,
            "mean": self._mean,
            "deviation": self._deviation,
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Rebuild the network; sizes follow from the parameters and the tensors' shapes."""
        weights = _under("network.", state)
        reads_global = weights.get("global_in.0.weight")
        reads_local = weights.get("local_in.weight")
        network = self._build(
            channels=state["noises"].shape[1],
            global_channels=0 if reads_global is None else reads_global.shape[1],
            local_channels=0 if reads_local is None else reads_local.shape[1],
        )
        network.load_state_dict(weights)
        self._network = network
        self._noises, self._mean = state["noises"], state["mean"]
        self._deviation = state["deviation"]
        self._use(self._noises.device)


# --------------------------------------------------------------------------------------
# Resume


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state by parameter number and name, e.g. ``3.exp_avg``."""
    states: dict[int, dict[str, Any]] = optimiser.state_dict()["state"]
    return {f"{i}.{name}": v for i, state in states.items() for name, v in state.items()}


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The opposite of ``_optimiser_tensors``."""
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        states.setdefault(int(number), {})[name] = tensor.clone()  # it is updated in place
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": states, "param_groups": groups})
