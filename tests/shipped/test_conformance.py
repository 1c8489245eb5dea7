"""Every plugin of ours is held to its contract, found through the hooks as anybody's is."""

from __future__ import annotations

import functools
import importlib.metadata
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from kit.fakes import FakeContext, random_texts, tiny_clip
from kit.paths import SHARED_DATA
from zsar_bench.catalogue.discovery import _collect
from zsar_bench.catalogue.loading import resolve
from zsar_bench.catalogue.search_space import check_ranges, space_of
from zsar_bench.common.classes import read_classes, read_toml
from zsar_bench.common.code_digest import file_digest
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.files import group_of, is_group, protocol_of
from zsar_bench.data.protocols.protocol import TRANSFER
from zsar_bench.data.protocols.splits import make_rounds
from zsar_bench.data.texts.texts import read_texts
from zsar_bench.errors import DataError
from zsar_bench.hookspecs import GROUP
from zsar_bench.metrics.accuracy import tolerance
from zsar_bench.rawfiles.archives import RawFiles
from zsar_bench.registry import KINDS, Registry
from zsar_bench.sandbox.wire import layout_from_json
from zsar_bench.specs import generated
from zsar_bench.views import Clips, EncoderTrain, Layout, SeenTrain, SkeletonInputs, TextBank


def _registries() -> list[Registry]:
    """What our plugins register, without importing what they register."""
    points = importlib.metadata.entry_points(group=GROUP)
    ours = {p.name: p for p in points if p.dist and p.dist.name == "zsar-bench"}
    return [_collect(point.load())[0] for _, point in sorted(ours.items())]


REGISTRIES = _registries()
SPECS = {
    kind: {name: spec for r in REGISTRIES for name, spec in r.specs[kind].items()} for kind in KINDS
}
FILES = sorted(
    {p for r in REGISTRIES for folder in r.protocol_folders for p in folder.glob("*.toml")}
)
GROUPS = [p for p in FILES if is_group(read_toml(p))]
PROTOCOLS = [p for p in FILES if p not in GROUPS]
WITH_PARAMS = [
    spec
    for kind in ("methods", "skeleton_encoders", "text_encoders")
    for spec in SPECS[kind].values()
]
#: For the methods whose loss and classifier ramp up over cycles of training.
VAE = {"latent": 4, "cycle_steps": 4, "batch": 5, "samples": 20}
#: Seconds instead of minutes; a plugin without these parameters is quick by itself.
TINY: dict[str, dict[str, Any]] = {
    "cada-vae": VAE,
    "devise": {"epochs": 5, "batch": 5},
    "fs-vae": VAE,
    "jpose": {"hidden": 6, "part_space": 4, "joint_space": 4, "epochs": 5, "batch": 5},
    "msf": VAE,
    "neuron": {"prototypes": 6, "hidden": 8, "epochs": 3, "batch": 5},
    "revise": {"hidden": 6, "code": 5, "space": 4, "epochs": 5, "batch": 5},
    "sa-dvae": {"latent": 4, "instance": 2, "batch": 5, "samples": 20, "ramps": "fixed"},
    "star": {"prompts": 6, "width": 8, "hidden": 6, "epochs": 3, "batch": 5},
    "star-all-texts": {"prompts": 6, "width": 8, "hidden": 6, "epochs": 3, "batch": 5},
    "smie": {"hidden": 8, "hidden_2": 4, "epochs": 3, "batch": 6, "warmup": 1, "lr": 1e-2},
    "smie-features": {"hidden": 8, "hidden_2": 4, "epochs": 3, "batch": 6, "warmup": 1},
    "purls": {"query_channels": 4, "hidden": 8, "epochs": 3, "batch": 8},
    "synse": VAE,
    "tdsm": {"width": 16, "depth": 1, "heads": 2, "steps": 6, "batch": 8, "local_tokens": 3},
    "st-gcn": {"channels": (8, 8), "strides": (2, 2), "frames": 9, "epochs": 3, "batch": 6},
    "shift-gcn": {"channels": (8, 8), "strides": (2, 2), "frames": 9, "epochs": 3, "batch": 6},
    "pgfa": {"epochs": 3, "batch": 5, "warmup": 1.0},
    "pgfa-inductive": {"epochs": 3, "batch": 5, "warmup": 1.0},
    "ctr-gcn": {"channels": (8, 8), "strides": (2, 2), "frames": 9, "epochs": 3, "batch": 6},
}
SEEN, UNSEEN, CLIPS, CHANNELS = 4, 3, 12, 5
LAYOUT = Layout(
    joints=("hip", "spine", "head", "left_hip", "right_hip", "left_hand", "right_hand"),
    parents=(0, 0, 1, 0, 0, 1, 1),
    parts=("torso", "torso", "head", "legs", "legs", "arms", "arms"),
    mirror=(0, 1, 2, 4, 3, 6, 5),
    left_hip=3,
    right_hip=4,
)


def every(kind: str) -> Any:
    return pytest.mark.parametrize("name", sorted(SPECS[kind]))


def test_there_is_something_to_hold_to_its_contract():
    assert {"tdsm", "eszsl", "prototypes", "chance"} <= set(SPECS["methods"])
    assert {"minilm", "open-clip", "sentence-transformers", "tdsm-text"} <= set(
        SPECS["text_encoders"]
    )
    assert {"st-gcn", "shift-gcn", "ctr-gcn"} <= set(SPECS["skeleton_encoders"])
    assert "utd-mhad" in SPECS["datasets"]
    assert len(PROTOCOLS) >= 3
    assert set(TINY) <= {spec.name for spec in WITH_PARAMS}


def build(spec: Any, **params: Any) -> Any:
    """The plugin's object, as a worker builds it."""
    return resolve(spec.target)(resolve(spec.params)(**TINY.get(spec.name, {}), **params))


def through_a_file(state: Any) -> dict[str, torch.Tensor]:
    """A state as another process reads it."""
    tensors = {k: v.detach().clone().contiguous() for k, v in state.items()}
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())
    return load(save(tensors))


def written(thing: Any) -> bytes:
    """A state's bytes; safetensors sorts neither names nor places, so do we."""
    state = thing.state_dict()
    return save({k: state[k].detach().clone().contiguous() for k in sorted(state)})


class Watched(FakeContext):
    """Remembers at which steps a checkpoint was offered."""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        self.offered: list[int] = []

    def checkpoint(self, step: int, tensors: Any) -> None:
        self.offered.append(step)
        super().checkpoint(step, tensors)


# --- Parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", WITH_PARAMS, ids=lambda spec: spec.name)
def test_parameters_are_described_and_every_profile_is_valid(spec):
    params = resolve(spec.params)
    assert "paper" in params.profiles
    for values in [{}, *params.profiles.values(), TINY.get(spec.name, {})]:
        params(**values)
    with pytest.raises(ValueError, match="Extra inputs"):
        params(no_such_parameter=1)
    for name, field in params.model_json_schema().get("properties", {}).items():
        assert field.get("kind") in ("science", "runtime"), f"{name}: declare it by science()"
        assert len(field.get("description", "")) >= 5, name
        assert "default" in field, name


@pytest.mark.parametrize("name", sorted(SPECS["methods"]))
def test_search_ranges_lie_in_bounds_and_hold_the_default(name):
    """A search that could not come back to where the paper is would not be one around it."""
    params = resolve(SPECS["methods"][name].params)
    schema = params.model_json_schema()
    check_ranges(schema)
    published = params(**params.profiles["paper"]).model_dump(mode="json")
    for one in space_of(schema):
        assert one.holds(published[one.name]), f"{one.name}: {published[one.name]} is not in {one}"
        assert schema["properties"][one.name]["kind"] == "science"


@pytest.mark.parametrize(
    "spec", [s for kind in KINDS for s in SPECS[kind].values()], ids=lambda spec: spec.name
)
def test_a_spec_says_what_it_is(spec):
    assert len(getattr(spec, "summary", "") or getattr(spec, "title", "")) >= 5
    assert callable(resolve(spec.target))
    declared = set(getattr(spec, "seconds", {}))
    if declared:
        profiles = resolve(spec.params).profiles
        assert declared <= {*profiles, "laptop", "paper"}


# --- Methods ---------------------------------------------------------------------------------


def inputs(spec: Any, clips: int, seed: int) -> SkeletonInputs:
    """Random inputs of the kinds a method wants; its own seed for every clip."""
    g = torch.Generator().manual_seed(seed)
    parts: dict[str, Any] = {"pooled": torch.randn(clips, CHANNELS, generator=g)}
    if "tokens" in spec.wants:
        parts["tokens"] = torch.randn(clips, 6, CHANNELS, generator=g)
        parts |= {key: torch.arange(6) % 3 for key in ("joint", "part", "phase")}
    if "logits" in spec.wants:
        parts["logits"] = torch.randn(clips, SEEN, generator=g)
    if "clips" in spec.wants:
        parts["clips"] = random_clips(clips, seed)
        if spec.needs_encoder:  # features are that encoder's own
            parts["pooled"] = encoder().encode(parts["clips"]).pooled
    return SkeletonInputs(**parts)


def texts(spec: Any, classes: int, seed: int) -> TextBank:
    """Random texts in the fields of a method's recipe."""
    bank = random_texts(classes, fields=len(spec.text_fields), seed=seed)
    return TextBank(dict(zip(spec.text_fields, bank.fields.values(), strict=True)))


def train(spec: Any) -> SeenTrain:
    labels = torch.arange(CLIPS) % SEEN
    return SeenTrain(inputs(spec, CLIPS, 2), labels, torch.arange(CLIPS) // SEEN % 2)


@functools.cache
def _trained_encoder() -> Any:
    return Trained(SPECS["skeleton_encoders"]["st-gcn"]).encoder


def encoder() -> Any:
    """A trained skeleton encoder, anew for everybody who asks: some train it on."""
    fresh = build(SPECS["skeleton_encoders"]["st-gcn"])
    fresh.load_state_dict(through_a_file(_trained_encoder().state_dict()))
    return fresh


def built_to_score(spec: Any) -> Any:
    """A method as the scoring worker builds it, before its state."""
    method = build(spec)
    if spec.needs_encoder and hasattr(method, "take_encoder"):
        method.take_encoder(encoder())
    return method


def context(spec: Any, **named: Any) -> Watched:
    given = encoder() if spec.needs_encoder else None  # first: it draws from global generators
    run = Watched(texts(spec, SEEN, 3), **named)
    run.encoder = given
    if spec.setting != "inductive":
        run.unseen_texts = texts(spec, UNSEEN, 4)
    return run


class Fitted:
    """A fitted method and what its fit said."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.method = build(spec)
        self.run = context(spec)
        self.method.fit(train(spec), self.run)
        self.state = through_a_file(self.method.state_dict())

    def scores(self, some: SkeletonInputs, candidates: TextBank) -> np.ndarray:
        """As the scoring worker: a new object from the state, bound, then asked."""
        method = built_to_score(self.spec)
        method.load_state_dict(self.state)
        method.bind(candidates)
        if self.spec.setting == "transductive":
            method.adapt(some)
        return method.score(some).detach().float().numpy()


@pytest.fixture(scope="module")
def fitted() -> Any:
    done: dict[str, Fitted] = {}

    def get(name: str) -> Fitted:
        if name not in done:
            done[name] = Fitted(SPECS["methods"][name])
        return done[name]

    return get


@every("methods")
def test_a_method_scores_every_candidate_finitely(fitted, name):
    spec = SPECS["methods"][name]
    for classes in (2, UNSEEN, SEEN + 3):
        scores = fitted(name).scores(inputs(spec, CLIPS, 5), texts(spec, classes, 4))
        assert scores.shape == (CLIPS, classes)
        assert np.isfinite(scores).all()
        assert scores.std() > 0


@every("methods")
def test_a_method_does_not_mind_the_order_of_candidates(fitted, name):
    spec, some = SPECS["methods"][name], inputs(SPECS["methods"][name], CLIPS, 5)
    candidates, order = texts(spec, 5, 4), torch.tensor([3, 0, 4, 1, 2])
    straight = fitted(name).scores(some, candidates)
    permuted = fitted(name).scores(some, candidates.rows(order))
    change = np.abs(permuted - straight[:, order.numpy()]).max()
    assert change <= tolerance(straight, "float32")


@every("methods")
def test_a_clip_is_scored_on_its_own(fitted, name):
    spec, some = SPECS["methods"][name], inputs(SPECS["methods"][name], CLIPS, 5)
    if spec.setting == "transductive":
        pytest.skip("it may look at all clips")
    candidates = texts(spec, UNSEEN, 4)
    together = fitted(name).scores(some, candidates)
    method = built_to_score(spec)
    method.load_state_dict(fitted(name).state)
    method.bind(candidates)
    for row in reversed(range(CLIPS)):
        alone = method.score(some.rows(torch.tensor([row]))).detach().float().numpy()
        assert np.abs(alone - together[row]).max() <= tolerance(together, "float32")


@every("methods")
def test_a_method_is_its_state(fitted, name):
    spec, known = SPECS["methods"][name], fitted(name)
    some, candidates = inputs(spec, CLIPS, 5), texts(spec, UNSEEN, 4)
    before = {k: v.clone() for k, v in known.method.state_dict().items()}
    known.method.bind(candidates)
    if spec.setting == "transductive":
        known.method.adapt(some)
    direct = known.method.score(some).detach().float().numpy()
    np.testing.assert_array_equal(known.scores(some, candidates), direct)
    np.testing.assert_array_equal(known.scores(some, candidates), direct)
    after = known.method.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before), "scoring changed the state"


@every("methods")
def test_scoring_leaves_its_inputs_alone(fitted, name):
    spec = SPECS["methods"][name]
    some, candidates = inputs(spec, CLIPS, 5), texts(spec, UNSEEN, 4)
    fitted(name).scores(some, candidates)
    assert torch.equal(some.pooled, inputs(spec, CLIPS, 5).pooled)
    for field, text in texts(spec, UNSEEN, 4).fields.items():
        assert torch.equal(text.pooled, candidates.fields[field].pooled)
        assert torch.equal(text.tokens, candidates.fields[field].tokens)


@every("methods")
def test_the_same_seed_gives_the_same_method(fitted, name):
    again = Fitted(SPECS["methods"][name])
    assert written(again.method) == written(fitted(name).method)


@every("methods")
def test_a_killed_fit_continues_to_the_same_method(fitted, name):
    spec, whole = SPECS["methods"][name], fitted(name)
    if not whole.run.offered:
        pytest.skip("it offers no checkpoint, so it starts again")
    kill_at = whole.run.offered[len(whole.run.offered) // 2]
    killed = context(spec, kill_at=kill_at)
    with pytest.raises(KeyboardInterrupt):
        build(spec).fit(train(spec), killed)
    method, rest = build(spec), context(spec, resume=killed.checkpoints[-1])
    method.fit(train(spec), rest)
    assert written(method) == written(whole.method)
    assert min(rest.offered) > kill_at, "it did the killed part again"


@every("methods")
def test_a_fit_says_how_far_it_is(fitted, name):
    steps = fitted(name).run.steps
    assert steps
    assert all(0 < step <= total for step, total, _ in steps)
    assert steps[-1][0] == steps[-1][1], "the last step said is the last"
    assert [s for s, _, _ in steps] == sorted(s for s, _, _ in steps)


# --- Skeleton encoders -----------------------------------------------------------------------


def random_clips(count: int, seed: int = 0, bodies: int = 2) -> Clips:
    """Wandering skeletons of 5 to 14 frames; every second clip has one body only."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 15, (count,), generator=g)
    joints = len(LAYOUT.joints)
    rest = torch.randn(count, 3, 1, joints, bodies, generator=g)
    steps = 0.1 * torch.randn(count, 3, int(lengths.max()), joints, bodies, generator=g)
    data = rest + steps.cumsum(dim=2)
    for row, length in enumerate(lengths.tolist()):
        data[row, :, length:] = 0
    data[::2, ..., 1:] = 0
    return Clips(data, lengths, LAYOUT)


class Trained:
    """A trained skeleton encoder and what its fit said."""

    def __init__(self, spec: Any, **named: Any) -> None:
        self.encoder = build(spec)
        self.run = Watched(TextBank({}), **named)
        labels = torch.arange(CLIPS) % SEEN
        clips = EncoderTrain(random_clips(CLIPS), labels, torch.arange(CLIPS) % 2, SEEN)
        self.encoder.fit(clips, self.run)


@pytest.fixture(scope="module")
def trained() -> Any:
    done: dict[str, Trained] = {}

    def get(name: str) -> Trained:
        if name not in done:
            done[name] = Trained(SPECS["skeleton_encoders"][name])
        return done[name]

    return get


@every("skeleton_encoders")
def test_features_have_the_shapes_they_should(trained, name):
    found = trained(name).encoder.encode(random_clips(6, seed=9))
    channels = found.pooled.shape[1]
    assert found.pooled.shape == (6, channels)
    assert found.logits.shape == (6, SEEN)
    tokens = found.tokens.shape[1]
    assert found.tokens.shape == (6, tokens, channels)
    for part, count in (("joint", len(LAYOUT.joints)), ("part", 4), ("phase", 3)):
        index = getattr(found, part)
        assert (index.shape, index.dtype) == ((tokens,), torch.int64)
        assert int(index.min()) >= -1
        assert int(index.max()) < count
    for tensor in (found.pooled, found.tokens, found.logits):
        assert tensor.dtype == torch.float32
        assert torch.isfinite(tensor).all()
        assert not tensor.requires_grad
    assert found.pooled.std(dim=0).max() > 0, "clips differ"


@every("skeleton_encoders")
def test_a_clip_is_encoded_on_its_own(trained, name):
    clips = random_clips(6, seed=9)
    together = trained(name).encoder.encode(clips)
    for row in reversed(range(6)):
        alone = trained(name).encoder.encode(clips.rows(torch.tensor([row])))
        for part in ("pooled", "tokens", "logits"):
            expected = getattr(together, part)[row : row + 1]
            torch.testing.assert_close(getattr(alone, part), expected, rtol=1e-4, atol=1e-5)


@every("skeleton_encoders")
def test_an_encoder_is_its_state(trained, name):
    known = trained(name).encoder
    copy = build(SPECS["skeleton_encoders"][name])
    copy.load_state_dict(through_a_file(known.state_dict()))
    clips = random_clips(6, seed=9)
    here, there = known.encode(clips), copy.encode(clips)
    assert torch.equal(here.pooled, there.pooled)
    assert torch.equal(here.tokens, there.tokens)
    assert torch.equal(here.logits, there.logits)
    assert any(p.requires_grad for p in copy.module().parameters()), "a trainable copy"
    assert torch.equal(copy.encode(clips).pooled, here.pooled), "encoding changes nothing"


@every("skeleton_encoders")
def test_the_trainable_network_gives_the_features_and_is_the_encoders_own(name):
    learner = Trained(SPECS["skeleton_encoders"][name]).encoder
    clips = random_clips(6, seed=9)
    before = learner.encode(clips)
    network = learner.module().eval()
    features = network(clips)
    for part in ("pooled", "tokens", "logits"):
        torch.testing.assert_close(getattr(features, part), getattr(before, part))
    features.pooled.square().sum().backward()
    state = through_a_file(learner.state_dict())
    with torch.no_grad():
        for weight in network.parameters():
            if weight.grad is not None:
                weight -= 0.1 * weight.grad.sign()
    assert not torch.allclose(learner.encode(clips).pooled, before.pooled)
    assert any(not torch.equal(v, state[k]) for k, v in learner.state_dict().items())


@every("skeleton_encoders")
def test_the_same_seed_gives_the_same_encoder_and_another_another(trained, name):
    spec, known = SPECS["skeleton_encoders"][name], trained(name)
    assert written(Trained(spec).encoder) == written(known.encoder)
    assert written(Trained(spec, seed=1).encoder) != written(known.encoder)
    steps = known.run.steps
    assert steps
    assert steps[-1][0] == steps[-1][1]


@every("skeleton_encoders")
def test_a_killed_training_continues_to_the_same_encoder(trained, name):
    spec, whole = SPECS["skeleton_encoders"][name], trained(name)
    kill_at = whole.run.offered[len(whole.run.offered) // 2]
    run = Watched(TextBank({}), kill_at=kill_at)
    labels = torch.arange(CLIPS) % SEEN
    clips = EncoderTrain(random_clips(CLIPS), labels, torch.arange(CLIPS) % 2, SEEN)
    with pytest.raises(KeyboardInterrupt):
        build(spec).fit(clips, run)
    rest = Trained(spec, resume=run.checkpoints[-1])
    assert written(rest.encoder) == written(whole.encoder)
    assert min(rest.run.offered) > kill_at, "it did the killed part again"


# --- Text encoders ---------------------------------------------------------------------------

TEXTS = [
    "wave",
    "A person raises the right arm above the head and swings the hand from side to side.",
    "sit down",
    "Sit down!",
]


def texts_for(name: str) -> list[str]:
    """Texts that an encoder can read: language, but for the stand-in's grammar."""
    if name != "grammar":
        return TEXTS
    from zsar_datasets.stand_in.grammar import motions
    from zsar_datasets.stand_in.oracle import line

    return [line(motions()[motion]) for motion in ("A1", "A2", "A58", "A99")]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Text encoders by name; one that needs a model takes the packaged or a tiny one."""
    from zsar_encoders.minilm import _folder

    done: dict[str, Any] = {}
    models = {"sentence-transformers": {"model": str(_folder())}}
    models |= dict.fromkeys(("open-clip", "tdsm-text"), tiny_clip(tmp_path_factory.mktemp("clip")))

    def get(name: str) -> Any:
        if name not in done:
            done[name] = build(SPECS["text_encoders"][name], **models.get(name, {}))
        return done[name]

    return get


@every("text_encoders")
def test_a_text_is_encoded_on_its_own_whatever_the_order(tower, name):
    texts = texts_for(name)
    together = tower(name).encode(texts)
    channels, longest = together.pooled.shape[1], together.mask.shape[1]
    assert together.pooled.shape == (len(texts), channels)
    assert together.tokens.shape[:2] == together.mask.shape == (len(texts), longest)
    assert together.mask.dtype == torch.bool
    assert together.mask.any(dim=1).all()
    assert torch.isfinite(together.pooled).all()
    assert torch.isfinite(together.tokens).all()
    assert not torch.equal(together.pooled[0], together.pooled[1])
    order = [2, 0, 3, 1]
    shuffled = tower(name).encode([texts[i] for i in order])
    assert torch.equal(shuffled.pooled, together.pooled[order])
    for row, text in enumerate(texts):
        alone = tower(name).encode([text])
        assert torch.equal(alone.pooled[0], together.pooled[row])
        assert torch.equal(alone.tokens[0][alone.mask[0]], together.tokens[row][together.mask[row]])


@every("text_encoders")
def test_a_text_encoder_knows_its_weights(tower, name):
    before = tower(name).fingerprint()
    tower(name).encode(texts_for(name)[:1])
    assert re.fullmatch(r"[\w.-]{8,}", before)
    assert tower(name).fingerprint() == before


# --- Data sets -------------------------------------------------------------------------------


#: Data sets whose classes have numbers only; running on them needs --texts.
NAMELESS = {"kinetics-skeleton-400", "kinetics-skeleton-200"}


@every("datasets")
def test_the_classes_of_a_data_set_are_complete_and_distinct(name):
    classes = read_classes(SPECS["datasets"][name].classes)
    assert len(classes) >= 2
    assert len({c.id for c in classes}) == len(classes)
    if name in NAMELESS:
        assert not any(c.name or c.verb or c.noun for c in classes)
    else:
        assert len({c.name for c in classes}) == len(classes)
        assert all(c.name and c.verb for c in classes)
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", c.id) for c in classes), "ids become file names"


@every("datasets")
def test_the_joint_layout_of_a_data_set_is_a_body(name):
    layout = layout_from_json(read_toml(SPECS["datasets"][name].layout))
    count = len(layout.joints)
    assert len(set(layout.joints)) == count
    for column in (layout.parents, layout.parts, layout.mirror):
        assert len(column) == count
    for joint in range(count):
        seen = set()
        while joint not in seen:
            seen.add(joint)
            joint = layout.parents[joint]
        assert joint == layout.root, "every way up ends at the root"
    assert set(layout.parts) <= {"head", "arms", "torso", "legs"}
    assert [layout.mirror[m] for m in layout.mirror] == list(range(count))
    assert all(layout.parts[v] == layout.parts[m] for v, m in enumerate(layout.mirror))
    assert layout.mirror[layout.left_hip] == layout.right_hip != layout.left_hip
    swapped = [n.replace("left", "*").replace("right", "left") for n in layout.joints]
    swapped = [n.replace("*", "right") for n in swapped]
    assert [layout.joints[m] for m in layout.mirror] == swapped
    assert layout.up in (0, 1, 2)


@every("datasets")
def test_the_texts_of_a_data_set_are_complete_and_written_twice(name):
    spec = SPECS["datasets"][name]
    classes = read_classes(spec.classes)
    sets = {key: str(path) for key, path in spec.texts.items()}
    if name in NAMELESS:
        assert not sets
        return
    assert len(sets) >= 2
    read = {key: read_texts(key, sets, classes) for key in sets}
    fields = set.intersection(*(set(one.fields) for one in read.values()))
    for method in SPECS["methods"].values():
        for one in read.values():
            if not one.oracle:  # which says what the clips were made from, and no more
                one.check_fields(method.text_fields)
    own = fields - {"name", "verb", "noun"}
    for one in read.values():
        one.check_fields(own)  # none is empty
    written = [one for one in read.values() if not one.oracle]  # an oracle repeats itself
    texts_of = [[t for f in own for t in one.fields[f].values()] for one in written]
    together = [text.casefold() for texts in texts_of for text in texts]
    assert len(set(together)) == len(together), "no text stands in two places"


@pytest.mark.parametrize(
    "name", [n for n, s in SPECS["datasets"].items() if not generated(vars(s))]
)
def test_a_reader_refuses_what_is_no_clip(name):
    reader = resolve(SPECS["datasets"][name].target)()
    for junk in ("", "README.md", "notes/.DS_Store", "../../etc/passwd", "a.npy\n", "💃.mat"):
        assert reader.identify(junk) is None
    noise = np.random.default_rng(0).bytes(4096)
    for data in (b"", b"\0", b"\0" * 4096, noise, b"\x93NUMPY" + noise, b"MATLAB 5.0" + noise):
        with pytest.raises(DataError):
            reader.read(data)


@pytest.mark.parametrize("name", [n for n, s in SPECS["datasets"].items() if s.stand_in_for])
def test_a_generator_makes_each_clip_by_itself(name):
    spec = SPECS["datasets"][name]
    made, again = build(spec), build(spec)
    named = made.clips()
    assert named == again.clips()
    assert len({clip.id for clip in named}) == len(named)
    assert {clip.class_id for clip in named} <= {c.id for c in read_classes(spec.classes)}
    ids = [clip.id for clip in named[:: max(1, len(named) // 5)]]
    shape = (spec.bodies, len(read_toml(spec.layout)["joints"]), 3)
    for clip_id, clip in zip(ids, made.make(ids), strict=True):
        assert clip.dtype == np.float32
        assert clip.shape[1:] == shape
        assert np.isfinite(clip).all()
        np.testing.assert_array_equal(again.make([clip_id])[0], clip)
    np.testing.assert_array_equal(made.make(ids[::-1])[0], made.make(ids)[-1])


@every("datasets")
def test_a_data_set_says_where_it_is_from(name):
    spec = SPECS["datasets"][name]
    if not spec.stand_in_for:
        assert spec.how_to_get.endswith(".")
        assert spec.licence.endswith(".")
        assert spec.citation
    assert spec.fps > 0
    assert file_digest(spec.classes)


# --- Protocols -------------------------------------------------------------------------------


def protocol(path: Path) -> Any:
    data = read_toml(path)
    others = (s for s in SPECS["datasets"].values() if s.stand_in_for == data["dataset"])
    spec = SPECS["datasets"].get(data["dataset"]) or next(others, None)
    return protocol_of(data, path, read_classes(spec.classes) if spec else None)


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_a_protocol_is_whole(path):
    p = protocol(path)
    assert p.id == path.stem
    assert {*p.seen, *p.unseen} == {c.id for c in p.classes}
    turns = bool(p.folds) or p.rule == TRANSFER  # at being seen and unseen
    assert turns == bool(set(p.seen) & set(p.unseen))
    assert p.source
    assert p.confidence
    counts = re.search(r"-(\d+)-(\d+)$", p.id)
    if counts:
        assert (len(p.seen), len(p.unseen)) == tuple(map(int, counts.groups()))


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: path.stem)
def test_an_average_is_of_protocols_that_differ_in_classes_only(path):
    group = group_of(read_toml(path), path, [p.stem for p in PROTOCOLS])
    assert group.id == path.stem
    assert group.source
    assert group.confidence
    members = [protocol(path.with_name(f"{name}.toml")) for name in group.of]
    alike = {(p.dataset, p.family, p.rule, p.train, len(p.unseen)) for p in members}
    assert len(alike) == 1
    assert len({p.unseen for p in members}) == len(members)


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_a_protocol_tests_as_many_clips_as_it_says(path):
    p = protocol(path)
    if not p.test_clips:
        pytest.skip("nobody has counted them")
    spec = SPECS["datasets"][p.dataset]  # somebody has counted its clips, so it can be read
    if generated(vars(spec)):
        pytest.skip("it is not read from files; its own tests count its clips")
    archives = sorted((SHARED_DATA / p.dataset.replace("-", "_")).glob("*.zip"))
    if not archives:
        pytest.skip(f"{p.dataset} is not at hand")
    reader = resolve(spec.target)()
    raw = RawFiles(archives[0])
    named = [(clip, n) for n in raw.names if (clip := reader.identify(n))]
    found = [
        clip
        for clip, n in named
        if spec.min_frames <= 1 or len(reader.read(raw.read(n))) >= spec.min_frames
    ]
    assert len(found) == len({clip.id for clip in found}) == spec.clips
    columns = {"class": [c.class_id for c in found], "subject": [c.subject for c in found]}
    rounds = make_rounds(p, Dataset(Path(), {"clips": {"id": [c.id for c in found], **columns}}))
    tested = [i for one in rounds for i in one.test_unseen]
    assert len(tested) == len(set(tested)) == p.test_clips
    for one in rounds:
        met = {found[i].subject for i in one.train}
        assert not met & {found[i].subject for i in [*one.test_unseen, *one.test_seen]}
        assert {found[i].class_id for i in one.train} == set(p.seen)
