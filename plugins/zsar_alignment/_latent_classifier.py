"""The last step of the VAE family: a linear classifier of latents, trained on texts alone.

For every candidate class, latents are drawn from q(z | text) and an affine layer is trained on
them with cross-entropy; a clip is then scored at the mean of q(z | x). This happens in ``bind``,
so it may depend on nothing but the state and the candidates, whatever their order: every class
has a generator of its own, seeded by the fit's seed and a digest of the class's text, which gives
both its latents and its row of the first weights; steps are full-batch; and classes are put in
the order of those digests meanwhile, so that not even rounding knows the referee's order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy, linear

from zsar_alignment._vae import Gaussian, Noise

if TYPE_CHECKING:
    from zsar_bench.views import TextBank


class Classifier(NamedTuple):
    """An affine layer, with the authors' stray ReLU behind it or without.

    Attributes:
        weight: (K, L).
        bias: (K,).
        relu: whether scores below zero become zero.
    """

    weight: Tensor
    bias: Tensor
    relu: bool

    def __call__(self, z: Tensor) -> Tensor:
        """z (N, L) -> scores (N, K)."""
        scores = linear(z, self.weight, self.bias)
        return scores.relu() if self.relu else scores


def class_keys(bank: TextBank, seed: int) -> list[int]:
    """A number below 2**63 for every class, from the seed and the bytes of its pooled texts."""
    rows = torch.cat([text.pooled.float() for text in bank.fields.values()], dim=1).cpu()
    keys = []
    for row in rows.contiguous().numpy():
        digest = hashlib.blake2b(row.tobytes() + seed.to_bytes(8, "little"), digest_size=8)
        keys.append(int.from_bytes(digest.digest(), "little") >> 1)
    return keys


def train_classifier(
    candidates: TextBank,
    posteriors: Callable[[TextBank], Sequence[Gaussian]],
    seed: Tensor,
    *,
    samples: int,
    steps: int,
    lr: float,
    noise: Noise,
    relu: bool,
) -> Classifier:
    """Train the affine layer on latents of the candidates' texts.

    Args:
        candidates: texts of K classes.
        posteriors: texts -> q(z|s) of every text a class has; their latents are joined.
        seed: () int64 of the fit.
        samples: latents a class.
        steps: full-batch steps of Adam.
        lr: their rate.
        noise: what a latent's noise is shared by.
        relu: see ``Classifier``.
    """
    keys = class_keys(candidates, int(seed))
    order = torch.tensor(sorted(range(len(keys)), key=keys.__getitem__))
    where = seed.device
    with torch.no_grad():
        texts = [Gaussian(*q) for q in posteriors(candidates.rows(order.to(where)))]
    latent, classes = sum(q.mean.shape[1] for q in texts), len(keys)
    z, first = [], []
    for row, key in enumerate(sorted(keys)):
        # On the CPU, where one seed means the same numbers on every machine.
        g = Generator().manual_seed(key)
        bound = 0.5 * (6 / (latent + classes)) ** 0.5  # Glorot's, as the networks start
        first.append((2 * torch.rand(latent, generator=g) - 1) * bound)
        z.append(torch.cat([_draw(q, row, samples, noise, g) for q in texts], dim=1))
    with torch.enable_grad():
        made = _descend(torch.cat(z), torch.stack(first).to(where), samples, steps, lr, relu)
    back = order.argsort().to(where)
    return Classifier(made.weight[back], made.bias[back], relu)


def _draw(q: Gaussian, row: int, samples: int, noise: Noise, g: Generator) -> Tensor:
    """``samples`` latents (samples, L) of one row of q."""
    shape = (samples, 1 if noise == "scalar" else q.mean.shape[1])
    eps = torch.randn(shape, generator=g).to(q.mean.device)
    return q.mean[row] + torch.exp(q.log_variance[row] / 2) * eps


def _descend(
    z: Tensor, first: Tensor, samples: int, steps: int, lr: float, relu: bool
) -> Classifier:
    """Adam on the cross-entropy of latents z (K * samples, L), class by class."""
    weight = first.requires_grad_()
    bias = torch.zeros(len(first), device=z.device, requires_grad=True)
    labels = torch.arange(len(first), device=z.device).repeat_interleave(samples)
    optimiser = torch.optim.Adam([weight, bias], lr=lr, fused=True)
    for _ in range(steps):
        loss = cross_entropy(Classifier(weight, bias, relu)(z), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return Classifier(weight.detach(), bias.detach(), relu)
