"""DeViSE: skeleton features mapped linearly into the text space by a hinge rank loss.

A. Frome et al., "DeViSE: A Deep Visual-Semantic Embedding Model", NeurIPS 2013. A clip x of class
y and the unit-length class texts t_j give, with one matrix M and no bias,

    loss(x, y) = sum over j != y of max(0, margin - t_y . M x + t_j . M x);

an unseen clip goes to the candidate with the largest t . M x. It reproduces no published number
on skeletons: the paper is about images, and no code of its authors is public.

What follows the paper, and where we differ:

- ``negatives = first-violation``, the default, is the paper's short cut: wrong seen classes are
  tried in random order and the sum ends at the first whose hinge is positive. Which one that is
  is uniform among the violating classes, so one is drawn among them directly. ``all`` is the
  whole sum.
- Margin 0.1 is the paper's. Its optimiser was Adagrad, with a learning rate that it does not
  tell; here it is Adam, with values set before any unseen class was scored: hp = untuned.
- The paper goes on to train the visual network through M. Here features are frozen, as they are
  for every method that does not ask for raw clips.
- Texts are of unit length as in the paper, so cosine and dot product rank candidates alike. The
  fields motion and description, each of unit length, are joined by channel first.
- ``normalize = standardize`` scales channels by the seen training clips; the paper does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Generator, nn
from torch.nn.functional import normalize

from zsar_alignment._features import channel_statistics, joined
from zsar_alignment._training import descend, train
from zsar_bench import params as zp
from zsar_bench.params import among, between, science

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """Loss, preprocessing and optimisation of DeViSE."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "laptop": {"normalize": "standardize", "negatives": "all", "epochs": 60, "batch": 64},
    }

    margin: float = science(0.1, "by how much the true text should win", between(0.02, 1.0), gt=0)
    negatives: Literal["first-violation", "all"] = science(
        "first-violation",
        "one wrong class that violates the margin, as in the paper, or the sum over all of them",
        among("first-violation", "all"),
    )
    normalize: Literal["none", "standardize"] = science(
        "none", "features as they come, or by mean and spread of the seen training clips"
    )
    lr: float = science(1e-3, "learning rate of Adam", between(1e-4, 1e-2), gt=0)
    weight_decay: float = science(0.0, "weight decay of Adam", ge=0)
    epochs: int = science(100, "passes over the seen clips", between(20, 200), ge=1)
    batch: int = science(256, "clips a step", ge=1)


# --- Loss ------------------------------------------------------------------------------------


def rank_loss(
    scores: Tensor, labels: Tensor, margin: float, negatives: str, g: Generator
) -> Tensor:
    """The hinge rank loss, averaged over the clips.

    Args:
        scores: (B, S) dot products of mapped clips and seen texts.
        labels: (B,) true classes.
        margin: asked for between the true and any wrong class.
        negatives: ``all`` sums over the wrong classes, ``first-violation`` takes one violator.
        g: draws the order in which wrong classes are tried.
    """
    true = scores.gather(1, labels.unsqueeze(1))
    hinges = (margin - true + scores).clamp(min=0).scatter(1, labels.unsqueeze(1), 0.0)  # (B, S)
    if negatives == "all":
        return hinges.sum(1).mean()
    order = torch.rand(hinges.shape, generator=g, device=hinges.device)
    first = order.masked_fill(hinges <= 0, -1.0).argmax(1, keepdim=True)  # no violator: a zero
    return hinges.gather(1, first).mean()


# --- The method ------------------------------------------------------------------------------


def class_texts(bank: TextBank) -> Tensor:
    """Unit-length texts t (K, D), float32."""
    return normalize(joined(bank), dim=1).float()


class DeViSE:
    """DeViSE as a method of the harness (``zsar_bench.contracts.Method``)."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.scaling: dict[str, Tensor] = {}

    def prepare(self, pooled: Tensor) -> Tensor:
        """Features (N, C) as M sees them."""
        return (pooled - self.scaling["mean"]) / self.scaling["spread"]

    def fit(self, train_set: SeenTrain, run: FitContext) -> None:
        """Train M on the seen clips and the seen texts."""
        p, raw, labels = self.params, train_set.inputs.pooled.float(), train_set.labels
        mean, spread = channel_statistics(raw)
        if p.normalize == "none":
            mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
        self.scaling = {"mean": mean, "spread": spread}
        x, texts = self.prepare(raw), class_texts(run.texts)
        self.map = nn.Linear(x.shape[1], texts.shape[1], bias=False).to(run.device)
        optimiser = torch.optim.Adam(
            self.map.parameters(), lr=p.lr, weight_decay=p.weight_decay, fused=True
        )

        def update(_: int, rows: Tensor) -> dict[str, Tensor]:
            scores = self.map(x[rows]) @ texts.T
            loss = rank_loss(scores, labels[rows], p.margin, p.negatives, run.generator)
            descend(optimiser, loss)
            return {"loss": loss}

        batch = min(p.batch, len(x))
        steps = p.epochs * (len(x) // batch)
        train(run, self.map, [optimiser], update, clips=len(x), batch=batch, steps=steps)

    @torch.no_grad()
    def bind(self, candidates: TextBank) -> None:
        """Turn every candidate's text into a linear classifier of features, M^T t."""
        self.classifiers = class_texts(candidates) @ self.map.weight  # (K, C)

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) scores t . M x."""
        return self.prepare(inputs.pooled.float()) @ self.classifiers.T

    def state_dict(self) -> State:
        """Channel statistics ``mean`` and ``spread`` (C,) and the map ``M`` (D, C)."""
        return {**self.scaling, "M": self.map.weight.detach()}

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's state."""
        self.scaling = {"mean": state["mean"], "spread": state["spread"]}
        width, channels = state["M"].shape
        self.map = nn.Linear(channels, width, bias=False).to(state["M"].device)
        self.map.load_state_dict({"weight": state["M"]})
