"""What methods of each setting may ask for reaches them, and nothing more."""

from __future__ import annotations

import json

import pytest
import torch

from kit.paths import PLUGINS
from zsar_bench.views import Clips, Layout, SkeletonInputs, TextBank, TextFeatures

NOSY = PLUGINS / "nosy.py"
LAYOUT = Layout(("hip", "head"), (0, 0), ("torso", "head"), (0, 1), 0, 0)


def test_every_setting_gets_its_views_and_its_own_section(cli) -> None:
    settings = ("inductive", "class-transductive", "transductive")
    methods = [f"nosy-{setting}" for setting in settings]
    done = cli.run(*methods, "--plugin", NOSY, "--json")
    sections = json.loads(done.stdout)["sections"]
    found = {s["setting"]: [row["method"] for row in s["rows"]] for s in sections}
    assert found == {setting: [f"nosy-{setting}"] for setting in settings}


def inputs() -> SkeletonInputs:
    clips = Clips(torch.randn(3, 3, 5, 2, 1), torch.tensor([5, 2, 3]), LAYOUT)
    return SkeletonInputs(torch.randn(3, 4), tokens=torch.randn(3, 6, 4), clips=clips)


def test_rows_takes_clips_of_every_part_and_cuts_to_the_longest() -> None:
    whole = inputs()
    some = whole.rows(torch.tensor([2, 1]))
    assert torch.equal(some.pooled, whole.pooled[[2, 1]])
    assert torch.equal(some.tokens, whole.tokens[[2, 1]])
    assert some.clips.data.shape == (2, 3, 3, 2, 1)
    assert torch.equal(some.clips.data, whole.clips.data[[2, 1], :, :3])
    assert some.clips.lengths.tolist() == [3, 2]


def test_moving_a_view_moves_what_is_nested_in_it() -> None:
    moved = inputs().to("meta")
    assert {moved.pooled.device.type, moved.clips.data.device.type} == {"meta"}
    assert moved.clips.layout is LAYOUT


def test_a_banks_rows_are_the_same_classes_in_every_field() -> None:
    texts = {
        name: TextFeatures(torch.randn(4, 2), torch.randn(4, 3, 2), torch.ones(4, 3, dtype=bool))
        for name in ("name", "motion")
    }
    some = TextBank(texts).rows(torch.tensor([3, 0]))
    assert len(some) == 2
    for name in texts:
        assert torch.equal(some.fields[name].tokens, texts[name].tokens[[3, 0]])


def test_a_layout_knows_its_root() -> None:
    assert LAYOUT.root == 0
    with pytest.raises(StopIteration):
        _ = Layout(("a", "b"), (1, 0), ("torso", "head"), (0, 1), 0, 0).root
