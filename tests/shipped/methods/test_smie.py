"""SMIE: its bound, masks and schedule against loops, its learning against a known world."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from zsar_alignment import smie
from zsar_alignment._features import joined
from zsar_alignment.smie import SMIE, FeatureParams, Params, ScoreNetwork, information, mask, motion

from kit.fakes import FakeContext
from zsar_bench.views import Clips, Features, Layout, SeenTrain, SkeletonInputs, TextBank
from zsar_bench.views import TextFeatures as Text

SEEN, UNSEEN, WIDTH, CHANNELS = 30, 5, 4, 6
LAYOUT = Layout(("a", "b"), (0, 0), ("torso", "torso"), (0, 1), 0, 1)
SMALL: dict[str, Any] = {
    "hidden": 64,
    "hidden_2": 32,
    "lr": 3e-3,
    "batch": 30,
    "epochs": 40,
    "warmup": 2,
    "layer_norm": "none",
}


def random_clips(lengths: list[int], seed: int = 0) -> Clips:
    g = torch.Generator().manual_seed(seed)
    data = torch.randn(len(lengths), 3, max(lengths), 2, 1, generator=g)
    for row, length in enumerate(lengths):
        data[row, :, length:] = 0
    return Clips(data, torch.tensor(lengths), LAYOUT)


def bank(texts: torch.Tensor) -> TextBank:
    return TextBank({"motion": Text(texts, texts[:, None], torch.ones(len(texts), 1).bool())})


class MeanEncoder:
    """Features: mean pose over a clip's frames. Remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Clips] = []

    def encode(self, clips: Clips) -> Features:
        assert not torch.is_grad_enabled(), "the encoder is frozen"
        self.given.append(clips)
        total = clips.data.sum(dim=2) / clips.lengths.view(-1, 1, 1, 1)
        return Features(total.flatten(1))


class World:
    """Every frame of a clip is a fixed linear function of its class's text, and noise."""

    def __init__(self, seed: int = 0) -> None:
        self.g = torch.Generator().manual_seed(seed)
        self.texts = F.normalize(torch.randn(SEEN + UNSEEN, WIDTH, generator=self.g), dim=1)
        self.map = torch.randn(WIDTH, CHANNELS, generator=self.g)

    def inputs(self, labels: torch.Tensor, frames: int = 8) -> SkeletonInputs:
        pose = self.texts[labels] @ self.map
        noise = torch.randn(len(labels), frames, CHANNELS, generator=self.g)
        data = pose[:, None] + 0.2 * noise  # (N, T, C)
        data = data.view(len(labels), frames, 3, 2, 1).permute(0, 2, 1, 3, 4).contiguous()
        clips = Clips(data, torch.full((len(labels),), frames), LAYOUT)
        return SkeletonInputs(data.mean(dim=2).flatten(1), clips=clips)

    def fit(self, kind: Any = Params, **params: Any) -> tuple[SMIE, FakeContext]:
        labels = torch.arange(SEEN).repeat(6)
        method, run = SMIE(kind(**SMALL | params)), FakeContext(bank(self.texts[:SEEN]))
        run.encoder = MeanEncoder()
        method.fit(SeenTrain(self.inputs(labels), labels, labels * 0), run)
        return method, run


# --- Equations -------------------------------------------------------------------------------


def test_the_network_is_three_layers_over_feature_and_text_side_by_side():
    network = ScoreNetwork(3, 2, 5, 4)
    x, s = torch.randn(6, 3), torch.randn(2, 2)
    scores = network(x[:, None], s)
    layers = torch.nn.Sequential(
        network.first, torch.nn.ReLU(), network.second, torch.nn.ReLU(), network.last
    )
    for n in range(6):
        for k in range(2):
            expected = layers(torch.cat([x[n], s[k]]))[0]
            assert float(scores[n, k].detach()) == pytest.approx(float(expected.detach()), abs=1e-6)


def test_the_bound_by_hand():
    matching, shifted = torch.tensor([0.3, -2.0]), torch.tensor([1.0, -0.5])
    total = sum(-math.log1p(math.exp(-v)) for v in (0.3, -2.0)) / 2
    total -= sum(math.log1p(math.exp(v)) for v in (1.0, -0.5)) / 2
    assert float(information(matching, shifted)) == pytest.approx(total, rel=1e-6)


def test_a_step_has_the_loss_of_the_paper(monkeypatch: pytest.MonkeyPatch):
    """Full batch, everything computed again from the weights before the step."""
    world, before = World(), {}

    def build(self: SMIE, *sizes: int) -> ScoreNetwork:
        network = plain_build(self, *sizes)
        before.update({k: v.clone() for k, v in network.state_dict().items()})
        return network

    plain_build = SMIE._build
    monkeypatch.setattr(SMIE, "_build", build)
    seen: list[torch.Tensor] = []
    encode = smie._Masked._encode
    monkeypatch.setattr(
        smie._Masked, "_encode", lambda self, *a: seen.append(encode(self, *a)) or seen[-1]
    )
    orders: list[torch.Tensor] = []
    features = smie._Masked.features
    monkeypatch.setattr(
        smie._Masked, "features", lambda self, rows: orders.append(rows) or features(self, rows)
    )
    margin = 5.0
    labels = torch.arange(SEEN).repeat(2)
    inputs = world.inputs(labels)
    run = FakeContext(bank(world.texts[:SEEN]))
    run.encoder = MeanEncoder()
    p = Params(**SMALL | {"epochs": 1, "batch": 60, "margin": margin, "layer_norm": "train"})
    SMIE(p).fit(SeenTrain(inputs, labels, labels * 0), run)
    (_, _, said), (rows,), (masked,) = run.steps[0], orders, seen
    network = ScoreNetwork(CHANNELS, WIDTH, 64, 32)
    network.load_state_dict(before)

    def normed(x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()

    x, s = normed(inputs.pooled)[rows], joined(bank(world.texts[labels[rows]])).float()
    less, wrong = normed(masked), torch.cat([x[1:], x[:1]])
    whole = information(network(x, s), network(wrong, s))
    part = information(network(less, s), network(wrong, s))
    expected = -whole + 0.5 * (margin - (whole - part)).clamp(min=0)
    assert float((whole - part).detach()) < margin
    assert float(said["loss"]) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(said["information"]) == pytest.approx(float(whole.detach()), rel=1e-5)


def test_the_schedule():
    p = FeatureParams(lr=1.0, epochs=100, warmup=15)
    assert [smie.learning_rate(e, p) for e in (0, 3, 15)] == pytest.approx([0, 0.2, 1.0])
    assert smie.learning_rate(15 + 85 // 2, p) == pytest.approx(0.5, abs=0.01)
    assert smie.learning_rate(99, p) == pytest.approx(0.5 * (1 + math.cos(math.pi * 84 / 85)))
    assert smie.learning_rate(0, FeatureParams(warmup=0)) == 1e-5


# --- Masks -----------------------------------------------------------------------------------


def test_motion_is_the_squared_distance_to_both_neighbours():
    clips = random_clips([6, 4])
    found = motion(clips)
    for n, length in enumerate([6, 4]):
        for t in range(6):
            total = 0.0
            for other in (t - 1, t + 1):
                if t < length and 0 <= other < length:
                    step = clips.data[n, :, t] - clips.data[n, :, other]
                    total += float(step.square().sum())
            assert float(found[n, t]) == pytest.approx(total, rel=1e-5), (n, t)


def slow_mask(clips: Clips, by_motion: float, at_random: float, keys: list[float]) -> list[Any]:
    moving, kept = motion(clips), []
    for n, length in enumerate(clips.lengths.tolist()):
        frames = list(range(length))
        for share, weight in ((by_motion, moving[n].tolist()), (at_random, None)):
            go = min(math.floor(share * length + 0.5), len(frames) - 1)
            weights = weight or {t: keys[place] for place, t in enumerate(frames)}
            heaviest = sorted(frames, key=lambda t, w=weights: -w[t])[:go]
            frames = [t for t in frames if t not in heaviest]
        kept.append(frames)
    return kept


@pytest.mark.parametrize("shares", [(0.3, 0.3), (0.0, 0.5), (0.5, 0.0), (0.9, 0.9), (0.0, 0.0)])
def test_masks_against_a_loop(shares: tuple[float, float]):
    lengths = [50, 10, 7, 2, 1]
    clips, keys = random_clips(lengths), torch.rand(50)
    masked = mask(clips, *shares, keys)
    expected = slow_mask(clips, *shares, keys.tolist())
    assert masked.lengths.tolist() == [len(frames) for frames in expected]
    assert masked.data.shape[2] == max(masked.lengths.tolist())
    for n, frames in enumerate(expected):
        assert torch.equal(masked.data[n, :, : len(frames)], clips.data[n][:, frames])
        assert not masked.data[n, :, len(frames) :].any()


def test_of_50_frames_20_stay_as_in_the_paper():
    p = Params()
    masked = mask(random_clips([50, 50]), p.mask_motion, p.mask_random, torch.rand(50))
    assert masked.lengths.tolist() == [20, 20]


def test_clips_of_one_length_lose_the_same_places():
    still = Clips(torch.zeros(3, 3, 20, 2, 1), torch.full((3,), 20), LAYOUT)
    still.data[:] = torch.arange(20.0).view(1, 1, 20, 1, 1)
    masked = mask(still, 0.0, 0.4, torch.rand(20))
    assert masked.lengths.tolist() == [12] * 3
    assert torch.equal(masked.data[0], masked.data[1])
    assert torch.equal(masked.data[0], masked.data[2])


@pytest.mark.parametrize(("copies", "times"), [(0, 8), (2, 2)])
def test_how_often_clips_are_encoded(copies: int, times: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(smie._Masked, "CHUNK", 1000)
    _, run = World().fit(masked_copies=copies, epochs=2, batch=45)  # 180 clips: 8 steps
    given = run.encoder.given
    assert len(given) == times
    assert {len(clips) for clips in given} == {45 if copies == 0 else 180}
    assert {int(n) for clips in given for n in clips.lengths} == {4}  # of 8: 2 and 2 go
    assert not torch.equal(given[0].data, given[1].data), "drawn anew"


def test_copies_do_not_depend_on_how_many_clips_are_masked_at_once(monkeypatch: Any):
    whole, _ = World().fit(masked_copies=2, epochs=1)
    monkeypatch.setattr(smie._Masked, "CHUNK", 7)
    parts, _ = World().fit(masked_copies=2, epochs=1)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, msg=name)


# --- Scores and learning -----------------------------------------------------------------------


@pytest.mark.parametrize(("layer_norm", "normed"), [("train", False), ("both", True)])
def test_a_score_is_the_networks(layer_norm: str, normed: bool):
    world = World()
    method, _ = world.fit(epochs=1, layer_norm=layer_norm)
    inputs = world.inputs(torch.arange(3))
    method.bind(bank(world.texts[SEEN:]))
    x = F.layer_norm(inputs.pooled, (CHANNELS,)) if normed else inputs.pooled
    expected = method._network(x[:, None], world.texts[SEEN:])
    torch.testing.assert_close(method.score(inputs), expected)
    method.params = method.params.model_copy(update={"score_batch": 7})
    torch.testing.assert_close(method.score(inputs), expected)


def test_without_the_temporal_term_it_is_the_method_on_features():
    """Same bytes, though the encoder and the clips are there for one of them only."""
    world = World()
    full, _ = world.fit(temporal=False)
    lean, run = World().fit(FeatureParams)
    assert run.encoder.given == []
    for name, value in full.state_dict().items():
        assert torch.equal(lean.state_dict()[name], value), name


@pytest.mark.parametrize("kind", [Params, FeatureParams])
def test_unseen_classes_of_a_known_world_are_recognised(kind: Any):
    world = World()
    method, run = world.fit(kind, **({"masked_copies": 2} if kind is Params else {}))
    said = [float(shown["information"]) for _, _, shown in run.steps]
    assert said[-1] > said[0] + 0.3
    labels = torch.arange(UNSEEN).repeat(20)
    method.bind(bank(world.texts[SEEN:]))
    found = method.score(world.inputs(labels + SEEN)).argmax(dim=1)
    assert float((found == labels).float().mean()) > 0.6, "chance is 0.2"


OTHER: dict[str, Any] = {
    "hidden": 63,
    "hidden_2": 31,
    "normalize": "standardize",
    "layer_norm": "both",
    "lr": 1e-3,
    "batch": 20,
    "epochs": 4,
    "warmup": 0,
    "temporal": False,
    "temporal_weight": 1.0,
    "margin": 9.0,
    "mask_motion": 0.1,
    "mask_random": 0.1,
    "masked_copies": 2,
}


def test_every_science_parameter_matters():
    fields = Params.model_json_schema()["properties"]
    assert set(OTHER) == {n for n, f in fields.items() if f["kind"] == "science"}
    inputs = World(1).inputs(torch.arange(3))

    def scores(**params: Any) -> torch.Tensor:
        world = World()
        # A weight alone changes nothing where the margin is met.
        method, _ = world.fit(**{"epochs": 3, "margin": 3.0} | params)
        method.bind(bank(world.texts[SEEN:]))
        return method.score(inputs)

    plain = scores()
    assert torch.equal(plain, scores())
    for name, value in OTHER.items():
        if name == "margin":  # beyond reach either way, its size is a constant of the loss
            assert not torch.allclose(scores(margin=0.0), plain, atol=1e-6)
            continue
        assert not torch.allclose(plain, scores(**{name: value}), atol=1e-6), name


@pytest.mark.parametrize("clips", [1, 3])
def test_the_published_setting_makes_a_step_however_few_clips_there_are(clips: int):
    some = random_clips([9] * clips)
    labels = torch.zeros(clips, dtype=torch.int64)
    inputs = SkeletonInputs(some.data.mean(dim=2).flatten(1), clips=some)
    method, run = SMIE(Params(epochs=2)), FakeContext(bank(torch.randn(1, WIDTH)))
    run.encoder = MeanEncoder()
    method.fit(SeenTrain(inputs, labels, labels), run)
    assert [step for step, _, _ in run.steps] == [1, 2]
    method.bind(bank(torch.randn(2, WIDTH)))
    assert torch.isfinite(method.score(inputs)).all()


def test_the_laptop_encodes_in_advance():
    assert Params(**Params.profiles["laptop"]).masked_copies > 0
    assert SimpleNamespace(**Params.profiles["paper"]) == SimpleNamespace()
