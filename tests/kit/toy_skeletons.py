"""A skeleton of six joints, and clips of it in three motions, for the tests of the encoders."""

from __future__ import annotations

from typing import Any

import torch

from kit.fakes import FakeContext
from zsar_bench.views import Clips, EncoderTrain, Layout, TextBank

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


def some_alone(clips: int, seed: int = 0) -> tuple[Clips, torch.Tensor]:
    """Clips of two bodies, in every third of which only one is there: the first or the second."""
    made, labels = moving(clips, seed, bodies=2)
    made.data[0::3, ..., 1] = 0
    made.data[1::3, ..., 0] = 0
    return made, labels


def context(seed: int = 0, **options: Any) -> FakeContext:
    """What an encoder's fit is given: it reads no texts."""
    return FakeContext(TextBank({}), seed, **options)


def train_of(clips: Clips, labels: torch.Tensor) -> EncoderTrain:
    """Training clips of three classes by one subject."""
    return EncoderTrain(clips, labels, torch.zeros_like(labels), 3)
