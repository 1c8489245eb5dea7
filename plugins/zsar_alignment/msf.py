"""MSF: aligned VAEs of skeleton features and of several descriptions of a class.

M.-Z. Li, Z. Jia, Z. Zhang, Z. Ma, L. Wang, "Multi-semantic fusion model for generalized zero-shot
skeleton-based action recognition" (MSF-GZSSAR), ICIG 2023.

Label, description of the action and description of the motion are encoded each, joined by channel
and given to one Gaussian VAE, q(z|s), beside q(z|x) of the features; each must also decode what
the other encoded:

    L = MSE(x, D_x(z_x)) + MSE(s, D_s(z_s))
        + a * ( MSE(x, D_x(z_s)) + MSE(s, D_s(z_x)) )
        + b_x KL_x + b_s KL_s

MSE is averaged over everything, KL against N(0, I) is summed over the latent and averaged over
the batch. The weights are ramps that start again with each of ten cycles. With t in [0, 1) the
share of the cycle that is over:

    a   = 1 if t > 1400/1700, else 0
    b_x = 0.1 * (1700/3000) * max(0, t - 1000/1700)
    b_s = 0.1 * (1700/3000) * max(0, t - 1400/1700), and 0 in the first two cycles

For the candidates, ``bind`` draws latents from q(z|s_c) and trains an affine layer on them; a
clip is scored at the mean of q(z|x) (``_latent_classifier``).

Where we differ from the official code (EHZ9NIWI7/MSF-GZSSAR, commit e647095e), and why:

- The referee chooses the checkpoint; theirs is the cycle that is best on the unseen test set.
- Their ramps count steps of cycles of 1700; ours are shares of a cycle, so that a shorter one
  has the same shape. Their longer cycles are ``cycle_steps=1900 cross_start=0.789
  kl_start=0.526 kl_rate=0.0633``.
- Their minibatch is a fresh draw from all clips; ours go through the clips in turn, in a new
  order every time, and a set smaller than the batch is one batch.
- Every field is brought to unit length before they are joined, and the joined row again, so
  that the scale of the text does not depend on the number of fields.
- Their classifier starts at random and draws from one stream; ours does both by class, so that
  candidates may come in any order. Its stray ReLU is ``classifier_relu``: classes whose scores
  are below zero tie, and the referee shares credit among ties where argmax takes the first.
- ``normalize`` and ``normalize_text`` beyond the code's choice are ours. The decoders' ReLU
  cannot reach negative numbers, so ``laptop`` leaves it out together with standardising.

Its code is SynSE's with one text in the place of two, and so is ours: ramps and training are those
of ``synse``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsar_alignment import synse
from zsar_alignment._vae import TextScale, joined_rows
from zsar_bench import params as zp

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.views import TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(synse.Params):
    """Network, schedule, preprocessing and classifier of MSF."""

    normalize_text: TextScale = zp.science(
        "unit", "texts as they come, of unit length, or that by mean and spread of the seen classes"
    )


# --- The method ------------------------------------------------------------------------------


class MSF(synse.SynSE):
    """MSF as a method of the harness (``zsar_bench.contracts.Method``)."""

    def rows(self, bank: TextBank) -> list[Tensor]:
        """Label and both descriptions as one text."""
        return joined_rows(bank, self.params.normalize_text)
