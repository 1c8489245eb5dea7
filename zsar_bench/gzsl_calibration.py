"""Where the constant of a GZSL run comes from: rehearsals on training clips.

In each *rotation* some seen classes play unseen ones, and some training performers play new ones
(``gzsl_runs``). The constant of the best macro H there cannot be taken over as it is, because a
refit changes the scale of scores. What is taken over is its *standing*: the constant in units of
the root mean square of the margins that the rotation's own training clips have,

    standing = constant / rms,    rms = sqrt(mean over training clips of margin^2),

and the median standing of the rotations times the rms of the real fit's training clips is the
constant of the run. Margins are taken among all candidates, so the rms also follows the numbers
of seen and unseen classes. A margin of 0 is where both sides tie, whatever the scale, so the
standing needs no location; and an rms is 0 only if every margin is.

Why not a quantile of training margins: these are overfitted, the best constant for new clips
often lies beyond all of them, and quantiles then stick at 0 (and at 1 where they are saturated,
as with a softmax). A quantile of *test* margins would let other test clips decide about a clip.
Why no (constant - median) / IQR: the spread of training margins says how well the fit has
memorised, their size says how large scores are. In a simulation (benchmarks/gzsl_standing.py:
linear maps, random features and bilinear maps from clips to texts; inner product, cosine,
distance, softmax and its logarithm as scores; 22/5, 40/10 and 48/12 classes; scales that vary by
30 % between fits) macro H fell short of the best constant's by 11.2, 2.7 and 2.7 points for the
IQR, 4.2, 2.3 and 1.4 for the quantile, 12.2, 10.6 and 4.0 for the constant as it is, and 3.2, 2.0
and 0.9 for the rms; no constant at all cost 37, 21 and 16. The median margin does as well as the
rms (3.9, 1.5, 0.9), but is no unit where it is near 0, as of a method that hardly fits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zsar_bench.gzsl import Bools, Floats, Labels, Scores, best_constant, curve, sides, weights


def margins(scores: Scores, seen: Bools) -> Floats:
    """(N,) highest score of a seen class less that of an unseen one; scores (N, K), seen (K,)."""
    top = [scores[:, side].max(axis=1).astype(np.float64) for side in (seen, ~seen)]
    found: Floats = top[0] - top[1]
    return found


def size(scores: Scores, seen: Bools) -> float:
    """Root mean square of the margins of training clips; 1 where every margin is 0.

    Args:
        scores: (N, K) of training clips over all classes.
        seen: (K,).
    """
    rms = float(np.sqrt(np.mean(np.square(margins(scores, seen)))))
    return rms or 1.0


def rehearsed(scores: Scores, labels: Labels, seen: Bools) -> tuple[float, float]:
    """The best macro H of a rotation and its constant.

    Args:
        scores: (N, K) of its pseudo-seen and pseudo-unseen clips.
        labels: (N,) columns.
        seen: (K,) which classes play seen ones.
    """
    found = sides(scores, labels, seen)
    return best_constant(curve(found, weights(labels, found.seen)["macro"]))


def carried(standings: Sequence[float], rms: float) -> tuple[float, float]:
    """The median standing of the rotations, and the constant for a fit of this rms."""
    standing = float(np.median(standings))
    return standing, standing * rms
