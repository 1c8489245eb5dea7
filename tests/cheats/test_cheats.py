"""Plugins that try to get at labels, the parent or the network: every door in every verb.

Each attack is first tried in a process without walls, where it must work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, load_file

from kit.cheats import Scene
from kit.paths import ATTACKS
from zsar_bench.catalogue.loading import import_file
from zsar_bench.common.checksums import read_sealed
from zsar_bench.data.clips.store import Dataset, flat_clips
from zsar_bench.metrics import accuracy
from zsar_bench.records.files import read_predictions
from zsar_bench.sandbox.confinement.confine import support
from zsar_bench.sandbox.wire import clips_from_flat, layout_from_json
from zsar_bench.views import SkeletonInputs, TextBank

pytestmark = pytest.mark.process

BURGLAR = ("doors", "neighbours", "burglar")
for _name in BURGLAR:
    burglar = import_file(ATTACKS / f"{_name}.py")
DOORS = list(burglar.ATTACKS)
GROUPS = -(-len(DOORS) // burglar.BITS)
VERBS = ("fit", "bind", "score", "encoder-fit", "encoder-encode", "fingerprint", "texts")

#: Doors that stand open only to a superuser or on some kernels even without walls.
NOT_EVERYWHERE = {
    "handle",
    "unshare",
    "trace",
    "vm-read",
    "steal",
    "memory",
    "xattr",
    "i386",
    "io-uring",
    "capabilities",
    "core-dump",
    "descriptors",
    "their-root",
}


@pytest.fixture(scope="module")
def unconfined(scene: Scene) -> dict[str, bool]:
    """Which doors are open to a process that nothing confines."""
    found = scene.unconfined(*BURGLAR, call="attempt", argument=scene.targets)
    for ear in ("tcp", "unix", "abstract"):
        scene.heard[ear].accept()[0].close()
    assert scene.heard["udp"].recv(100) == b"labels"
    return dict(found)


@pytest.fixture(scope="module")
def tried(scene: Scene, unconfined: dict[str, bool]) -> dict[str, dict[str, bool]]:
    """Verb -> door -> whether it was open to the method or encoder ``burglar``."""
    aims = f"targets={json.dumps(scene.targets)}"
    done = scene.run("burglar", "--set", f"burglar.{aims}", plugins=BURGLAR)
    assert done.returncode == 0, done.stderr
    encoders = ("--skeleton-encoder", "burglar-encoder", "--text-encoder", "burglar-texts")
    fooled = ["habit"]
    for name in encoders[1::2]:
        fooled += ["--set", f"{name}.{aims}"]
    plugins = (*BURGLAR, "habits")
    done = scene.run(*fooled, plugins=plugins, encoders=encoders, results="fooled")
    assert done.returncode == 0, done.stderr
    return {**method_doors(scene), **encoder_doors(scene), **text_doors(scene)}


def method_doors(scene: Scene) -> dict[str, dict[str, bool]]:
    events = [e for e in scene.events("burglar") if "open-store" in e]
    assert len(events) == 1
    *_, scores = read_predictions(scene.folder_of("burglar") / "predictions.safetensors")
    every = dict.fromkeys(DOORS, True)
    told = [int(n) for n in scores[:, 0]]
    found = max(told) <= 1  # it had labels
    return {
        "fit": {d: any(e[f"open-{d}"] for e in events) for d in DOORS},
        "bind": every if found else burglar.read_back(told),
        "score": every if found else burglar.read_back(told, GROUPS),
    }


def encoder_doors(scene: Scene) -> dict[str, dict[str, bool]]:
    told = []
    for about in (scene.cli.home / "encoders").glob("*/encoder.json"):
        if json.loads(about.read_text())["encoder"] == "burglar-encoder":
            file = next((about.parent / "pooled").iterdir())
            told += [int(n) for n in load_file(file)["pooled"][0] * 2**24]
    return {
        "encoder-fit": burglar.read_back(told),
        "encoder-encode": burglar.read_back(told, GROUPS),
    }


def text_doors(scene: Scene) -> dict[str, dict[str, bool]]:
    stored = [load(read_sealed(f))["pooled"] for f in (scene.cli.home / "texts").glob("*.sealed")]
    (row,) = (pooled[0] for pooled in stored if pooled.shape[1] == GROUPS)
    fingerprint = scene.record("habit", "fooled").texts.fingerprint
    return {
        "fingerprint": burglar.read_back([*map(int, fingerprint.split(","))]),
        "texts": burglar.read_back([int(n) for n in row * 2**24]),
    }


#: Doors that stand open, and why: to be shut, or told in docs/trust.md.
HOLES = {
    "stat": "Landlock does not refuse stat: a shard's size tells its clips' frames, and the names "
    "of shards of other classes follow from those in the bundle",
}


def doors() -> Iterator[Any]:
    for door in DOORS:
        why = HOLES.get(door)
        marks = pytest.mark.xfail(strict=True, reason=why) if why else ()
        yield pytest.param(door, marks=marks)


@pytest.mark.parametrize("door", [*doors()])
def test_a_door_is_one_and_is_shut(
    door: str, unconfined: dict[str, bool], tried: dict[str, dict[str, bool]]
) -> None:
    if not unconfined[door] and door in NOT_EVERYWHERE:
        pytest.skip("shut here even without walls")
    assert unconfined[door], "this is no attack"
    assert [verb for verb in VERBS if tried[verb][door]] == []


def test_with_labels_it_is_always_right_and_without_it_guesses(
    scene: Scene,
    tried: dict[str, dict[str, bool]],
    toy_site: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(toy_site))
    monkeypatch.setattr(burglar.Burglar, "_look", lambda self: dict.fromkeys(DOORS, False))
    from zsar_toy.texts import Hash, HashParams

    fit, score = (burglar.Burglar(burglar.Params()) for _ in range(2))
    fit.table = burglar.steal_labels(scene.targets["dataset"])
    score.load_state_dict(fit.state_dict())
    score.bind(TextBank({"motion": Hash(HashParams()).encode(["sideways slow", "up fast"])}))
    store = Path(scene.targets["dataset"]).parent
    data = Dataset(store, json.loads((store / "dataset.json").read_text()))
    unseen = [i for i, c in enumerate(data.clips["class"]) if c in ("c2", "c3")]
    flat = flat_clips(data, unseen)
    clips = clips_from_flat(
        torch.from_numpy(flat["flat"]), flat["lengths"].tolist(), layout_from_json(data.layout)
    )
    scores = score.score(SkeletonInputs(torch.zeros(len(unseen), 1), clips=clips)).numpy()
    labels = np.array([["c3", "c2"].index(data.clips["class"][i]) for i in unseen])
    assert accuracy.judge(scores, labels).credit.tolist() == [1.0] * 32

    found = scene.record("burglar").metrics
    assert (found.clips, found.tied, found.top1, found.mean_class) == (16, 16, 0.5, 0.5)


def test_nobody_was_reached_and_nothing_changed(
    scene: Scene, tried: dict[str, dict[str, bool]]
) -> None:
    for ear in ("tcp", "unix", "abstract"):
        with pytest.raises(BlockingIOError):
            scene.heard[ear].accept()
    with pytest.raises(BlockingIOError):
        scene.heard["udp"].recv(100)
    assert Path(scene.targets["canary"]).read_text() == "can"


def test_the_record_tells_what_was_refused(scene: Scene, tried: dict[str, dict[str, bool]]) -> None:
    certificate = scene.record("burglar").certificate
    assert certificate is not None
    assert certificate.confinement.model_dump() == vars(support())
    assert certificate.encoder_level == support().level
    t = scene.targets
    for stage in ("fit", "score"):
        for what in (
            f"open {t['dataset']}",
            f"open {t['shard']}",
            f"open {t['raw']}",
            f"open {t['predictions']}",
            f"open {t['reference']}",
            f"list {os.path.dirname(t['shard'])}",
            f"write {t['dataset']}",
            f"write {t['canary']}",
            "socket AF_INET",
            "socket AF_UNIX",
        ):
            assert certificate.denied.get(f"{stage}: {what}", 0) > 0, what
    honest = scene.record("toy-ridge").certificate
    assert honest is not None
    assert honest.denied == {}
