"""Shift-GCN: its shifts against loops, the displacement's gradient, the published sizes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from zsar_encoders.shift_gcn import (
    Network,
    Params,
    Space,
    TemporalShift,
    Unit,
    spatial_index,
    spatial_shift,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def displaced(values: torch.Tensor, stride: int = 1) -> TemporalShift:
    """A temporal shift by these numbers of frames (C,), in their precision."""
    shift = TemporalShift(len(values), stride, 1.0)
    shift.displacement = torch.nn.Parameter(values)
    return shift


# --- in space


@pytest.mark.parametrize("channels", [3, 5, 16])  # fewer than, as many as, more than joints
def test_spatial_shift_against_a_loop(channels):
    x = torch.randn(2, 3, 5, channels)
    found = spatial_shift(x, spatial_index(5, channels, 1))
    for v in range(5):
        for c in range(channels):
            assert torch.equal(found[:, :, v, c], x[:, :, (v + c) % 5, c])


@pytest.mark.parametrize("channels", [3, 5, 16])
def test_the_shift_back_undoes_the_shift(channels):
    x = torch.randn(2, 3, 5, channels)
    there, back = spatial_index(5, channels, 1), spatial_index(5, channels, -1)
    assert not torch.equal(spatial_shift(x, there), x)
    assert torch.equal(spatial_shift(spatial_shift(x, there), back), x)


def test_spatial_part_against_loops():
    space = Space(joints=5, c_in=4, c_out=7).eval()
    torch.nn.init.normal_(space.mask)
    torch.nn.init.normal_(space.norm.running_mean)
    torch.nn.init.uniform_(space.norm.running_var, 0.5, 2)
    torch.nn.init.normal_(space.norm.weight)
    torch.nn.init.normal_(space.norm.bias)
    x = torch.randn(2, 3, 5, 4)
    weight = space.mix.weight[:, :, 0, 0]  # (C', C)
    gain = 1 + torch.tanh(space.mask)
    norm = space.norm
    skip, skip_norm = space.skip
    with torch.no_grad():
        mixed = torch.zeros(2, 3, 5, 7)
        for v in range(5):
            shifted = torch.stack([x[:, :, (v + c) % 5, c] for c in range(4)], dim=-1)
            mixed[:, :, v] = (shifted * gain[v]) @ weight.T
        want = torch.zeros(2, 3, 5, 7)
        for v in range(5):
            for d in range(7):
                i = v * 7 + d
                y = mixed[:, :, (v - d) % 5, d] - norm.running_mean[i]
                y = y / torch.sqrt(norm.running_var[i] + norm.eps)
                want[:, :, v, d] = y * norm.weight[i] + norm.bias[i]
        straight = x @ skip.weight[:, :, 0, 0].T / math.sqrt(1 + skip_norm.eps)
        torch.testing.assert_close(space(x), (want + straight).relu(), atol=1e-5, rtol=1e-5)


def test_a_fresh_mask_lets_everything_through():
    space = Space(joints=5, c_in=4, c_out=4)
    assert torch.equal(space.mask.tanh() + 1, torch.ones(5, 4))


# --- in time


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_temporal_shift_against_interpolation_by_hand(stride):
    moved = torch.tensor([0.0, 0.25, -0.25, 1.7, -2.6, 4.0, -9.0, 30.5])
    x = torch.randn(2, 7, 3, 8)
    found = displaced(moved, stride)(x)
    assert found.shape == (2, math.ceil(7 / stride), 3, 8)

    def frame(t: int, c: int) -> torch.Tensor:
        return x[:, t, :, c] if 0 <= t < 7 else torch.zeros(2, 3)

    for t in range(found.shape[1]):
        for c, d in enumerate(moved.tolist()):
            time = t * stride + (stride - 1) / 2 + d
            left = math.floor(time)
            want = (left + 1 - time) * frame(left, c) + (time - left) * frame(left + 1, c)
            torch.testing.assert_close(found[:, t, :, c], want, atol=1e-5, rtol=1e-5)


def test_whole_frames_are_a_plain_shift():
    x = torch.randn(2, 6, 3, 3)
    found = displaced(torch.tensor([0.0, 2.0, -1.0]))(x)
    assert torch.equal(found[..., 0], x[..., 0])
    assert torch.equal(found[:, :4, :, 1], x[:, 2:, :, 1])
    assert not found[:, 4:, :, 1].any()
    assert torch.equal(found[:, 1:, :, 2], x[:, :-1, :, 2])
    assert not found[:, 0, :, 2].any()


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_by_finite_differences(stride):
    moved = torch.tensor([0.3, -0.4, 1.6, -2.2, 5.3], dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 7, 3, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, math.ceil(7 / stride), 3, 5, dtype=torch.float64)

    def loss(values: torch.Tensor, clip: torch.Tensor) -> torch.Tensor:
        return (displaced(values, stride)(clip).square() * weights).sum()

    shift = displaced(moved.detach(), stride)
    (shift(x).square() * weights).sum().backward()
    step = 1e-6
    for c in range(5):
        aside = step * torch.eye(5, dtype=torch.float64)[c]
        with torch.no_grad():
            slope = (loss(moved + aside, x) - loss(moved - aside, x)) / (2 * step)
        torch.testing.assert_close(shift.displacement.grad[c], slope, atol=1e-6, rtol=1e-6)
    for place in ((0, 0, 1, 0), (1, 3, 2, 2), (1, 6, 0, 1)):
        aside = torch.zeros_like(x)
        aside[place] = step
        with torch.no_grad():
            slope = (loss(moved, x + aside) - loss(moved, x - aside)) / (2 * step)
        torch.testing.assert_close(x.grad[place], slope, atol=1e-6, rtol=1e-6)
    assert (shift.displacement.grad != 0).all()


def test_displacements_start_within_the_spread():
    values = TemporalShift(1000, 1, 0.5).displacement
    assert values.abs().max() <= 0.5
    assert values.min() < -0.45
    assert values.max() > 0.45


# --- the network


def test_the_first_unit_has_no_residual_and_equal_ones_an_identity():
    network = Network(Params(channels=(8, 8, 8), strides=(1, 1, 2), frames=12), 5, 3)
    assert [type(unit.skip) for unit in network.units] == [
        type(None),
        torch.nn.Identity,
        torch.nn.Sequential,
    ]


def test_a_unit_halves_time_as_its_stride_says():
    unit = Unit(joints=5, c_in=4, c_out=6, stride=2, spread=1.0, first=False)
    for frames in (8, 7):
        assert unit(torch.randn(2, frames, 5, 4)).shape == (2, 4, 5, 6)


def test_the_published_network_has_its_published_size():
    """Counted by hand: the sums of the weights of ten units on 25 joints and 60 classes."""
    network = Network(Params(**Params.profiles["paper"]), 25, 60)
    widths = (3, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    total = 2 * 25 * 3 + 256 * 60 + 60
    for i, (c, d) in enumerate(itertools.pairwise(widths)):
        total += 25 * c + c * d + 2 * 25 * d  # mask, pointwise convolution, norm
        total += 2 * (2 * d) + 2 * d + d * d + d  # two norms, two shifts, convolution
        if c != d:
            total += c * d + 2 * d  # around the spatial part
            if i > 0:
                total += c * d + 2 * d  # around the unit
    assert sum(w.numel() for w in network.parameters()) == total
    assert network.eval().maps(torch.randn(1, 300, 25, 3)).shape == (1, 75, 25, 256)


def test_state_holds_weights_only():
    network = Network(Params(channels=(8, 8), strides=(2, 2), frames=12), 5, 3)
    assert not [name for name in network.state_dict() if name.endswith((".there", ".back"))]
