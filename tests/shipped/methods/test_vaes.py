"""CADA-VAE, SynSE and MSF, and the parts they share with SA-DVAE and FS-VAE."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from zsar_alignment import _vae, cada_vae, fs_vae, msf, sa_dvae, synse
from zsar_alignment._vae import CrossVAE, Gaussian, kl, sample

from kit.fakes import FakeContext, random_texts, random_train
from kit.toy_vaes import CHANGES, QUICK, TINY, accuracies, bank, differ, fitted, outcome

METHODS = {
    "cada-vae": (cada_vae, cada_vae.CadaVAE),
    "synse": (synse, synse.SynSE),
    "msf": (msf, msf.MSF),
}
FAMILY = METHODS | {"sa-dvae": (sa_dvae, sa_dvae.SADVAE), "fs-vae": (fs_vae, fs_vae.FSVAE)}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(rows: int = 5, size: int = 3, seed: int = 1) -> Gaussian:
    g = rng(seed)
    return Gaussian(torch.randn(rows, size, generator=g), torch.randn(rows, size, generator=g))


def tiny(name: str, **changes: Any) -> Any:
    module, make = FAMILY[name]
    steps = {} if name == "sa-dvae" else {"cycle_steps": 6}
    return make(module.Params(**(TINY | steps | changes)))


# --- Gaussians and layers --------------------------------------------------------------------


def test_kl_is_that_of_torch_summed_over_the_latent_and_averaged_over_the_batch() -> None:
    q = gaussian()
    each = kl_divergence(Normal(q.mean, torch.exp(q.log_variance / 2)), Normal(0.0, 1.0))
    assert each.shape == (5, 3)
    assert float(kl(q)) == pytest.approx(float(each.sum()) / 5, rel=1e-5)


@pytest.mark.parametrize(("noise", "shared"), [("scalar", True), ("full", False)])
def test_a_latent_is_mean_plus_deviation_times_noise(noise: Any, shared: bool) -> None:
    q = gaussian(rows=4000)
    z = sample(q, noise, rng(2))
    eps = (z - q.mean) / torch.exp(q.log_variance / 2)
    assert eps.mean().abs() < 0.05
    assert eps.std() == pytest.approx(1, abs=0.05)
    between = float(np.corrcoef(eps.T.numpy())[0, 1])
    assert between == pytest.approx(1 if shared else 0, abs=0.06)
    assert eps.unique(dim=0).shape[0] > 3900, "every row has its own"


def test_gradients_reach_mean_and_variance() -> None:
    q = Gaussian(*(t.double().requires_grad_() for t in gaussian()))
    # float64 needs its own noise, or differences of float32 noise would be compared
    assert torch.autograd.gradcheck(lambda m, v: kl(Gaussian(m, v)), (q.mean, q.log_variance))
    z = sample(q, "scalar", rng(3)).sum()
    by_mean, by_variance = torch.autograd.grad(z, list(q))
    assert torch.equal(by_mean, torch.ones_like(by_mean))
    eps = torch.randn(5, 1, generator=rng(3))
    torch.testing.assert_close(by_variance, torch.exp(q.log_variance / 2) * eps / 2)


def test_texts_are_joined_and_brought_to_unit_length() -> None:
    fields = [torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[5.0], [-1.0]])]
    raw = torch.tensor([[3.0, 4.0, 5.0], [0.0, 2.0, -1.0]])
    unit = torch.tensor([[0.6, 0.8, 1.0], [0.0, 1.0, -1.0]]) / math.sqrt(2)
    assert torch.equal(_vae.text_rows(fields, "none"), raw)
    for how in ("unit", "standardize"):
        torch.testing.assert_close(_vae.text_rows(fields, how), unit)
    (joined,) = _vae.joined_rows(bank(*fields), "none")
    assert torch.equal(joined, raw)
    first, second = _vae.field_rows(bank(*fields), "none")
    assert torch.equal(first, fields[0])
    assert torch.equal(second, fields[1])


# --- Loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text_channels", [[5], [3, 4]])
@pytest.mark.parametrize("relu", [True, False])
def test_the_terms_of_a_batch_by_hand(text_channels: list[int], relu: bool) -> None:
    net = CrossVAE(6, text_channels, 4, relu)
    _vae.initialise(net, rng(1))
    g = rng(2)
    x = torch.randn(7, 6, generator=g)
    texts = [torch.randn(7, d, generator=g) for d in text_channels]
    terms = net.terms(x, texts, "scalar", rng(3))

    w = {k: v.double().numpy() for k, v in net.state_dict().items()}
    g = rng(3)
    eps = [torch.randn(7, 1, generator=g).numpy() for _ in range(1 + len(texts))]

    def affine(name: str, rows: Any) -> Any:
        return np.stack([w[f"{name}.weight"] @ row + w[f"{name}.bias"] for row in rows])

    def encoded(name: str, rows: Any, e: Any) -> tuple[Any, float]:
        mean, log_variance = affine(f"{name}.mean", rows), affine(f"{name}.log_variance", rows)
        total = 0.0
        for m, v in zip(mean.flat, log_variance.flat, strict=True):
            total += 0.5 * (m * m + math.exp(v) - v - 1)
        return mean + np.sqrt(np.exp(log_variance)) * e, total / len(rows)

    def error(name: str, z: Any, rows: Any) -> float:
        out = affine(f"{name}.0", z)
        return float(np.mean(((np.maximum(out, 0) if relu else out) - rows) ** 2))

    z_x, kl_x = encoded("encode_x", x.numpy(), eps[0])
    own, cross, kl_s, start, z_s = error("decode_x", z_x, x.numpy()), 0.0, 0.0, 0, []
    for i, s in enumerate(texts):
        z, more = encoded(f"encode_s.{i}", s.numpy(), eps[1 + i])
        size = 4 // len(texts)
        own += error(f"decode_s.{i}", z, s.numpy())
        cross += error(f"decode_s.{i}", z_x[:, start : start + size], s.numpy())
        kl_s, start = kl_s + more, start + size
        z_s.append(z)
    cross += error("decode_x", np.concatenate(z_s, axis=1), x.numpy())
    found = [float(t.detach()) for t in terms]
    np.testing.assert_allclose(found, [own, cross, kl_x, kl_s], rtol=1e-5)


#: step of the training -> a, b_x, b_s of CADA-VAE, b_s of SynSE and MSF; 1700 steps a cycle.
TABLE = {
    0: (0, 0, 0, 0),
    1000: (0, 0, 0, 0),
    1300: (0, 0.01, 0, 0),
    1400: (0, 0.04 / 3, 0, 0),
    1401: (1, 0.0401 / 3, 0.0401 / 3, 0),  # SynSE's waits for the third cycle
    1699: (1, 0.0699 / 3, 0.0699 / 3, 0),
    1700: (0, 0, 0, 0),
    3350: (1, 0.065 / 3, 0.065 / 3, 0),
    3400: (0, 0, 0, 0),
    4800: (0, 0.04 / 3, 0, 0),
    4801: (1, 0.0401 / 3, 0.0401 / 3, 0.0001 / 3),
    4950: (1, 0.055 / 3, 0.055 / 3, 0.005),
    16999: (1, 0.0699 / 3, 0.0699 / 3, 0.0299 / 3),
}


@pytest.mark.parametrize("step", TABLE)
def test_the_weights_are_ramps_that_start_again_with_each_cycle(step: int) -> None:
    a, b_x, cada, others = TABLE[step]
    assert cada_vae.weights(step, cada_vae.Params()) == pytest.approx((a, b_x, cada), abs=1e-9)
    for params in (synse.Params(), msf.Params()):
        assert synse.weights(step, params) == pytest.approx((a, b_x, others), abs=1e-9)


def test_the_longer_cycles_of_the_authors_are_a_matter_of_parameters() -> None:
    p = synse.Params(
        cycle_steps=1900, cross_start=1500 / 1900, kl_start=1000 / 1900, kl_rate=0.1 * 1900 / 3000
    )
    at = 2 * 1900
    assert synse.weights(at + 1500, p) == pytest.approx((0, 0.05 / 3, 0), abs=1e-9)
    assert synse.weights(at + 1800, p) == pytest.approx((1, 0.08 / 3, 0.01), abs=1e-9)


def test_the_loss_is_the_weighted_sum() -> None:
    terms = _vae.Terms(*torch.tensor([2.0, 3.0, 5.0, 7.0]))
    total = _vae.total(terms, _vae.Weights(10.0, 100.0, 1000.0))
    assert float(total) == 2 + 30 + 500 + 7000


# --- The methods -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_unseen_classes_are_told_where_looks_follow_texts(name: str) -> None:
    module, make = METHODS[name]
    seen, unseen, run = accuracies(make(module.Params(**QUICK, cycle_steps=60)))
    assert seen > 0.95
    assert unseen > 0.95
    own = [float(scalars["own"]) for _, _, scalars in run.steps]
    assert np.mean(own[-20:]) < 0.5 * own[0]


@pytest.mark.parametrize("name", FAMILY)
def test_scores_are_the_classifier_at_the_posteriors_mean(name: str) -> None:
    method = fitted(tiny(name, normalize="standardize"))
    method.bind(random_texts(3, seed=8))
    x = random_train(6, 2, seed=9).inputs
    state = method.state_dict()
    front = "encode_x.1" if name == "fs-vae" else "encode_x"
    rows = (x.pooled - state["scale_x.mean"]) / state["scale_x.spread"]
    if name == "fs-vae":
        rows = method.network.encode_x[0](rows)
    mean = rows @ state[f"{front}.mean.weight"].T + state[f"{front}.mean.bias"]
    expected = mean @ method.classifier.weight.T + method.classifier.bias
    torch.testing.assert_close(method.score(x), expected.relu().detach())


@pytest.mark.parametrize("name", FAMILY)
def test_seen_and_unseen_candidates_are_treated_alike(name: str) -> None:
    """Candidates that the fit has met are candidates like others: their order is unknown."""
    method = fitted(tiny(name, classifier_relu=False))
    seen = random_texts(4, seed=3)
    order = torch.tensor([2, 0, 3, 1])
    x = random_train(6, 2, seed=9).inputs
    method.bind(seen)
    straight = method.score(x)
    method.bind(seen.rows(order))
    torch.testing.assert_close(method.score(x), straight[:, order])


@pytest.mark.parametrize("name", FAMILY)
def test_one_seen_class_and_fewer_clips_than_a_batch_are_no_fault(name: str) -> None:
    for profile in ("paper", "laptop"):
        module, make = FAMILY[name]
        values = module.Params.profiles[profile] | {"cycles": 1, "samples": 10}
        values |= {} if name == "sa-dvae" else {"cycle_steps": 2}
        method = make(module.Params(**values))
        run = FakeContext(random_texts(1, seed=3))
        method.fit(random_train(3, 1), run)
        method.bind(random_texts(3, seed=8))
        assert method.score(random_train(4, 2, seed=9).inputs).isfinite().all()
        assert all(torch.isfinite(v).all() for v in method.state_dict().values())
        assert all(math.isfinite(float(v)) for _, _, said in run.steps for v in said.values())


OF_CADA = {k: v for k, v in CHANGES.items() if k != "quiet_cycles"}


@pytest.fixture(scope="module")
def default() -> dict[str, list[Tensor]]:
    return {name: outcome(tiny(name)) for name in METHODS}


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, f) for name in METHODS for f in (OF_CADA if name == "cada-vae" else CHANGES)],
)
def test_every_parameter_matters(name: str, field: str, default: Any) -> None:
    assert differ(outcome(tiny(name, **{field: CHANGES[field]})), default[name])


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_is_tried(name: str) -> None:
    fields = METHODS[name][0].Params.model_fields
    assert set(fields) == set(OF_CADA if name == "cada-vae" else CHANGES)


@pytest.mark.parametrize("name", METHODS)
def test_the_paper_profile_is_the_published_setting(name: str) -> None:
    module = METHODS[name][0]
    p = module.Params(**module.Params.profiles["paper"])
    assert (p.latent, p.cycles, p.cycle_steps, p.batch, p.lr) == (100, 10, 1700, 64, 1e-4)
    assert (p.samples, p.classifier_steps, p.classifier_lr) == (500, 300, 1e-3)
    assert (p.noise, p.normalize) == ("scalar", "none")


def test_synse_has_a_vae_for_each_field_and_the_others_one() -> None:
    for name, sizes in (("cada-vae", [4]), ("msf", [4]), ("synse", [2, 2])):
        net = fitted(tiny(name)).network
        assert net.sizes == sizes
        assert [q.mean.out_features for q in net.encode_s] == sizes
