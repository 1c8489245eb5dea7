"""Preprocessing that the baselines share, so that a table compares methods and not scalings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.views import TextBank


def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread (C,) of x (N, C).

    The spread is kept above 1 % of the channels' mean spread: a channel that hardly moved in
    training would otherwise be blown up by the first unseen class that moves it.
    """
    spread = x.std(0, correction=0)
    floor = float(0.01 * spread.mean())
    return x.mean(0), spread.clamp_min(floor if floor > 0 else 1.0)


def joined(texts: TextBank) -> Tensor:
    """The text fields of K classes, each of unit length, joined by channel: (K, D) float64."""
    return torch.cat([normalize(t.pooled.double(), dim=1) for t in texts.fields.values()], dim=1)
