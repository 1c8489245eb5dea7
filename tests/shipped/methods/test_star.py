"""STAR against slow, obvious computations, and on a world with a known answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from zsar_alignment.star import STAR, Params, PartPrompts, star_losses

from kit.fakes import FakeContext
from kit.part_worlds import PART, World
from zsar_bench.errors import UserError
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

TINY: dict[str, Any] = {
    "prompts": 5,
    "width": 12,
    "heads": 2,
    "hidden": 6,
    "epochs": 3,
    "milestones": (1, 2),
    "batch": 7,
    "lr": 0.05,
}
SEEN, UNSEEN = torch.arange(4), torch.arange(4, 7)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors this small are only slowed down by a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fitted(unseen_texts: TextBank | None = None, seed: int = 0, **changes: Any) -> STAR:
    world = World(7, seed=3)
    run = FakeContext(world.texts(SEEN), seed)
    run.unseen_texts = unseen_texts
    method = STAR(Params(**{**TINY, **changes}))
    method.fit(world.train(SEEN, 5), run)
    return method


def scores(method: STAR) -> Tensor:
    world = World(7, seed=3)
    method.bind(world.texts(UNSEEN))
    return method.score(world.clips(UNSEEN, 3)[0])


def arrays(method: STAR) -> dict[str, np.ndarray]:
    return {k: v.double().numpy() for k, v in method.state_dict().items()}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


# --- By loops --------------------------------------------------------------------------------


def slow_attributes(w: dict[str, np.ndarray], part: int, x: np.ndarray, heads: int) -> np.ndarray:
    """a (I,) of one clip's tokens x (M, C) of one part, prompt by prompt and head by head."""
    at = f"parts.{part}"
    prompts = w[f"network.{at}.prompts"]
    width = prompts.shape[1]
    biases = w[f"network.{at}.attention.in_proj_bias"].reshape(3, width)

    def linear(which: int, row: np.ndarray) -> np.ndarray:
        return w[f"network.{at}.attention.{'qkv'[which]}_proj_weight"] @ row + biases[which]

    size = width // heads
    found = []
    for p in prompts:
        q, mixed = linear(0, p), np.zeros(width)
        for h in range(heads):
            s = slice(h * size, (h + 1) * size)
            weights = [math.exp(q[s] @ linear(1, row)[s] / math.sqrt(size)) for row in x]
            for weight, row in zip(weights, x, strict=True):
                mixed[s] += weight / sum(weights) * linear(2, row)[s]
        out = f"network.{at}.attention.out_proj"
        answer = slow_mlp(w, f"{at}.taken", w[f"{out}.weight"] @ mixed + w[f"{out}.bias"])
        found.append(p @ w[f"network.{at}.bilinear"] @ answer)
    return np.array(found)


def slow_mlp(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    hidden = np.maximum(w[f"network.{name}.0.weight"] @ x + w[f"network.{name}.0.bias"], 0)
    return w[f"network.{name}.2.weight"] @ hidden + w[f"network.{name}.2.bias"]


@pytest.mark.parametrize("changes", [{}, {"normalize": "standardize", "heads": 4}], ids=str)
def test_scores_equal_loops_over_clips_parts_prompts_and_heads(changes: dict[str, Any]) -> None:
    method, world = fitted(**changes), World(7, seed=3)
    texts, (inputs, _) = world.texts(UNSEEN), world.clips(UNSEEN, 1)
    method.bind(texts)
    w = arrays(method)
    assert inputs.tokens is not None
    expected = np.zeros((3, 3))
    for n, tokens in enumerate(inputs.tokens.double().numpy()):
        x = (tokens - w["mean"]) / w["spread"]
        whole = sum(
            slow_attributes(w, part, x[PART.numpy() == part], method.params.heads)
            for part in range(4)
        )
        for k in range(3):
            name = texts.fields["name"].pooled[k].double().numpy()
            expected[n, k] = cosine(whole, slow_mlp(w, "name", name))
    assert expected.std() > 0.01
    np.testing.assert_allclose(method.score(inputs).numpy(), expected, rtol=1e-3, atol=1e-5)


def test_part_texts_are_mapped_with_their_class_s_prompt() -> None:
    method, world = fitted(weight_decay=0.0), World(7, seed=3)
    w, bank = arrays(method), world.texts(SEEN)
    parts = torch.stack([bank.fields[f].pooled for f in ("head", "arms", "torso", "legs")], dim=1)
    found = method.network.texts(parts, {0: PART, 2: PART, 3: PART}).detach().numpy()
    start = arrays(fitted(lr=1e-9))["network.text_prompts"]
    assert (w["network.text_prompts"] != start).any(axis=2).all(), "prompts were trained"
    assert 0.7 < start.std() < 1.3
    for row, part in enumerate((0, 2, 3)):
        for c in range(4):
            prompted = parts[c, part].double().numpy() + w["network.text_prompts"][c, part]
            g = slow_mlp(w, f"part_texts.{part}", prompted)
            np.testing.assert_allclose(found[row, c], g, rtol=1e-4, atol=1e-6)


def slow_ce(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(v) for v in logits)) - logits[label]


@pytest.mark.parametrize("seen", [3, 4])
def test_the_loss_equals_loops_over_its_cross_entropies(seen: int) -> None:
    r = np.random.default_rng(0)
    a, g, h = r.normal(size=(2, 5, 6)), r.normal(size=(2, 4, 6)), r.normal(size=(4, 6))
    labels = [0, 2, 1, 1, 0]
    p = Params(temperature=0.4, global_weight=0.3, part_weight=1.7, text_weight=0.9)
    got = star_losses(*map(torch.tensor, (a, g, h)), torch.tensor(labels), seen, p)
    whole = [
        slow_ce([cosine(a[0, n] + a[1, n], h[c]) / 0.4 for c in range(seen)], y)
        for n, y in enumerate(labels)
    ]
    parts = [
        slow_ce([cosine(a[i, n], g[i, c]) / 0.4 for c in range(seen)], y)
        for i in range(2)
        for n, y in enumerate(labels)
    ]
    texts = [
        slow_ce([float(g[i, c] @ h[k]) for k in range(4)], c) for i in range(2) for c in range(4)
    ]
    expected = [0.3 * np.mean(whole), 1.7 * np.mean(parts), 0.9 * np.mean(texts)]
    for name, value in zip(("global", "part", "text"), expected, strict=True):
        assert float(got[name]) == pytest.approx(value)
    assert float(got["loss"]) == pytest.approx(sum(expected))


def test_gradients_of_the_prompts_match_finite_differences() -> None:
    torch.manual_seed(0)
    net = PartPrompts(3, Params(prompts=2, width=4, heads=2)).double()
    x = torch.randn(2, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,))
    names = ("prompts", "bilinear")

    def of(*values: Tensor) -> Tensor:
        return torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x.detach(),))

    assert torch.autograd.gradcheck(of, tuple(getattr(net, n) for n in names))


# --- Settings --------------------------------------------------------------------------------


def test_only_the_setting_decides_whether_unseen_texts_are_trained_on() -> None:
    world = World(7, seed=3)
    inductive = fitted(weight_decay=0.0)
    all_texts = fitted(world.texts(UNSEEN), weight_decay=0.0)
    assert inductive.state_dict()["network.text_prompts"].shape[0] == 4
    prompts = all_texts.state_dict()["network.text_prompts"]
    assert prompts.shape[0] == 7
    start = fitted(world.texts(UNSEEN), lr=1e-9).state_dict()["network.text_prompts"]
    assert (prompts[4:] != start[4:]).flatten(1).any(1).all(), "the text term trains them"
    assert not torch.equal(scores(inductive), scores(all_texts))


def test_without_the_text_term_unseen_texts_change_nothing() -> None:
    world = World(7, seed=3)
    inductive = fitted(text_weight=0.0)
    all_texts = fitted(world.texts(UNSEEN), text_weight=0.0)
    torch.testing.assert_close(scores(inductive), scores(all_texts), rtol=1e-4, atol=1e-5)


def test_a_part_without_tokens_is_left_out() -> None:
    world, method = World(7, seed=3), STAR(Params(**TINY))
    train = world.train(SEEN, 5)
    inputs = train.inputs
    assert inputs.tokens is not None

    def without_head(some: SkeletonInputs, filling: float) -> SkeletonInputs:
        assert some.tokens is not None
        part = torch.where(PART == 0, -1, PART)
        tokens = torch.where((PART == 0)[:, None], filling, some.tokens)
        return SkeletonInputs(some.pooled, tokens, part=part)

    method.fit(
        SeenTrain(without_head(inputs, 0), train.labels, train.subjects),
        FakeContext(world.texts(SEEN)),
    )
    method.bind(world.texts(UNSEEN))
    some = world.clips(UNSEEN, 2)[0]
    assert torch.equal(
        method.score(without_head(some, 0)), method.score(without_head(some, 1000.0))
    )


def test_what_is_missing_is_said() -> None:
    world, method = World(7, seed=3), STAR(Params(**TINY))
    train = world.train(SEEN, 5)
    bare = SkeletonInputs(train.inputs.pooled, train.inputs.tokens, part=torch.full_like(PART, -1))
    with pytest.raises(UserError, match="stands for a single part"):
        method.fit(SeenTrain(bare, train.labels, train.subjects), FakeContext(world.texts(SEEN)))
    few = TextBank({"name": world.texts(SEEN).fields["name"]})
    with pytest.raises(UserError, match="'head'"):
        method.fit(train, FakeContext(few))


# --- Learning --------------------------------------------------------------------------------


def test_a_world_in_which_parts_follow_texts_is_solved() -> None:
    world = World(24, seed=1)
    seen, unseen = torch.arange(20), torch.arange(20, 24)
    method = STAR(Params(**{**Params.profiles["laptop"], "prompts": 24, "width": 24, "epochs": 40}))
    run = FakeContext(world.texts(seen))
    method.fit(world.train(seen, 10), run)
    assert float(run.steps[-1][2]["loss"]) < 0.5 * float(run.steps[0][2]["loss"])
    for classes, floor in ((seen, 0.5), (unseen, 0.6)):  # chance: 0.05, 0.25
        inputs, labels = world.clips(classes, 10)
        method.bind(world.texts(classes))
        assert float((method.score(inputs).argmax(1) == labels).float().mean()) > floor


def test_the_paper_profile_makes_a_step() -> None:
    world, method = World(7, seed=3), STAR(Params(epochs=1))
    method.fit(world.train(SEEN, 2), FakeContext(world.texts(SEEN)))
    assert scores(method).isfinite().all()


def test_one_seen_class_is_enough_not_to_fail() -> None:
    world, method = World(7, seed=3), STAR(Params(**TINY))
    one = torch.tensor([2])
    method.fit(world.train(one, 3), FakeContext(world.texts(one)))
    assert scores(method).isfinite().all()


SCIENCE: dict[str, Any] = {
    "prompts": 6,
    "width": 10,
    "heads": 3,
    "hidden": 7,
    "normalize": "standardize",
    "normalize_text": "unit-variance",
    "temperature": 0.5,
    "global_weight": 0.5,
    "part_weight": 2.0,
    "text_weight": 0.0,
    "lr": 0.02,
    "momentum": 0.5,
    "weight_decay": 0.01,
    "epochs": 2,
    "milestones": (2,),
    "batch": 6,
}


@pytest.mark.parametrize("name", SCIENCE)
def test_every_science_parameter_matters(name: str) -> None:
    assert not torch.equal(scores(fitted(**{name: SCIENCE[name]})), scores(fitted()))


def test_every_science_parameter_is_tested() -> None:
    assert set(SCIENCE) == set(Params.model_fields)


def test_the_rate_falls_tenfold_after_each_milestone(monkeypatch: pytest.MonkeyPatch) -> None:
    from zsar_alignment import star

    rates: list[float] = []
    monkeypatch.setattr(star, "set_rate", lambda _, rate: rates.append(rate))
    fitted()  # 20 clips in batches of 7: two steps an epoch
    assert rates == pytest.approx([0.05] * 2 + [0.005] * 2 + [0.0005] * 2)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="must divide"):
        Params(width=10, heads=4)
