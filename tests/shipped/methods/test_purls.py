"""PURLS: its attention, loss and score rule against loops, its learning against a known world."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from zsar_alignment.purls import PURLS, Network, Params, contrastive

from kit.fakes import FakeContext, random_texts
from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank, TextFeatures

SEEN, UNSEEN, LEVELS, WIDTH, CHANNELS = 20, 5, 8, 6, 16
SMALL: dict[str, Any] = {"query_channels": 8, "hidden": 32, "batch": 20, "lr": 3e-3}


def bank(texts: torch.Tensor) -> TextBank:
    """Texts (K, P, D) as a method gets them."""
    mask = torch.ones(len(texts), 1, dtype=torch.bool)
    fields = {f"level{p}": TextFeatures(t, t[:, None], mask) for p, t in enumerate(texts.unbind(1))}
    return TextBank(fields)


class World:
    """Features of 4 parts and 3 phases, each a fixed linear function of its part's, its phase's
    and the whole action's text; the whole's is the mean of the others and something of its own."""

    def __init__(self, seed: int = 0) -> None:
        self.g = torch.Generator().manual_seed(seed)
        self.texts = torch.randn(SEEN + UNSEEN, LEVELS, WIDTH, generator=self.g)
        self.texts[:, 0] += self.texts[:, 1:].mean(dim=1)
        self.map = torch.randn(3 * WIDTH, CHANNELS, generator=self.g) / math.sqrt(3 * WIDTH)

    def clips(self, labels: torch.Tensor) -> SkeletonInputs:
        t = self.texts[labels]
        parts = t[:, 1:5].repeat_interleave(3, dim=1)  # (N, 12, D)
        phases = t[:, 5:].repeat(1, 4, 1)
        whole = t[:, :1].expand(-1, 12, -1)
        clean = torch.cat([whole, parts, phases], dim=-1) @ self.map
        tokens = clean + 0.1 * torch.randn(clean.shape, generator=self.g)
        return SkeletonInputs(tokens.mean(dim=1), tokens=tokens)

    def train(self, each: int = 8) -> SeenTrain:
        labels = torch.arange(SEEN).repeat(each)
        return SeenTrain(self.clips(labels), labels, labels * 0)

    def fit(self, **params: Any) -> tuple[PURLS, FakeContext]:
        method = PURLS(Params(**SMALL | params))
        run = FakeContext(bank(self.texts[:SEEN]))
        method.fit(self.train(), run)
        return method, run


def accuracy(method: PURLS, world: World, first: int = SEEN, last: int = SEEN + UNSEEN) -> float:
    labels = torch.arange(last - first).repeat(12)
    method.bind(bank(world.texts[first:last]))
    scores = method.score(world.clips(labels + first))
    return float((scores.argmax(dim=1) == labels).float().mean())


# --- Equations -------------------------------------------------------------------------------


def test_attention_averages_the_heads_logits_before_one_softmax():
    p = Params(query_channels=3, heads=2, hidden=4)
    network = Network(p, LEVELS, CHANNELS, WIDTH)
    u, texts = torch.randn(2, 5, CHANNELS), torch.randn(2, LEVELS, WIDTH)
    seen = network.attend(u, texts)
    for n in range(2):
        for level in range(LEVELS):
            q, k = (
                network.query.weight.detach() @ texts[n, level],
                u[n] @ network.key.weight.detach().T,
            )
            logits = [
                sum(float(q[h : h + 3] @ k[m, h : h + 3]) for h in (0, 3)) / 2 for m in range(5)
            ]
            weights = torch.tensor([math.exp(x / math.sqrt(3)) for x in logits])
            weights /= weights.sum()
            expected = sum(w * feature for w, feature in zip(weights, u[n], strict=True))
            torch.testing.assert_close(seen[n, level], expected, rtol=1e-4, atol=1e-5)


def test_every_class_that_asks_gets_what_it_would_get_alone():
    network = Network(Params(query_channels=3, hidden=4), LEVELS, CHANNELS, WIDTH).eval()
    u, texts = torch.randn(3, 5, CHANNELS), torch.randn(4, LEVELS, WIDTH)
    together = network.every(u, texts)
    assert together.shape == (3, 4, LEVELS, WIDTH)
    for k in range(4):
        torch.testing.assert_close(together[:, k], network(u, texts[k]))
        torch.testing.assert_close(together[:, k], network(u, texts[k].expand(3, -1, -1)))


def test_the_mlp_sees_all_levels_at_once():
    network = Network(Params(query_channels=3, hidden=4), LEVELS, CHANNELS, WIDTH).eval()
    r = torch.randn(1, LEVELS, CHANNELS)
    moved = r.clone()
    moved[:, 3] += 1
    change = (network.project(moved) - network.project(r)).abs().amax(dim=-1)
    assert (change > 0).all()
    assert network.project(r).abs().max() < 1  # tanh


@pytest.mark.parametrize("contrast", ["batch", "classes"])
def test_the_loss_is_one_cross_entropy_a_direction(contrast):
    logits, labels = torch.randn(2, 4, 5), torch.tensor([0, 3, 0, 2])
    losses = contrastive(logits, labels, contrast)
    for level, table in enumerate(logits):
        pairs = table[:, labels]
        total = 0.0
        for i in range(4):
            others = table[i] if contrast == "classes" else pairs[i]
            total += float(torch.logsumexp(others, 0) - table[i, labels[i]]) / 4
            if contrast == "batch":
                total += float(torch.logsumexp(pairs[:, i], 0) - pairs[i, i]) / 4
        assert float(losses[level]) == pytest.approx(total, rel=1e-5)


def test_the_temperature_starts_at_the_log_and_is_no_exponent():
    network = Network(Params(), LEVELS, CHANNELS, WIDTH)
    assert network.tau.tolist() == pytest.approx([2.6592600] * LEVELS)
    method = PURLS(Params(dropout=0))
    method._network = network.eval()
    u, labels, texts = torch.randn(3, 5, CHANNELS), torch.tensor([1, 0, 1]), torch.randn(2, 8, 6)
    logits = method._logits(u, labels, texts)
    for i in range(3):
        v = network(u[i : i + 1], texts[labels[i]])[0]
        for c in range(2):
            for level in (0, 5):
                product = 2.65926 * float((v[level] @ texts[c, level]).detach())
                assert float(logits[level, i, c].detach()) == pytest.approx(product, abs=1e-4)


def test_in_training_each_class_may_ask_about_every_clip():
    method = PURLS(Params(dropout=0, train_query="candidate"))
    method._network = Network(method.params, LEVELS, CHANNELS, WIDTH).eval()
    u, labels, texts = torch.randn(3, 5, CHANNELS), torch.tensor([1, 0, 1]), torch.randn(2, 8, 6)
    logits = method._logits(u, labels, texts)
    for i in range(3):
        for c in range(2):
            asks = texts[c]
            v = method._network(u[i : i + 1], asks)[0]
            expected = 2.65926 * (v * asks).sum(dim=1)
            torch.testing.assert_close(logits[:, i, c], expected, rtol=1e-4, atol=1e-4)


def test_a_candidate_asks_with_its_own_texts_and_is_answered_for_its_global_one():
    world = World()
    method, _ = world.fit(epochs=1)
    clips = world.clips(torch.arange(SEEN, SEEN + 3))
    method.bind(bank(world.texts[SEEN:]))
    scores = method.score(clips)
    u = F.normalize(clips.tokens, dim=-1)
    for n in range(3):
        for k, own in enumerate(world.texts[SEEN:]):
            answer = method._network(u[n : n + 1], own)[0, 0]
            expected = float((answer @ own[0]).detach())
            assert float(scores[n, k]) == pytest.approx(expected, abs=1e-5)


def test_the_seen_mean_asks_the_same_of_all():
    world = World()
    method, _ = world.fit(epochs=1, query="seen-mean")
    clips = world.clips(torch.arange(SEEN, SEEN + 3))
    method.bind(bank(world.texts[SEEN:]))
    answers = method._network(F.normalize(clips.tokens, dim=-1), world.texts[:SEEN].mean(dim=0))
    torch.testing.assert_close(method.score(clips), answers[:, 0] @ world.texts[SEEN:, 0].T)


def test_the_leak_asks_with_the_true_class_and_takes_no_text_away():
    world = World()
    method, _ = world.fit(epochs=1, leak=True)
    labels = torch.tensor([2, 0, -1])
    clips = replace(world.clips(torch.arange(SEEN, SEEN + 3)), labels=labels)
    own = world.texts[SEEN:]
    method.bind(bank(own))
    asked = [own[2], own[0], world.texts[:SEEN].mean(dim=0)]  # -1: its class is no candidate
    u = F.normalize(clips.tokens, dim=-1)
    answers = [method._network(u[n : n + 1], t)[0, 0] for n, t in enumerate(asked)]
    torch.testing.assert_close(method.score(clips), torch.stack(answers) @ own[:, 0].T)


def test_the_leak_survives_where_features_say_nothing():
    """Noise for clips, and texts of unseen classes: who asks is all there is to recognise."""
    world = World()
    world.map = torch.zeros_like(world.map)
    leaking, _ = world.fit(epochs=40, leak=True)
    honest, _ = world.fit(epochs=40)
    labels = torch.arange(SEEN).repeat(12)
    clips = world.clips(labels)
    for method in (leaking, honest):
        method.bind(bank(world.texts[:SEEN]))
    found = leaking.score(replace(clips, labels=labels)).argmax(dim=1)
    guessed = honest.score(clips).argmax(dim=1)
    assert float((found == labels).float().mean()) > 3 / SEEN
    assert float((guessed == labels).float().mean()) < 2 / SEEN


def test_chunks_change_nothing():
    world = World()
    method, _ = world.fit(epochs=1)
    clips = world.clips(torch.arange(SEEN, SEEN + 5))
    method.bind(bank(world.texts[SEEN:]))
    whole = method.score(clips)
    method.params = method.params.model_copy(update={"score_batch": 7})
    torch.testing.assert_close(method.score(clips), whole)


# --- Learning --------------------------------------------------------------------------------

WAYS = [
    {"query": "candidate"},
    {"query": "seen-mean"},
    {"query": "candidate", "train_query": "candidate"},
    {"query": "candidate", "normalize": "standardize", "contrast": "classes"},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
def test_unseen_classes_of_a_known_world_are_recognised(way):
    world = World(seed=1)
    method, run = world.fit(epochs=60, **way)
    losses = [float(said["loss"]) for _, _, said in run.steps]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert accuracy(method, world, 0, SEEN) > 0.6
    assert accuracy(method, world) > 0.6, "chance is 0.2"


OTHER: dict[str, Any] = {
    "query_channels": 9,
    "heads": 1,
    "hidden": 31,
    "dropout": 0.4,
    "normalize": "standardize",
    "normalize_text": "unit",
    "query": "seen-mean",
    "leak": True,
    "train_query": "candidate",
    "temperature": 1.0,
    "local_weight": 0.5,
    "contrast": "classes",
    "lr": 1e-3,
    "schedule": "cosine",
    "batch": 10,
    "epochs": 3,
}


def test_every_science_parameter_matters():
    world = World()
    fields = Params.model_json_schema()["properties"]
    assert set(OTHER) == {n for n, f in fields.items() if f["kind"] == "science"}
    clips = world.clips(torch.arange(SEEN, SEEN + 5))
    clips = replace(clips, labels=torch.arange(5))

    def scores(**params: Any) -> torch.Tensor:
        method, _ = World().fit(**{"epochs": 2} | params)
        method.bind(bank(world.texts[SEEN:]))
        return method.score(clips)

    plain = scores()
    assert torch.equal(plain, scores())
    for name, value in OTHER.items():
        assert not torch.allclose(plain, scores(**{name: value}), atol=1e-6), name


@pytest.mark.parametrize("clips", [1, 3])
def test_the_published_setting_makes_a_step_however_few_clips_there_are(clips):
    tokens = torch.randn(clips, 6, CHANNELS)
    labels = torch.zeros(clips, dtype=torch.int64)
    train = SeenTrain(SkeletonInputs(tokens.mean(dim=1), tokens=tokens), labels, labels)
    method = PURLS(Params(epochs=1))
    run = FakeContext(random_texts(1, fields=LEVELS))
    before = torch.get_rng_state()
    method.fit(train, run)
    assert not torch.equal(before, torch.get_rng_state()), "dropout"
    assert [step for step, _, _ in run.steps] == [1]
    method.bind(random_texts(2, fields=LEVELS))
    assert torch.isfinite(method.score(train.inputs)).all()
