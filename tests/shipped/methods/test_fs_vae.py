"""FS-VAE: its cosine transform, its bands and its calibrated terms. The rest: test_vaes.py."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor
from zsar_alignment import _vae, fs_vae
from zsar_alignment._frequency import FrequencyScaling, dct_matrix
from zsar_alignment._vae import CrossVAE, Encoder, kl
from zsar_alignment.fs_vae import FSVAE, Params

from kit.toy_vaes import CHANGES, QUICK, TINY, accuracies, differ, fitted, outcome


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(**changes: Any) -> FSVAE:
    return FSVAE(Params(**(TINY | {"cycle_steps": 6, "bands": 3, "low_until": 2} | changes)))


# --- Frequencies -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 256])
def test_the_transform_is_scipy_s_and_its_transpose_the_inverse(size: int) -> None:
    rows = np.random.default_rng(0).normal(size=(4, size))
    matrix = dct_matrix(size).double().numpy()
    np.testing.assert_allclose(rows @ matrix.T, scipy.fft.dct(rows, norm="ortho"), atol=1e-5)
    np.testing.assert_allclose(rows @ matrix, scipy.fft.idct(rows, norm="ortho"), atol=1e-5)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "bands", "low_until"), [(256, 30, 30), (512, 30, 30), (20, 4, 9), (5, 30, 30)]
)
def test_bands_are_scaled_one_by_one(channels: int, bands: int, low_until: int) -> None:
    scaling = FrequencyScaling(channels, bands, low_until, 0.3)
    w = 0.5 + torch.rand(bands, generator=rng(1))
    scaling.weight.data.copy_(w)
    rows = torch.randn(3, channels, generator=rng(2))
    spectrum = scipy.fft.dct(rows.double().numpy(), norm="ortho")
    edges = [Fraction(i * (channels - 1), bands) for i in range(bands + 1)]
    for i in range(bands):
        start, end = math.floor(edges[i]), math.floor(edges[i + 1])
        share = 1 - i / bands if end <= low_until else -(2 - i / bands)
        spectrum[:, start:end] *= 1 + 0.3 * float(w[i]) * share
    expected = scipy.fft.idct(spectrum, norm="ortho")
    np.testing.assert_allclose(scaling(rows).detach().numpy(), expected, atol=2e-5)


def test_of_256_channels_three_bands_are_low_and_the_last_coefficient_is_in_none() -> None:
    slope = FrequencyScaling(256, 30, 30, 0.3).slope
    assert (slope[:25] > 0).all()
    assert (slope[25:255] < 0).all()
    assert slope[255] == 0
    assert slope[0] == 1
    assert float(slope[25]) == pytest.approx(-(2 - 3 / 30))


def test_bands_and_gain_are_learnt() -> None:
    scaling = FrequencyScaling(8, 3, 3, 0.3).double()
    rows = torch.randn(2, 8, generator=rng(3)).double()

    def output(weight: Tensor, gain: Tensor) -> Tensor:
        parameters = {"weight": weight, "gain": gain}
        return torch.func.functional_call(scaling, parameters, (rows,))

    inputs = (torch.rand(3).double().requires_grad_(), torch.tensor(0.3).double().requires_grad_())
    assert torch.autograd.gradcheck(output, inputs)
    net = fitted(tiny(lr=1e-2)).network
    assert (net.encode_x[0].weight != 1).any()
    assert net.encode_x[0].gain != torch.tensor(0.3)
    assert (net.encode_s[0][0].weight != 1).any()


# --- Loss ------------------------------------------------------------------------------------


def test_the_calibrated_term_row_by_row() -> None:
    target, match, other = (torch.randn(5, 3, generator=rng(i)) for i in range(3))
    for some in (other, None):
        expected = 0.0
        for i in range(5):
            apart = sum(float(target[i, c] - match[i, c]) ** 2 for c in range(3))
            if some is not None:
                apart -= sum(float(target[i, c] - some[i, c]) ** 2 for c in range(3))
            expected += 1 / (1 + math.exp(-apart / 4)) / 5
        found = fs_vae.calibrated(target, match, some, 4.0)
        assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_calibrated_term_pulls_pairs_together_and_others_apart() -> None:
    rows = [torch.randn(4, 3, generator=rng(i)).double().requires_grad_() for i in range(3)]
    assert torch.autograd.gradcheck(lambda *r: fs_vae.calibrated(*r, 4.0), rows)
    target, match, other = rows
    loss = fs_vae.calibrated(target, match, other, 4.0)
    by_match, by_other = torch.autograd.grad(loss, [match, other])
    assert ((match - target) * by_match).sum(1).min() > 0
    assert ((other - target) * by_other).sum(1).max() < 0


def test_the_terms_of_a_batch() -> None:
    p = Params(latent=4, temperature=3.0)
    net = CrossVAE(6, [5], 4, True, Encoder)
    _vae.initialise(net, rng(1))
    x, s = torch.randn(7, 6, generator=rng(2)), torch.randn(7, 5, generator=rng(3))
    terms = fs_vae.terms_of(net, x, s, p, rng(4))
    g = rng(4)
    q_x, q_s = net.encode_x(x), net.encode_s[0](s)
    z_x = q_x.mean + (q_x.log_variance / 2).exp() * torch.randn(7, 1, generator=g)
    z_s = q_s.mean + (q_s.log_variance / 2).exp() * torch.randn(7, 1, generator=g)
    order = torch.randperm(7, generator=g)
    decoded = net.decode_s[0](z_x)
    apart = ((s - decoded) ** 2).sum(1) - ((s - decoded[order]) ** 2).sum(1)
    own = ((net.decode_x(z_x) - x) ** 2).mean() + ((net.decode_s[0](z_s) - s) ** 2).mean()
    visual = torch.sigmoid(((x - net.decode_x(z_s)) ** 2).sum(1) / 3).mean()
    expected = [own, visual, torch.sigmoid(apart / 3).mean(), kl(q_x), kl(q_s)]
    torch.testing.assert_close(torch.stack(list(terms)), torch.stack(expected))


def test_the_loss_is_the_weighted_sum() -> None:
    terms = fs_vae.Terms(*torch.tensor([2.0, 3.0, 4.0, 5.0, 7.0]))
    assert float(fs_vae.total(terms, fs_vae.Weights(10, 100, 1000))) == 2 + 70 + 500 + 7000


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, (0, 0, 0)),
        (1300, (0, 0.01, 0)),
        (1401, (50, 0.0401 / 3, 0)),
        (3400, (0, 0, 0)),
        (3400 + 1400, (0, 0.04 / 3, 0)),
        (3400 + 1550, (50, 0.055 / 3, 0.005)),
    ],
)
def test_the_weights_are_msf_s_and_alpha_times_temperature(step: int, expected: Any) -> None:
    assert fs_vae.weights(step, Params()) == pytest.approx(expected, abs=1e-9)
    always = fs_vae.weights(step, Params(gated=False, alpha=2.0, temperature=3.0))
    assert always == pytest.approx((6, *expected[1:]), abs=1e-9)


# --- The method ------------------------------------------------------------------------------


def test_unseen_classes_are_told_where_looks_follow_texts() -> None:
    quick = QUICK | {"cycle_steps": 60, "alpha": 0.03, "temperature": 20.0}
    seen, unseen, _ = accuracies(FSVAE(Params(**quick)))
    assert seen > 0.9
    assert unseen > 0.95


OWN = {
    "bands": 4,
    "low_until": 0,
    "gain": 0.5,
    "frequencies": False,
    "alpha": 1.0,
    "temperature": 5.0,
    "gated": False,
}


@pytest.fixture(scope="module")
def default() -> list[Tensor]:
    return outcome(tiny())


@pytest.mark.parametrize("field", CHANGES | OWN)
def test_every_parameter_matters(field: str, default: list[Tensor]) -> None:
    assert differ(outcome(tiny(**{field: (CHANGES | OWN)[field]})), default)


def test_every_parameter_is_tried_and_the_defaults_are_the_published_ones() -> None:
    assert set(Params.model_fields) == set(CHANGES | OWN)
    p = Params(**Params.profiles["paper"])
    assert (p.latent, p.cycles, p.cycle_steps, p.batch, p.lr) == (100, 10, 1700, 64, 1e-4)
    assert (p.bands, p.low_until, p.gain) == (30, 30, 0.3)
    assert (p.alpha, p.temperature, p.gated, p.normalize_text) == (0.5, 100, True, "unit")
