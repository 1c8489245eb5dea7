"""What ``fit`` leaves for ``score`` outside its state, and what it leaves for the parent."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path
from typing import Any

import pytest

from kit.cheats import Scene
from kit.paths import ATTACKS
from zsar_bench.catalogue.loading import import_file
from zsar_bench.records.files import read_predictions

pytestmark = pytest.mark.process

SMUGGLER = ("doors", "smuggler")
for _name in SMUGGLER:
    smuggler = import_file(ATTACKS / f"{_name}.py")
CHANNELS = list(smuggler.CHANNELS)

#: Channels that some systems do not have even without walls.
NOT_EVERYWHERE = {"attribute", "keyring", "queue", "file-python"}


class Watch:
    """Which of some process names live, and which ever lived together."""

    def __init__(self, *names: str) -> None:
        self.seen: set[frozenset[str]] = set()
        self._names = {n[:15] for n in names}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *about: Any) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            self.seen.add(self.now())

    def now(self) -> frozenset[str]:
        names = set()
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                names.add(Path(f"/proc/{pid}/comm").read_text().strip())
            except OSError:
                continue
        return frozenset(names & self._names)


@pytest.fixture(scope="module")
def unconfined(scene: Scene) -> dict[str, bool]:
    """Which channels reach from one process to another where nothing confines them."""
    token = f"mark{secrets.token_hex(6)}"
    names = [f"daemon{smuggler.number_of(token)}"]
    with Watch(*names) as watch:
        found = scene.unconfined(*SMUGGLER, call="both", argument=token)
    assert frozenset(names) in watch.seen
    return dict(found)


@pytest.fixture(scope="module")
def smuggled(scene: Scene, unconfined: dict[str, bool]) -> tuple[dict[str, bool], Watch]:
    """Which channels reached from ``fit`` to ``score``; what was seen to live meanwhile."""
    token = f"mark{secrets.token_hex(6)}"
    number = smuggler.number_of(token)
    given = [w for k, v in (("token", token), ("canary", scene.targets["canary"]))
             for w in ("--set", f"smuggler.{k}={v}")]  # fmt: skip
    with Watch(f"daemon{number}", f"score{number}") as watch:
        done = scene.run("smuggler", *given, plugins=SMUGGLER)
    assert done.returncode == 0, done.stderr
    *_, scores = read_predictions(scene.folder_of("smuggler") / "predictions.safetensors")
    told = 0
    for number in set(scores.ravel().tolist()):
        told |= int(number)
    return {c: bool(told >> k & 1) for k, c in enumerate(CHANNELS)}, watch


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channel_is_one_and_carries_nothing(
    channel: str, unconfined: dict[str, bool], smuggled: tuple[dict[str, bool], Watch]
) -> None:
    if not unconfined[channel] and channel in NOT_EVERYWHERE:
        pytest.skip("not there even without walls")
    assert unconfined[channel], "this is no channel"
    assert not smuggled[0][channel]


def test_a_daemon_of_fit_is_gone_before_anything_is_scored(
    scene: Scene, smuggled: tuple[dict[str, bool], Watch]
) -> None:
    _, watch = smuggled
    together = [names for names in watch.seen if len(names) == 2]
    assert {min(names)[:5] for names in watch.seen if names} == {"daemo", "score"}
    assert not together
    assert not watch.now()


def test_links_in_the_place_of_the_harness_files_are_not_followed(
    scene: Scene, smuggled: tuple[dict[str, bool], Watch]
) -> None:
    planted = [e["planted"] for e in scene.events("smuggler") if "planted" in e]
    assert len(planted) == 1
    assert min(planted) >= len(smuggler.PLANTED), "it could write nowhere"
    assert Path(scene.targets["canary"]).read_text() == "can"
    assert not [p for p in scene.results.rglob("*") if p.is_symlink()]
    found = scene.record("smuggler").metrics
    assert (found.clips, found.tied, found.top1, found.mean_class) == (16, 16, 0.5, 0.5)
