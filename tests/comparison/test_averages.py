"""Averages that papers print: one name for several protocols, in running and comparing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kit.made_protocols import catalogue
from kit.made_records import clips, record
from kit.made_splits import SEEN
from zsar_bench.catalogue.catalogue import load
from zsar_bench.comparison.sections import compare
from zsar_bench.data.protocols.lookup import load_all, load_groups
from zsar_bench.data.protocols.protocol import ProtocolGroup
from zsar_bench.reporters import markdown

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

GROUP = ProtocolGroup("three", "Three", "a test", (), ("p-1", "p-2", "p-3"))


def on(protocol: str, seed: int, name: str = "m", rate: float = 0.5, **more: Any) -> Any:
    part = {"id": protocol, "samples": protocol, "digest": protocol, "seen": SEEN}
    return record(clips(seed, rate), name, protocol=part | more)


def test_the_mean_of_the_members() -> None:
    runs = [on(f"p-{n}", n) for n in (1, 2, 3)]
    said = compare(runs, averages=[GROUP])
    assert [s["protocol"] for s in said["sections"]] == ["p-1", "p-2", "p-3"]  # they stay
    (mean,) = said["splits"]
    (row,) = mean["rows"]
    top1 = [r.metrics.top1 for r in runs]
    assert (mean["family"], mean["mean"], row["splits"]) == ("three", True, 3)
    assert row["top1"] == pytest.approx(np.mean(top1))
    assert row["sd"] == pytest.approx(stats.tstd(top1))
    text = markdown.report(said, width=80, color=False)
    assert "three - mean of 3 splits" in text
    assert "published split |" not in text


def test_only_whole_rows_are_averaged() -> None:
    runs = [on(f"p-{n}", n) for n in (1, 2, 3)] + [on(f"p-{n}", n, "half") for n in (1, 3)]
    (mean,) = compare(runs, averages=[GROUP])["splits"]
    assert [row["method"] for row in mean["rows"]] == ["m"]
    assert compare(runs[:2], averages=[GROUP])["splits"] == []


def test_synthetic_members_are_another_average() -> None:
    real = [on(f"p-{n}", n) for n in (1, 2, 3)]
    made = [on(f"stand-in/p-{n}", n, stand_in_for="d") for n in (1, 2, 3)]
    published = [
        {"protocol": "three", "method": "M", "metric": "top1", "value": 1.0, "remarks": []}
    ]
    said = compare(real + made, published, averages=[GROUP])
    assert [s["family"] for s in said["splits"]] == ["three", "stand-in/three"]
    assert said["published"] == published
    assert compare(made, published, averages=[GROUP])["published"] == []


def test_groups_are_found_whatever_is_wrong_with_other_protocols(tmp_path: Any) -> None:
    """What is shown after a run must not depend on files that have no part in it."""
    for name in ("p-1", "p-2", "p-3"):
        (tmp_path / f"{name}.toml").write_text('id = "broken')
    (tmp_path / "three.toml").write_text(
        'id = "three"\ntitle = "Three"\nsource = "a test"\n[average]\nof = ["p-1", "p-2", "p-3"]\n'
    )
    assert load_groups(catalogue(tmp_path)) == [GROUP]
    assert load_groups(load()) == load_all(load())[1]


def test_on_the_command_line(cli: Any, tmp_path: Any) -> None:
    folder = tmp_path / "protocols"
    folder.mkdir()
    for n, unseen in enumerate((["c1", "c2"], ["c3", "c4"])):
        seen = [c for c in ("c1", "c2", "c3", "c4", "c5", "c6") if c not in unseen]
        (folder / f"two-{n}.toml").write_text(
            f'id = "two-{n}"\ntitle = "t"\ndataset = "toy-motion"\nfamily = "f"\nsource = "s"\n'
            f"seen = {json.dumps(seen)}\nunseen = {json.dumps(unseen)}\n"
        )
    (folder / "two.toml").write_text(
        'id = "two"\ntitle = "t"\nsource = "s"\naliases = ["both"]\n'
        '[average]\nof = ["two-0", "two-1"]\n'
    )
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from pathlib import Path\nfrom zsar_bench.hookspecs import hookimpl\napi = 1\n"
        "@hookimpl\ndef register_protocols(registry):\n"
        f"    registry.protocols(Path({str(folder)!r}))\n"
    )
    words = ("--plugin", plugin, "--results", tmp_path / "results")
    run = ("run", "toy-ridge", "--protocol", "both", "--skeleton-encoder", "toy-mean", *words)
    plan = json.loads(cli(*run, "--dry-run", "--json").stdout)
    assert [row["protocol"] for row in plan["runs"]] == ["two-0", "two-1"]
    said = json.loads(cli(*run, "--json").stdout)
    assert [s["family"] for s in said["splits"]] == ["two"]
    again = json.loads(cli("compare", "--protocol", "two", "--json", *words).stdout)
    assert again["splits"] == said["splits"]
    refused = cli(*run, "--splits", "3", check=2).stderr
    assert "'both' is an average" in " ".join(refused.split())
