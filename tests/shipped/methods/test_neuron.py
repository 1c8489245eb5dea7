"""Neuron against slow, obvious computations, and on a world with a known answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zsar_alignment.neuron import Branch, Neuron, Params, either_right, feed

from kit.fakes import FakeContext
from kit.part_worlds import JOINT, PART, PHASE, World
from zsar_bench.errors import UserError
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

TINY: dict[str, Any] = {
    "prototypes": 8,
    "hidden": 6,
    "epochs": 3,
    "milestones": (1, 2),
    "batch": 7,
    "lr": 0.3,
    "scale": 3.0,
}
SEEN, UNSEEN = torch.arange(4), torch.arange(4, 7)
#: Sentences of the last round.
LAST = {"spatial": ("head", "arms", "torso", "legs"), "temporal": ("start", "middle", "end")}


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


def slow_mlp(w: dict[str, np.ndarray], at: str, x: np.ndarray) -> np.ndarray:
    for layer in (0, 2):
        x = np.maximum(w[f"{at}.{layer}.weight"] @ x + w[f"{at}.{layer}.bias"], 0)
    return x


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_round(
    w: dict[str, np.ndarray], branch: str, t: int, state: list[np.ndarray], x: np.ndarray
) -> list[np.ndarray]:
    """Round t from 0 of one clip: micro-prototypes and tokens (M, C) -> micro-prototypes."""
    at, grown = f"network.{branch}.", []
    for v, p in enumerate(state):
        weights = [math.exp(token @ p) for token in x]
        e = np.zeros(len(p))
        for weight, token in zip(weights, x, strict=True):
            # Of 8 micro-prototypes a joint feeds the 6, 4, 2 nearest to it.
            nearer = sum(token @ other > token @ p for u, other in enumerate(state) if u != v)
            if branch == "temporal" or nearer < 8 - 2 * (t + 1):
                e += weight / sum(weights) * token
        new = slow_mlp(w, f"{at}update.{t}", e)
        if branch == "temporal":
            new = new * sigmoid(slow_mlp(w, f"{at}remember.{t}", e))
            new = new + p * sigmoid(slow_mlp(w, f"{at}recall.{t}", e))
        grown.append(new)
    return grown


def slow_sides(method: Neuron, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """ReLU(A mean p) (T, D) of each branch, for one clip's tokens (M, C)."""
    w = {k: v.double().numpy() for k, v in method.state_dict().items()}
    x = (tokens - w["mean"]) / w["spread"]
    joints = np.array([x[JOINT.numpy() == j].mean(0) for j in range(6)])
    phases = np.array([x[PHASE.numpy() == f].mean(0) for f in range(3)])
    found = {}
    for branch in LAST:
        state, rows = list(w[f"network.{branch}.prototypes"]), []
        for t in range(3):
            sees = joints if branch == "spatial" else phases[: t + 1]
            state = slow_round(w, branch, t, state, sees)
            projected = w[f"network.{branch}.projection.weight"] @ (sum(state) / len(state))
            rows.append(np.maximum(projected + w[f"network.{branch}.projection.bias"], 0))
        found[branch] = np.array(rows)
    return found


def slow_logits(method: Neuron, inputs: SkeletonInputs, texts: TextBank) -> dict[str, np.ndarray]:
    """The last round's: scale times the mean cosine with its sentences."""
    assert inputs.tokens is not None
    found = {name: np.zeros((len(inputs), len(texts))) for name in LAST}
    for n, tokens in enumerate(inputs.tokens.double().numpy()):
        for branch, v in slow_sides(method, tokens).items():
            for k in range(len(texts)):
                said = [texts.fields[f].pooled[k].double().numpy() for f in LAST[branch]]
                cosines = [cosine(v[-1], sentence) for sentence in said]
                found[branch][n, k] = method.params.scale * sum(cosines) / len(cosines)
    return found


@pytest.mark.parametrize("changes", [{}, {"normalize": "standardize"}], ids=str)
def test_scores_equal_loops_over_rounds_and_micro_prototypes(changes: dict[str, Any]) -> None:
    method, world = fitted(**changes), World(7, seed=3)
    texts, (inputs, _) = world.texts(UNSEEN), world.clips(UNSEEN, 1)
    method.bind(texts)
    logits = slow_logits(method, inputs, texts)
    expected = (logits["spatial"] + logits["temporal"]) / 2
    assert expected.std() > 0.01
    np.testing.assert_allclose(method.score(inputs).numpy(), expected, rtol=1e-3, atol=1e-4)


def test_the_first_loss_equals_loops_over_branches_rounds_and_clips() -> None:
    """Of a whole batch, whose order does not matter, at a rate that has changed nothing yet."""
    world = World(7, seed=3)
    train, texts = world.train(SEEN, 5), world.texts(SEEN)
    run, method = (
        FakeContext(texts),
        Neuron(Params(**{**TINY, "epochs": 1, "batch": 20, "lr": 1e-9})),
    )
    method.fit(train, run)
    said = {
        "spatial": [("description",), ("motion",), LAST["spatial"]],
        "temporal": [("start",), ("start", "middle"), LAST["temporal"]],
    }
    single: dict[str, list[float]] = {name: [] for name in said}
    assert train.inputs.tokens is not None
    for tokens, y in zip(train.inputs.tokens.double().numpy(), train.labels.tolist(), strict=True):
        for branch, v in slow_sides(method, tokens).items():
            for t, fields in enumerate(said[branch]):
                logits = []
                for c in range(4):
                    rows = [texts.fields[f].pooled[c].double().numpy() for f in fields]
                    logits.append(3.0 * float(np.mean([cosine(v[t], row) for row in rows])))
                single[branch].append(math.log(sum(map(math.exp, logits))) - logits[y])
    shown = run.steps[0][2]
    assert np.std(single["spatial"] + single["temporal"]) > 0.1
    for branch, values in single.items():
        assert float(shown[branch]) == pytest.approx(np.mean(values), rel=1e-4)
    expected = (np.mean(single["spatial"]) + np.mean(single["temporal"])) / 2
    assert float(shown["loss"]) == pytest.approx(expected, rel=1e-4)


def test_every_mlp_of_a_branch_starts_alike_and_goes_its_own_way() -> None:
    for lr, alike in ((1e-9, True), (0.3, False)):
        state = fitted(lr=lr, weight_decay=0.0).state_dict()
        names = [f"network.temporal.{mlp}.{t}.0.weight" for mlp in MLPS for t in range(3)]
        same = [torch.allclose(state[names[0]], state[other]) for other in names[1:]]
        assert all(same) if alike else not any(same)


MLPS = ("update", "recall", "remember")


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_token_feeds_its_nearest_micro_prototypes_only(most: int) -> None:
    """Worked by hand: tokens 1 and 2 on a line, micro-prototypes at 0, log 2 and log 3."""
    p = torch.tensor([[[0.0], [math.log(2)], [math.log(3)]]])
    got = feed(p, torch.tensor([[[1.0], [2.0]]]), most).flatten()
    full = [1.5, (1 + 2 * 2) / 3, (1 + 2 * 3) / 4]
    expected = [value if v >= 3 - most else 0 for v, value in enumerate(full)]
    assert got.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("memory", [False, True])
def test_gradients_of_a_branch_match_finite_differences(memory: bool) -> None:
    torch.manual_seed(0)
    branch = Branch(Params(prototypes=4, hidden=5), 3, 6, memory).double()
    rounds = [torch.randn(2, 4, 3, dtype=torch.double, requires_grad=True) for _ in range(3)]

    def of(start: Tensor, *some: Tensor) -> Tensor:
        return torch.func.functional_call(branch, {"prototypes": start}, ([*some],))

    assert branch(rounds).std() > 0.05
    assert torch.autograd.gradcheck(of, (branch.prototypes, *rounds))


def test_the_rate_falls_tenfold_after_each_milestone(monkeypatch: pytest.MonkeyPatch) -> None:
    from zsar_alignment import neuron

    rates: list[float] = []
    monkeypatch.setattr(neuron, "set_rate", lambda _, rate: rates.append(rate))
    fitted()  # 20 clips in batches of 7: two steps an epoch
    assert rates == pytest.approx([0.3] * 2 + [0.03] * 2 + [0.003] * 2)


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


@pytest.mark.parametrize("what", ["joint", "phase"])
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
    world = World(24, channels=16, width=40, seed=1)
    seen, unseen = torch.arange(20), torch.arange(20, 24)
    method = Neuron(Params(**Params.profiles["laptop"]))
    run = FakeContext(world.texts(seen))
    method.fit(world.train(seen, 20), run)
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
    "narrowing": 0.1,
    "hidden": 7,
    "normalize": "standardize",
    "scale": 2.0,
    "lr": 0.02,
    "momentum": 0.5,
    "weight_decay": 0.01,
    "epochs": 2,
    "milestones": (2,),
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
