"""Measure what it costs to run plugin code in confined workers rather than in this process."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything that reads it

import argparse
import json
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zsar_bench.api import running
from zsar_bench.sandbox import client
from zsar_bench.sandbox.confinement.confine import support

TESTS = Path(__file__).resolve().parent.parent / "tests"
REPEAT = 15
RUNS = 40
METHOD = "eszsl"  #: a closed form
EXTRA, SHARE = 0.3, 0.5  #: what is promised

PLUGIN = """
import torch

def metric(scores, labels, subjects):
    return float(torch.linalg.svdvals(torch.from_numpy(scores))[0])
"""


def timed(call: Callable[[], object], repeat: int = REPEAT) -> float:
    """Median wall seconds of a call."""
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def one_call(folder: Path) -> tuple[float, float]:
    """Seconds of the same call in a confined worker and in this process."""
    import numpy as np
    from safetensors.numpy import save

    from zsar_bench.catalogue.loading import import_file

    plugin = folder / "svd.py"
    plugin.write_text(PLUGIN)
    job = {
        "kind": "metric",
        "plugin_files": [str(plugin)],
        "code": [str(plugin)],
        "target": "zsar_plugin_svd:metric",
        "threads": 1,
    }
    zeros = np.zeros(400, np.int64)
    arrays = {"scores": np.eye(400, 60, dtype=np.float32), "labels": zeros, "subjects": zeros}

    def worker() -> None:
        with client.Worker(job, folder) as one:
            one.ask(save(arrays))

    metric = import_file(plugin).metric
    worker()  # the fork server imports torch
    return timed(worker), timed(lambda: metric(**arrays))


class Watched(client.Worker):
    """A worker whose start and end are timed; what is between them is the plugin's and ours."""

    seconds = 0.0
    count = 0

    def __init__(self, *given: Any) -> None:
        started = time.perf_counter()
        super().__init__(*given)
        select.select([self._from], [], [])  # its walls stand
        Watched.seconds += time.perf_counter() - started
        Watched.count += 1

    def __exit__(self, *given: Any) -> None:
        started = time.perf_counter()
        super().__exit__(*given)
        Watched.seconds += time.perf_counter() - started


def toy(folder: Path) -> Path:
    """A toy data set, installed and imported; returns where it is installed."""
    source, site = folder / "source", folder / "site"
    shutil.copytree(TESTS / "plugin_package", source)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--no-index", "--target", str(site), str(source)], check=True)
    env = os.environ | {"PYTHONPATH": str(site)}
    raw = str(folder / "raw")
    subprocess.run([sys.executable, "-m", "zsar_toy.make", raw], check=True, env=env)
    words = ("data", "import", "toy-motion", raw, "--quiet")
    subprocess.run([sys.executable, "-m", "zsar_bench", *words], check=True, env=env)
    return site


def sweep(folder: Path) -> tuple[float, float]:
    """Seconds of process work, and in all, of many runs one after the other."""
    sys.path.insert(0, str(toy(folder)))
    from zsar_bench.catalogue import catalogue
    from zsar_bench.features import encoders
    from zsar_bench.plans.request import Request
    from zsar_bench.runs import fit, score

    known = catalogue.load()
    request = Request(
        methods=(METHOD,),
        protocol="toy-4-2",
        results=folder / "results",
        seeds=tuple(range(RUNS)),
        fix_encoder=0,
        skeleton_encoder="toy-mean",
        text_encoder="toy-hash",
        text_fields=("description",),
    )
    plans = running.plan(request, catalogue=known).runs
    running.PlannedRuns(plans[:1], known, 1).execute()  # encoder, texts and fork server
    for module in (encoders, fit, score):
        module.Worker = Watched  # type: ignore[misc]
    started = time.perf_counter()
    failed = running.PlannedRuns(plans[1:], known, 1).execute()
    if failed:
        raise SystemExit(f"runs failed: {failed}")
    return Watched.seconds, time.perf_counter() - started


def main() -> None:
    """Print the table; exit 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zsar-bench-") as name:
        folder = Path(name)
        os.environ["ZSAR_BENCH_HOME"] = str(folder / "home")
        os.chdir(folder)
        confined, alone = one_call(folder)
        process, total = sweep(folder)
    extra, share = confined - alone, process / total
    figures = {
        "confinement": support().level,
        "extra_seconds": round(extra, 3),
        "process_share": round(share, 3),
        "seconds_a_worker": round(process / Watched.count, 3),
        "workers": Watched.count,
        "seconds": round(total, 2),
    }
    if wanted.json:
        print(json.dumps(figures, indent=1))
    else:
        print(f"Walls: {support().level}\n")
        print("| what | promise | measured |\n| --- | --- | --- |")
        print(f"| a confined worker over a call in this process | {EXTRA} s | {extra:.3f} s |")
        what = f"process work in a sweep of {RUNS} closed-form runs"
        print(f"| {what} | {SHARE:.0%} | {share:.0%} |")
    sys.exit(0 if extra <= EXTRA and share < SHARE else 1)


if __name__ == "__main__":
    main()
