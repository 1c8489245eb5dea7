"""Make the reference runs that are missing, and write their tables to README.md.

    python results/reference/regenerate.py             # runs what is missing, then the tables
    python results/reference/regenerate.py ID...       # of these protocols only
    python results/reference/regenerate.py --tables    # the tables only

The data sets must be imported. Runs are skipped if they are there, so that the script can be
stopped and started; delete ``runs/`` to make everything anew.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTOCOLS = (
    "purls-utd-mhad-22-5",
    "purls-utd-mhad-18-9",
    "purls-utd-mhad-14-13",
    "purls-nw-ucla-8-2",
    "purls-nw-ucla-5-5",
    "kinect20",
    "kinect20-transfer",
    "stand-in/synse-55-5",
    "stand-in/synse-48-12",
)
TEXTS = ("a", "b")
SEEDS = 5


@dataclass(frozen=True)
class Group:
    """Runs that are made together: all of these methods on all of these protocols."""

    methods: tuple[str, ...]
    protocols: tuple[str, ...]
    texts: tuple[str, ...] = TEXTS
    seeds: int = SEEDS


GROUPS = (
    Group(("tdsm", "eszsl", "prototypes", "chance"), PROTOCOLS),
    Group(
        (
            *(
                "text-only",
                "conse",
                "devise",
                "sae",
                "revise",
                "cada-vae",
                "msf",
                "fs-vae",
                "sa-dvae",
            ),
            *("smie", "smie-features", "purls", "star", "neuron"),
        ),
        ("purls-utd-mhad-22-5",),
    ),
    # They read verbs and nouns, which are the class list's, whatever the text set.
    Group(("jpose", "synse"), ("purls-utd-mhad-22-5",), texts=("a",)),
)


def wanted() -> Iterator[tuple[str, str, str, int]]:
    """Protocol, method, text set and seed of every run that there should be."""
    for group in GROUPS:
        for protocol in group.protocols:
            for texts in group.texts:
                for method in group.methods:
                    for seed in range(group.seeds):
                        yield protocol, method, texts, seed


def zsar_bench(*words: str) -> str:
    """Run a command; returns what it printed on standard output."""
    command = [sys.executable, "-m", "zsar_bench", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def make_runs(protocols: Sequence[str]) -> None:
    """All runs on these protocols, in the order in which shared work is reused."""
    for group in GROUPS:
        for protocol in (p for p in group.protocols if p in protocols):
            for texts in group.texts:
                seeds = f"0-{group.seeds - 1}"
                words = ["--protocol", protocol, "--texts", texts, "--seeds", seeds]
                zsar_bench("run", *group.methods, *words, "--results", str(HERE), "--json")
                print(f"{protocol}, texts {texts}: done", flush=True)


def drop_events() -> None:
    """Leave out the runs' events, which are long and no result, and seal what stays."""
    from zsar_bench.record import seal_run

    for events in sorted(HERE.glob("runs/*/*/[!.]*/events.jsonl")):
        events.unlink()
        seal_run(events.parent)


def tables() -> str:
    """The body of README.md, as ``compare`` prints it."""
    return zsar_bench("compare", "--results", str(HERE), "--format", "markdown")


def page() -> str:
    """README.md: what is written by hand in HEAD.md, then the tables."""
    return f"{(HERE / 'HEAD.md').read_text('utf-8')}\n{tables()}"


def main() -> None:
    """Make the runs unless only the tables are wanted, then write README.md."""
    words = sys.argv[1:]
    if "--tables" not in words:
        make_runs(words or PROTOCOLS)
        drop_events()
    (HERE / "README.md").write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
