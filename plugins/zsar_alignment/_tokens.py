"""Skeleton tokens and texts as methods of body parts and phases read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import layer_norm

from zsar_alignment._features import channel_statistics
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from zsar_bench.views import SkeletonInputs, TextBank

PARTS = ("head", "arms", "torso", "legs")  #: in the order of ``Features.part``
PHASES = ("start", "middle", "end")  #: in the order of ``Features.phase``


def groups(inputs: SkeletonInputs, what: str) -> dict[int, Tensor]:
    """Which tokens stand for which joint, part or phase: its number -> their places (m,).

    Tokens that stand for several (-1) are in no group, and what no token stands for has none.

    Args:
        inputs: with tokens.
        what: ``joint``, ``part`` or ``phase``.

    Raises:
        UserError: if no token stands for a single one.
    """
    index: Tensor | None = getattr(inputs, what)
    found = [] if index is None else [int(i) for i in index.unique().tolist() if i >= 0]
    if index is None or inputs.tokens is None or not found:
        raise UserError(
            f"No token of these skeleton features stands for a single {what}.",
            "Choose a skeleton encoder whose tokens do (zsar-bench list skeleton-encoders).",
        )
    return {i: (index == i).nonzero().squeeze(1) for i in found}


def averages(tokens: Tensor, places: dict[int, Tensor]) -> Tensor:
    """Mean token of every group: tokens (N, M, C) -> (N, number of groups, C)."""
    return torch.stack([tokens[:, at].mean(1) for at in places.values()], dim=1)


def token_statistics(tokens: Tensor, normalize: str) -> dict[str, Tensor]:
    """``mean`` and ``spread`` (C,) over clips and tokens (N, M, C); 0 and 1 for ``none``."""
    mean, spread = channel_statistics(tokens.flatten(0, 1).float())
    if normalize == "none":
        mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
    return {"mean": mean, "spread": spread}


def class_text(texts: TextBank, name: str, normalize: str) -> Tensor:
    """A text field's pooled features (K, D), each vector to variance 1 for ``unit-variance``.

    Raises:
        UserError: if the texts do not have that field.
    """
    if name not in texts.fields:
        raise UserError(
            f"The method reads the text field {name!r}; here are {', '.join(texts.fields)}.",
            "Leave out --text-fields, or choose a text set that has it.",
        )
    pooled = texts.fields[name].pooled.float()
    return layer_norm(pooled, pooled.shape[-1:]) if normalize == "unit-variance" else pooled


def stacked(texts: TextBank, names: Sequence[str], normalize: str) -> Tensor:
    """Several text fields of K classes, (K, number of names, D)."""
    return torch.stack([class_text(texts, name, normalize) for name in names], dim=1)
