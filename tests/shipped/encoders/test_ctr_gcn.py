"""CTR-GCN: its graph convolution and its branches in time against loops, the published sizes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from zsar_encoders.ctr_gcn import CTRGCN, Network, Params, Space, Time, Unit
from zsar_encoders.st_gcn import spatial_partition

from kit.toy_skeletons import BODY

SMALL = {"channels": (8, 8, 16), "strides": (1, 1, 2), "frames": 12}


@pytest.fixture(autouse=True)
def seeded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a busy core makes a second thread slow
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """The module with nothing left at a value that hides a mistake, ready to be asked."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.is_floating_point():
            low = 0.5 if "var" in name else -1.0
            torch.nn.init.uniform_(value.data, low, 1.0)
    return module.eval()


# --- in space


def slow_graph_convolution(space: Space, x: Tensor) -> Tensor:
    """The paper's equations for x (R, C, T, V), one number at a time in float64."""
    w = {name: value.detach().double().numpy() for name, value in space.named_parameters()}
    bodies, _, frames, joints = x.shape
    k_all, width = len(w["topology"]), len(w["xi.0.weight"])
    reduced = w["xi.0.weight"].shape[1]
    found = np.zeros((bodies, width, frames, joints))
    for r, clip in enumerate(x.double().numpy()):
        mean = [clip[:, :, v].mean(axis=1) for v in range(joints)]
        for k in range(k_all):
            some = slice(k * reduced, (k + 1) * reduced)
            phi = [w["phi.weight"][some] @ m + w["phi.bias"][some] for m in mean]
            psi = [w["psi.weight"][some] @ m + w["psi.bias"][some] for m in mean]
            for i, j in itertools.product(range(joints), repeat=2):
                apart = np.array([math.tanh(a - b) for a, b in zip(phi[i], psi[j], strict=True)])
                q = w[f"xi.{k}.weight"] @ apart + w[f"xi.{k}.bias"]
                for c in range(width):
                    share = w["topology"][k, i, j] + w["alpha"] * q[c]
                    row = w["values.weight"][k * width + c, :, 0, 0]
                    for t in range(frames):
                        value = row @ clip[:, t, j] + w["values.bias"][k * width + c]
                        found[r, c, t, i] += share * value
    return torch.from_numpy(found)


def test_graph_convolution_against_loops():
    space = shaken(Space(spatial_partition(BODY), c_in=4, c_out=5, reduced=3))
    x = torch.randn(2, 4, 3, 6)
    with torch.no_grad():
        found = space.graph_convolution(x)
    torch.testing.assert_close(found.double(), slow_graph_convolution(space, x), atol=1e-5, rtol=0)


def test_at_first_all_channels_share_the_skeletons_graph():
    graph = spatial_partition(BODY)
    space = Space(graph, c_in=4, c_out=5, reduced=3)
    refined = space.refined(torch.randn(2, 4, 3, 6))
    assert torch.equal(refined, graph[None, :, None].expand(2, 3, 5, 6, 6))
    space.alpha.data.fill_(0.5)
    refined = space.refined(torch.randn(2, 4, 3, 6))
    assert refined.std(dim=0).min() > 0, "every clip has its own"
    assert refined.std(dim=2).min() > 0, "every channel has its own"


def test_every_weight_of_the_refinement_learns():
    space = Space(spatial_partition(BODY), c_in=4, c_out=5, reduced=3)
    space.alpha.data.fill_(0.5)
    space(torch.randn(2, 4, 3, 6)).square().sum().backward()
    for name, value in space.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().max() > 0, name


def test_alpha_learns_from_its_start():
    """At alpha = 0 nothing else of the refinement has a gradient, so alpha must have one."""
    space = Space(spatial_partition(BODY), c_in=4, c_out=5, reduced=3)
    space(torch.randn(2, 4, 3, 6)).square().sum().backward()
    assert space.alpha.grad.abs() > 0
    assert not space.phi.weight.grad.any()


# --- in time


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [7, 8])
def test_branches_against_loops(stride, frames):
    time = shaken(Time(8, stride, kernel=3, dilations=(1, 3)))
    x = torch.randn(2, 8, frames, 5)

    def normed(norm: torch.nn.BatchNorm2d, y: Tensor) -> Tensor:
        y = (y - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps).sqrt()[
            :, None, None
        ]
        return y * norm.weight[:, None, None] + norm.bias[:, None, None]

    def pointwise(conv: torch.nn.Conv2d, y: Tensor) -> Tensor:
        return torch.einsum("oc,rctv->rotv", conv.weight[:, :, 0, 0], y)

    wanted = []
    with torch.no_grad():
        found = time(x)
        for branch, dilation in zip(time.branches, (1, 3, None), strict=False):
            y = normed(branch[1], pointwise(branch[0], x)).relu()
            out = []
            for t in range(0, frames, stride):
                if dilation is None:
                    out.append(y[:, :, max(0, t - 1) : t + 2].amax(dim=2))
                    continue
                total = torch.zeros(2, 2, 5)
                for tap in range(3):
                    at = t + (tap - 1) * dilation
                    if 0 <= at < frames:
                        weight = branch[3].weight[:, :, tap, 0]
                        total += torch.einsum("oc,rcv->rov", weight, y[:, :, at])
                out.append(total)
            wanted.append(normed(branch[4], torch.stack(out, dim=2)))
        plain = time.branches[3]
        wanted.append(normed(plain[1], pointwise(plain[0], x[:, :, ::stride])))
    assert found.shape == (2, 8, math.ceil(frames / stride), 5)
    torch.testing.assert_close(found, torch.cat(wanted, dim=1), atol=1e-5, rtol=1e-5)


# --- the network


def test_the_first_unit_has_no_residual_and_equal_ones_an_identity():
    network = Network(Params(**SMALL), spatial_partition(BODY), 3)
    assert [type(unit.skip) for unit in network.units] == [
        type(None),
        torch.nn.Identity,
        torch.nn.Sequential,
    ]


def test_a_unit_is_its_parts():
    unit = shaken(Unit(spatial_partition(BODY), 8, 8, 1, Params(**SMALL), first=False))
    x = torch.randn(2, 8, 5, 6)
    with torch.no_grad():
        space = (unit.space.norm(unit.space.graph_convolution(x)) + x).relu()
        torch.testing.assert_close(unit(x), (unit.time(space) + x).relu())


def test_the_published_network_has_its_published_size():
    """Counted by hand: ten units on 25 joints and 60 classes."""
    graph = torch.rand(3, 25, 25)
    network = Network(Params(**Params.profiles["paper"]), graph, 60)
    widths = (3, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    total = 2 * 25 * 3 + 256 * 60 + 60
    for i, (c, d) in enumerate(itertools.pairwise(widths)):
        low = {3: 8, 64: 8, 128: 16, 256: 32}[c]
        total += 3 * (25 * 25 + 2 * (c * low + low) + low * d + d + c * d + d) + 1 + 2 * d
        total += (c * d + 2 * d) if c != d else 0  # around the graph convolution
        b = d // 4
        total += 4 * (d * b + 2 * b) + 2 * (5 * b * b) + 3 * 2 * b
        total += (c * d + 2 * d) if i > 0 and c != d else 0  # around the unit
    assert sum(w.numel() for w in network.parameters()) == total
    with torch.no_grad():
        assert network.eval().maps(torch.randn(1, 64, 25, 3)).shape == (1, 16, 25, 256)


def test_a_state_of_other_sizes_is_rebuilt():
    network = shaken(Network(Params(**SMALL), spatial_partition(BODY), 5))
    encoder = CTRGCN(Params(**SMALL))
    encoder.load_state_dict(network.state_dict())
    x = torch.randn(2, 12, 6, 9)
    with torch.no_grad():
        assert torch.equal(encoder.module().maps(x), network.maps(x))


@pytest.mark.parametrize(
    "change",
    [{"reduction": 1}, {"kernel": 3}, {"dilations": (1, 2, 3, 4, 5, 6)}, {"dilations": (2, 1)}],
)
def test_every_choice_changes_the_network(change):
    wide = {**SMALL, "channels": (16, 16, 16)}
    outputs = []
    for extra in ({}, change):
        torch.manual_seed(1)
        network = Network(Params(**wide, **extra), spatial_partition(BODY), 5).eval()
        for unit in network.units:
            unit.space.alpha.data.fill_(0.5)
        with torch.no_grad():
            outputs.append(network.maps(torch.linspace(-1, 1, 12 * 6 * 9).view(1, 12, 6, 9)))
    assert not torch.allclose(*outputs)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match="odd"):
        Params(kernel=4)
    with pytest.raises(ValidationError, match="4 branches"):
        Params(channels=(8, 10), strides=(2, 2))
    with pytest.raises(ValidationError, match="positive"):
        Params(dilations=(0,))
