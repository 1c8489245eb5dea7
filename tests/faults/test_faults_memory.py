"""Out of memory on a device: smaller chunks with the same numbers, or the batch that fits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kit.command import Cli
from kit.faults import heard, one_round, steps, whole
from kit.paths import PLUGINS
from zsar_bench.records.files import read_predictions

pytestmark = pytest.mark.usefixtures("forked_fingerprints")

CRAMPED = PLUGINS / "cramped.py"


def words(cli: Cli) -> tuple[object, ...]:
    chosen = ("--skeleton-encoder", "cramped-mean", "--text-encoder", "toy-hash")
    protocol = one_round(cli.site, cli.cwd)
    return ("run", "cramped", "--plugin", CRAMPED, "--protocol", protocol, *chosen, "--json")


def test_chunks_are_halved_until_they_fit_and_scores_stay(cli: Cli, copy_home: Path) -> None:
    command = words(cli)
    cli(*command, "--results", "roomy")
    for name in ("encoders", "texts"):
        shutil.rmtree(copy_home / name, ignore_errors=True)
    known = cli.home / "catalogue"  # the plugin is asked once
    shutil.copytree(known, copy_home / "catalogue", dirs_exist_ok=True)
    events = cli.cwd / "events"
    limits = ("--set", "cramped.score_rows=5", "--set", "cramped-mean.rows=7")
    env = {"ZSAR_BENCH_TOY_EVENTS": str(events)}
    cli(*command, *limits, "--results", "cramped", home=copy_home, env=env)
    (one,), (other,) = (whole(copy_home, cli.cwd / name) for name in ("roomy", "cramped"))
    assert one.name == other.name
    ids, labels, candidates, scores = read_predictions(one / "predictions.safetensors")
    *same, moved = read_predictions(other / "predictions.safetensors")
    assert (same[0], same[1].tolist(), same[2]) == (ids, labels.tolist(), candidates)
    # Matrix products of fewer rows go through other kernels on some machines: last bits differ.
    np.testing.assert_allclose(moved, scores, rtol=1e-5, atol=1e-6)
    assert (moved.argmax(axis=1) == scores.argmax(axis=1)).all()
    # More rows than these raise, so the chunks were as small; and both were computed anew.
    assert steps(heard(events), "encode")
    assert steps(heard(events), "score")


def test_not_even_one_row_is_out_of_memory(cli: Cli) -> None:
    done = cli(*words(cli), "--set", "cramped.score_rows=0", "--quiet", check=1)
    assert json.loads(done.stdout)["runs"][0]["status"] == "oom"
    assert "oom: cramped xsub seed 0: " in done.stderr
    assert whole(cli.home, cli.cwd / "results") == []


def test_a_fit_out_of_memory_names_the_batch_that_fits(cli: Cli) -> None:
    tight = (*words(cli), "--quiet", "--set", "cramped.fit_rows=5")
    done = cli(*tight, check=1)
    assert json.loads(done.stdout)["runs"][0]["status"] == "oom"
    assert "batch=16 is too large here, 4 fits: --set cramped.batch=4" in done.stderr
    assert whole(cli.home, cli.cwd / "results") == []
    cli(*tight, "--set", "cramped.batch=4")  # the advice is good
    assert len(whole(cli.home, cli.cwd / "results")) == 1
    none = cli(*words(cli), "--quiet", "--set", "cramped.fit_rows=0", check=1)
    assert "batch=16 is too large here, not even 1 fits" in none.stderr
