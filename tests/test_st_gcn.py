"""ST-GCN against obvious computations, its invariances, its resume and what it learns."""

from __future__ import annotations

import io
import math
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeContext
from pydantic import ValidationError
from zsar_encoders import st_gcn
from zsar_encoders.st_gcn import STGCN, Params, Unit, prepare, resample, spatial_partition

from zsar_bench.views import Clips, EncoderTrain, Layout, TextBank

DATA = Path(__file__).parents[2] / "shared" / "data"
SMALL = {"channels": (8, 16), "strides": (2, 1), "frames": 12, "epochs": 3, "batch": 8}

#: A trunk with a head, two arms and two hips: root 0, y up.
BODY = Layout(
    joints=("root", "neck", "left hand", "right hand", "left hip", "right hip"),
    parents=(0, 0, 1, 1, 0, 0),
    parts=("torso", "head", "arms", "arms", "legs", "legs"),
    mirror=(0, 1, 3, 2, 5, 4),
    left_hip=4,
    right_hip=5,
)
POSE = torch.tensor(
    [[0, 1, 3], [0, 1.6, 3], [0.4, 1.2, 3], [-0.4, 1.2, 3], [0.15, 0.9, 3], [-0.15, 0.9, 3]]
)


def moving(clips: int, seed: int = 0, bodies: int = 1) -> tuple[Clips, torch.Tensor]:
    """Clips of three classes: the hands go sideways, up and down, or back and forth."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(clips) % 3
    lengths = torch.randint(15, 31, (clips,), generator=random)
    data = torch.zeros(clips, 3, 30, 6, bodies)
    for n in range(clips):
        length = int(lengths[n])
        wave = torch.sin(torch.linspace(0, 6, length)) * 0.3
        for body in range(bodies):
            pose = POSE.T[:, None].repeat(1, length, 1)
            pose = pose + 0.01 * torch.randn(pose.shape, generator=random) + 0.7 * body
            pose[int(labels[n]), :, 2:4] += wave[:, None]
            data[n, :, :length, :, body] = pose
    return Clips(data, lengths, BODY), labels


def context(seed: int = 0, **options: object) -> FakeContext:
    return FakeContext(TextBank({}), seed, **options)


def trained(seed: int = 0, run: FakeContext | None = None, **params: object) -> STGCN:
    clips, labels = moving(24, bodies=int(params.pop("bodies", 1)))
    encoder = STGCN(Params(**(SMALL | params)))
    train = EncoderTrain(clips, labels, torch.zeros_like(labels), 3)
    encoder.fit(train, run or context(seed))
    return encoder


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for a busy core make small networks ten times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoder(one_thread) -> STGCN:
    return trained()


def same_features(a, b, **tolerance) -> None:
    for name in ("pooled", "tokens", "logits"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), **tolerance)


# --- graph and convolution


def test_partition_of_a_chain_by_hand():
    chain = Layout(tuple("abcd"), (1, 1, 1, 2), ("torso",) * 4, (0, 1, 2, 3), 0, 2)  # a-B-c-d
    itself, nearer, further = spatial_partition(chain)
    assert torch.equal(itself, torch.eye(4))
    want = torch.zeros(4, 4)
    want[0, 1] = want[2, 1] = want[3, 2] = 1
    assert torch.equal(nearer, want)
    want = torch.zeros(4, 4)
    want[1, 0] = want[1, 2] = 0.5  # two joints further away share Z = 2
    want[2, 3] = 1
    assert torch.equal(further, want)


def test_graph_convolution_against_loops():
    torch.manual_seed(0)
    graph = spatial_partition(BODY)
    unit = Unit(4, 5, 3, 1, graph)
    torch.nn.init.uniform_(unit.importance)
    x = torch.randn(2, 3, 6, 4)
    found = unit.graph_convolution(x, graph)
    weight = unit.mix.weight.view(5, 3, 4)  # (C', K, C)
    for n, t, v in np.ndindex(2, 3, 6):
        total = torch.zeros(5)
        for k in range(3):
            near = [w for w in range(6) if graph[k, v, w] > 0]
            for w in near:
                total += unit.importance[k, v, w] / len(near) * (weight[:, k] @ x[n, t, w])
        torch.testing.assert_close(found[n, t, v], total)


# --- preprocessing


def test_resampling_against_numpy():
    random = np.random.default_rng(0)
    lengths = [1, 2, 7, 13]
    data = torch.zeros(4, 3, 13, 2, 1)
    for n, length in enumerate(lengths):
        data[n, :, :length] = torch.from_numpy(random.normal(size=(3, length, 2, 1)))
    window = torch.tensor([[0, 1], [0.25, 1], [0, 0.5], [0.1, 0.83]])
    for span in (None, window):
        found = resample(data, torch.tensor(lengths), 9, span)
        for n, length in enumerate(lengths):
            first, last = (0, 1) if span is None else span[n].tolist()
            times = np.linspace(first, last, 9) * (length - 1)
            for c, v in np.ndindex(3, 2):
                line = data[n, c, :length, v, 0].numpy()
                want = np.interp(times, np.arange(length), line)
                np.testing.assert_allclose(found[n, c, :, v, 0], want, atol=1e-5)


def test_place_size_and_heading_do_not_matter():
    clips, _ = moving(6, bodies=2)
    params = Params(**SMALL)
    want, present = prepare(clips, params)
    assert present.all()
    angle = 0.7
    turn = torch.tensor(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    there = (clips.data != 0).any(dim=1, keepdim=True)
    moved = torch.einsum("ij,njtvb->nitvb", 1.7 * turn, clips.data)
    moved = (moved + torch.tensor([3.0, -1.0, 2.0])[:, None, None, None]) * there
    found, _ = prepare(Clips(moved, clips.lengths, BODY), params)
    torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-4)


def test_prepared_skeletons_are_centred_scaled_and_face_the_camera():
    clips, _ = moving(6)
    x, _ = prepare(clips, Params(**(SMALL | {"streams": ("joint",)})))  # (N, B, T, V, 3)
    torch.testing.assert_close(x[:, 0, 0, 0], torch.zeros(6, 3))
    bones = (x - x[:, :, :, torch.tensor(BODY.parents)])[:, :, :, 1:].norm(dim=-1)
    torch.testing.assert_close(bones.mean(dim=(1, 2, 3)), torch.ones(6), atol=0.05, rtol=0)
    hips = (x[:, 0, :, 4] - x[:, 0, :, 5]).mean(dim=1)
    assert (hips[:, 0] > 0).all()
    assert (hips[:, 2].abs() < 0.05 * hips[:, 0]).all()


def test_streams_are_differences_in_time_and_along_bones():
    clips, _ = moving(2)
    x, _ = prepare(clips, Params(**(SMALL | {"streams": ("joint", "velocity", "bone")})))
    joint, velocity, bone = x[:, 0].split(3, dim=-1)
    torch.testing.assert_close(velocity[:, 4], joint[:, 5] - joint[:, 4])
    assert not velocity[:, -1].any()
    torch.testing.assert_close(bone[:, :, 2], joint[:, :, 2] - joint[:, :, 1])
    assert not bone[:, :, 0].any()


def test_degenerate_clips_stay_finite(encoder):
    data = torch.zeros(3, 3, 5, 6, 2)
    data[1, :, 0, :, 0] = POSE.T  # one frame
    data[2, 1, :, :, 0] = 1.0  # all joints in one point: no size, no heading
    found = encoder.encode(Clips(data, torch.tensor([5, 1, 5]), BODY))
    assert all(torch.isfinite(t).all() for t in (found.pooled, found.tokens, found.logits))


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
    for name in ("pooled", "tokens", "logits"):
        whole = getattr(want, name)
        close = {"atol": 1e-5, "rtol": 1e-5}
        torch.testing.assert_close(getattr(shuffled, name), whole[order], **close)
        torch.testing.assert_close(getattr(alone, name), whole[2:3], **close)
        torch.testing.assert_close(getattr(padded, name), whole, **close)


def test_chunks_do_not_matter_and_no_clips_are_fine(encoder):
    clips, _ = moving(7)
    other = STGCN(Params(**(SMALL | {"encode_batch": 3})))
    other.load_state_dict(encoder.state_dict())
    same_features(encoder.encode(clips), other.encode(clips), atol=1e-5, rtol=1e-5)
    none = encoder.encode(Clips(clips.data[:0], clips.lengths[:0], BODY))
    assert none.pooled.shape == (0, 16)
    assert none.tokens.shape == (0, 18, 16)


def test_an_absent_body_does_not_matter_and_two_are_averaged(encoder):
    clips, _ = moving(4, bodies=2)
    first = Clips(clips.data[..., :1], clips.lengths, BODY)
    empty = torch.zeros_like(first.data)
    want = encoder.encode(first)
    for bodies in ([first.data, empty], [empty, first.data]):
        with_absent = Clips(torch.cat(bodies, dim=-1), clips.lengths, BODY)
        same_features(encoder.encode(with_absent), want, atol=1e-5, rtol=1e-5)

    network = encoder.module()
    x, present = prepare(clips, encoder.params)
    with torch.no_grad():
        both = (network.maps(x[:, 0]) + network.maps(x[:, 1])) / 2
        torch.testing.assert_close(network.bodies(x, present), both, atol=1e-5, rtol=1e-5)
    assert trained(bodies=2, epochs=1).encode(clips).pooled.shape == (4, 16)


# --- state, seeds, resume


def test_state_rebuilds_the_network_elsewhere(encoder):
    state = encoder.state_dict()
    assert all(isinstance(t, torch.Tensor) and t.is_contiguous() for t in state.values())
    other = STGCN(Params(**SMALL))
    with pytest.raises(RuntimeError, match="fit or load_state_dict"):
        other.module()
    other.load_state_dict({name: value.clone() for name, value in state.items()})
    clips, _ = moving(5)
    same_features(encoder.encode(clips), other.encode(clips), atol=0, rtol=0)


def test_same_seed_same_bytes_other_seed_other_bytes(encoder):
    again, other = trained(0).state_dict(), trained(1).state_dict()
    state = encoder.state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert not torch.equal(state["head.weight"], other["head.weight"])


@pytest.mark.parametrize("kill_at", [3, 6])
def test_a_killed_fit_goes_on_to_the_same_bytes(encoder, kill_at):
    killed = context(kill_at=kill_at)
    with pytest.raises(KeyboardInterrupt):
        trained(run=killed)
    resumed = trained(run=context(resume=killed.checkpoints[-1]))
    state = encoder.state_dict()
    assert all(torch.equal(state[name], t) for name, t in resumed.state_dict().items())


def test_progress_ends_at_the_total_and_carries_tensors():
    run = context()
    trained(run=run)
    assert [step for step, _, _ in run.steps] == list(range(1, 10))
    assert {total for _, total, _ in run.steps} == {9}
    assert all(isinstance(scalars["loss"], torch.Tensor) for _, _, scalars in run.steps)


def test_module_is_trainable(encoder):
    clips, labels = moving(6)
    other = STGCN(Params(**SMALL))
    other.load_state_dict(encoder.state_dict())
    network = other.module()
    torch.nn.functional.cross_entropy(network(clips).logits, labels).backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"channels": (8,)}, "one value a unit"),
        ({"kernel": 4}, "odd"),
        ({"streams": ("joint", "acceleration")}, "streams takes"),
        ({"frames": 4, "strides": (2, 2)}, "leave 1 frames"),
        ({"width": 3}, "width"),
    ],
)
def test_inconsistent_params_are_refused(wrong, reason):
    with pytest.raises(ValidationError, match=reason):
        Params(**(SMALL | wrong))


@pytest.mark.parametrize("profile", sorted(Params.profiles))
def test_profiles_are_valid(profile):
    assert Params(**Params.profiles[profile]).channels[-1] == 256


# --- what it learns


def test_learns_three_motions():
    encoder = trained(epochs=20, lr=1e-2)
    clips, labels = moving(60, seed=9)
    found = encoder.encode(clips).logits.argmax(dim=1)
    assert (found == labels).float().mean() > 0.9


def utd_mhad(odd: bool) -> EncoderTrain:
    """The 22 seen classes of split 22/5 by performers 1, 3, 5, 7 or 2, 4, 6, 8."""
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
def test_recognises_seen_classes_of_new_performers():
    train, test = utd_mhad(odd=True), utd_mhad(odd=False)
    encoder = STGCN(Params(**st_gcn.Params.profiles["laptop"]))
    encoder.fit(train, context(0))
    found = encoder.encode(test.clips).logits.argmax(dim=1)
    assert (found == test.labels).float().mean() >= 0.8
