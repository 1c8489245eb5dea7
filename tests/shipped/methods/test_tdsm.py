"""TDSM against independent, slow, obvious computations; never against itself."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from zsar_tdsm.diffusion import Schedule
from zsar_tdsm.dit import JointDiT, Modulation, sincos
from zsar_tdsm.method import TDSM, class_texts
from zsar_tdsm.objective import denoising_error, draw_negatives, learning_rate, triplet_loss
from zsar_tdsm.params import Params

from kit.fakes import FakeContext, random_texts, random_train
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank, TextFeatures

Array = np.ndarray[Any, Any]

TINY: dict[str, Any] = {
    "width": 8,
    "depth": 2,
    "heads": 2,
    "mlp_ratio": 2.0,
    "time_channels": 6,
    "local_tokens": 3,
    "steps": 8,
    "batch": 8,
    "warmup": 2,
    "lr": 0.02,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors this small are only slowed down by a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fitted(context: FakeContext | None = None, train: SeenTrain | None = None, **changes: Any):
    """A tiny TDSM fitted for a few steps on random features of four classes."""
    method = TDSM(Params(**{**TINY, **changes}))
    method.fit(train or random_train(20, 4), context or FakeContext(random_texts(4)))
    return method


def randomised(method: TDSM, seed: int = 5) -> TDSM:
    """The same method with every weight drawn anew: nothing that starts at zero stays zero."""
    g = torch.Generator().manual_seed(seed)
    state = {
        k: 0.5 * torch.randn(v.shape, generator=g) if k.startswith("network.") else v
        for k, v in method.state_dict().items()
    }
    method.load_state_dict(state)
    return method


# --------------------------------------------------------------------------------------
# The whole network again, by loops in float64


def slow_linear(w: dict[str, Array], name: str, x: Array) -> Array:
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def slow_silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def slow_gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def slow_norm(x: Array, shift: Array, scale: Array) -> Array:
    centred = x - sum(x) / len(x)
    return centred / math.sqrt(sum(centred**2) / len(x) + 1e-6) * (1 + scale) + shift


def slow_attention(q: Array, ks: list[Array], vs: list[Array], heads: int, scaled: bool) -> Array:
    size = len(q) // heads
    root = math.sqrt(size) if scaled else 1.0
    out = np.zeros_like(q)
    for h in range(heads):
        s = slice(h * size, (h + 1) * size)
        weights = [math.exp(float(q[s] @ k[s]) / root) for k in ks]
        for weight, v in zip(weights, vs, strict=True):
            out[s] += weight / sum(weights) * v[s]
    return out


def slow_network(
    w: dict[str, Array],
    x_t: Array,
    t: int,
    z_g: Array,
    z_l: Array,
    p: Params,
    mask: Array | None = None,
) -> Array:
    """Equations of ``methods.md`` 1.3 for one feature (C,) and one class."""
    d = p.width
    half = p.time_channels // 2
    angles = [t * 10_000.0 ** (-i / half) for i in range(half)]
    embedded = np.array([math.cos(a) for a in angles] + [math.sin(a) for a in angles])
    f_c = slow_linear(w, "time_in.2", slow_silu(slow_linear(w, "time_in.0", embedded)))
    if p.text_tokens != "local" and p.text_condition == "linear":
        f_c = f_c + slow_linear(w, "global_in", z_g)
    elif p.text_tokens != "local":
        f_c = f_c + slow_linear(w, "global_in.2", slow_silu(slow_linear(w, "global_in.0", z_g)))
    x = slow_linear(w, "skeleton_in", x_t)
    if p.position_embedding:
        x = x + w["skeleton_position"][0]
    text = []
    if p.text_tokens != "global":
        text = [
            slow_linear(w, "local_in", z) + w["local_position"][i]
            for i, z in enumerate(z_l)
            if mask is None or mask[i]
        ]

    for b in range(p.depth):
        last = b == p.depth - 1
        block = f"blocks.{b}"
        mods = slow_linear(w, f"{block}.skeleton.modulation.linear", slow_silu(f_c))
        x_mod = [mods[i * d : (i + 1) * d] for i in range(6)]
        qkv_x = slow_linear(w, f"{block}.skeleton.qkv", slow_norm(x, *x_mod[:2]))
        tokens = [(qkv_x[:d], qkv_x[d : 2 * d], qkv_x[2 * d :])]
        for token in text:
            mods = slow_linear(w, f"{block}.text.modulation.linear", slow_silu(f_c))
            normed = slow_norm(token, mods[:d], mods[d : 2 * d])
            if last:
                kv = slow_linear(w, f"{block}.text.kv", normed)
                tokens.append((np.zeros(d), kv[:d], kv[d:]))
            else:
                qkv = slow_linear(w, f"{block}.text.qkv", normed)
                tokens.append((qkv[:d], qkv[d : 2 * d], qkv[2 * d :]))
        ks, vs = [k for _, k, _ in tokens], [v for _, _, v in tokens]

        def rest(stream: str, token: Array, q: Array, ks=ks, vs=vs, block=block) -> Array:
            mods = slow_linear(w, f"{block}.{stream}.modulation.linear", slow_silu(f_c))
            _, _, gate, shift, scale, mlp_gate = [mods[i * d : (i + 1) * d] for i in range(6)]
            attended = slow_attention(q, ks, vs, p.heads, p.scaled_attention)
            token = token + gate * slow_linear(w, f"{block}.{stream}.out", attended)
            hidden = slow_gelu(
                slow_linear(w, f"{block}.{stream}.mlp.0", slow_norm(token, shift, scale))
            )
            return token + mlp_gate * slow_linear(w, f"{block}.{stream}.mlp.2", hidden)

        x = rest("skeleton", x, tokens[0][0])
        if not last:
            text = [
                rest("text", token, q) for token, (q, _, _) in zip(text, tokens[1:], strict=True)
            ]

    mods = slow_linear(w, "final_modulation.linear", slow_silu(f_c))
    return slow_linear(w, "final", slow_norm(x, mods[:d], mods[d:]))


def weights_of(method: TDSM) -> dict[str, Array]:
    return {
        k.removeprefix("network."): v.double().numpy()
        for k, v in method.state_dict().items()
        if k.startswith("network.")
    }


def joined(bank: TextBank) -> tuple[Array, Array, Array]:
    """The bank's texts joined by channel, class by class and token by token."""
    fields = list(bank.fields.values())
    z_g = [[float(v) for f in fields for v in f.pooled[k]] for k in range(len(bank))]
    z_l = [
        [[float(v) for f in fields for v in f.tokens[k, i]] for i in range(f_tokens(bank))]
        for k in range(len(bank))
    ]
    mask = [
        [any(bool(f.mask[k, i]) for f in fields) for i in range(f_tokens(bank))]
        for k in range(len(bank))
    ]
    return np.array(z_g), np.array(z_l), np.array(mask)


def f_tokens(bank: TextBank) -> int:
    return next(iter(bank.fields.values())).tokens.shape[1]


def slow_scores(method: TDSM, x: Array, bank: TextBank) -> Array:
    """The rule of ``methods.md`` 1.6 by loops over clips, classes and noises."""
    p, w, state = method.params, weights_of(method), method.state_dict()
    z_g, z_l, mask = joined(bank)
    abar, levels, last = 1.0, p.timesteps, p.t_test
    if p.chain == "respaced":
        levels, last = 1000, round((p.t_test + 1) * 1000 / p.timesteps) - 1
    for t in range(last + 1):
        start, end = math.sqrt(p.beta_start), math.sqrt(p.beta_end)
        abar *= 1 - (start + t / (levels - 1) * (end - start)) ** 2
    a, s = math.sqrt(abar), math.sqrt(1 - abar)
    scores = np.zeros((len(x), len(bank)))
    for n in range(len(x)):
        for k in range(len(bank)):
            for eps in state["noises"].double().numpy():
                clean = (x[n] - state["mean"].double().numpy()) / state[
                    "deviation"
                ].double().numpy()
                wanted = {"epsilon": eps, "sample": clean, "velocity": a * eps - s * clean}
                answer = slow_network(
                    w,
                    a * clean + s * eps,
                    p.t_test,
                    z_g[k],
                    z_l[k],
                    p,
                    mask[k] if p.mask_padding else None,
                )
                squares = (wanted[p.prediction] - answer) ** 2
                scores[n, k] -= math.sqrt(sum(squares)) if p.distance == "l2" else np.mean(squares)
    return scores


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"depth": 1},
        {"depth": 3, "position_embedding": True},
        {"text_tokens": "global"},
        {"text_tokens": "local"},
        {"mask_padding": True},
        {"prediction": "sample", "normalize": "standardize"},
        {"prediction": "velocity", "t_test": 7},
        {"distance": "l2"},
        {"text_condition": "linear"},
        {"text_condition": "linear", "text_tokens": "global"},
        {"scaled_attention": False, "mask_padding": True},
        {"chain": "respaced", "timesteps": 48, "t_test": 30},
        Params.profiles["as-printed"],
    ],
    ids=str,
)
def test_scores_equal_loops_over_clips_classes_and_noises(changes: dict[str, Any]) -> None:
    method = randomised(fitted(**{**changes, "steps": 1}))
    bank, x = random_texts(3, seed=8), random_train(4, 2, seed=9).inputs
    method.bind(bank)
    expected = slow_scores(method, x.pooled.double().numpy(), bank)
    assert expected.std() > 0.01
    np.testing.assert_allclose(method.score(x).numpy(), expected, rtol=2e-4, atol=2e-5)


def test_network_in_training_shapes_equals_loops_over_samples() -> None:
    method = randomised(fitted(steps=1))
    net, w, p = method._network, weights_of(method), method.params
    bank = random_texts(4)
    z_g, z_l, _ = class_texts(bank, p)
    pair = torch.tensor([[0, 1, 3, 2, 2], [1, 0, 2, 2, 0]])  # (2, B): positive, negative
    t = torch.tensor([0, 49, 3, 20, 11])
    x_t = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    c, f_l = net.embed_texts(z_g, z_l)
    assert f_l is not None
    answer = net(x_t, f_l[pair], net.condition(t, c[pair])).detach().numpy()
    slow_g, slow_l, _ = joined(bank)
    for side in range(2):
        for i in range(5):
            k = int(pair[side, i])
            expected = slow_network(w, x_t[i].double().numpy(), int(t[i]), slow_g[k], slow_l[k], p)
            np.testing.assert_allclose(answer[side, i], expected, rtol=2e-4, atol=2e-5)


def test_step_embedding_is_cosines_then_sines() -> None:
    got = sincos(torch.tensor([0, 25]), 4)
    second = 25 * 10_000 ** (-1 / 2)
    expected = [
        [1, 1, 0, 0],
        [math.cos(25), math.cos(second), math.sin(25), math.sin(second)],
    ]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


# --------------------------------------------------------------------------------------
# Schedule


def test_schedule_has_the_published_constants() -> None:
    abar = Schedule.scaled_linear(50, 0.00085, 0.012).signal ** 2
    assert float(abar[0]) == pytest.approx(0.99915, abs=5e-6)
    assert float(abar[25]) == pytest.approx(0.934, abs=5e-4)
    assert float(abar[49]) == pytest.approx(0.764, abs=5e-4)
    noise = Schedule.scaled_linear(50, 0.00085, 0.012).noise
    assert float(noise[25]) == pytest.approx(0.257, abs=5e-4)
    assert float(noise[49]) == pytest.approx(0.486, abs=5e-4)


@pytest.mark.parametrize(
    ("timesteps", "last"), [(1, 0.029), (10, 0.231), (100, 0.645), (500, 0.965)]
)
def test_noise_at_the_last_step_depends_on_the_length(timesteps: int, last: float) -> None:
    noise = Schedule.scaled_linear(timesteps, 0.00085, 0.012).noise
    assert len(noise) == timesteps
    assert float(noise[-1]) == pytest.approx(last, abs=5e-4)


def test_a_chain_of_one_step_fits_and_scores() -> None:
    method = fitted(timesteps=1, t_test=0)
    method.bind(random_texts(2))
    assert method.score(random_train(3, 2).inputs).isfinite().all()


@pytest.mark.parametrize("timesteps", [1, 7, 10, 50, 100, 500, 1000])
def test_a_respaced_chain_ends_where_the_long_one_does(timesteps: int) -> None:
    long = Schedule.scaled_linear(1000, 0.00085, 0.012).signal
    short = Schedule.respaced(timesteps, 0.00085, 0.012).signal
    assert len(short) == timesteps
    assert float(short[-1] ** 2) == pytest.approx(0.0047, abs=5e-5)
    kept = [round((t + 1) * 1000 / timesteps) - 1 for t in range(timesteps)]
    assert torch.equal(short, long[kept])
    assert len(set(kept)) == timesteps
    assert max(np.diff([-1, *kept])) - min(np.diff([-1, *kept])) <= 1


def test_the_betas_of_a_respaced_chain_multiply_the_long_chain_s() -> None:
    betas = [
        (math.sqrt(0.00085) * (1 - f) + math.sqrt(0.012) * f) ** 2 for f in np.arange(1000) / 999
    ]
    abar = Schedule.respaced(250, 0.00085, 0.012).signal.double().numpy() ** 2
    own = 1 - abar[1:] / abar[:-1]
    four = [1 - math.prod(1 - b for b in betas[t * 4 : t * 4 + 4]) for t in range(1, 250)]
    np.testing.assert_allclose(own, four, rtol=1e-3)


def test_forward_process_and_targets_by_hand() -> None:
    schedule = Schedule(signal=torch.tensor([0.9, 0.8]), noise=torch.tensor([0.3, 0.6]))
    x, eps = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[10.0, 0.0], [0.0, 10.0]])
    t = torch.tensor([1, 0])
    assert torch.allclose(schedule.add_noise(x, eps, t), torch.tensor([[6.8, 1.6], [2.7, 6.6]]))
    assert torch.equal(schedule.target(x, eps, t, "epsilon"), eps)
    assert torch.equal(schedule.target(x, eps, t, "sample"), x)
    velocity = schedule.target(x, eps, t, "velocity")  # 0.8 * 10 - 0.6 * 1, ...
    assert torch.allclose(velocity, torch.tensor([[7.4, -1.2], [-0.9, 7.8]]))


# --------------------------------------------------------------------------------------
# Loss and optimisation


def test_triplet_loss_by_hand() -> None:
    d_pos = torch.tensor([0.5, 0.9, 0.2, 0.7])
    d_neg = torch.tensor([0.8, 0.4, 1.9, 0.7])
    differs = torch.tensor([True, True, True, False])
    # 0.7, 1.5, 0 (satisfied), masked; over all four samples.
    assert float(triplet_loss(d_pos, d_neg, differs, 1.0)) == pytest.approx(2.2 / 4)
    assert float(triplet_loss(d_pos, d_neg, differs, 0.2)) == pytest.approx(0.7 / 4)


def test_both_distances_by_hand() -> None:
    target = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 1.0]])
    answer = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert denoising_error(target, answer).tolist() == [(4 + 9 + 16) / 4, 0.0]
    squared, zero = denoising_error(target, answer, "l2").tolist()
    assert squared == pytest.approx(math.sqrt(29))
    assert zero == 0.0


def test_the_norm_s_gradient_is_a_unit_vector_and_zero_at_zero() -> None:
    target = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    answer = torch.zeros(3, 5)
    answer[1] = target[1]  # exactly right
    answer.requires_grad_()
    denoising_error(target, answer, "l2").sum().backward()
    assert answer.grad is not None
    assert not answer.grad[1].any()
    for row in (0, 2):
        for c in range(5):
            moved = [0.0] * 5
            moved[c] = 1e-6
            wanted = target[row].tolist()
            slope = (math.dist(wanted, moved) - math.dist(wanted, [0.0] * 5)) / 1e-6
            assert float(answer.grad[row, c]) == pytest.approx(slope, abs=1e-5)
        assert float(answer.grad[row].norm()) == pytest.approx(1.0, abs=1e-5)


def test_an_exact_answer_under_the_norm_trains_without_nan() -> None:
    """Zero features, predicted as they are: the zero start is exact, every norm is zero."""
    train = random_train(20, 4)
    train.inputs.pooled.zero_()
    context = FakeContext(random_texts(4))
    method = fitted(context, train, distance="l2", prediction="sample")
    assert float(context.steps[0][2]["diffusion"]) == 0.0
    assert all(v.isfinite().all() for v in method.state_dict().values())


def test_the_loss_is_the_norm_s_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the zero start d is the noise's own length, and the hinge is tau."""
    drawn: list[Tensor] = []
    randn = torch.randn

    def record(*args: Any, **options: Any) -> Tensor:
        drawn.append(randn(*args, **options))
        return drawn[-1]

    context, train = FakeContext(random_texts(4)), random_train(20, 4)
    monkeypatch.setattr(torch, "randn", record)
    fitted(context, train, steps=1, distance="l2", negatives="distinct", margin=0.7)
    lengths = [math.sqrt(sum(v * v for v in eps)) for eps in drawn[-1].tolist()]
    assert len(lengths) == TINY["batch"]
    scalars = context.steps[0][2]
    assert float(scalars["diffusion"]) == pytest.approx(np.mean(lengths), rel=1e-5)
    assert float(scalars["triplet"]) == pytest.approx(0.7, rel=1e-5)


def test_reported_losses_at_the_zero_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output starts at zero for any text: d+ = d- = mean eps^2, and each hinge is tau."""
    drawn: dict[str, list[Tensor]] = {"randn": [], "randint": [], "randperm": []}

    def recording(draw: Callable[..., Tensor], results: list[Tensor]) -> Callable[..., Tensor]:
        def record(*args: Any, **options: Any) -> Tensor:
            results.append(draw(*args, **options))
            return results[-1]

        return record

    for name, results in drawn.items():
        monkeypatch.setattr(torch, name, recording(getattr(torch, name), results))
    context, train = FakeContext(random_texts(4), seed=1), random_train(20, 4)
    fitted(context, train, steps=1, margin=0.7, triplet_weight=3.0)

    positive, negative = train.labels[drawn["randperm"][0][:8]].tolist(), drawn["randint"][0]
    assert len(negative) == 8
    collisions = sum(a == b for a, b in zip(positive, negative.tolist(), strict=True))
    assert collisions > 0  # with this seed the mask matters
    diffusion = float(np.mean(drawn["randn"][-1].double().numpy() ** 2))
    triplet = 0.7 * (8 - collisions) / 8
    scalars = {k: float(v) for k, v in context.steps[0][2].items()}
    assert scalars == {
        "loss": pytest.approx(diffusion + 3 * triplet, rel=1e-5),
        "diffusion": pytest.approx(diffusion, rel=1e-5),
        "triplet": pytest.approx(triplet, rel=1e-5),
    }


def test_distinct_negatives_never_collide_and_cover_all_others() -> None:
    g = torch.Generator().manual_seed(0)
    positive = torch.arange(4).repeat(500)
    distinct = draw_negatives(positive, 4, Params(negatives="distinct"), g)
    counts = torch.zeros(4, 4).index_put((positive, distinct), torch.tensor(1.0), accumulate=True)
    assert counts.diagonal().sum() == 0
    assert counts[~torch.eye(4, dtype=torch.bool)].min() > 120  # about 167 each
    any_class = draw_negatives(positive, 4, Params(), g)
    counts = torch.zeros(4, 4).index_put((positive, any_class), torch.tensor(1.0), accumulate=True)
    assert counts.min() > 90  # about 125 each, the diagonal included


def test_learning_rate_warms_up_and_falls_as_a_cosine() -> None:
    p = Params(lr=2.0, warmup=10, steps=110)
    assert learning_rate(0, p) == pytest.approx(0.2)
    assert learning_rate(9, p) == pytest.approx(2.0)
    assert learning_rate(60, p) == pytest.approx(1.0)
    assert learning_rate(109, p) == pytest.approx(1 + math.cos(math.pi * 0.99))
    assert learning_rate(0, Params(warmup=0)) == Params().lr


def test_initialisation_is_xavier_and_zero_where_it_must_be() -> None:
    net = JointDiT(
        channels=32,
        global_channels=64,
        local_channels=48,
        width=64,
        depth=2,
        heads=4,
        mlp_ratio=4,
        time_channels=32,
        local_tokens=40,
    ).initialise(torch.Generator().manual_seed(0))
    state = net.state_dict()
    bounds = {  # sqrt(6 / (in + out)); the keys and values of a (64, 192) layer
        "skeleton_in.weight": 6 / (32 + 64),
        "local_in.weight": 6 / (48 + 64),
        "blocks.0.text.qkv.weight": 6 / (64 + 192),
        "blocks.1.text.kv.weight": 6 / (64 + 192),
        "blocks.1.skeleton.mlp.0.weight": 6 / (64 + 256),
    }
    for name, squared in bounds.items():
        bound = math.sqrt(squared)
        assert 0.95 * bound < float(state[name].abs().max()) <= bound, name
        assert float(state[name].std()) == pytest.approx(bound / math.sqrt(3), rel=0.05), name
    zeros = [k for k, v in state.items() if not v.any()]
    assert {k for k in zeros if k.endswith("weight")} == {
        k for k in state if k.endswith("weight") and ("modulation" in k or k == "final.weight")
    }
    assert {k for k in state if k.endswith("bias")} <= set(zeros)
    assert float(state["local_position"].std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("text_tokens", ["both", "global", "local"])
@pytest.mark.parametrize("depth", [1, 2])
def test_every_parameter_learns(text_tokens: str, depth: int) -> None:
    """A dead parameter, as the last block's text queries would be, never gets a gradient."""
    method = fitted(steps=4, text_tokens=text_tokens, depth=depth, position_embedding=True)
    for name, parameter in method._network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


# --------------------------------------------------------------------------------------
# Scoring


def test_scores_do_not_depend_on_chunks_order_or_company() -> None:
    method = randomised(fitted())
    method.bind(random_texts(3))
    x = random_train(11, 2).inputs
    whole = method.score(x)
    alone = torch.cat([method.score(x.rows(torch.tensor([i]))) for i in range(11)])
    torch.testing.assert_close(alone, whole)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(method.score(x.rows(order)), whole[order])
    for rows in (1, 7, 10_000):
        other = TDSM(Params(**{**TINY, "score_batch": rows}))
        other.load_state_dict(method.state_dict())
        other.bind(random_texts(3))
        torch.testing.assert_close(other.score(x), whole)


def test_candidates_in_another_order_give_the_same_columns() -> None:
    method = randomised(fitted())
    bank, x = random_texts(5), random_train(6, 2).inputs
    method.bind(bank)
    scores = method.score(x)
    order = torch.tensor([3, 0, 4, 2, 1])
    method.bind(bank.rows(order))
    torch.testing.assert_close(method.score(x), scores[:, order])


def test_modulations_are_computed_once_per_class() -> None:
    method = fitted()
    rows: list[int] = []
    modules = [m for m in method._network.modules() if isinstance(m, Modulation)]
    assert len(modules) == 2 * TINY["depth"] + 1
    for module in modules:
        module.register_forward_hook(lambda m, args, out: rows.append(out[..., 0].numel()))
    method.bind(random_texts(5))
    for _ in range(3):
        method.score(random_train(9, 2).inputs)
    assert rows == [5] * len(modules)


def test_state_survives_the_trip_to_another_process() -> None:
    linear = {"text_condition": "linear"}
    for changes in ({}, {"text_tokens": "global"}, {"text_tokens": "local"}, linear):
        method = fitted(**changes)
        other = TDSM(Params(**{**TINY, **changes}))
        other.load_state_dict({k: v.clone() for k, v in method.state_dict().items()})
        x = random_train(4, 2).inputs
        method.bind(random_texts(3))
        other.bind(random_texts(3))
        assert torch.equal(method.score(x), other.score(x))


def test_texts_are_cut_padded_and_joined_by_channel() -> None:
    bank = TextBank(
        {
            "a": TextFeatures(
                torch.tensor([[1.0]]),
                torch.tensor([[[1.0], [2.0]]]),
                torch.tensor([[True, False]]),
            ),
            "b": TextFeatures(
                torch.tensor([[5.0]]),
                torch.tensor([[[5.0], [6.0], [7.0], [8.0]]]),
                torch.tensor([[True, True, False, False]]),
            ),
        }
    )
    z_g, z_l, mask = class_texts(bank, Params(local_tokens=3))
    assert z_g.tolist() == [[1, 5]]
    assert z_l.tolist() == [[[1, 5], [2, 6], [0, 7]]]
    assert mask is None
    mask = class_texts(bank, Params(local_tokens=5, mask_padding=True))[2]
    assert mask is not None
    assert mask.tolist() == [[True, True, False, False, False]]


def test_unit_variance_texts() -> None:
    bank = random_texts(2)
    z_g, z_l, _ = class_texts(bank, Params(local_tokens=4, normalize_text="unit-variance"))
    pooled = bank.fields["field1"].pooled.double().numpy()
    expected = (pooled - pooled.mean(1, keepdims=True)) / pooled.std(1, keepdims=True)
    np.testing.assert_allclose(z_g[:, 4:].numpy(), expected, rtol=1e-3)
    assert not z_l[:, 3].any()  # added padding stays zero


def test_standardised_features_use_the_seen_clips_only() -> None:
    train = random_train(20, 4)
    shifted = SeenTrain(SkeletonInputs(train.inputs.pooled * 7 + 3), train.labels, train.subjects)
    one, other = (fitted(train=t, normalize="standardize") for t in (train, shifted))
    mean = shifted.inputs.pooled.double().numpy().mean(0)
    np.testing.assert_allclose(other.state_dict()["mean"].numpy(), mean, rtol=1e-5)
    deviation = shifted.inputs.pooled.double().numpy().std(0)
    np.testing.assert_allclose(other.state_dict()["deviation"].numpy(), deviation, rtol=1e-5)
    for method in (one, other):
        method.bind(random_texts(3))
    x = random_train(4, 2, seed=9).inputs.pooled
    torch.testing.assert_close(
        one.score(SkeletonInputs(x)), other.score(SkeletonInputs(x * 7 + 3)), rtol=1e-3, atol=1e-4
    )


# --------------------------------------------------------------------------------------
# Seeds, resume, parameters


def same_bytes(a: TDSM, b: TDSM) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(
        one[k].numpy().tobytes() == other[k].numpy().tobytes() for k in one
    )


def test_the_seed_decides_everything() -> None:
    first = fitted(FakeContext(random_texts(4), seed=3))
    again = FakeContext(random_texts(4), seed=3)
    torch.manual_seed(99)  # only the fit's own generator counts
    assert same_bytes(first, fitted(again))
    assert not same_bytes(first, fitted(FakeContext(random_texts(4), seed=4)))


@pytest.mark.parametrize("kill_at", [1, 2, 5])  # two batches an epoch: inside and at its end
@pytest.mark.parametrize("training_noise", ["fresh", "fixed"])
def test_a_killed_fit_continues_to_the_same_bytes(kill_at: int, training_noise: str) -> None:
    whole = fitted(training_noise=training_noise)
    killed = FakeContext(random_texts(4), kill_at=kill_at)
    with pytest.raises(KeyboardInterrupt):
        fitted(killed, training_noise=training_noise)
    step, tensors = killed.checkpoints[0]
    assert step == kill_at
    assert all(isinstance(v, Tensor) for v in tensors.values())
    before = {k: v.clone() for k, v in tensors.items()}
    resumed = FakeContext(random_texts(4), seed=77, resume=(step, tensors))
    assert same_bytes(whole, fitted(resumed, training_noise=training_noise))
    assert [s for s, _, _ in resumed.steps] == list(range(kill_at + 1, 9))
    assert all(torch.equal(before[k], tensors[k]) for k in tensors)  # the checkpoint is not eaten


SCIENCE: dict[str, dict[str, Any]] = {
    "width": {"width": 12},
    "depth": {"depth": 3},
    "heads": {"heads": 4},
    "mlp_ratio": {"mlp_ratio": 3.0},
    "time_channels": {"time_channels": 8},
    "position_embedding": {"position_embedding": True},
    "scaled_attention": {"scaled_attention": False},
    "text_tokens": {"text_tokens": "global"},
    "text_condition": {"text_condition": "linear"},
    "local_tokens": {"local_tokens": 2},
    "mask_padding": {"mask_padding": True},
    "normalize": {"normalize": "standardize"},
    "normalize_text": {"normalize_text": "unit-variance"},
    "timesteps": {"timesteps": 40},
    "chain": {"chain": "respaced"},
    "beta_start": {"beta_start": 0.0009},
    "beta_end": {"beta_end": 0.02},
    "prediction": {"prediction": "velocity"},
    "loss": {"loss": "diffusion"},
    "distance": {"distance": "l2"},
    "margin": {"margin": 0.0},
    "triplet_weight": {"triplet_weight": 2.0},
    "negatives": {"negatives": "distinct"},
    "training_noise": {"training_noise": "fixed"},
    "lr": {"lr": 0.01},
    "weight_decay": {"weight_decay": 0.5},
    "warmup": {"warmup": 4},
    "steps": {"steps": 7},
    "batch": {"batch": 7},
    "t_test": {"t_test": 10},
    "test_noises": {"test_noises": 2},
}


@pytest.fixture(scope="module")
def tiny_scores() -> Tensor:
    method = fitted()
    method.bind(random_texts(3, seed=8))
    return method.score(random_train(4, 2, seed=9).inputs)


@pytest.mark.parametrize("name", SCIENCE)
def test_every_science_parameter_matters(name: str, tiny_scores: Tensor) -> None:
    method = fitted(**SCIENCE[name])
    method.bind(random_texts(3, seed=8))
    scores = method.score(random_train(4, 2, seed=9).inputs)
    assert not torch.equal(scores, tiny_scores)


def test_every_science_parameter_is_tested() -> None:
    kinds = {n: f.json_schema_extra["kind"] for n, f in Params.model_fields.items()}  # type: ignore[index]
    assert set(kinds.values()) == {"science", "runtime"}
    science = {n for n, kind in kinds.items() if kind == "science"}
    assert science - set(SCIENCE) == {"amp"}  # CUDA only: tested below
    assert all(f.description for f in Params.model_fields.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 5, "width": 8},
        {"timesteps": 10},
        {"timesteps": 1001, "chain": "respaced"},
        {"witdh": 8},
        {"lr": 0},
        {"time_channels": 7},
    ],
    ids=str,
)
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Params(**wrong)


#: Every value in the paper's ablations, and the other reading of every row of the facts' table.
ABLATIONS: list[dict[str, Any]] = [
    *({"loss": v} for v in ("both", "diffusion", "triplet")),
    *({"text_tokens": v} for v in ("both", "global", "local")),
    *({"timesteps": v, "t_test": v // 2} for v in (1, 10, 50, 100, 500)),
    *({"timesteps": v, "t_test": v // 2, "chain": "respaced"} for v in (1, 10, 50, 100, 500)),
    *({"training_noise": v} for v in ("fresh", "fixed")),
    *({"t_test": v} for v in (0, *range(5, 50, 5), 49)),
    *({"test_noises": v} for v in (1, 3, 10)),
    *({"prediction": v} for v in ("epsilon", "sample", "velocity")),
    *({"margin": v} for v in (0.0, 0.5, 2.0)),
    *({"triplet_weight": v} for v in (0.0, 0.5, 2.0)),
    *({key: value} for key, value in Params.profiles["as-printed"].items()),
    Params.profiles["as-printed"],
]


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_every_ablation_runs(changes: dict[str, Any]) -> None:
    method = fitted(**{**changes, "steps": 2})
    method.bind(random_texts(3, seed=8))
    scores = method.score(random_train(4, 2, seed=9).inputs)
    assert scores.isfinite().all()
    assert float(scores.std(dim=1).min()) > 0


def test_a_chain_shorter_than_its_test_step_says_what_to_type() -> None:
    with pytest.raises(ValidationError, match=r"--set t_test=5"):
        Params(timesteps=10)
    assert Params(timesteps=10, t_test=5).t_test == 5
    with pytest.raises(ValidationError, match=r"--set t_test=0"):
        Params(timesteps=1)


def test_as_printed_takes_the_other_side_of_every_disputed_choice() -> None:
    code, paper = Params(), Params(**Params.profiles["as-printed"])
    changed = {n for n in Params.model_fields if getattr(code, n) != getattr(paper, n)}
    assert changed == set(Params.profiles["as-printed"])
    disputed = {n for n, f in Params.model_fields.items() if "paper" in (f.description or "")}
    assert changed == disputed


def test_paper_profile_is_the_default_and_all_profiles_are_valid() -> None:
    paper = Params(**Params.profiles["paper"])
    assert (paper.width, paper.depth, paper.heads, paper.timesteps) == (768, 12, 12, 50)
    assert (paper.t_test, paper.test_noises, paper.local_tokens) == (25, 3, 35)
    assert (paper.lr, paper.weight_decay, paper.batch, paper.steps) == (1e-4, 0.01, 256, 50_000)
    for values in Params.profiles.values():
        Params(**values)


# --------------------------------------------------------------------------------------
# Learning and speed


def test_overfits_a_toy_in_which_texts_and_motions_share_meaning() -> None:
    g = torch.Generator().manual_seed(0)
    # A class is a point in two dimensions; text and motion are two linear views of it.
    points = torch.tensor([[2.0, 0], [0, 2.0], [-2.0, 0], [0, -2.0], [1.6, 1.6], [-1.6, -1.6]])
    to_text, to_motion = torch.randn(2, 4, generator=g), torch.randn(2, 8, generator=g)
    pooled = points @ to_text
    bank = TextBank(
        {"name": TextFeatures(pooled, pooled[:, None], torch.ones(6, 1, dtype=torch.bool))}
    )
    seen, unseen = torch.arange(4), torch.tensor([4, 5])

    def clips(classes: Tensor, each: int) -> tuple[SkeletonInputs, Tensor]:
        labels = torch.arange(len(classes)).repeat(each)
        x = points[classes[labels]] @ to_motion
        return SkeletonInputs(x + 0.1 * torch.randn(x.shape, generator=g)), labels

    inputs, labels = clips(seen, 16)
    method = TDSM(
        Params(width=32, depth=2, heads=2, local_tokens=1, steps=300, batch=32, lr=3e-3, warmup=10)
    )
    context = FakeContext(bank.rows(seen))
    method.fit(SeenTrain(inputs, labels, labels), context)
    assert float(context.steps[-1][2]["loss"]) < float(context.steps[0][2]["loss"])
    for classes, floor in ((seen, 0.9), (unseen, 0.8)):
        method.bind(bank.rows(classes))
        fresh, truth = clips(classes, 20)
        assert (method.score(fresh).argmax(1) == truth).float().mean() > floor


def test_training_never_asks_a_tensor_for_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(FakeContext):
        def progress(self, step: int, total: int, **scalars: float | Tensor) -> None:
            super().progress(step, total, **scalars)
            if step == 1:
                for name in ("item", "tolist", "numpy", "cpu"):
                    monkeypatch.setattr(Tensor, name, refuse)
                for name in ("__bool__", "__float__", "__int__", "__index__"):
                    monkeypatch.setattr(Tensor, name, refuse)
            if step == total:
                monkeypatch.undo()

    def refuse(self: Tensor, *args: Any) -> None:
        raise AssertionError("the host waits for the device")

    context = Watched(random_texts(4))
    fitted(context)
    assert len(context.steps) == TINY["steps"]


def test_a_set_smaller_than_the_batch_is_one_batch() -> None:
    context = FakeContext(random_texts(4))
    fitted(context, train=random_train(5, 4))
    assert len(context.steps) == TINY["steps"]


def test_registering_does_not_import_torch() -> None:
    code = (
        "import sys, zsar_tdsm\n"
        "class Registry:\n"
        "    def method(self, spec): print(spec.name, spec.target, spec.params, zsar_tdsm.api)\n"
        "zsar_tdsm.register_methods(Registry())\n"
        "assert 'torch' not in sys.modules and 'pydantic' not in sys.modules\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.split() == ["tdsm", "zsar_tdsm.method:TDSM", "zsar_tdsm.params:Params", "1"]
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------------------
# CUDA

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def on_cuda(**changes: Any) -> tuple[TDSM, FakeContext]:
    bank, train = random_texts(4).to("cuda"), random_train(20, 4)
    moved = SeenTrain(train.inputs.to("cuda"), train.labels.to("cuda"), train.subjects.to("cuda"))
    context = FakeContext(bank, where="cuda")
    return fitted(context, train=moved, **changes), context


@needs_cuda
def test_mixed_precision_stays_close_to_float32_but_is_used() -> None:
    (half, half_run), (full, full_run) = on_cuda(amp=True), on_cuda(amp=False)
    losses = [[float(s["loss"]) for _, _, s in run.steps[:4]] for run in (half_run, full_run)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    assert all(v.dtype == torch.float32 for v in half.state_dict().values())
    x = random_train(4, 2, seed=9).inputs.to("cuda")
    for method in (half, full):
        method.bind(random_texts(3).to("cuda"))
        assert method.score(x).dtype == torch.float32


@needs_cuda
def test_cuda_scores_equal_cpu_scores() -> None:
    method = randomised(fitted())
    x = random_train(6, 2).inputs
    method.bind(random_texts(3))
    expected = method.score(x)
    method.bind(random_texts(3).to("cuda"))
    torch.testing.assert_close(method.score(x.to("cuda")).cpu(), expected, rtol=1e-3, atol=1e-3)


@needs_cuda
def test_cuda_training_never_synchronises() -> None:
    class Watched(FakeContext):
        def progress(self, step: int, total: int, **scalars: float | Tensor) -> None:
            super().progress(step, total, **scalars)
            torch.cuda.set_sync_debug_mode("error" if 1 <= step < total else "default")

    train = random_train(20, 4)
    moved = SeenTrain(train.inputs.to("cuda"), train.labels.to("cuda"), train.subjects.to("cuda"))
    try:
        fitted(Watched(random_texts(4).to("cuda"), where="cuda"), train=moved)
    finally:
        torch.cuda.set_sync_debug_mode("default")
