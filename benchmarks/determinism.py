"""Measure what ``run --deterministic`` costs on a CUDA device, and whether it keeps its word.

    python benchmarks/determinism.py --steps 1000 --profile paper

Trains each skeleton encoder and TDSM on the stand-in's clips through the command line, twice as
usual and twice with ``--deterministic``, each time in a store of its own, and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.catalogue import load

PROTOCOL = "synse-55-5"
ENCODERS = ("st-gcn", "shift-gcn")
METHOD = "tdsm"
SWITCH = "--deterministic"


def command(encoder: str, steps: int, profile: str) -> list[str]:
    """The run that is measured, as it is typed."""
    words = ["run", METHOD, "--protocol", PROTOCOL, "--data", "stand-in", "--device", "cuda"]
    words += ["--skeleton-encoder", encoder, "--profile", profile, "--jobs", "1"]
    return [*words, "--set", f"{encoder}.max_steps={steps}", "--set", f"{METHOD}.steps={steps}"]


def measure(words: Sequence[str], work: Path) -> tuple[dict[str, float], bytes]:
    """Seconds of a run's stages, and its predictions' bytes.

    Args:
        words: the command line.
        work: an empty folder for its store and its results.
    """
    env = os.environ | {"ZSAR_BENCH_HOME": str(work / "home")}
    program = [sys.executable, "-m", "zsar_bench", *words]
    results = work / "results"
    subprocess.run([*program, "--results", str(results), "--quiet"], check=True, env=env)
    (record,) = results.glob("runs/**/run.json")
    told: dict[str, Any] = json.loads(record.read_bytes())
    encoder, method = told["encoder"], told["method"]["name"]
    seconds = {
        encoder["name"]: sum(one["seconds"] for one in encoder["rounds"]),
        f"{method} on {encoder['name']}, fit": told["seconds"]["fit"],
        f"{method} on {encoder['name']}, score": told["seconds"]["score"],
    }
    return seconds, (record.parent / "predictions.safetensors").read_bytes()


def compare(words: Sequence[str], work: Path) -> tuple[list[tuple[str, float, float]], list[bool]]:
    """Rows (stage, seconds as usual, seconds deterministic), and whether each of both repeats."""
    told = {
        switch: [measure([*words, *switch], work / f"{len(switch)}-{n}") for n in range(2)]
        for switch in ((), (SWITCH,))
    }
    usual, sure = told[()], told[SWITCH,]
    rows = [
        (stage, min(s[stage] for s, _ in usual), min(s[stage] for s, _ in sure))
        for stage in usual[0][0]
    ]
    return rows, [one[0][1] == one[1][1] for one in (usual, sure)]


def main() -> None:
    """Print the table; exit 1 if deterministic runs differ, 2 without a CUDA device."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1000, help="training steps of each network")
    parser.add_argument("--profile", default="paper", help="paper or laptop")
    options = parser.parse_args()
    machine = load().machine
    if not machine.get("cuda"):
        print(
            "torch sees no CUDA device here, and on a CPU --deterministic changes and costs "
            "nothing.\nRun this where there is one; zsar-bench doctor says what torch sees.",
            file=sys.stderr,
        )
        sys.exit(2)
    print(f"{machine['device']}, torch {machine['torch']}, profile {options.profile}, ", end="")
    print(
        f"{options.steps} steps\n\n| stage | usual | {SWITCH} | ratio |\n| --- | --- | --- | --- |"
    )
    kept = []
    for encoder in ENCODERS:
        with tempfile.TemporaryDirectory(prefix="zsar-determinism-") as folder:
            words = command(encoder, options.steps, options.profile)
            rows, repeats = compare(words, Path(folder))
        for stage, usual, sure in rows:
            print(f"| {stage} | {usual:.2f} s | {sure:.2f} s | {sure / usual:.2f} |", flush=True)
        kept.append((encoder, repeats))
    print()
    for encoder, (usual_repeats, sure_repeats) in kept:
        said = {True: "the same bytes twice", False: "other bytes the second time"}
        print(f"{encoder}: usual {said[usual_repeats]}, {SWITCH} {said[sure_repeats]}")
    sys.exit(0 if all(repeats[1] for _, repeats in kept) else 1)


if __name__ == "__main__":
    main()
