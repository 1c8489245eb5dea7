"""What every trained skeleton encoder of ours does, whatever its units compute."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.utils._python_dispatch import TorchDispatchMode
from zsar_encoders import ctr_gcn, shift_gcn, st_gcn

from kit.fakes import FakeContext
from kit.paths import SHARED_DATA
from kit.toy_skeletons import BODY, POSE, context, moving, some_alone, train_of
from zsar_bench.views import Clips, EncoderTrain, Layout

DATA = SHARED_DATA
PARTS = ("pooled", "tokens", "logits")
SMALL = {"channels": (8, 16), "strides": (2, 1), "frames": 12, "epochs": 3, "batch": 8}
#: A value other than SMALL's or the default for every science parameter of any encoder.
OTHER = {
    "channels": (16, 16),
    "strides": (1, 1),
    "frames": 13,
    "streams": ("joint",),
    "kernel": 3,
    "dropout": 0.1,
    "epochs": 2,
    "max_steps": 4,
    "batch": 7,
    "lr": 1e-3,
    "warmup": 0.4,
    "weight_decay": 0.5,
    "smoothing": 0.0,
    "rotate": 10.0,
    "scale": 0.2,
    "crop": 1.0,
    "jitter": 0.0,
    "spread": 0.5,
    "reduction": 1,
    "dilations": (2, 3),
}


@dataclass(frozen=True)
class Kind:
    """One of our encoders."""

    encoder: Any
    params: Any

    def new(self, **params: Any) -> Any:
        return self.encoder(self.params(**(SMALL | params)))

    def trained(self, run: FakeContext | None = None, made: Any = None, **params: Any) -> Any:
        encoder = self.new(**params)
        encoder.fit(train_of(*(made or moving(24))), run or context())
        return encoder


KINDS = {
    "st-gcn": Kind(st_gcn.STGCN, st_gcn.Params),
    "shift-gcn": Kind(shift_gcn.ShiftGCN, shift_gcn.Params),
    "ctr-gcn": Kind(ctr_gcn.CTRGCN, ctr_gcn.Params),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for a busy core make small networks ten times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_onednn() -> Iterator[None]:
    """On some CPUs, oneDNN in torch 2.13 writes beyond its memory when ST-GCN has few streams."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def encoder(one_thread, kind) -> Any:
    return kind.trained()


def same_features(a, b, **tolerance) -> None:
    for name in PARTS:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), **tolerance)


def same_state(a, b) -> bool:
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


# --- features


def test_shapes_and_what_tokens_stand_for(encoder):
    clips, _ = moving(5)
    found = encoder.encode(clips)
    assert found.pooled.shape == (5, 16)
    assert found.logits.shape == (5, 3)
    assert found.tokens.shape == (5, 18, 16)
    assert not found.pooled.requires_grad
    assert found.joint.tolist() == [v for v in range(6) for _ in range(3)]
    assert found.phase.tolist() == [0, 1, 2] * 6
    assert found.part.tolist() == [p for p in (2, 0, 1, 1, 3, 3) for _ in range(3)]
    assert found.joint.dtype == found.part.dtype == found.phase.dtype == torch.int64


def test_mean_of_tokens_is_pooled_where_thirds_are_equal(encoder):
    clips, _ = moving(5)  # 12 frames, one stride of 2: 6 frames, 2 a third
    found = encoder.encode(clips)
    torch.testing.assert_close(found.tokens.mean(dim=1), found.pooled)


def test_each_clip_is_encoded_on_its_own(encoder):
    clips, _ = moving(7)
    want = encoder.encode(clips)
    order = torch.tensor([4, 0, 6, 1, 5, 2, 3])
    shuffled = encoder.encode(clips.rows(order))
    alone = encoder.encode(clips.rows(torch.tensor([2])))  # also cut to its own length
    long = Clips(torch.nn.functional.pad(clips.data, (0, 0, 0, 0, 0, 40)), clips.lengths, BODY)
    padded = encoder.encode(long)
    for name in PARTS:
        whole = getattr(want, name)
        close = {"atol": 1e-5, "rtol": 1e-5}
        torch.testing.assert_close(getattr(shuffled, name), whole[order], **close)
        torch.testing.assert_close(getattr(alone, name), whole[2:3], **close)
        torch.testing.assert_close(getattr(padded, name), whole, **close)


def test_chunks_do_not_matter_and_no_clips_are_fine(kind, encoder):
    clips, _ = moving(7)
    other = kind.new(encode_batch=3)
    other.load_state_dict(encoder.state_dict())
    same_features(encoder.encode(clips), other.encode(clips), atol=1e-5, rtol=1e-5)
    none = encoder.encode(Clips(clips.data[:0], clips.lengths[:0], BODY))
    assert none.pooled.shape == (0, 16)
    assert none.tokens.shape == (0, 18, 16)


def test_degenerate_clips_stay_finite(encoder):
    data = torch.zeros(3, 3, 5, 6, 2)
    data[1, :, 0, :, 0] = POSE.T  # one frame
    data[2, 1, :, :, 0] = 1.0  # all joints in one point: no size, no heading
    found = encoder.encode(Clips(data, torch.tensor([5, 1, 5]), BODY))
    assert all(torch.isfinite(t).all() for t in (found.pooled, found.tokens, found.logits))


# --- bodies that are not there


def test_an_absent_body_does_not_matter(encoder):
    clips, _ = moving(4)
    empty = torch.zeros_like(clips.data)
    want = encoder.encode(clips)
    for bodies in ([clips.data, empty], [empty, clips.data]):
        with_absent = Clips(torch.cat(bodies, dim=-1), clips.lengths, BODY)
        same_features(encoder.encode(with_absent), want, atol=1e-5, rtol=1e-5)


def test_bodies_are_averaged_as_in_a_loop_over_clips(kind, encoder):
    clips, _ = some_alone(6)
    found = encoder.encode(clips)
    network = encoder.module()
    seen = []
    hook = network.maps
    try:
        network.maps = lambda x: seen.append(hook(x)) or seen[-1]  # what each body gives alone
        for n in range(6):
            encoder.encode(clips.rows(torch.tensor([n])))
    finally:
        del network.maps
    assert [len(maps) for maps in seen] == [1, 1, 2, 1, 1, 2]
    pooled = torch.stack([maps.mean(dim=0).mean(dim=(0, 1)) for maps in seen])
    torch.testing.assert_close(found.pooled, pooled, atol=1e-5, rtol=1e-5)
    thirds = torch.stack([m.mean(dim=0).view(3, 2, 6, 16).mean(dim=1) for m in seen])
    tokens = thirds.transpose(1, 2).reshape(6, 18, 16)  # joint by joint, its thirds in order
    torch.testing.assert_close(found.tokens, tokens, atol=1e-5, rtol=1e-5)


def test_only_bodies_that_are_there_are_computed(kind, monkeypatch):
    rows: list[int] = []
    encoder = kind.new(epochs=2, batch=6)
    build = encoder.build

    def counting(layout: Any, classes: int) -> Any:
        network = build(layout, classes)
        maps = network.maps
        network.maps = lambda x: (rows.append(len(x)), maps(x))[1]
        return network

    monkeypatch.setattr(encoder, "build", counting)
    clips, labels = some_alone(12)  # 4 clips with both bodies
    encoder.fit(train_of(clips, labels), context())
    assert len(rows) == 4
    assert sum(rows[:2]) == sum(rows[2:]) == 16
    rows.clear()
    encoder.encode(clips)
    assert rows == [16]


def test_a_second_body_that_is_never_there_trains_the_same_bytes(kind, encoder):
    clips, labels = moving(24)
    wide = Clips(torch.cat([clips.data, torch.zeros_like(clips.data)], dim=-1), clips.lengths, BODY)
    assert same_state(kind.trained(made=(wide, labels)), encoder)


# --- steps


def test_progress_ends_at_the_total_and_carries_tensors(kind):
    run = context()
    kind.trained(run)
    assert [step for step, _, _ in run.steps] == list(range(1, 10))
    assert {total for _, total, _ in run.steps} == {9}
    assert all(isinstance(scalars["loss"], torch.Tensor) for _, _, scalars in run.steps)


def test_a_budget_ends_training_and_shapes_its_schedule(kind, encoder, monkeypatch):
    assert same_state(kind.trained(max_steps=0), encoder)
    assert same_state(kind.trained(max_steps=9), encoder), "as many as there would be"
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def noting(self: Any, *words: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *words)

    monkeypatch.setattr(torch.optim.AdamW, "step", noting)
    run = context()
    kind.trained(run, max_steps=4, warmup=0.25, lr=1.0)
    assert [(step, total) for step, total, _ in run.steps] == [(i, 4) for i in range(1, 5)]
    assert rates == pytest.approx([1.0, 1.0, 0.75, 0.25])  # half a cosine over three steps


@pytest.mark.parametrize("clips", [224, 288, 352, 431])
def test_the_laptop_budget_leaves_utd_mhad_alone(clips):
    """Half the subjects' clips of 14, 18, 22 and all 27 classes: 16 a class."""
    params = st_gcn.Params(**st_gcn.Params.profiles["laptop"])
    assert params.steps(clips) == (clips // 16, 20 * (clips // 16))


def test_a_budget_is_kept_on_more_clips():
    assert st_gcn.Params().steps(1100) == (68, 600)
    assert st_gcn.Params(**st_gcn.Params.profiles["paper"]).steps(1100) == (17, 80 * 17)


class Predicted(TorchDispatchMode):
    """Counts the operations that on a GPU would wait for the device's answer."""

    WAITS = ("_local_scalar_dense", "nonzero", "item", "equal", "masked_select", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.waits += func.overloadpacket.__name__ in self.WAITS
        return func(*args, **(kwargs or {}))


def test_no_training_step_waits_for_the_device(kind):
    def waits(steps: int) -> int:
        with Predicted() as asked:
            kind.trained(made=some_alone(24), max_steps=steps)
        return asked.waits

    with Predicted() as asked:
        bool(torch.ones(1).sum() > 0)
    assert asked.waits == 1, "it is seen"
    assert 0 < waits(1) == waits(3)  # steps of one epoch, which counts its rows once


# --- state, seeds, resume


def test_state_rebuilds_the_network_elsewhere(kind, encoder):
    state = encoder.state_dict()
    assert all(isinstance(t, torch.Tensor) and t.is_contiguous() for t in state.values())
    other = kind.new()
    with pytest.raises(RuntimeError, match="fit or load_state_dict"):
        other.module()
    other.load_state_dict({name: value.clone() for name, value in state.items()})
    clips, _ = moving(5)
    same_features(encoder.encode(clips), other.encode(clips), atol=0, rtol=0)


def test_same_seed_same_bytes_other_seed_other_bytes(kind, encoder):
    assert same_state(kind.trained(context(0)), encoder)
    other = kind.trained(context(1)).state_dict()
    assert not torch.equal(encoder.state_dict()["head.weight"], other["head.weight"])


@pytest.mark.parametrize(("kill_at", "max_steps"), [(3, 0), (6, 0), (6, 8)])
def test_a_killed_fit_goes_on_to_the_same_bytes(kind, kill_at, max_steps):
    made = some_alone(24)
    killed = context(kill_at=kill_at)
    with pytest.raises(KeyboardInterrupt):
        kind.trained(killed, made, max_steps=max_steps)
    rest = context(resume=killed.checkpoints[-1])
    resumed = kind.trained(rest, made, max_steps=max_steps)
    assert rest.steps[0][0] == kill_at + 1
    assert same_state(resumed, kind.trained(made=made, max_steps=max_steps))


def test_checkpoints_are_offered_only_between_epochs(kind):
    run = context(every=1)
    kind.trained(run, max_steps=8)
    assert [step for step, _ in run.checkpoints] == [3, 6], "8 is inside an epoch's order"


def test_module_is_trainable(kind, encoder):
    clips, labels = moving(6)
    other = kind.new()
    other.load_state_dict(encoder.state_dict())
    network = other.module()
    torch.nn.functional.cross_entropy(network(clips).logits, labels).backward()
    assert all(p.grad is not None for p in network.parameters())


# --- parameters


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"channels": (8,)}, "one value a unit"),
        ({"streams": ("joint", "acceleration")}, "streams takes"),
        ({"frames": 4, "strides": (2, 2)}, "leave 1 frames"),
        ({"width": 3}, "width"),
    ],
)
def test_inconsistent_params_are_refused(kind, wrong, reason):
    with pytest.raises(ValidationError, match=reason):
        kind.params(**(SMALL | wrong))


def test_profiles_are_valid_and_end_in_256_channels(kind):
    for values in kind.params.profiles.values():
        assert kind.params(**values).channels[-1] == 256
    assert kind.params(**kind.params.profiles["paper"]).max_steps == 0


def test_every_science_parameter_changes_the_trained_weights(kind, encoder, without_onednn):
    fields = kind.params.model_fields.items()
    names = {n for n, f in fields if f.json_schema_extra["kind"] == "science"}
    names.remove("amp")  # acts on CUDA only
    for name in sorted(names):
        other = kind.trained(**{name: OTHER[name]}).state_dict()
        state = encoder.state_dict()
        changed = {n for n in state if n not in other or not torch.equal(state[n], other[n])}
        assert any(n.startswith("units.") for n in changed), name


# --- what it learns


def test_learns_three_motions(kind):
    encoder = kind.trained(epochs=20, lr=1e-2)
    clips, labels = moving(60, seed=9)
    found = encoder.encode(clips).logits.argmax(dim=1)
    assert (found == labels).float().mean() > 0.9


def utd_mhad(odd: bool) -> EncoderTrain:
    """The 22 seen classes of split 22/5 by subjects 1, 3, 5, 7 or 2, 4, 6, 8."""
    from scipy.io import loadmat

    seen = [c for c in range(27) if c not in (4, 14, 17, 23, 24)]
    found = []
    with zipfile.ZipFile(DATA / "utd_mhad" / "utd_mhad_skeleton.zip") as files:
        for name in sorted(files.namelist()):
            match = re.search(r"a(\d+)_s(\d+)_t\d+_skeleton\.mat$", name)
            if not match or int(match[1]) - 1 not in seen or (int(match[2]) % 2 == 1) != odd:
                continue
            clip = loadmat(io.BytesIO(files.read(name)))["d_skel"].transpose(1, 2, 0)  # (3, T, V)
            found.append((clip, seen.index(int(match[1]) - 1), int(match[2])))
    data = torch.zeros(len(found), 3, max(c.shape[1] for c, _, _ in found), 20, 1)
    for n, (clip, _, _) in enumerate(found):
        data[n, :, : clip.shape[1], :, 0] = torch.from_numpy(clip.astype(np.float32))
    layout = Layout(
        joints=tuple(map(str, range(20))),
        parents=(1, 2, 3, 3, 1, 4, 5, 6, 1, 8, 9, 10, 3, 12, 13, 14, 3, 16, 17, 18),
        parts=("head", *("torso",) * 3, *("arms",) * 8, *("legs",) * 8),
        mirror=(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15),
        left_hip=12,
        right_hip=16,
    )
    lengths = torch.tensor([c.shape[1] for c, _, _ in found])
    labels = torch.tensor([label for _, label, _ in found])
    subjects = torch.tensor([subject for _, _, subject in found])
    return EncoderTrain(Clips(data, lengths, layout), labels, subjects, 22)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data beside the checkout")
def test_recognises_seen_classes_of_new_subjects(kind):
    train, test = utd_mhad(odd=True), utd_mhad(odd=False)
    encoder = kind.encoder(kind.params(**kind.params.profiles["laptop"]))
    encoder.fit(train, context(0))
    found = encoder.encode(test.clips).logits.argmax(dim=1)
    assert (found == test.labels).float().mean() >= 0.8
