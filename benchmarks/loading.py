"""Measure how long every protocol and every published number takes to load, on one core."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from zsar_bench.catalogue.catalogue import load
from zsar_bench.comparison.published import read_published
from zsar_bench.data.protocols.lookup import find_protocol, load_all

REPEAT = 9


def timed(call: Callable[[], object]) -> float:
    """Median processor seconds of a call: one thread, so they are those of one core."""
    seconds = []
    for _ in range(REPEAT):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def main() -> None:
    """Print the table; exit 1 if the promise does not hold."""
    catalogue = load()
    protocols, groups = load_all(catalogue)
    rows = read_published(catalogue.published_folders)
    # Its file is the last that a search would reach.
    last = max((p for p in protocols if p.aliases), key=lambda p: p.id)
    measured = {
        f"{len(protocols)} protocols and {len(groups)} averages": lambda: load_all(catalogue),
        f"{len(rows)} published rows": lambda: read_published(catalogue.published_folders),
        f"one protocol by id, {last.id}": lambda: find_protocol(last.id, catalogue),
        "the same by alias": lambda: find_protocol(last.aliases[0], catalogue),
    }
    seconds = {what: timed(call) for what, call in measured.items()}
    print("| what | median of processor time |\n| --- | --- |")
    for what, took in seconds.items():
        print(f"| {what} | {1000 * took:.1f} ms |")
    everything = sum(list(seconds.values())[:2])
    print(f"\nEverything in {everything:.3f} s of at most 0.3 s.")
    sys.exit(0 if everything <= 0.3 else 1)


if __name__ == "__main__":
    main()
