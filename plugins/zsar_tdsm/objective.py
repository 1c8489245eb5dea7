"""What TDSM minimises: denoising errors, the triplet of them, negatives, and the learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Generator, Tensor

if TYPE_CHECKING:
    from zsar_tdsm.params import Params

Distance = Literal["mse", "l2"]


def denoising_error(target: Tensor, answer: Tensor, distance: Distance = "mse") -> Tensor:
    """d of target and answer (..., C): the mean squared error over the channels, or the L2 norm.

    The norm has no slope where the answer is exact; 0 is taken there, so no gradient is NaN.
    Returns (...).
    """
    if distance == "l2":
        return torch.linalg.vector_norm(target - answer.float(), dim=-1)
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
