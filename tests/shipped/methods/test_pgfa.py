"""PGFA against loops and hand calculations, through any encoder, and in the real workers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import normalize
from zsar_alignment.pgfa import (
    PGFA,
    InductiveParams,
    Params,
    PGFAInductive,
    contrastive_loss,
    visual_prototypes,
)
from zsar_encoders import ctr_gcn, shift_gcn, st_gcn

from kit.command import Cli
from kit.fakes import FakeContext, random_texts
from kit.toy_skeletons import BODY, POSE, context, train_of
from zsar_bench.metrics.accuracy import tolerance
from zsar_bench.records.files import read_record
from zsar_bench.views import Clips, Features, SeenTrain, SkeletonInputs, TextBank, TextFeatures

SMALL = {"channels": (8, 8), "strides": (2, 2), "frames": 9, "epochs": 1, "batch": 6}
ENCODERS = {
    "st-gcn": (st_gcn.STGCN, st_gcn.Params),
    "shift-gcn": (shift_gcn.ShiftGCN, shift_gcn.Params),
    "ctr-gcn": (ctr_gcn.CTRGCN, ctr_gcn.Params),
}
QUICK: dict[str, Any] = {"epochs": 4, "batch": 6, "warmup": 1.0}


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors this small are only slowed down by a second thread; every test draws its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


# --- A toy with a known answer: the hand moves in a direction, and the text names it ------------


def pointing(angles: Tensor, each: int, seed: int) -> tuple[SkeletonInputs, Tensor]:
    """Clips in which the right hand goes at one of these angles, and their classes.

    No features: ``pooled`` is noise, which PGFA must not read.
    """
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(angles)).repeat(each)
    lengths = torch.randint(8, 13, labels.shape, generator=g)
    data = torch.zeros(len(labels), 3, 12, 6, 1)
    for n, (label, length) in enumerate(zip(labels.tolist(), lengths.tolist(), strict=True)):
        pose = POSE.T[:, None].repeat(1, length, 1)
        pose = pose + 0.01 * torch.randn(pose.shape, generator=g)
        way = torch.tensor([angles[label].cos(), angles[label].sin(), 0])
        pose[:, :, 3] += 0.5 * way[:, None] * torch.linspace(0, 1, length)
        data[n, :, :length, :, 0] = pose
    clips = Clips(data, lengths, BODY)
    return SkeletonInputs(torch.randn(len(labels), 2, generator=g), clips=clips), labels


def saying(angles: Tensor) -> TextBank:
    """Two texts a class that name its angle in 6 channels."""
    g = torch.Generator().manual_seed(9)
    point = torch.stack([angles.cos(), angles.sin()], dim=1)
    fields = {}
    for name in ("motion", "description"):
        pooled = point @ torch.randn(2, 6, generator=g)
        mask = torch.ones(len(angles), 1, dtype=torch.bool)
        fields[name] = TextFeatures(pooled, pooled[:, None], mask)
    return TextBank(fields)


ALL = torch.arange(12) * (2 * math.pi / 12)
UNSEEN = torch.tensor([1, 4, 7, 10])
SEEN = torch.tensor([k for k in range(12) if k not in UNSEEN.tolist()])


class Plain:
    """An encoder that shares nothing with ours: a layer of where each joint is from the root."""

    def __init__(self) -> None:
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(18, 16))

    def module(self) -> nn.Module:
        outer = self.layer

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = outer

            def forward(self, clips: Clips) -> Features:
                place = clips.data[..., 0].sum(dim=2) / clips.lengths[:, None, None]  # (N, 3, V)
                return Features(self.layer(4 * (place - place[..., :1])))

        return Network()

    @torch.no_grad()
    def encode(self, clips: Clips) -> Features:
        return self.module()(clips)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.layer.state_dict())

    def load_state_dict(self, state: Any) -> None:
        self.layer.load_state_dict(dict(state))


def trained(name: str = "st-gcn", seed: int = 0) -> Any:
    """A small encoder of ours that has been trained for a moment on other clips."""
    encoder, params = ENCODERS[name]
    made = encoder(params(**SMALL))
    inputs, labels = pointing(ALL[:3], 4, seed)
    made.fit(train_of(inputs.clips, labels), context(seed))
    return made


def fitted(
    cls: Any = PGFAInductive, encoder: Any = None, run: FakeContext | None = None, **changes: Any
) -> Any:
    """A method after its fit on the seen angles."""
    inputs, labels = pointing(ALL[SEEN], 3, 1)
    params = Params if cls is PGFA else InductiveParams
    method = cls(params(**(QUICK | changes)))
    encoder = encoder or trained()
    run = run or FakeContext(saying(ALL[SEEN]))
    run.encoder = encoder
    method.fit(SeenTrain(inputs, labels, torch.zeros_like(labels)), run)
    return method


def elsewhere(method: Any, encoder: Any) -> Any:
    """The method as another worker rebuilds it, from its state and an encoder of its own."""
    state = {k: v.detach().clone().contiguous() for k, v in method.state_dict().items()}
    again = type(method)(method.params)
    again.take_encoder(encoder)
    again.load_state_dict(load(save(state)))
    return again


# --- The loss ------------------------------------------------------------------------------------


def slow_loss(z: Tensor, texts: Tensor, labels: Tensor, tau: float, sharpness: float) -> float:
    """L, number by number; KL by torch.distributions."""
    from torch.distributions import Categorical, kl_divergence

    b, total = len(z), 0.0
    for i in range(b):
        target = [sharpness if labels[i] == labels[j] else 0.0 for j in range(b)]
        p = Categorical(logits=torch.tensor(target, dtype=torch.float64))
        row = torch.stack([z[i] @ texts[j] for j in range(b)]) / tau
        column = torch.stack([z[j] @ texts[i] for j in range(b)]) / tau
        for logits in (row, column):
            total += float(kl_divergence(p, Categorical(logits=logits))) / (2 * b)
    return total


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 1, 0, 2, 1])
    texts = normalize(torch.randn(3, 4, generator=g, dtype=torch.float64), dim=1)[labels]
    return normalize(torch.randn(5, 4, generator=g, dtype=torch.float64), dim=1), texts, labels


@pytest.mark.parametrize(("tau", "sharpness"), [(0.07, 10.0), (0.5, 2.0), (1.0, 0.0)])
def test_loss_against_loops(tau, sharpness):
    z, texts, labels = batch()
    found = contrastive_loss(z, texts, labels, tau, sharpness)
    assert float(found) == pytest.approx(slow_loss(z, texts, labels, tau, sharpness), rel=1e-10)


def test_gradient_of_the_loss_by_finite_differences():
    z, texts, labels = batch(1)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: contrastive_loss(x, texts, labels, 0.3, 10.0), z)


def test_the_loss_is_least_where_similarity_is_the_target():
    """By hand: cosines 1 and -1 at tau = 0.2 differ by 10, just as the target's logits do."""
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    assert float(contrastive_loss(z, z, labels, 0.2, 10.0)) == pytest.approx(0, abs=1e-12)
    assert float(contrastive_loss(z, z.flip(0), labels, 0.2, 10.0)) > 5


# --- Prototypes ----------------------------------------------------------------------------------


def slow_prototypes(z: np.ndarray, texts: np.ndarray, keep: float) -> np.ndarray:
    found = []
    sure: dict[int, list[tuple[float, int]]] = {k: [] for k in range(len(texts))}
    for n, clip in enumerate(z):
        cosines = [float(clip @ text) for text in texts]
        shares = [math.exp(c) for c in cosines]
        shares = [s / sum(shares) for s in shares]
        entropy = -sum(s * math.log(s) for s in shares)
        sure[cosines.index(max(cosines))].append((entropy, n))
    for k, text in enumerate(texts):
        count = math.floor(len(sure[k]) * keep)
        chosen = [z[n] for _, n in sorted(sure[k])[:count]]
        mean = sum(chosen) / count if count else text
        found.append(mean / np.linalg.norm(mean))
    return np.array(found)


@pytest.mark.parametrize("keep", [0.2, 0.4, 0.9, 1.0])
def test_prototypes_against_loops(keep):
    g = torch.Generator().manual_seed(3)
    z = normalize(torch.randn(30, 5, generator=g, dtype=torch.float64), dim=1)
    texts = normalize(torch.randn(4, 5, generator=g, dtype=torch.float64), dim=1)
    found = visual_prototypes(z, texts, keep).numpy()
    np.testing.assert_allclose(found, slow_prototypes(z.numpy(), texts.numpy(), keep), atol=1e-12)


def test_a_class_with_too_few_clips_keeps_its_text():
    texts = torch.eye(3)
    z = normalize(torch.tensor([[1.0, 0.2, 0.0], [1.0, 0.0, 0.3], [0.1, 1.0, 0.0]]), dim=1)
    found = visual_prototypes(z, texts, keep=0.9)
    torch.testing.assert_close(found[0], z[0])  # floor(2 x 0.9) = 1, the surer of two
    assert torch.equal(found[1], texts[1])  # floor(1 x 0.9) = 0
    assert torch.equal(found[2], texts[2])  # nobody looks like it


def test_prototypes_mend_texts_that_are_off():
    """Clips in two tight groups, 100 and 10 degrees from texts that are 60 degrees apart."""

    def at(degrees: Tensor) -> Tensor:
        return torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], dim=1)

    g = torch.Generator().manual_seed(0)
    texts = at(torch.tensor([0.0, 60.0]))
    labels = torch.arange(200) % 2
    places = torch.tensor([22.0, 82.0])[labels] + 8 * torch.randn(200, generator=g)
    z = at(places)
    before = float(((z @ texts.T).argmax(1) == labels).float().mean())
    after = float(((z @ visual_prototypes(z, texts, 0.9).T).argmax(1) == labels).float().mean())
    assert before < 0.95
    assert after > 0.99


# --- The whole method ----------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [PGFAInductive, PGFA])
def test_unseen_directions_are_recognised_through_any_encoder(cls):
    method = fitted(cls, Plain(), epochs=60, lr=0.02)
    inputs, labels = pointing(ALL[UNSEEN], 6, 5)
    asked = elsewhere(method, Plain())
    asked.bind(saying(ALL[UNSEEN]))
    if cls is PGFA:
        asked.adapt(inputs)
    assert float((asked.score(inputs).argmax(1) == labels).float().mean()) > 0.9


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_a_state_scores_the_same_elsewhere(name):
    encoder = trained(name)
    start = {k: v.clone() for k, v in encoder.state_dict().items()}
    method = fitted(PGFA, encoder)
    moved = [k for k, v in encoder.state_dict().items() if not torch.equal(v, start[k])]
    assert any("units" in k for k in moved), "the encoder itself was trained"
    inputs, _ = pointing(ALL[UNSEEN], 3, 5)
    found = []
    for one in (method, elsewhere(method, trained(name, seed=4))):
        one.bind(saying(ALL[UNSEEN]))
        one.adapt(inputs)
        found.append(one.score(inputs))
    assert torch.equal(*found)


def test_the_loss_falls_on_seen_classes():
    run = FakeContext(saying(ALL[SEEN]))
    fitted(run=run, epochs=40, batch=24)
    losses = [float(said["loss"]) for _, _, said in run.steps]
    assert losses[-1] < 0.5 * losses[0]


def test_pooled_features_are_not_read():
    method = fitted()
    method.bind(saying(ALL[UNSEEN]))
    inputs, _ = pointing(ALL[UNSEEN], 2, 5)
    other = SkeletonInputs(torch.zeros_like(inputs.pooled), clips=inputs.clips)
    assert torch.equal(method.score(inputs), method.score(other))


def test_prototypes_are_of_all_clips_and_scores_of_each_alone():
    method = fitted(PGFA)
    method.bind(saying(ALL[UNSEEN]))
    inputs, _ = pointing(ALL[UNSEEN], 3, 5)
    by_text = method.score(inputs)
    method.adapt(inputs)
    together = method.score(inputs)
    assert not torch.allclose(together, by_text)
    for row in range(len(inputs)):
        alone = method.score(inputs.rows(torch.tensor([row])))
        assert (alone - together[row]).abs().max() <= tolerance(together.numpy(), "float32")
    method.bind(saying(ALL[UNSEEN]))
    assert torch.equal(method.score(inputs), by_text), "binding forgets the clips"


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.2},
        {"sharpness": 3.0},
        {"lr": 0.01},
        {"momentum": 0.5},
        {"weight_decay": 0.01},
        {"warmup": 0.0},
        {"epochs": 3},
        {"batch": 7},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_parameter_of_the_training_matters(change):
    name = "project.weight"
    assert not torch.equal(fitted(**change).state_dict()[name], fitted().state_dict()[name])
    assert {*InductiveParams.model_fields} == {
        *("temperature", "sharpness", "lr", "momentum", "weight_decay", "warmup", "epochs", "batch")
    }, "all of them are in this test"


def test_the_share_kept_matters():
    inputs, _ = pointing(ALL[UNSEEN], 5, 5)
    found = []
    for keep in (0.4, 1.0):
        method = fitted(PGFA, keep=keep)
        method.bind(saying(ALL[UNSEEN]))
        method.adapt(inputs)
        found.append(method.score(inputs))
    assert not torch.allclose(*found)
    assert {*Params.model_fields} - {*InductiveParams.model_fields} == {"keep"}


def test_the_rate_rises_over_the_warm_up(monkeypatch):
    rates = []
    monkeypatch.setattr("zsar_alignment.pgfa.set_rate", lambda _, rate: rates.append(rate))
    fitted(epochs=3, warmup=1.0, batch=6, lr=0.4)  # 24 clips: 4 steps an epoch
    assert rates == pytest.approx([0.1, 0.2, 0.3, *[0.4] * 9])


def test_the_published_setting_trains():
    values = {**InductiveParams.profiles["paper"], "epochs": 2}
    method = PGFA(Params(**values))
    inputs, labels = pointing(ALL[SEEN], 2, 1)  # fewer clips than a batch
    run = FakeContext(saying(ALL[SEEN]))
    run.encoder = trained()
    method.fit(SeenTrain(inputs, labels, labels), run)
    assert [step for step, _, _ in run.steps] == [1, 2]
    published = Params()
    assert (published.lr, published.weight_decay, published.epochs, published.batch) == (
        *(0.05, 5e-4),
        *(50, 128),
    )


def test_a_single_seen_class_and_a_single_clip_do_not_crash():
    for count in (1, 3):
        inputs, labels = pointing(ALL[:1], count, 1)
        run = FakeContext(random_texts(1))
        run.encoder = trained()
        method = PGFAInductive(InductiveParams(**QUICK))
        method.fit(SeenTrain(inputs, labels, labels), run)
        assert all(torch.isfinite(v).all() for v in method.state_dict().values())


def test_without_encoder_or_clips_it_says_so():
    inputs, labels = pointing(ALL[SEEN], 1, 1)
    for some, encoder in ((inputs, None), (SkeletonInputs(inputs.pooled), trained())):
        run = FakeContext(saying(ALL[SEEN]))
        run.encoder = encoder
        with pytest.raises(ValueError, match="needs both"):
            PGFA(Params(**QUICK)).fit(SeenTrain(some, labels, labels), run)


# --- In the workers ------------------------------------------------------------------------------


def test_it_runs_confined_with_an_encoder_of_a_third_party(cli: Cli) -> None:
    """Two settings, two sections; a rule that binds several states in one worker."""
    names = ("pgfa", "pgfa-inductive")
    sets = [w for n in names for w in ("--set", f"{n}.epochs=3", "--set", f"{n}.batch=8")]
    done = cli.run(*names, *sets, "--selection", "seen-val", "--json")
    sections = json.loads(done.stdout)["sections"]
    assert {s["setting"]: [r["method"] for r in s["rows"]] for s in sections} == {
        "transductive": ["pgfa"],
        "inductive": ["pgfa-inductive"],
    }
    records = [read_record(p) for p in cli.cwd.glob("results/runs/*/*/[!.]*")]
    assert {one.method.name for one in records} == {*names}
    for one in records:
        assert not one.certificate.denied
        assert one.rescoring.clips == 32
        assert one.rescoring.largest_change <= one.rescoring.tolerance
