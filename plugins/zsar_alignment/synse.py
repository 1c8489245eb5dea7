"""SynSE: a VAE of skeleton features whose latent has a part for the verb and one for the noun.

P. Gupta, D. Sharma, R. K. Sarvadevabhatla, "Syntactically guided generative embeddings for
zero-shot skeleton action recognition", ICIP 2021.

A Gaussian VAE q(z|x) of features and one of each part of speech, q(z|s_i). The latent of x is cut
into as many slices z_x,i as there are parts; slice i and the latent of part i must be decoded by
each other's decoders. With z_s the parts' latents joined:

    L = MSE(x, D_x(z_x)) + sum_i MSE(s_i, D_i(z_s,i))
        + a * ( MSE(x, D_x(z_s)) + sum_i MSE(s_i, D_i(z_x,i)) )
        + b_x KL_x + b_s KL_s

MSE is averaged over everything, KL against N(0, I) is summed over the latent and averaged over
the batch. The weights are ramps that start again with each of ten cycles. With t in [0, 1) the
share of the cycle that is over:

    a   = 1 if t > 1400/1700, else 0
    b_x = 0.1 * (1700/3000) * max(0, t - 1000/1700)
    b_s = 0.1 * (1700/3000) * max(0, t - 1400/1700), and 0 in the first two cycles

For the candidates, ``bind`` draws latents from q(z|s_c) and trains an affine layer on them; a
clip is scored at the mean of q(z|x) (``_latent_classifier``).

Where we differ from the official code (skelemoa/synse-zsl), and why:

- The referee chooses the checkpoint; theirs is the cycle that is best on the unseen test set.
- Their ramps count steps of cycles of 1700; ours are shares of a cycle, so that a shorter one
  has the same shape. Their longer cycles are ``cycle_steps=1900 cross_start=0.789
  kl_start=0.526 kl_rate=0.0633``.
- Their minibatch is a fresh draw from all clips; ours go through the clips in turn, in a new
  order every time, and a set smaller than the batch is one batch.
- The parts are the text fields in the order in which they are asked for, ``verb`` and ``noun``;
  theirs have the noun first. Nothing depends on which comes first. The classes' own verbs and
  nouns are used, because that is the method; classes without a noun have the empty text's.
- Their classifier starts at random and draws from one stream; ours does both by class, so that
  candidates may come in any order. Its stray ReLU is ``classifier_relu``: classes whose scores
  are below zero tie, and the referee shares credit among ties where argmax takes the first.
- ``normalize`` and ``normalize_text`` beyond the code's choice are ours. The decoders' ReLU
  cannot reach negative numbers, so ``laptop`` leaves it out together with standardising.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zsar_alignment import _latent_method
from zsar_alignment._vae import Terms, Weights, field_rows, total
from zsar_bench import params as zp

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext
    from zsar_bench.views import SeenTrain, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(_latent_method.Params):
    """Network, schedule, preprocessing and classifier of SynSE."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "laptop": {**_latent_method.LAPTOP, "cycle_steps": 80},
    }

    cycle_steps: int = zp.science(1700, "minibatches of a cycle", ge=1)
    quiet_cycles: int = zp.science(2, "first cycles in which KL_s does not count", ge=0)


# --- Loss ------------------------------------------------------------------------------------


def weights(step: int, p: Params) -> Weights:
    """The ramps above at a step of the whole training, from 0."""
    t = step % p.cycle_steps / p.cycle_steps
    kl_s = p.kl_rate * max(t - p.cross_start, 0)
    return Weights(
        cross=float(t > p.cross_start),
        kl_x=p.kl_rate * max(t - p.kl_start, 0),
        kl_s=kl_s if step // p.cycle_steps >= p.quiet_cycles else 0.0,
    )


# --- The method ------------------------------------------------------------------------------


class SynSE(_latent_method.LatentMethod):
    """SynSE as a method of the harness (``zsar_bench.contracts.Method``)."""

    def rows(self, bank: TextBank) -> list[Tensor]:
        """Every part of speech as a text of its own."""
        return field_rows(bank, self.params.normalize_text)

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Train on the seen clips and the seen classes' texts."""
        p, labels = self.params, train.labels
        x, texts = self.start(train, run)

        def loss_of(step: int, rows: Tensor) -> tuple[Tensor, Terms]:
            own_texts = [s[labels[rows]] for s in texts]  # (B, D) each
            terms = self.network.terms(x[rows], own_texts, p.noise, run.generator)
            return total(terms, weights(step, p)), terms

        self.learn(run, len(x), p.cycles * p.cycle_steps, loss_of)
