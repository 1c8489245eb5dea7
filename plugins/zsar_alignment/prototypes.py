"""Prototypes: what an unseen class looks like, guessed from the seen classes it reads like.

The prototype p_s of a seen class is the mean of its clips' features. An unseen class with text
u gets the convex combination

    p_u = sum_s w_us p_s,    w_u = softmax_s( cos(u - m, t_s - m) / temperature ),

over the seen classes' texts t_s, or over the ``top_k`` nearest of them; a clip x scores
cos(x, p_u). Nothing is learned beyond class means.

After M. Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings"
(ConSE, ICLR 2014), turned round: ConSE mixes seen *texts* by a classifier's probabilities for
the clip, this mixes seen *looks* by text similarity, so no classifier is needed and candidates
are prepared once. It reproduces no published number.

Choices, all made before any unseen class was scored (hp = untuned):

- m is the mean of the seen texts (``centre_texts``). Sentence embeddings share one large common
  direction; with it all cosines lie close together and the mixture would be near uniform.
- ``temperature`` 0.1: a tenth more in cosine makes a seen class e times as heavy.
- Features are standardised with the seen training clips' statistics, then of unit length; each
  text field is of unit length before the fields are joined by channel.
- A seen class among the candidates (GZSL) is mixed like any other: its own text is simply its
  nearest. Special treatment would tell seen from unseen by another rule than the scores.

Nothing is random, so the seed has no part in the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn.functional import normalize

from zsar_alignment._features import channel_statistics, joined
from zsar_bench import params as zp

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """How sharply seen classes are mixed, and preprocessing."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "laptop": {}}

    temperature: float = zp.science(
        0.1, "divides text cosines before the softmax; small picks the nearest class", gt=0
    )
    top_k: int = zp.science(0, "how many nearest seen classes are mixed; 0 mixes all", ge=0)
    centre_texts: bool = zp.science(True, "subtract the seen texts' mean before comparing texts")
    standardise: bool = zp.science(
        True, "standardise feature channels with the seen training clips' mean and spread"
    )
    unit_length: bool = zp.science(
        True, "bring every clip's feature vector to unit length before class means are taken"
    )


# --- Class means and mixture -----------------------------------------------------------------


def class_means(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of the rows of x (N, C) by label: (classes, C); zero for a class without rows."""
    sums = x.new_zeros(classes, x.shape[1]).index_add_(0, labels, x)
    return sums / torch.bincount(labels, minlength=classes).clamp_min(1).unsqueeze(1)


def mixture(candidates: Tensor, seen: Tensor, temperature: float, top_k: int) -> Tensor:
    """Weights (K, S) with which each candidate text (K, D) mixes the seen texts (S, D)."""
    logits = normalize(candidates, dim=1) @ normalize(seen, dim=1).T / temperature
    if 0 < top_k < len(seen):
        value, index = logits.topk(top_k, dim=1)
        logits = torch.full_like(logits, -torch.inf).scatter(1, index, value)
    return logits.softmax(dim=1)


# --- The method ------------------------------------------------------------------------------


class Prototypes:
    """Prototypes as a method of the harness (``zsar_bench.contracts.Method``)."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.state: dict[str, Tensor] = {}

    def prepare(self, pooled: Tensor) -> Tensor:
        """Features (N, C) as prototypes see them, float64."""
        x = (pooled.double() - self.state["mean"]) / self.state["spread"]
        return normalize(x, dim=1) if self.params.unit_length else x

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Take class means of the seen clips and remember the seen texts."""
        raw = train.inputs.pooled.double()  # (N, C)
        mean, spread = channel_statistics(raw)
        if not self.params.standardise:
            mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
        self.state = {"mean": mean, "spread": spread}
        self.state["texts"] = joined(run.texts)  # (S, D)
        self.state["means"] = class_means(self.prepare(raw), train.labels, len(run.texts))
        run.progress(1, 1)

    def bind(self, candidates: TextBank) -> None:
        """Mix a prototype for every candidate from the seen class means."""
        seen, texts = self.state["texts"], joined(candidates)
        centre = seen.mean(0) if self.params.centre_texts else torch.zeros_like(seen[0])
        p = self.params
        weights = mixture(texts - centre, seen - centre, p.temperature, p.top_k)  # (K, S)
        self.prototypes = normalize(weights @ self.state["means"], dim=1)  # (K, C)

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) cosines of clips and candidate prototypes."""
        return (normalize(self.prepare(inputs.pooled), dim=1) @ self.prototypes.T).float()

    def state_dict(self) -> State:
        """``mean``, ``spread`` (C,), seen class ``means`` (S, C) and ``texts`` (S, D), float64."""
        return self.state

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's state."""
        self.state = dict(state)
