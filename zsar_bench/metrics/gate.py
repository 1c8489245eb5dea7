"""The gate of a GZSL run (Gupta et al., ICIP 2021, section 3.4): is a clip's class seen or unseen?

Two experts predict the class of a clip: the method, over the unseen classes only, and the skeleton
encoder's own classifier, over the seen ones. A logistic regression gets the confidences of both,
their k largest softmax values in falling order, and estimates the probability that the class is
seen. Above a threshold the classifier's prediction counts, else that of the method.

    z = s / spread,  x = [top_k softmax(z / T_u), top_k softmax(l / T_s)],  p = sigmoid(w . x + b)

Scores s of methods differ in scale by orders of magnitude. They are therefore divided by their
spread on training clips of the same fit: the root mean square of the scores less each clip's mean.
T_s and the threshold are searched in the paper's ranges, T_u in ``TEMPERATURES``.

Differences from the paper: gate, temperatures and threshold are fitted on pseudo-unseen splits
(rotations) whose clips neither model was trained on; seen and unseen clips have the same total
weight in the regression; and k is the smallest number of classes of an expert in any rotation or in
the test.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zsar_bench.metrics import accuracy
from zsar_bench.metrics.gzsl import Bools, Floats, Labels, Scores, balance, weights

TEMPERATURES = (0.1, 0.3, 1.0)  #: of the method's standardised scores
SUPERVISED = tuple(float(t) for t in range(1, 10))  #: of the classifier's logits
THRESHOLDS = tuple(n / 100 for n in range(25, 75))
#: weight of |w|^2, against a mean loss; without it, separable clips have no finite fit
RIDGE = 1e-3
STEPS = 100
CLOSE = 1e-10  #: largest entry of a Newton step that ends the fit


@dataclass(frozen=True)
class Experts:
    """Scores of both experts for N clips.

    Attributes:
        unseen: (N, K_u) the method's scores over the unseen classes, divided by their spread.
        logits: (N, K_s) of the encoder over the seen classes.
        labels: (N,) column of the clip's class: seen classes first, then unseen ones.
    """

    unseen: Floats
    logits: Floats
    labels: Labels

    @property
    def seen(self) -> Bools:
        """(N,) whether the clip's class is seen."""
        mask: Bools = self.labels < self.logits.shape[1]
        return mask


@dataclass(frozen=True)
class Gate:
    """A fitted gate: ``weights`` (2k,) of softmax values, ``bias``, temperatures, threshold."""

    k: int
    temperature: float
    supervised: float
    threshold: float
    weights: tuple[float, ...]
    bias: float

    def taken_for_seen(self, experts: Experts) -> Bools:
        """(N,) whether the seen classifier predicts a clip's class."""
        x = sureness(experts, self.k, self.temperature, self.supervised)
        mask: Bools = sigmoid(x @ np.array(self.weights) + self.bias) > self.threshold
        return mask


def spread(scores: Scores) -> float:
    """Root mean square of scores (N, K) less each clip's mean; 1 where there is none."""
    centred = scores.astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    return float(np.sqrt(np.mean(np.square(centred)))) or 1.0


def softmax(scores: Scores) -> Floats:
    """Softmax of each row of (N, K)."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    values: Floats = np.where(x >= 0, 1.0, small) / (1 + small)
    return values


def sureness(experts: Experts, k: int, temperature: float, supervised: float) -> Floats:
    """(N, 2k) features of the gate: k largest softmax values of the method, then of the encoder."""
    confidences = (softmax(experts.unseen / temperature), softmax(experts.logits / supervised))
    return np.concatenate([-np.sort(-values, axis=1)[:, :k] for values in confidences], axis=1)


def fit_logistic(
    x: Floats, y: Floats, weight: Floats, ridge: float = RIDGE
) -> tuple[Floats, float]:
    """Logistic regression by Newton's method (iteratively reweighted least squares).

    Minimises sum_i weight_i log(1 + exp(-(2 y_i - 1)(w . x_i + b))) + ridge/2 |w|^2, halving
    steps that do not lower it.

    Args:
        x: (N, D).
        y: (N,) 0 or 1.
        weight: (N,) of clips, not negative; sums to 1.
        ridge: above 0.

    Returns:
        w (D,) and b.
    """
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 0.0

    def loss(theta: Floats) -> float:
        logits = (1 - 2 * y) * (design @ theta)
        return float(weight @ np.logaddexp(0.0, logits) + penalty @ np.square(theta) / 2)

    theta = np.zeros(design.shape[1])
    lowest = loss(theta)
    for _ in range(STEPS):
        p = sigmoid(design @ theta)
        gradient = design.T @ (weight * (p - y)) + penalty * theta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        hessian[-1, -1] += 1e-12  # saturated clips have no curvature, and b has no penalty
        step = np.linalg.solve(hessian, gradient)
        while loss(theta - step) > lowest and np.abs(step).max() > CLOSE:
            step = step / 2
        theta = theta - step
        lowest = loss(theta)
        if np.abs(step).max() <= CLOSE:
            break
    return theta[:-1], float(theta[-1])


def answers(experts: Experts) -> tuple[Floats, Floats]:
    """(N,) credit of each clip if the seen expert predicts it, and if the unseen one does."""
    seen, labels = experts.seen, experts.labels
    credit = np.zeros((2, len(labels)))
    known = experts.logits.shape[1]
    for row, side, mask, first in ((0, experts.logits, seen, 0), (1, experts.unseen, ~seen, known)):
        if mask.any():
            credit[row, mask] = accuracy.judge(side[mask], labels[mask] - first).credit
    return credit[0], credit[1]


def gated(experts: Experts, taken: Bools) -> Floats:
    """(N,) credit of each clip, where ``taken`` (N,) selects the seen expert."""
    seen, unseen = answers(experts)
    credit: Floats = np.where(taken, seen, unseen)
    return credit


def fit_gate(rotations: Sequence[Experts], most: int) -> tuple[Gate, float]:
    """The gate with the best H of mean class accuracies, averaged over rotations.

    For every combination of temperatures one regression is fitted to the clips of all rotations. Of
    equal gates the first is taken.

    Args:
        rotations: scores of the experts for the pseudo-seen and pseudo-unseen clips.
        most: upper bound of k: the smallest number of classes of an expert in the test.

    Returns:
        The gate, and its H.
    """
    k = min(most, *(n for e in rotations for n in (e.unseen.shape[1], e.logits.shape[1])))
    seen = np.concatenate([e.seen for e in rotations])
    weight = np.where(seen, 0.5 / seen.sum(), 0.5 / (~seen).sum())
    credits = [answers(e) for e in rotations]
    mean_class = [weights(e.labels, e.seen)["mean_class"] for e in rotations]
    best: tuple[Gate, float] | None = None
    for supervised, temperature in itertools.product(SUPERVISED, reversed(TEMPERATURES)):
        x = [sureness(e, k, temperature, supervised) for e in rotations]
        w, b = fit_logistic(np.concatenate(x), seen.astype(np.float64), weight)
        p = [sigmoid(features @ w + b) for features in x]
        for threshold in sorted(THRESHOLDS, key=lambda t: (abs(t - 0.5), t)):
            harmonics = [
                balance(np.where(probability > threshold, *side), weighted).harmonic
                for probability, side, weighted in zip(p, credits, mean_class, strict=True)
            ]
            value = float(np.mean(harmonics))
            if best is None or value > best[1] + 1e-12:
                gate = Gate(k, temperature, supervised, threshold, tuple(w.tolist()), b)
                best = gate, value
    assert best is not None  # there are temperatures
    return best
