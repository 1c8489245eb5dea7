"""SAE: a linear auto-encoder of skeleton features whose code is the class text, in closed form.

E. Kodirov, T. Xiang, S. Gong, "Semantic Autoencoder for Zero-Shot Learning", CVPR 2017. With clips
X (C, N) and their class texts S (D, N) as columns, the encoder W (D, C), whose transpose is the
decoder, minimises

    ||X - W^T S||^2 + lambda ||W X - S||^2        (Frobenius norms).

Its gradient vanishes where the Sylvester equation

    A W + W B = C,    A = S S^T,   B = lambda X X^T,   C = (1 + lambda) S X^T

holds. A and B are symmetric: with A = U diag(a) U^T and B = V diag(b) V^T the solution is

    W = U [ (U^T C V)_ij / (a_i + b_j) ] V^T.

Where a_i + b_j is zero, so is (U^T C V)_ij, because both directions are absent from the data; W
gets a zero there, which is the smallest of the solutions.

A clip goes to the candidate nearest by cosine, either in the text space (W x against s, the
default) or in the feature space (x against W^T s): ``direction``.

Where we differ from the paper, and why:

- The authors' demos (Elyorcv/SAE) set lambda data set by data set: 0.2, 5, 500 000. Here it is in
  units of the mean eigenvalue of S S^T over that of X X^T (over as many as can differ from zero),
  so that A and B weigh alike at 1 for any encoder, text tower and number of clips. It was set
  before any unseen class was scored: hp = untuned.
- Two of those demos standardise codes or distances over all test clips. Here a clip is scored on
  its own. The same two first map features onto the seen labels by ridge regression; ours do not.
- Features are standardised with the seen training clips' statistics and of unit length; every
  text field is of unit length before the fields (motion, description) are joined by channel.
- ``centre_texts`` takes the mean of the seen texts off all texts. Sentence embeddings share one
  large direction, which a map of centred features without a bias could not produce.

Everything is float64; nothing is random, so the seed has no part in the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch.nn.functional import normalize

from zsar_alignment._features import channel_statistics, joined
from zsar_alignment.eszsl import mean_eigenvalue
from zsar_bench import params as zp
from zsar_bench.params import among, between, science

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

ZERO = 1e-12  #: eigenvalues below this share of the largest are rounding

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """Balance, direction and preprocessing of SAE."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "laptop": {}}

    lambda_: float = science(
        1.0,
        "weight of encoding against decoding, in mean eigenvalues of S S^T over those of X X^T",
        between(1e-3, 1e3),
        gt=0,
    )
    direction: Literal["text", "features"] = science(
        "text", "space in which cosines are taken", among("text", "features")
    )
    centre_texts: bool = science(True, "subtract the seen texts' mean from all texts")
    standardise: bool = science(
        True, "standardise feature channels with the seen training clips' mean and spread"
    )
    unit_length: bool = science(True, "bring every clip's feature vector to unit length")


# --- The closed form -------------------------------------------------------------------------


def sylvester(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """W (D, C) with a W + W b = c, for positive semidefinite a (D, D) and b (C, C).

    Directions in which neither a nor b has anything get a zero. float64.
    """
    a_values, u = torch.linalg.eigh(a)
    b_values, v = torch.linalg.eigh(b)
    sums = a_values.unsqueeze(1) + b_values  # (D, C)
    inside = sums > ZERO * sums.abs().max()
    safe = torch.where(inside, sums, torch.ones_like(sums))
    rotated = u.T @ c @ v / safe
    return u @ torch.where(inside, rotated, torch.zeros_like(rotated)) @ v.T


def solve(x: Tensor, s: Tensor, lam: float) -> Tensor:
    """The minimiser W (D, C) of the objective above, for rows x (N, C) and s (N, D)."""
    return sylvester(s.T @ s, lam * (x.T @ x), (1 + lam) * (s.T @ x))


# --- The method ------------------------------------------------------------------------------


class SAE:
    """SAE as a method of the harness (``zsar_bench.contracts.Method``)."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.state: dict[str, Tensor] = {}

    def prepare(self, pooled: Tensor) -> Tensor:
        """Features (N, C) as the encoder sees them, float64."""
        x = (pooled.double() - self.state["mean"]) / self.state["spread"]
        return normalize(x, dim=1) if self.params.unit_length else x

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Solve for W on the seen clips and their texts."""
        raw, texts = train.inputs.pooled.double(), joined(run.texts)
        mean, spread = channel_statistics(raw)
        if not self.params.standardise:
            mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
        # One seen class is its own mean: without it nothing would be left to learn from.
        centred = self.params.centre_texts and len(texts) > 1
        centre = texts.mean(0) if centred else torch.zeros_like(texts[0])
        self.state = {"mean": mean, "spread": spread, "centre": centre}
        x, s = self.prepare(raw), (texts - centre)[train.labels]  # (N, C), (N, D)
        lam = self.params.lambda_ * mean_eigenvalue(s) / mean_eigenvalue(x)
        self.state["W"] = solve(x, s, lam)
        run.progress(1, 1)

    def bind(self, candidates: TextBank) -> None:
        """Bring the candidates' texts to where cosines are taken."""
        texts = joined(candidates) - self.state["centre"]
        if self.params.direction == "features":
            texts = texts @ self.state["W"]  # rows W^T s
        self.targets = normalize(texts, dim=1)

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) cosines."""
        x = self.prepare(inputs.pooled)
        if self.params.direction == "text":
            x = x @ self.state["W"].T  # rows W x
        return (normalize(x, dim=1) @ self.targets.T).float()

    def state_dict(self) -> State:
        """``mean``, ``spread`` (C,), the texts' ``centre`` (D,) and ``W`` (D, C), float64."""
        return self.state

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's state."""
        self.state = dict(state)
