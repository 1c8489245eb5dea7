"""ESZSL: a bilinear map between skeleton features and class texts, in closed form.

B. Romera-Paredes, P. H. S. Torr, "An embarrassingly simple approach to zero-shot learning",
ICML 2015. With clips X (N, C) as rows, class texts S (K, D) as rows and targets Y (N, K), the
map V (C, D) minimises

    ||X V S^T - Y||^2 + gamma ||V S^T||^2 + lambda ||X V||^2 + gamma lambda ||V||^2

(all norms Frobenius), whose only stationary point is

    V = (X^T X + gamma I)^-1  X^T Y S  (S^T S + lambda I)^-1.

A clip x and a class with text s score x V s^T.

Where we differ from the paper, and why:

- The paper tunes gamma and lambda over powers of ten on held-out classes. Here they are 1 in
  units of the mean eigenvalue of X^T X and of S^T S (over as many eigenvalues as can differ
  from zero), so that one default means the same for any encoder, text tower and number of
  clips. They were set before any unseen class was scored: hp = untuned.
- The paper takes features and attributes as they come. Here features are standardised with
  the seen training clips' statistics and brought to unit length, and every text field is
  brought to unit length before the fields are joined by channel, so that neither a loud
  channel nor a long field decides.
- ``S (S^T S + lambda I)^-1`` is computed as ``(S S^T + lambda I)^-1 S``: the same matrix, from
  a system of K equations instead of D.

Everything is float64; nothing is random, so the seed has no part in the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn.functional import normalize, one_hot

from zsar_alignment._features import channel_statistics, joined
from zsar_bench import params as zp

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """Regularisers, targets and preprocessing of ESZSL."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "laptop": {}}

    gamma: float = zp.science(
        1.0, "regulariser on the feature side, in mean eigenvalues of X^T X", gt=0
    )
    lambda_: float = zp.science(
        1.0, "regulariser on the text side, in mean eigenvalues of S^T S", gt=0
    )
    negative: float = zp.science(
        -1.0, "target of the classes a clip is not of: -1 as in the paper, 0 for indicators", le=0
    )
    standardise: bool = zp.science(
        True, "standardise feature channels with the seen training clips' mean and spread"
    )
    unit_length: bool = zp.science(True, "bring every clip's feature vector to unit length")


# --- The closed form -------------------------------------------------------------------------


def solve(x: Tensor, y: Tensor, s: Tensor, gamma: float, lam: float) -> Tensor:
    """The minimiser V (C, D) of the objective above; gamma and lam are absolute.

    Args:
        x: (N, C) float64 features.
        y: (N, K) float64 targets.
        s: (K, D) float64 texts.
        gamma: weight of the feature-side regulariser, positive.
        lam: weight of the text-side regulariser, positive.
    """
    features = x.T @ x + gamma * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    texts = s @ s.T + lam * torch.eye(s.shape[0], dtype=s.dtype, device=s.device)
    left: Tensor = torch.linalg.solve(features, x.T @ y)  # (C, K)
    right: Tensor = torch.linalg.solve(texts, s)  # (K, D)
    return left @ right


def mean_eigenvalue(rows: Tensor) -> float:
    """Mean of the eigenvalues of rows^T rows that can differ from zero; 1 if all are zero."""
    mean = float(rows.square().sum()) / min(rows.shape)
    return mean or 1.0


# --- The method ------------------------------------------------------------------------------


class ESZSL:
    """ESZSL as a method of the harness (``zsar_bench.contracts.Method``)."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.state: dict[str, Tensor] = {}

    def prepare(self, pooled: Tensor) -> Tensor:
        """Features (N, C) as the map sees them, float64."""
        x = (pooled.double() - self.state["mean"]) / self.state["spread"]
        return normalize(x, dim=1) if self.params.unit_length else x

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Solve for V on the seen clips and the seen texts."""
        raw = train.inputs.pooled.double()  # (N, C)
        mean, spread = channel_statistics(raw)
        if not self.params.standardise:
            mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
        self.state = {"mean": mean, "spread": spread}

        x, s = self.prepare(raw), joined(run.texts)  # (N, C), (K, D)
        own = one_hot(train.labels, len(s)).to(x.dtype)  # (N, K)
        y = own + (1 - own) * self.params.negative
        gamma = self.params.gamma * mean_eigenvalue(x)
        lam = self.params.lambda_ * mean_eigenvalue(s)
        self.state["V"] = solve(x, y, s, gamma, lam)
        run.progress(1, 1)

    def bind(self, candidates: TextBank) -> None:
        """Turn every candidate's text into a linear classifier of features, V s^T."""
        self.classifiers = self.state["V"] @ joined(candidates).T  # (C, K)

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) scores x V s^T."""
        return (self.prepare(inputs.pooled) @ self.classifiers).float()

    def state_dict(self) -> State:
        """Channel statistics ``mean`` and ``spread`` (C,) and the map ``V`` (C, D), float64."""
        return self.state

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's state."""
        self.state = dict(state)
