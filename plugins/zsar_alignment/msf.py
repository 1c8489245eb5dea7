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
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch

from zsar_alignment import _training, _vae
from zsar_alignment._latent_classifier import train_classifier
from zsar_alignment._vae import CrossVAE, Noise, Terms, TextScale, joined_rows
from zsar_bench import params as zp

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """Network, schedule, preprocessing and classifier of MSF."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "laptop": {
            "decoder_relu": False,
            "normalize": "standardize",
            "normalize_text": "standardize",
            "cycle_steps": 80,
            "lr": 1e-3,
            "samples": 100,
            "classifier_lr": 1e-2,
            "classifier_relu": False,
        },
    }

    # network
    latent: int = zp.science(
        100,
        "channels of the shared latent (200 for NTU-120)",
        search=zp.among(32, 64, 100, 200),
        ge=2,
    )
    decoder_relu: bool = zp.science(True, "ReLU behind the decoders, as in the code")
    noise: Noise = zp.science(
        "scalar", "one noise for a latent vector (code) or one for each dimension (paper)"
    )

    # preprocessing
    normalize: Literal["none", "standardize"] = zp.science(
        "none", "features as they come, or by mean and spread of the seen training clips"
    )
    normalize_text: TextScale = zp.science(
        "unit", "texts as they come, of unit length, or that by mean and spread of the seen classes"
    )

    # schedule
    cycles: int = zp.science(10, "times that the ramps run", ge=1)
    cycle_steps: int = zp.science(1700, "minibatches of a cycle", ge=1)
    kl_start: float = zp.science(1000 / 1700, "share of a cycle before KL_x counts", ge=0, le=1)
    cross_start: float = zp.science(
        1400 / 1700, "share of a cycle before the cross terms count", ge=0, le=1
    )
    kl_rate: float = zp.science(
        0.1 * 1700 / 3000,
        "growth of the KL weights over a whole cycle",
        search=zp.between(0.005, 0.5),
        ge=0,
    )
    quiet_cycles: int = zp.science(2, "first cycles in which KL_s does not count", ge=0)
    lr: float = zp.science(1e-4, "learning rate of Adam", search=zp.between(1e-4, 1e-2), gt=0)
    batch: int = zp.science(64, "clips a step", ge=1)

    # classifier
    samples: int = zp.science(500, "latents drawn from each candidate's text", ge=1)
    classifier_steps: int = zp.science(300, "Adam steps of the classifier", ge=1)
    classifier_lr: float = zp.science(1e-3, "learning rate of the classifier", gt=0)
    classifier_relu: bool = zp.science(
        True, "ReLU behind the classifier, as in the code: what is below zero ties"
    )


# --- Loss ------------------------------------------------------------------------------------


class Weights(NamedTuple):
    """Weights of the cross terms and of the KL of q(z|x) and of q(z|s)."""

    cross: float
    kl_x: float
    kl_s: float


def weights(step: int, p: Params) -> Weights:
    """The ramps above at a step of the whole training, from 0."""
    t = step % p.cycle_steps / p.cycle_steps
    kl_s = p.kl_rate * max(t - p.cross_start, 0)
    return Weights(
        cross=float(t > p.cross_start),
        kl_x=p.kl_rate * max(t - p.kl_start, 0),
        kl_s=kl_s if step // p.cycle_steps >= p.quiet_cycles else 0.0,
    )


def total(terms: Terms, w: Weights) -> Tensor:
    """L of a batch."""
    return terms.own + w.cross * terms.cross + w.kl_x * terms.kl_x + w.kl_s * terms.kl_s


# --- The method ------------------------------------------------------------------------------


class MSF:
    """MSF as a method of the harness (``zsar_bench.contracts.Method``)."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def _build(self, channels: int, text_channels: list[int]) -> CrossVAE:
        return CrossVAE(channels, text_channels, self.params.latent, self.params.decoder_relu)

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Train on the seen clips and the seen classes' texts."""
        p, raw, labels = self.params, train.inputs.pooled.float(), train.labels
        texts = joined_rows(run.texts, p.normalize_text)  # (S, D) each
        net = self.network = self._build(raw.shape[1], [s.shape[1] for s in texts])
        _vae.prepare(
            net,
            run,
            raw,
            texts,
            features=p.normalize == "standardize",
            text=p.normalize_text == "standardize",
        )
        x = net.scale_x(raw)
        scaled = [scale(s) for scale, s in zip(net.scale_s, texts, strict=True)]
        optimiser = torch.optim.Adam(net.parameters(), lr=p.lr, fused=True)

        def update(step: int, rows: Tensor) -> dict[str, Tensor]:
            own_texts = [s[labels[rows]] for s in scaled]  # (B, D) each
            terms = net.terms(x[rows], own_texts, p.noise, run.generator)
            loss = total(terms, weights(step, p))
            _training.descend(optimiser, loss)
            return {"loss": loss, **terms._asdict()}

        _training.train(
            run,
            net,
            [optimiser],
            update,
            clips=len(x),
            batch=p.batch,
            steps=p.cycles * p.cycle_steps,
        )

    def bind(self, candidates: TextBank) -> None:
        """Train the classifier of latents on the candidates' texts."""
        p, net = self.params, self.network
        self.classifier = train_classifier(
            candidates,
            lambda bank: net.text_posteriors(joined_rows(bank, p.normalize_text)),
            net.seed,
            samples=p.samples,
            steps=p.classifier_steps,
            lr=p.classifier_lr,
            noise=p.noise,
            relu=p.classifier_relu,
        )

    @torch.no_grad()
    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) outputs of the classifier at the clips' latents."""
        return self.classifier(self.network.latents(inputs.pooled))

    def state_dict(self) -> State:
        """Weights, scalings and the classifier's seed."""
        return self.network.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Rebuild the network; sizes follow from the parameters and the tensors' shapes."""
        self.network = self._build(*_vae.widths(state)).to(state["seed"].device).eval()
        self.network.load_state_dict(dict(state))
