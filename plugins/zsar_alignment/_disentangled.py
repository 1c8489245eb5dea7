"""The network of SA-DVAE, and the discriminator that keeps its two latents apart."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy

from zsar_alignment._vae import CrossVAE, Encoder, Gaussian, decoder


class DisentangledVAE(CrossVAE):
    """``CrossVAE`` of one text, whose features have a second head and a discriminator.

    The decoder of features reads [z; v]; the head of v lies beside that of z.
    """

    def __init__(self, channels: int, text: int, latent: int, instance: int, relu: bool) -> None:
        super().__init__(channels, [text], latent, relu)
        both = latent + instance
        self.encode_v = Encoder(channels, instance)
        self.decode_x = decoder(both, channels, relu)
        hidden = max(both // 4, 1)
        self.discriminator = nn.Sequential(
            nn.Linear(both, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid()
        )


class Posteriors(NamedTuple):
    """q(z|x), q(v|x) and q(z|s) of a batch."""

    z: Gaussian
    v: Gaussian
    text: Gaussian


def encode(net: DisentangledVAE, x: Tensor, s: Tensor) -> Posteriors:
    """Posteriors of scaled features x (B, C) and the scaled texts s (B, D) of their classes."""
    return Posteriors(net.encode_x(x), net.encode_v(x), net.encode_s[0](s))


def discriminator_loss(d: nn.Module, pairs: list[tuple[Tensor, Tensor]], g: Generator) -> Tensor:
    """Mean of BCE over both kinds of pairs (z, v) and over true and shuffled ones, unweighted."""
    parts = []
    for z, v in pairs:
        pi, rho = (torch.randperm(len(z), generator=g, device=z.device) for _ in range(2))
        true, mixed = d(torch.cat([z, v], dim=1)), d(torch.cat([z[pi], v[rho]], dim=1))
        parts += [
            binary_cross_entropy(true, torch.ones_like(true)),
            binary_cross_entropy(mixed, torch.zeros_like(mixed)),
        ]
    return torch.stack(parts).mean()
