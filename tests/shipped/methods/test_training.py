"""The shared training loop against a run that nobody killed."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import Tensor, nn
from zsar_alignment._training import descend, set_rate, train

from kit.fakes import FakeContext, random_texts

CLIPS, STEPS = 10, 12


class World:
    """A small network with dropout and batch norm, an optimiser, and the rows it was shown."""

    def __init__(self, kind: str, **named: object) -> None:
        self.run = FakeContext(random_texts(3), **named)
        self.x = torch.randn(CLIPS, 4, generator=torch.Generator().manual_seed(1))
        self.network = nn.Sequential(
            nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 1)
        )
        weights = list(self.network.parameters())
        make = {
            "adam": lambda: torch.optim.Adam(weights, lr=0.1),
            "sgd": lambda: torch.optim.SGD(weights, lr=0.1),
            "momentum": lambda: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
        }
        self.optimiser = make[kind]()
        self.rows: list[list[int]] = []

    def update(self, step: int, rows: Tensor) -> dict[str, Tensor]:
        assert self.network.training
        self.rows.append(rows.tolist())
        noise = torch.randn(len(rows), 4, generator=self.run.generator)
        loss = self.network(self.x[rows] + noise).square().mean()
        set_rate(self.optimiser, 0.1 / (step + 1))
        descend(self.optimiser, loss)
        return {"loss": loss}

    def go(self, batch: int = 3) -> World:
        train(
            self.run,
            self.network,
            [self.optimiser],
            self.update,
            clips=CLIPS,
            batch=batch,
            steps=STEPS,
        )
        return self


def test_every_epoch_is_a_permutation_less_its_last_incomplete_batch():
    world = World("adam").go(batch=3)  # three batches an epoch, one clip dropped
    epochs = [[*chain(*world.rows[i : i + 3])] for i in range(0, STEPS, 3)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs), "another order every epoch"
    assert World("adam").go(batch=99).rows[0] != World("adam").go(batch=99).rows[1]
    assert sorted(World("adam").go(batch=99).rows[0]) == list(range(CLIPS))


@pytest.mark.parametrize("kind", ["adam", "sgd", "momentum"])
@pytest.mark.parametrize("kill_at", [1, 3, 7, 11])
def test_a_killed_training_continues_to_the_same_weights(kind, kill_at):
    whole = World(kind).go()
    killed = World(kind, kill_at=kill_at)
    with pytest.raises(KeyboardInterrupt):
        killed.go()
    rest = World(kind, resume=killed.run.checkpoints[-1]).go()
    assert killed.rows + rest.rows == whole.rows
    for name, value in whole.network.state_dict().items():
        assert torch.equal(rest.network.state_dict()[name], value), name
    assert not rest.network.training


def test_the_steps_said_are_the_steps_made():
    world = World("adam").go()
    assert [(s, n) for s, n, _ in world.run.steps] == [(i + 1, STEPS) for i in range(STEPS)]
