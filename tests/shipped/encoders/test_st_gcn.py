"""ST-GCN: its graph and its convolution against obvious computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from zsar_encoders.st_gcn import Params, Unit, spatial_partition

from kit.toy_skeletons import BODY
from zsar_bench.views import Layout


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for a busy core make small networks ten times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def test_an_even_kernel_is_refused():
    with pytest.raises(ValidationError, match="odd"):
        Params(kernel=4)
