"""Gaussian VAEs of skeleton features and of class texts that share a latent space.

The parts of a family: CADA-VAE, SynSE, MSF, SA-DVAE and FS-VAE. What is here has no opinion
about schedules and the values of weights; those are in each method's own file.

Everything is as small as the authors made it: an encoder is one linear layer for the mean and
one for the log-variance, a decoder one linear layer (with a ReLU behind it). Weights start
uniform after Glorot with gain 0.5, biases at zero. z = mean + exp(log-variance / 2) * eps, where
eps is one number for a whole latent vector in the authors' code (``scalar``) and one for each
dimension in the papers (``full``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import mse_loss, normalize

from zsar_alignment._features import channel_statistics

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext
    from zsar_bench.views import TextBank

Noise = Literal["scalar", "full"]
TextScale = Literal["none", "unit", "standardize"]

# --- Gaussians -------------------------------------------------------------------------------


class Gaussian(NamedTuple):
    """A diagonal Gaussian for each of N rows: ``mean`` and ``log_variance``, both (N, L)."""

    mean: Tensor
    log_variance: Tensor


def sample(q: Gaussian, noise: Noise, generator: Generator) -> Tensor:
    """One z (N, L) a row; gradients reach mean and log-variance."""
    rows, size = q.mean.shape
    shape = (rows, 1 if noise == "scalar" else size)
    eps = torch.randn(shape, generator=generator, device=q.mean.device)
    return q.mean + torch.exp(q.log_variance / 2) * eps


def kl(q: Gaussian) -> Tensor:
    """KL(q || N(0, I)), summed over the latent and averaged over the rows."""
    summed = (q.mean.square() + q.log_variance.exp() - q.log_variance - 1).sum(1) / 2
    return summed.mean()


# --- Layers ----------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Rows (N, C) -> q(z | row) over L dimensions."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.mean = nn.Linear(channels, latent)
        self.log_variance = nn.Linear(channels, latent)

    def forward(self, rows: Tensor) -> Gaussian:
        return Gaussian(self.mean(rows), self.log_variance(rows))


def decoder(latent: int, channels: int, relu: bool) -> nn.Sequential:
    """z (N, L) -> rows (N, C), none of them negative with ``relu``."""
    return nn.Sequential(nn.Linear(latent, channels), *([nn.ReLU()] if relu else []))


class Scaling(nn.Module):
    """(row - mean) / spread, both (C,) and fixed; 0 and 1 until measured."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))

    def measure(self, rows: Tensor) -> None:
        """Take mean and spread of rows (N, C)."""
        self.mean, self.spread = channel_statistics(rows)

    def forward(self, rows: Tensor) -> Tensor:
        return (rows.float() - self.mean) / self.spread


@torch.no_grad()
def initialise(network: nn.Module, generator: Generator) -> None:
    """Draw the weights of all linear layers; a generator of the network's device."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain=0.5, generator=generator)
            nn.init.zeros_(layer.bias)


# --- Texts -----------------------------------------------------------------------------------


def text_rows(fields: Iterable[Tensor], how: TextScale) -> Tensor:
    """Text fields (K, D) of the same classes, joined by channel: (K, sum of D).

    Unless ``how`` is ``none``, each field is brought to unit length, then the joined row.
    """
    if how == "none":
        return torch.cat([t.float() for t in fields], dim=1)
    return normalize(torch.cat([normalize(t.float(), dim=1) for t in fields], dim=1), dim=1)


def joined_rows(bank: TextBank, how: TextScale) -> list[Tensor]:
    """All fields as one text a class: a single (K, D)."""
    return [text_rows([text.pooled for text in bank.fields.values()], how)]


def field_rows(bank: TextBank, how: TextScale) -> list[Tensor]:
    """Every field as a text of its own: one (K, D) a field."""
    return [text_rows([text.pooled], how) for text in bank.fields.values()]


# --- Two or more VAEs that meet in one latent space ------------------------------------------


class Terms(NamedTuple):
    """The loss terms of one batch, unweighted.

    Attributes:
        own: reconstructions of x and of every text from their own latents.
        cross: of x from the texts' latents, and of every text from its slice of x's.
        kl_x: of q(z|x).
        kl_s: of q(z|s), summed over the texts.
    """

    own: Tensor
    cross: Tensor
    kl_x: Tensor
    kl_s: Tensor


class Weights(NamedTuple):
    """Weights of the cross terms and of the KL of q(z|x) and of q(z|s)."""

    cross: float
    kl_x: float
    kl_s: float


def total(terms: Terms, w: Weights) -> Tensor:
    """L of a batch."""
    return terms.own + w.cross * terms.cross + w.kl_x * terms.kl_x + w.kl_s * terms.kl_s


class CrossVAE(nn.Module):
    """A VAE of skeleton features and one of each text; text i shares slice i of the latent.

    Args:
        channels: C of the features.
        text_channels: D of every text.
        latent: L; the texts divide it evenly, the first ones take what does not divide.
        relu: put a ReLU behind the decoders.
        encoder: makes an encoder of (channels, latent).
    """

    seed: Tensor  #: () int64, for the classifier that ``bind`` trains

    def __init__(
        self,
        channels: int,
        text_channels: Sequence[int],
        latent: int,
        relu: bool,
        encoder: Callable[[int, int], nn.Module] = Encoder,
    ) -> None:
        super().__init__()
        self.sizes = [len(part) for part in torch.arange(latent).tensor_split(len(text_channels))]
        each = list(zip(text_channels, self.sizes, strict=True))
        self.scale_x = Scaling(channels)
        self.scale_s = nn.ModuleList(Scaling(d) for d in text_channels)
        self.encode_x = encoder(channels, latent)
        self.encode_s = nn.ModuleList(encoder(d, size) for d, size in each)
        self.decode_x = decoder(latent, channels, relu)
        self.decode_s = nn.ModuleList(decoder(size, d, relu) for d, size in each)
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))

    def terms(self, x: Tensor, texts: Sequence[Tensor], noise: Noise, g: Generator) -> Terms:
        """Loss terms of scaled features x (B, C) and the scaled texts (B, D) of their classes."""
        q_x = self.encode_x(x)
        q_s = [encode(s) for encode, s in zip(self.encode_s, texts, strict=True)]
        z_x = sample(q_x, noise, g)
        z_s = [sample(q, noise, g) for q in q_s]
        own, cross = mse_loss(self.decode_x(z_x), x), mse_loss(self.decode_x(torch.cat(z_s, 1)), x)
        slices = z_x.split(self.sizes, dim=1)
        for decode, s, mine, other in zip(self.decode_s, texts, z_s, slices, strict=True):
            own = own + mse_loss(decode(mine), s)
            cross = cross + mse_loss(decode(other), s)
        return Terms(own, cross, kl(q_x), torch.stack([kl(q) for q in q_s]).sum())

    def text_posteriors(self, texts: Sequence[Tensor]) -> list[Gaussian]:
        """q(z|s) of every raw text (K, D); joined, their latents are what q(z|x) is about."""
        parts = zip(self.encode_s, self.scale_s, texts, strict=True)
        return [encode(scale(s)) for encode, scale, s in parts]

    def latents(self, pooled: Tensor) -> Tensor:
        """Mean (N, L) of q(z|x) for raw features (N, C)."""
        return self.encode_x(self.scale_x(pooled)).mean


def prepare(
    network: nn.Module,
    run: FitContext,
    pooled: Tensor,
    texts: Sequence[Tensor],
    *,
    features: bool,
    text: bool,
) -> None:
    """Ready a network for its first step: device, weights, scalings, seed of its classifier.

    Args:
        network: with ``scale_x``, ``scale_s`` and ``seed`` as ``CrossVAE`` has them.
        run: of the fit.
        pooled: (N, C) of the seen training clips.
        texts: (S, D) of the seen classes.
        features: standardise the features with the clips' statistics.
        text: standardise the texts with the classes' statistics.
    """
    network.to(run.device)
    initialise(network, run.generator)
    if features:
        network.scale_x.measure(pooled.float())
    if text:
        for scale, rows in zip(network.scale_s, texts, strict=True):
            scale.measure(rows)
    network.seed.fill_(run.seed & (2**63 - 1))


def widths(state: Mapping[str, Tensor]) -> tuple[int, list[int]]:
    """C of the features and D of every text, read off a network's state."""
    texts = sum(k.startswith("scale_s.") and k.endswith(".mean") for k in state)
    return len(state["scale_x.mean"]), [len(state[f"scale_s.{i}.mean"]) for i in range(texts)]
