"""ST-GCN: its graph and its convolution against obvious computations, and what it learns."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from toy_skeletons import BODY, context
from zsar_encoders.st_gcn import STGCN, Params, Unit, spatial_partition

from zsar_bench.views import Clips, EncoderTrain, Layout

DATA = Path(__file__).parents[2] / "shared" / "data"


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


# --- what it learns


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
    encoder = STGCN(Params(**Params.profiles["laptop"]))
    encoder.fit(train, context(0))
    found = encoder.encode(test.clips).logits.argmax(dim=1)
    assert (found == test.labels).float().mean() >= 0.8
