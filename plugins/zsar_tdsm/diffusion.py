"""The forward process of TDSM: a short DDPM chain with Stable Diffusion's noise schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, device

Prediction = Literal["epsilon", "sample", "velocity"]
LONG = 1000  #: steps of the chain that Stable Diffusion's betas were made for


@dataclass(frozen=True)
class Schedule:
    """Noise levels of T steps; x_t = signal[t] * x + noise[t] * eps.

    Attributes:
        signal: (T,) sqrt(abar_t).
        noise: (T,) sqrt(1 - abar_t).
    """

    signal: Tensor
    noise: Tensor

    @classmethod
    def scaled_linear(
        cls, timesteps: int, beta_start: float, beta_end: float, where: device | str = "cpu"
    ) -> Schedule:
        """Betas that are linear in their square root, from ``beta_start`` to ``beta_end``.

        They are not rescaled to the length of the chain: a short one leaves most of the signal
        standing (0.76 of its variance at T = 50), a chain of one step has ``beta_start`` only.
        """
        return cls._of(_abar(timesteps, beta_start, beta_end), where)

    @classmethod
    def respaced(
        cls, timesteps: int, beta_start: float, beta_end: float, where: device | str = "cpu"
    ) -> Schedule:
        """T of the 1000 levels of the long chain with these betas, evenly, its last included.

        Level t is the long chain's (t + 1) 1000 / T-th, rounded, so that with Stable Diffusion's
        betas any chain ends at abar = 0.0047: 7 % of the features' size, the rest is noise. This
        is the chain whose betas are 1 - abar_t / abar_(t-1).

        Raises:
            ValueError: for more than 1000 steps.
        """
        if timesteps > LONG:
            raise ValueError(f"{LONG} levels cannot be respaced to {timesteps}")
        kept = [((t + 1) * LONG + timesteps // 2) // timesteps - 1 for t in range(timesteps)]
        return cls._of(_abar(LONG, beta_start, beta_end)[kept], where)

    @classmethod
    def _of(cls, abar: Tensor, where: device | str) -> Schedule:
        """From abar (T,) in float64."""
        return cls(
            signal=abar.sqrt().float().to(where),
            noise=(1 - abar).sqrt().float().to(where),
        )

    def add_noise(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t of clean features x (..., C) under the noise eps (..., C) at steps t (...)."""
        return self.signal[t].unsqueeze(-1) * x + self.noise[t].unsqueeze(-1) * eps

    def target(self, x: Tensor, eps: Tensor, t: Tensor, prediction: Prediction) -> Tensor:
        """What the network should answer (..., C): the noise, the features, or the velocity.

        The velocity is sqrt(abar) eps - sqrt(1 - abar) x (Salimans and Ho, 2022).
        """
        if prediction == "epsilon":
            return eps.expand(torch.broadcast_shapes(x.shape, eps.shape))
        if prediction == "sample":
            return x.expand(torch.broadcast_shapes(x.shape, eps.shape))
        return self.signal[t].unsqueeze(-1) * eps - self.noise[t].unsqueeze(-1) * x


def _abar(timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """abar (T,) of betas that are linear in their square root.

    In float64 on the CPU: a product of up to thousands of factors close to one.
    """
    root = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64)
    return torch.cumprod(1 - root**2, dim=0)
