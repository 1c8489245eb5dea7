"""Measure the speed promises of the command line, the import, the encoder and ``compare``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zsar_bench.records.files import seal_run

SEEDS = "0-2"
PROTOCOL = "purls-utd-mhad-22-5"
RECORDS = 1000


def timed(*words: str, repeat: int = 1, program: Sequence[str] = ("-m", "zsar_bench")) -> float:
    """Median wall seconds of a command."""
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        subprocess.run([sys.executable, *program, *words], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def encoders(home: Path) -> list[dict[str, Any]]:
    """What every trained encoder noted about itself."""
    return [json.loads(p.read_text()) for p in sorted((home / "encoders").glob("*/encoder.json"))]


def copies(run: Path, results: Path) -> None:
    """1,000 records that differ in seeds and methods, made from a real one."""
    record = json.loads((run / "run.json").read_text("utf-8"))
    for n in range(RECORDS):
        record["run_id"] = f"{n:016x}"
        record["encoder_seed"], record["method_seed"] = n % 5, n % 5
        record["method"]["science"] = {"variant": n // 5}
        folder = results / "runs" / PROTOCOL / record["method"]["name"] / record["run_id"]
        folder.mkdir(parents=True)
        for name in ("predictions.safetensors", "events.jsonl"):
            shutil.copy(run / name, folder)
        (folder / "run.json").write_text(json.dumps(record), "utf-8")
        seal_run(folder)


def measure(data: Path, home: Path) -> list[tuple[str, str, str, bool]]:
    """Rows: what, promise, measured, holds."""
    bare = timed(repeat=5, program=("-c", "pass"))
    timed("list")  # the first call asks the plugins; later ones read the catalogue
    rows = [("bare interpreter", "-", f"{bare:.2f} s", True)]
    for words in (("--help",), ("list",), ("list", "methods")):
        seconds = timed(*words, repeat=5)
        rows.append((f"zsar-bench {' '.join(words)}", "0.5 s", f"{seconds:.2f} s", seconds <= 0.5))
    started = time.perf_counter()
    timed("data", "import", "utd-mhad", str(data))
    rate = 861 / (time.perf_counter() - started)
    rows.append(
        ("import, process start included", "300 clips/s", f"{rate:.0f} clips/s", rate >= 300)
    )

    results = home / "results"
    run = ("run", "chance", "--protocol", PROTOCOL, "--seeds", SEEDS, "--results", str(results))
    timed(*run, "--quiet")
    about = encoders(home)
    longest = max(e["seconds"] for e in about)
    accuracy = statistics.mean(e["seen_accuracy"] for e in about)
    rows.append(
        ("encoder, longest half, both cores busy", "90 s", f"{longest:.0f} s", longest <= 90)
    )
    rows.append(
        (
            "its accuracy, seen classes of the other half, 3 seeds",
            "80 %",
            f"{100 * accuracy:.1f} %",
            accuracy >= 0.8,
        )
    )
    copies(next((results / "runs" / PROTOCOL / "chance").iterdir()), home / "many")
    seconds = timed("compare", "--results", str(home / "many"), repeat=3)
    rows.append((f"compare on {RECORDS:,} records", "2.5 s", f"{seconds:.2f} s", seconds <= 2.5))
    return rows


def main() -> None:
    """Measure in a store of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="utd_mhad_skeleton.zip")
    data = parser.parse_args().data.resolve()
    with tempfile.TemporaryDirectory(prefix="zsar-bench-speed-") as folder:
        os.environ["ZSAR_BENCH_HOME"] = folder
        rows = measure(data, Path(folder))
    print("| what | promise | measured | holds |\n| --- | --- | --- | --- |")
    for what, promise, measured, holds in rows:
        print(f"| {what} | {promise} | {measured} | {'yes' if holds else 'NO'} |")
    sys.exit(0 if all(row[3] for row in rows) else 1)


if __name__ == "__main__":
    main()
