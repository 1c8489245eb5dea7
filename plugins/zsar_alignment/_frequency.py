"""Bands of a discrete cosine transform, scaled by learnt weights: FS-VAE's change to encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def dct_matrix(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix (size, size): its transpose is the inverse, DCT-III.

    Row k is cos(pi k (n + 1/2) / size) over n, brought to unit length.
    """
    n = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(torch.pi / size * n.unsqueeze(1) * (n + 0.5))  # (k, n)
    return (rows / rows.norm(dim=1, keepdim=True)).float()


class FrequencyScaling(nn.Module):
    """Scales bands of the DCT of rows (N, C); the equations stand in ``fs_vae``.

    Args:
        channels: C.
        bands: B, cut evenly from 0 to C - 1.
        low_until: bands that end here or before are enhanced, the others weakened.
        gain: k at the start.
    """

    dct: Tensor  #: (C, C)
    band: Tensor  #: (C,) int64 band of each coefficient
    slope: Tensor  #: (C,) what k w_b is multiplied with there, 0 outside all bands

    def __init__(self, channels: int, bands: int, low_until: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(bands))
        self.gain = nn.Parameter(torch.tensor(gain))
        edges = torch.arange(bands + 1) * (channels - 1) // bands
        band = torch.searchsorted(edges[1:].contiguous(), torch.arange(channels), right=True)
        inside = band < bands
        band = band.clamp(max=bands - 1)
        low = edges[band + 1] <= low_until
        slope = torch.where(low, 1 - band / bands, band / bands - 2) * inside
        # They follow from the parameters, so a state need not hold them.
        self.register_buffer("dct", dct_matrix(channels), persistent=False)
        self.register_buffer("band", band, persistent=False)
        self.register_buffer("slope", slope, persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        scale = 1 + self.gain * self.weight[self.band] * self.slope  # (C,)
        return rows @ self.dct.T * scale @ self.dct
