"""Neuron against slow, obvious computations, and on a world with a known answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeContext
from part_worlds import JOINT, PART, PART_OF_JOINT, PHASE, World
from torch import Tensor
from zsar_alignment.neuron import Neuron, Params, Side, branch_loss, either_right

from zsar_bench.errors import UserError
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

TINY: dict[str, Any] = {"prototypes": 5, "width": 6, "epochs": 3, "batch": 7, "lr": 0.05}
SEEN, UNSEEN = torch.arange(4), torch.arange(4, 7)
SENTENCES = {"spatial": ("head", "arms", "torso", "legs"), "temporal": ("start", "middle", "end")}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors this small are only slowed down by a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fitted(**changes: Any) -> Neuron:
    world = World(7, seed=3)
    method = Neuron(Params(**{**TINY, **changes}))
    method.fit(world.train(SEEN, 5), FakeContext(world.texts(SEEN)))
    return method


def scores(method: Neuron, **more: Any) -> Tensor:
    world = World(7, seed=3)
    method.bind(world.texts(UNSEEN))
    return method.score(world.clips(UNSEEN, 3, **more)[0])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


# --- By loops --------------------------------------------------------------------------------


def slow_norm(x: np.ndarray) -> np.ndarray:
    centred = x - sum(x) / len(x)
    return centred / math.sqrt(sum(centred**2) / len(x) + 1e-5)


def slow_side(
    w: dict[str, np.ndarray], branch: str, side: str, inputs: list[np.ndarray], rounds: int
) -> np.ndarray:
    """v^T (I,) of one clip or class, one micro-prototype after the other."""
    at = f"network.{branch}.{side}."

    def linear(name: str, row: np.ndarray) -> np.ndarray:
        return w[f"{at}{name}.weight"] @ row + w[f"{at}{name}.bias"]

    state = list(w[f"network.{branch}.prototypes"])
    for t in range(rounds):
        kind = min(t, len(inputs) - 1)
        tokens = [x + p for x, p in zip(inputs[kind], w[f"{at}places.{kind}"], strict=True)]
        for i, p in enumerate(state):
            q = linear("query", p)
            weights = [math.exp(q @ linear("key", x) / math.sqrt(len(p))) for x in tokens]
            mixed = zip(weights, tokens, strict=True)
            e = sum(weight * linear("value", x) for weight, x in mixed) / sum(weights)
            if branch == "spatial":
                state[i] = slow_norm(p + e)
            else:
                gate = 1 / (1 + np.exp(-linear("gate", np.concatenate([p, e]))))
                state[i] = slow_norm(gate * p + (1 - gate) * e)
    return np.array([r @ p for r, p in zip(w[f"{at}readout"], state, strict=True)])


def slow_tokens(x: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Means over the tokens (M, C) of each joint, part and phase."""

    def means(index: Tensor, count: int) -> np.ndarray:
        return np.array([x[index.numpy() == i].mean(0) for i in range(count)])

    return {"spatial": [means(JOINT, 6), means(PART, 4)], "temporal": [means(PHASE, 3)]}


def slow_logits(method: Neuron, inputs: SkeletonInputs, texts: TextBank) -> dict[str, np.ndarray]:
    w, p = {k: v.double().numpy() for k, v in method.state_dict().items()}, method.params
    assert inputs.tokens is not None
    found = {name: np.zeros((len(inputs), len(texts))) for name in SENTENCES}
    for n, tokens in enumerate(inputs.tokens.double().numpy()):
        x = slow_tokens((tokens - w["mean"]) / w["spread"])
        for branch, fields in SENTENCES.items():
            v = slow_side(w, branch, "skeleton", x[branch], p.rounds)
            for k in range(len(texts)):
                said = np.stack([texts.fields[f].pooled[k].double().numpy() for f in fields])
                u = slow_side(w, branch, "text", [said], p.rounds)
                found[branch][n, k] = cosine(v, u) / p.temperature
    return found


@pytest.mark.parametrize("changes", [{}, {"rounds": 1}, {"normalize": "standardize"}], ids=str)
def test_scores_equal_loops_over_rounds_and_micro_prototypes(changes: dict[str, Any]) -> None:
    method, world = fitted(**changes), World(7, seed=3)
    texts, (inputs, _) = world.texts(UNSEEN), world.clips(UNSEEN, 1)
    method.bind(texts)
    logits = slow_logits(method, inputs, texts)
    expected = (logits["spatial"] + logits["temporal"]) / 2
    assert expected.std() > 0.01
    np.testing.assert_allclose(method.score(inputs).numpy(), expected, rtol=1e-3, atol=1e-4)


def test_the_world_s_parts_are_those_of_its_joints() -> None:
    assert [PART_OF_JOINT[j] for j in JOINT.tolist()] == PART.tolist()


def test_places_were_trained_from_zero() -> None:
    before, after = fitted(lr=1e-12), fitted()
    places = [k for k in after.state_dict() if ".places." in k]
    assert len(places) == 5  # joints, parts, their sentences; phases, their sentences
    for name in places:
        assert before.state_dict()[name].abs().max() < 1e-9
        assert after.state_dict()[name].abs().max() > 1e-6


def test_the_loss_equals_loops_over_rounds_and_clips() -> None:
    r = np.random.default_rng(0)
    v, u = r.normal(size=(2, 5, 6)), r.normal(size=(2, 4, 6))
    v, u = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (v, u))
    labels = [3, 0, 1, 2, 1]
    single = []
    for t in range(2):
        for n, y in enumerate(labels):
            logits = [cosine(v[t, n], u[t, c]) / 0.3 for c in range(4)]
            single.append(math.log(sum(map(math.exp, logits))) - logits[y])
    got = branch_loss(torch.tensor(v), torch.tensor(u), torch.tensor(labels), 0.3)
    assert float(got) == pytest.approx(sum(single) / len(single))


@pytest.mark.parametrize("memory", [False, True])
def test_gradients_of_a_side_match_finite_differences(memory: bool) -> None:
    torch.manual_seed(0)
    side = Side(3, (2, 2), Params(prototypes=2, width=4), memory).double()
    first, second = (torch.randn(2, 2, 3, dtype=torch.double) for _ in range(2))
    start = torch.randn(2, 4, dtype=torch.double, requires_grad=True)
    first.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, x: side(p, [x, second], 3), (start, first))


# --- The union of branches -------------------------------------------------------------------


def test_union_is_right_exactly_where_a_branch_is() -> None:
    g = torch.Generator().manual_seed(0)
    spatial, temporal = torch.randn(200, 4, generator=g), torch.randn(200, 4, generator=g)
    labels = torch.randint(-1, 4, (200,), generator=g)
    got = either_right(spatial, temporal, labels)
    kinds = set()
    for n, y in enumerate(labels.tolist()):
        if y < 0:
            assert torch.equal(got[n], (spatial[n] + temporal[n]) / 2)
            continue
        hits = (int(spatial[n].argmax()) == y, int(temporal[n].argmax()) == y)
        kinds.add(hits)
        others = [float(got[n, k]) for k in range(4) if k != y]
        assert (float(got[n, y]) > max(others)) == any(hits)
    assert len(kinds) == 4


def test_the_union_of_a_fitted_method_is_that_of_its_branches() -> None:
    method, world = fitted(union=True), World(7, seed=3)
    texts, (inputs, labels) = world.texts(UNSEEN), world.clips(UNSEEN, 3)
    logits = slow_logits(method, inputs, texts)
    hits = np.stack([logits[n].argmax(1) == labels.numpy() for n in logits]).any(0)
    assert 0 < hits.sum() < len(hits)
    found = scores(method, labels=labels)
    np.testing.assert_array_equal((found.argmax(1) == labels).numpy(), hits)


def test_union_without_labels_is_an_error_and_labels_without_union_do_nothing() -> None:
    with pytest.raises(UserError, match="union=true"):
        scores(fitted(union=True))
    labels = torch.arange(3).repeat(3)
    assert torch.equal(scores(fitted(), labels=labels), scores(fitted()))


def test_labels_follow_the_rows_and_the_device() -> None:
    inputs = World(7).clips(UNSEEN, 2, labels=torch.arange(6))[0]
    some = inputs.rows(torch.tensor([4, 1]))
    assert some.labels is not None
    assert some.labels.tolist() == [4, 1]
    moved = inputs.to("meta")
    assert moved.labels is not None
    assert moved.labels.device.type == "meta"


# --- What is missing -------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["joint", "part", "phase"])
def test_tokens_that_stand_for_everything_are_refused(what: str) -> None:
    world = World(7, seed=3)
    train = world.train(SEEN, 5)
    index = {"joint": JOINT, "part": PART, "phase": PHASE} | {what: torch.full_like(PART, -1)}
    inputs = SkeletonInputs(train.inputs.pooled, train.inputs.tokens, **index)
    with pytest.raises(UserError, match=f"single {what}"):
        Neuron(Params(**TINY)).fit(
            SeenTrain(inputs, train.labels, train.subjects), FakeContext(world.texts(SEEN))
        )


def test_a_missing_text_field_is_said() -> None:
    world = World(7, seed=3)
    texts = world.texts(SEEN)
    without = TextBank({k: v for k, v in texts.fields.items() if k != "middle"})
    with pytest.raises(UserError, match="'middle'"):
        Neuron(Params(**TINY)).fit(world.train(SEEN, 5), FakeContext(without))


# --- Learning --------------------------------------------------------------------------------


def test_a_world_in_which_parts_and_phases_follow_texts_is_solved() -> None:
    world = World(24, seed=1)
    seen, unseen = torch.arange(20), torch.arange(20, 24)
    method = Neuron(
        Params(**{**Params.profiles["laptop"], "prototypes": 24, "width": 24, "lr": 0.03})
    )
    run = FakeContext(world.texts(seen))
    method.fit(world.train(seen, 8), run)
    assert float(run.steps[-1][2]["loss"]) < 0.5 * float(run.steps[0][2]["loss"])
    for classes, floor in ((seen, 0.5), (unseen, 0.6)):  # chance: 0.05, 0.25
        inputs, labels = world.clips(classes, 10)
        method.bind(world.texts(classes))
        assert float((method.score(inputs).argmax(1) == labels).float().mean()) > floor


def test_the_paper_profile_makes_a_step() -> None:
    world, method = World(7, seed=3), Neuron(Params(epochs=1))
    method.fit(world.train(SEEN, 2), FakeContext(world.texts(SEEN)))
    assert scores(method).isfinite().all()


def test_one_seen_class_is_enough_not_to_fail() -> None:
    world, method, one = World(7, seed=3), Neuron(Params(**TINY)), torch.tensor([2])
    method.fit(world.train(one, 3), FakeContext(world.texts(one)))
    assert scores(method).isfinite().all()


SCIENCE: dict[str, Any] = {
    "prototypes": 6,
    "rounds": 2,
    "width": 7,
    "normalize": "standardize",
    "normalize_text": "unit-variance",
    "temperature": 0.2,
    "lr": 0.02,
    "momentum": 0.5,
    "epochs": 2,
    "batch": 6,
    "union": True,
}


@pytest.mark.parametrize("name", SCIENCE)
def test_every_science_parameter_matters(name: str) -> None:
    labels = torch.arange(3).repeat(3)
    changed = scores(fitted(**{name: SCIENCE[name]}), labels=labels)
    assert not torch.equal(changed, scores(fitted(), labels=labels))


def test_every_science_parameter_is_tested() -> None:
    assert set(SCIENCE) == set(Params.model_fields)
