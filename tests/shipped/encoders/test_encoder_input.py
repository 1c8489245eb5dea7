"""From raw clips to the network's rows: interpolation, body frame, streams, batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from zsar_encoders._input import (
    InputParams,
    Skeletons,
    all_rows,
    batches,
    body_frame,
    frame_times,
    prepare,
)

from kit.toy_skeletons import BODY, POSE, moving, some_alone
from zsar_bench.views import Clips

PARENTS = torch.tensor(BODY.parents)


def prepared(clips: Clips, **params: object) -> torch.Tensor:
    """All bodies of all clips, without augmentation: (R, T, V, C)."""
    skeletons = Skeletons.of(clips)
    params = {"frames": 12} | params
    return prepare(skeletons, all_rows(skeletons.present), InputParams(**params))


# --- one row a body


def test_resampling_against_numpy():
    random = np.random.default_rng(0)
    lengths = [1, 2, 7, 13]
    data = torch.zeros(4, 3, 13, 6, 1)
    for n, length in enumerate(lengths):
        data[n, :, :length] = torch.from_numpy(random.normal(size=(3, length, 6, 1)))
    window = torch.tensor([[0, 1], [0.25, 1], [0, 0.5], [0.1, 0.83]])
    rows = torch.arange(4)[:, None]
    for span in (None, window):
        left, right, weight = frame_times(torch.tensor(lengths), 9, span)
        before, after = data[rows, :, left], data[rows, :, right]
        found = before + weight[..., None, None, None] * (after - before)
        for n, length in enumerate(lengths):
            first, last = (0, 1) if span is None else span[n].tolist()
            times = np.linspace(first, last, 9) * (length - 1)
            for c, v in np.ndindex(3, 6):
                line = data[n, c, :length, v, 0].numpy()
                want = np.interp(times, np.arange(length), line)
                np.testing.assert_allclose(found[n, :, c, v, 0], want, atol=1e-5)


def test_prepared_rows_against_a_loop_over_bodies():
    clips, _ = some_alone(6)
    clips.data[2, :, 7, :, 1] = 0  # lost for a frame
    skeletons = Skeletons.of(clips)
    origin, size, turn = body_frame(clips, skeletons.present)
    want = []
    for n, length in enumerate(clips.lengths.tolist()):
        for body in range(2):
            if not clips.data[n, ..., body].any():
                continue
            frames = []
            for t in range(length):
                pose = clips.data[n, :, t, :, body]
                pose = pose - origin[n][:, None] if pose.any() else pose
                frames.append(turn[n] @ pose / size[n])
            x = torch.stack(frames).flatten(1).numpy()
            times = np.linspace(0, 1, 12) * (length - 1)
            lines = [np.interp(times, np.arange(length), line) for line in x.T]
            want.append(np.stack(lines, axis=1).reshape(12, 3, 6).transpose(0, 2, 1))
    found = prepared(clips, streams=("joint",))
    np.testing.assert_allclose(found, np.stack(want), atol=1e-5)


def test_place_size_and_heading_do_not_matter():
    clips, _ = moving(6, bodies=2)
    angle = 0.7
    turn = torch.tensor(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    there = (clips.data != 0).any(dim=1, keepdim=True)
    moved = torch.einsum("ij,njtvb->nitvb", 1.7 * turn, clips.data)
    moved = (moved + torch.tensor([3.0, -1.0, 2.0])[:, None, None, None]) * there
    found = prepared(Clips(moved, clips.lengths, BODY))
    torch.testing.assert_close(found, prepared(clips), atol=1e-4, rtol=1e-4)


def test_prepared_skeletons_are_centred_scaled_and_face_the_camera():
    x = prepared(moving(6)[0], streams=("joint",))  # (R, T, V, 3)
    torch.testing.assert_close(x[:, 0, 0], torch.zeros(6, 3))
    bones = (x - x[:, :, PARENTS])[:, :, 1:].norm(dim=-1)
    torch.testing.assert_close(bones.mean(dim=(1, 2)), torch.ones(6), atol=0.05, rtol=0)
    hips = (x[:, :, 4] - x[:, :, 5]).mean(dim=1)
    assert (hips[:, 0] > 0).all()
    assert (hips[:, 2].abs() < 0.05 * hips[:, 0]).all()


def test_streams_are_differences_in_time_and_along_bones():
    names = ("joint", "velocity", "bone", "bone-velocity")
    x = prepared(moving(2)[0], streams=names)
    joint, velocity, bone, bone_velocity = x.split(3, dim=-1)
    torch.testing.assert_close(velocity[:, 4], joint[:, 5] - joint[:, 4])
    assert not velocity[:, -1].any()
    torch.testing.assert_close(bone[:, :, 2], joint[:, :, 2] - joint[:, :, 1])
    assert not bone[:, :, 0].any()
    torch.testing.assert_close(bone_velocity[:, 4], bone[:, 5] - bone[:, 4])
    assert not bone_velocity[:, -1].any()


def test_augmentation_is_the_same_for_all_bodies_of_a_clip():
    clips, _ = moving(4)
    twice = Clips(clips.data.repeat(1, 1, 1, 1, 2), clips.lengths, BODY)
    skeletons = Skeletons.of(twice)
    rows = all_rows(skeletons.present)
    params = InputParams(frames=12, streams=("joint",))
    x = prepare(skeletons, rows, params, torch.Generator().manual_seed(0))
    first, second = x.view(4, 2, 12, 6, 3).unbind(dim=1)
    assert torch.equal(first, second)
    assert (first - prepared(clips, streams=("joint",))).abs().amax(dim=(1, 2, 3)).min() > 0.01


@pytest.mark.parametrize("streams", [(), ("joint", "joint"), ("joint", "acceleration")])
def test_unknown_streams_are_refused(streams):
    with pytest.raises(ValidationError, match="streams takes"):
        InputParams(streams=streams)


# --- which rows there are


def test_a_body_is_there_if_any_of_its_values_is():
    data = torch.zeros(4, 3, 5, 6, 2)
    data[0, :, 0, :, 0] = POSE.T
    data[1, 1, 4, 3, 1] = 1e-3
    data[2, :, 2, :, :] = POSE.T[..., None]  # and the last clip is empty
    skeletons = Skeletons.of(Clips(data, torch.full((4,), 5), BODY))
    assert skeletons.present.tolist() == [[True, False], [False, True], [True, True], [True, False]]
    rows = all_rows(skeletons.present)
    assert rows.clip.tolist() == [0, 1, 2, 2, 3]
    assert rows.body.tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("bodies", [1, 3])
def test_batches_against_a_loop(bodies):
    random = torch.Generator().manual_seed(0)
    present = torch.rand(23, bodies, generator=random) < 0.5
    present[:, 0] |= ~present.any(dim=1)
    order = torch.randperm(23, generator=random)
    found = batches(present, order, 5)
    assert len(found) == 4
    for i, rows in enumerate(found):
        chosen = order[5 * i : 5 * i + 5].tolist()
        assert rows.index.tolist() == chosen
        want = [(k, b) for k, n in enumerate(chosen) for b in range(bodies) if present[n, b]]
        assert list(zip(rows.clip.tolist(), rows.body.tolist(), strict=True)) == want
        values = torch.randn(len(want), 2, 4, generator=random, requires_grad=True)
        mean = rows.average(values)
        for k in range(5):
            own = [r for r, (clip, _) in enumerate(want) if clip == k]
            torch.testing.assert_close(mean[k], sum(values[r] for r in own) / len(own))
        (grad,) = torch.autograd.grad(mean.sum(), values)
        share = torch.tensor([1 / int(present[chosen[k]].sum()) for k, _ in want])
        torch.testing.assert_close(grad, share[:, None, None].expand_as(grad))


def test_measuring_in_parts_changes_nothing(monkeypatch):
    clips, _ = some_alone(7)
    whole = Skeletons.of(clips)
    monkeypatch.setattr("zsar_encoders._input._CHUNK", 3)
    parts = Skeletons.of(clips)
    for name in ("present", "origin", "size", "turn"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))
