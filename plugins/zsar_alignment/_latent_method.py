"""What the methods of the VAE family do alike around their losses.

Parameters, the start of a fit, the step of one optimiser, and scoring by a classifier of latents.
A method's own file has its loss, its weights and, where these are not the common ones, its network
and what it takes for a text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from zsar_alignment import _training
from zsar_alignment._latent_classifier import train_classifier
from zsar_alignment._vae import CrossVAE, Noise, TextScale, joined_rows, prepare, widths
from zsar_bench import params as zp

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

#: What every ``laptop`` profile of the family changes.
LAPTOP: dict[str, Any] = {
    "decoder_relu": False,
    "normalize": "standardize",
    "normalize_text": "standardize",
    "lr": 1e-3,
    "samples": 100,
    "classifier_lr": 1e-2,
    "classifier_relu": False,
}


class Params(zp.Params):
    """Network, preprocessing, schedule and classifier, with the values of SynSE's code."""

    # network
    latent: int = zp.science(
        100, "channels of the latent (200 for NTU-120)", search=zp.among(32, 64, 100, 200), ge=2
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
        "none", "texts as they come, of unit length, or that by mean and spread of the seen classes"
    )

    # schedule
    cycles: int = zp.science(10, "times that the ramps run", ge=1)
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
    lr: float = zp.science(1e-4, "learning rate of Adam", search=zp.between(1e-4, 1e-2), gt=0)
    batch: int = zp.science(64, "clips a step", ge=1)

    # classifier
    samples: int = zp.science(500, "latents drawn from each candidate's text", ge=1)
    classifier_steps: int = zp.science(300, "Adam steps of the classifier", ge=1)
    classifier_lr: float = zp.science(1e-3, "learning rate of the classifier", gt=0)
    classifier_relu: bool = zp.science(
        True, "ReLU behind the classifier, as in the code: what is below zero ties"
    )


class LatentMethod:
    """All of ``zsar_bench.contracts.Method`` but ``fit``."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def rows(self, bank: TextBank) -> list[Tensor]:
        """The texts of K classes as the network reads them, (K, D) each."""
        return joined_rows(bank, self.params.normalize_text)

    def build(self, channels: int, text_channels: list[int]) -> nn.Module:
        """The network for features of C channels and texts of D channels each."""
        return CrossVAE(channels, text_channels, self.params.latent, self.params.decoder_relu)

    def start(self, train: SeenTrain, run: FitContext) -> tuple[Tensor, list[Tensor]]:
        """Build the network; returns scaled features (N, C) and scaled seen texts (S, D)."""
        p, raw, texts = self.params, train.inputs.pooled.float(), self.rows(run.texts)
        net = self.network = self.build(raw.shape[1], [s.shape[1] for s in texts])
        prepare(
            net,
            run,
            raw,
            texts,
            features=p.normalize == "standardize",
            text=p.normalize_text == "standardize",
        )
        scaled = [scale(s) for scale, s in zip(net.scale_s, texts, strict=True)]
        return net.scale_x(raw), scaled

    def learn(
        self,
        run: FitContext,
        clips: int,
        steps: int,
        loss_of: Callable[[int, Tensor], tuple[Tensor, NamedTuple]],
    ) -> None:
        """Train the network with one Adam.

        Args:
            run: of the fit.
            clips: N.
            steps: optimiser steps.
            loss_of: (step, rows) -> the loss, and its terms to be shown.
        """
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self.params.lr, fused=True)

        def update(step: int, rows: Tensor) -> dict[str, Tensor]:
            loss, terms = loss_of(step, rows)
            _training.descend(optimiser, loss)
            return {"loss": loss, **terms._asdict()}

        batch = self.params.batch
        _training.train(
            run, self.network, [optimiser], update, clips=clips, batch=batch, steps=steps
        )

    def bind(self, candidates: TextBank) -> None:
        """Train the classifier of latents on the candidates' texts."""
        p, net = self.params, self.network
        self.classifier = train_classifier(
            candidates,
            lambda bank: net.text_posteriors(self.rows(bank)),
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
        self.network = self.build(*widths(state)).to(state["seed"].device).eval()
        self.network.load_state_dict(dict(state))
