"""ConSE: a clip's text is the mixture of seen texts that a classifier of seen classes sees in it.

M. Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings", ICLR 2014.
With p(s | x) a softmax classifier over the seen classes and s_1 .. s_T the T likeliest of them
for the clip x, the clip is put among the texts at

    f(x) = sum_i p(s_i | x) t(s_i) / sum_i p(s_i | x),

and a candidate with text u scores cos(f(x), u).

The classifier is multinomial logistic regression on the skeleton features. With weights W
(S, C + 1), one channel of x constantly 1 for the bias, it minimises

    sum_n -log softmax(W x_n)[y_n]  +  l2 / 2 ||W||^2.

The bias is in the penalty, so the objective is strictly convex and its optimum is one point,
also where a class has no clips or the clips can be told apart without error. It is found by
L-BFGS on all clips in float64, to a gradient whose largest entry is below 1e-7 a clip; a fit
that does not get there fails. Only the optimum is a state, so there is one step.

Where we differ from the paper, and why:

- The paper takes the softmax of a network that it trains on the seen classes. Here the features
  come from such a network, and every method of a table starts at the same features.
- The paper has one word vector a class. Here a class text is every text field at unit length,
  joined by channel, as in the other baselines.
- ``l2`` is not in the paper. 1 is a standard normal prior on every weight. It decides how sure
  the classifier is, hence how far f(x) may lie from the likeliest class's text.
- ``normalize`` and ``centre_texts`` are ours, off in ``paper`` and on in ``laptop``: features
  from other encoders have any scale, and sentence embeddings share one large direction, beside
  which differences between classes hardly move a cosine.
- A seen class among the candidates (GZSL) is a candidate like any other. ConSE then favours the
  seen classes by its nature: their texts are what f(x) is mixed of.

Values were set before any unseen class was scored: hp = untuned. Nothing is random, so the seed
has no part in the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch.nn.functional import cross_entropy, normalize, pad

from zsar_alignment._features import channel_statistics, joined
from zsar_bench import params as zp

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """The classifier's penalty, how many classes are mixed, and preprocessing."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "laptop": {"normalize": "standardize", "centre_texts": True},
    }

    top: int = zp.science(
        10, "T: likeliest seen classes that are mixed", zp.among(1, 2, 5, 10, 1000), ge=1
    )
    l2: float = zp.science(
        1.0, "penalty on squared weights beside the sum over clips", zp.between(0.01, 100.0), gt=0
    )
    normalize: Literal["none", "standardize"] = zp.science(
        "none", "features as they come, or by mean and spread of the seen training clips"
    )
    centre_texts: bool = zp.science(False, "subtract the seen texts' mean before texts are mixed")


# --- The classifier --------------------------------------------------------------------------

TOLERANCE = 1e-7  #: largest entry of the gradient, a clip, at which a fit is at its optimum
ROUNDS, STEPS = 100, 100  #: L-BFGS starts its memory anew after so many steps


def with_bias(x: Tensor) -> Tensor:
    """Features (N, C) with one more channel that is 1: (N, C + 1)."""
    return pad(x, (0, 1), value=1.0)


def objective(weights: Tensor, x: Tensor, labels: Tensor, l2: float) -> Tensor:
    """The objective above of weights (S, C + 1) on clips x (N, C + 1), divided by N."""
    loss = cross_entropy(x @ weights.T, labels, reduction="sum")
    return (loss + 0.5 * l2 * weights.square().sum()) / len(x)


def solve(x: Tensor, labels: Tensor, classes: int, l2: float) -> Tensor:
    """The minimiser (S, C + 1) of ``objective``.

    Args:
        x: (N, C + 1) float64 clips, with bias channel.
        labels: (N,) int64 in [0, classes).
        classes: S.
        l2: weight of the penalty, positive.

    Raises:
        ArithmeticError: if the optimum was not reached.
    """
    weights = x.new_zeros(classes, x.shape[1], requires_grad=True)

    def loss_and_gradient() -> Tensor:
        loss = objective(weights, x, labels, l2)
        (weights.grad,) = torch.autograd.grad(loss, weights)
        return loss

    for _ in range(ROUNDS):
        search = torch.optim.LBFGS(
            [weights],
            max_iter=STEPS,
            max_eval=10 * STEPS,
            history_size=20,
            tolerance_grad=TOLERANCE,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        search.step(loss_and_gradient)
        (slope,) = torch.autograd.grad(objective(weights, x, labels, l2), weights)
        if float(slope.abs().max()) <= TOLERANCE:
            return weights.detach()
    raise ArithmeticError(
        f"the seen-class classifier of conse did not reach its optimum with l2 = {l2:g}; a larger "
        "one, or normalize=standardize, makes the problem easier"
    )


def mixed(probabilities: Tensor, texts: Tensor, top: int) -> Tensor:
    """f(x) (N, D) of probabilities (N, S) and seen texts (S, D)."""
    likely, which = probabilities.topk(min(top, len(texts)), dim=1)  # (N, T)
    weights = torch.zeros_like(probabilities).scatter(1, which, likely)
    return (weights / likely.sum(1, keepdim=True)) @ texts


# --- The method ------------------------------------------------------------------------------


class ConSE:
    """ConSE as a method of the harness (``zsar_bench.contracts.Method``)."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.state: dict[str, Tensor] = {}

    def prepare(self, pooled: Tensor) -> Tensor:
        """Features (N, C) as the classifier sees them, with bias channel: (N, C + 1) float64."""
        return with_bias((pooled.double() - self.state["mean"]) / self.state["spread"])

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Solve for the classifier on the seen clips and remember the seen texts."""
        raw = train.inputs.pooled.double()  # (N, C)
        mean, spread = channel_statistics(raw)
        if self.params.normalize == "none":
            mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
        self.state = {"mean": mean, "spread": spread, "texts": joined(run.texts)}  # texts (S, D)
        x = self.prepare(raw)
        self.state["W"] = solve(x, train.labels, len(run.texts), self.params.l2)
        run.progress(1, 1, loss=objective(self.state["W"], x, train.labels, self.params.l2))

    def bind(self, candidates: TextBank) -> None:
        """Take the candidates' texts, centred like the seen ones if at all."""
        seen = self.state["texts"]
        centre = seen.mean(0) if self.params.centre_texts else torch.zeros_like(seen[0])
        self.seen = seen - centre  # (S, D)
        self.candidates = normalize(joined(candidates) - centre, dim=1)  # (K, D)

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) cosines of the clips' mixtures and the candidates' texts."""
        probabilities = (self.prepare(inputs.pooled) @ self.state["W"].T).softmax(1)  # (N, S)
        f = mixed(probabilities, self.seen, self.params.top)
        return (normalize(f, dim=1) @ self.candidates.T).float()

    def state_dict(self) -> State:
        """``mean``, ``spread`` (C,), the classifier ``W`` (S, C + 1), ``texts`` (S, D), float64."""
        return self.state

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's state."""
        self.state = dict(state)
