"""SA-DVAE: its two heads, its discriminator and its ramps. The rest: test_vaes.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from zsar_alignment import _disentangled, _vae, sa_dvae
from zsar_alignment._disentangled import DisentangledVAE
from zsar_alignment.sa_dvae import SADVAE, Params

from kit.fakes import FakeContext, random_texts, random_train
from kit.toy_vaes import CHANGES, QUICK, TINY, accuracies, differ, outcome


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(**changes: Any) -> SADVAE:
    return SADVAE(Params(**(TINY | {"instance": 2, "dis_step": 2, "passes": 3} | changes)))


def network() -> DisentangledVAE:
    net = DisentangledVAE(6, 5, 4, 2, True)
    _vae.initialise(net, rng(1))
    return net


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(7, 6, generator=rng(2)), torch.randn(7, 5, generator=rng(3))


# --- Loss ------------------------------------------------------------------------------------


def test_the_terms_of_a_batch() -> None:
    net, (x, s) = network(), batch()
    q = _disentangled.encode(net, x, s)
    terms = sa_dvae.terms_of(net, x, s, q, "scalar", rng(4))
    g, z, kls = rng(4), [], []
    for encoder, rows in ((net.encode_x, x), (net.encode_v, x), (net.encode_s[0], s)):
        mean = rows @ encoder.mean.weight.T + encoder.mean.bias
        log_variance = rows @ encoder.log_variance.weight.T + encoder.log_variance.bias
        deviation = torch.exp(log_variance / 2)
        z.append(mean + deviation * torch.randn(7, 1, generator=g))
        kls.append(kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum() / 7)
    z_x, v, z_s = z

    def of_x(semantic: Tensor) -> Tensor:
        layer = net.decode_x[0]
        out = torch.cat([semantic, v], dim=1) @ layer.weight.T + layer.bias
        return ((out.clamp(min=0) - x) ** 2).sum() / x.numel()

    def of_s(semantic: Tensor) -> Tensor:
        layer = net.decode_s[0][0]
        out = semantic @ layer.weight.T + layer.bias
        return ((out.clamp(min=0) - s) ** 2).sum() / s.numel()

    first, _, second, _ = net.discriminator
    assert first.out_features == (4 + 2) // 4
    hidden = (torch.cat([z_x, v], dim=1) @ first.weight.T + first.bias).clamp(min=0)
    told = 1 / (1 + torch.exp(-(hidden @ second.weight.T + second.bias)))
    expected = [of_x(z_x) + of_s(z_s), of_x(z_s) + of_s(z_x), kls[0] + kls[1], kls[2], told.mean()]
    torch.testing.assert_close(torch.stack(list(terms)), torch.stack(expected))


def test_the_loss_is_the_weighted_sum() -> None:
    terms = sa_dvae.Terms(*torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0]))
    found = float(sa_dvae.total(terms, sa_dvae.Weights(10, 100, 1000)))
    assert found == 2 + 30 + 500 + 7000 + 11000


def test_the_discriminator_s_loss_pair_by_pair() -> None:
    net, g = network(), rng(5)
    pairs = [(torch.randn(7, 4, generator=g), torch.randn(7, 2, generator=g)) for _ in range(2)]
    found = _disentangled.discriminator_loss(net.discriminator, pairs, rng(6))
    g, total = rng(6), 0.0
    for z, v in pairs:
        pi, rho = torch.randperm(7, generator=g), torch.randperm(7, generator=g)
        for i in range(7):
            true = float(net.discriminator(torch.cat([z[i], v[i]])).detach())
            mixed = float(net.discriminator(torch.cat([z[pi[i]], v[rho[i]]])).detach())
            total -= (math.log(true) + math.log(1 - mixed)) / 7
    assert float(found.detach()) == pytest.approx(total / 4, rel=1e-5)


def test_a_discriminator_learns_which_pairs_belong_together() -> None:
    """v repeats a part of z: true pairs can be told from shuffled ones; independent ones cannot."""
    for tied in (True, False):
        net, g = DisentangledVAE(6, 5, 8, 8, True), rng(7)
        _vae.initialise(net, rng(1))
        optimiser = torch.optim.Adam(net.discriminator.parameters(), lr=0.02)
        for _ in range(300):
            z = torch.randn(64, 8, generator=g).sign()
            v = z if tied else torch.randn(64, 8, generator=g).sign()
            loss = _disentangled.discriminator_loss(net.discriminator, [(z, v)], g)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if tied:
            assert loss < 0.6
        else:
            assert loss > 0.66  # log 2 is 0.693


def test_the_penalty_s_gradient_is_that_of_finite_differences() -> None:
    net, (x, s) = network().double(), [t.double() for t in batch()]
    q = _disentangled.encode(net, x, s)
    inputs = [t.detach().requires_grad_() for t in (*q.z, *q.v)]

    def penalty(*moments: Tensor) -> Tensor:
        z, v = _vae.Gaussian(*moments[:2]), _vae.Gaussian(*moments[2:])
        posteriors = _disentangled.Posteriors(z, v, q.text)
        return sa_dvae.terms_of(net, x, s, posteriors, "scalar", rng(4)).together

    assert torch.autograd.gradcheck(penalty, inputs)


# --- Ramps -----------------------------------------------------------------------------------

#: step -> a, b_x, b_s of the published ramps; 1700 steps a cycle.
LATE = {
    0: (0, 0, 0),
    1000: (0, 0, 0),
    1300: (0, 0.01, 0),
    1360: (0, 0.012, 0),
    1361: (1, 0.01203333, 0),
    1699: (1, 0.0233, 0),
    1700: (0, 0, 0),
    3399: (1, 0.0233, 0),
    3400: (0, 0, 0),
    3400 + 1360: (0, 0.012, 0),
    3400 + 1510: (1, 0.017, 0.005),
    16999: (1, 0.0233, 0.0113),
}
#: the same with ``ramps=fixed``, beta_x 0.3, beta_s 0.6 and 1800 steps a cycle.
FIXED = {
    0: (0, 0, 0),
    600: (0, 0, 0),
    1200: (0, 0.15, 0.3),
    1500: (1, 0.225, 0.45),
    1800: (0, 0, 0),
    1800 + 1200: (0, 0.15, 0.3),
}


@pytest.mark.parametrize("step", LATE)
def test_the_ramps_of_the_published_runs(step: int) -> None:
    assert sa_dvae.weights(step, 1700, Params()) == pytest.approx(LATE[step], abs=1e-7)


@pytest.mark.parametrize("step", FIXED)
def test_the_ramps_to_given_betas(step: int) -> None:
    p = Params(ramps="fixed", beta_x=0.3, beta_s=0.6)
    assert sa_dvae.weights(step, 1800, p) == pytest.approx(FIXED[step], abs=1e-7)


class Watched(FakeContext):
    """Keeps the discriminator of every step."""

    def __init__(self, method: SADVAE) -> None:
        super().__init__(random_texts(4, seed=3))
        self.method, self.seen = method, list[bytes]()

    def progress(self, step: int, total: int, **scalars: float | Tensor) -> None:
        super().progress(step, total, **scalars)
        weights = [p.detach().flatten() for p in self.method.network.discriminator.parameters()]
        self.seen.append(torch.cat(weights).numpy().tobytes())


def moves(**changes: Any) -> list[int]:
    """Steps, from 0, at which the discriminator is not what it was."""
    method = tiny(**changes)
    run = Watched(method)
    method.fit(random_train(20, 4), run)  # 4 batches a pass, 3 passes a cycle, 3 cycles
    assert len(run.seen) == 36
    return [i for i in range(1, 36) if run.seen[i] != run.seen[i - 1]]


def test_the_discriminator_has_a_step_every_few_and_only_where_its_ramp_is_up() -> None:
    every = [i for i in range(1, 36) if i % 12 % 5 == 4]
    assert moves(scale_discriminator=False, dis_step=5) == every
    third_cycle = [i for i in range(24, 36) if (i % 12) / 12 > 0.5 and i % 2]
    assert [i for i in moves(cross_start=0.5) if i <= third_cycle[0]] == third_cycle[:1]
    assert moves(quiet_cycles=3) == []


def test_nothing_but_its_own_loss_moves_the_discriminator() -> None:
    assert moves(quiet_cycles=0, ramps="fixed", beta_s=0.5, dis_step=100) == []


# --- The method ------------------------------------------------------------------------------


def test_unseen_classes_are_told_where_looks_follow_texts() -> None:
    quick = QUICK | {"instance": 2, "passes": 10, "batch": 64}
    seen, unseen, run = accuracies(SADVAE(Params(**quick)))
    assert seen > 0.95
    assert unseen > 0.95
    own = [float(scalars["own"]) for _, _, scalars in run.steps]
    assert np.mean(own[-20:]) < 0.5 * own[0]


OWN: dict[str, Any] = {
    "instance": 3,
    "passes": 4,
    "ramps": "fixed",
    "dis_step": 3,
    "scale_discriminator": False,
}
SHARED = {k: v for k, v in CHANGES.items() if k != "cycle_steps"}


@pytest.fixture(scope="module")
def default() -> list[Tensor]:
    return outcome(tiny())


@pytest.mark.parametrize("field", SHARED | OWN)
def test_every_parameter_matters(field: str, default: list[Tensor]) -> None:
    assert differ(outcome(tiny(**{field: (SHARED | OWN)[field]})), default)


@pytest.mark.parametrize("field", ["beta_x", "beta_s"])
def test_the_betas_matter_where_they_are_used(field: str) -> None:
    assert differ(outcome(tiny(ramps="fixed")), outcome(tiny(ramps="fixed", **{field: 0.5})))


def test_every_parameter_is_tried_and_the_defaults_are_the_published_ones() -> None:
    assert set(Params.model_fields) == {*SHARED, *OWN, "beta_x", "beta_s"}
    p = Params(**Params.profiles["paper"])
    assert (p.latent, p.instance, p.cycles, p.passes, p.batch) == (160, 8, 10, 1, 32)
    assert (p.dis_step, p.ramps, p.cross_start, p.normalize_text) == (5, "late", 0.8, "unit")
    assert p.lr == pytest.approx(3.389e-5)
