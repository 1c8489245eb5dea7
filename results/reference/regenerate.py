"""Make the reference runs that are missing, and write their tables to README.md.

    python results/reference/regenerate.py             # runs what is missing, then the tables
    python results/reference/regenerate.py ID...       # of these protocols only
    python results/reference/regenerate.py --tables    # the tables only

The data sets must be imported. Runs are skipped if they are there, so that the script can be
stopped and started; delete ``runs/`` to make everything anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import accuracies
import answers
import pages

import zsar_bench as zb

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
TEXTS = accuracies.SETS
SEEDS = 5
FEW_SEEDS = 3  #: of what takes long

FIRST = ("tdsm", "eszsl", "prototypes", "chance")
LIGHT = (
    *("text-only", "conse", "devise", "sae", "revise", "cada-vae", "msf", "fs-vae", "sa-dvae"),
    "smie-features",
)
#: They read verbs and nouns, which are the class list's, whatever the text set.
WORDS = ("jpose", "synse")
HEAVY = ("smie", "purls", "star", "neuron")
#: Those trained in steps, whose states a rule can choose among; none takes long.
STEPWISE = ("tdsm", "devise", *LIGHT[LIGHT.index("revise") :], *WORDS)
#: A few seconds a fit: for pseudo-unseen splits, which fit a method four times.
QUICK = ("eszsl", "prototypes", "conse", "devise", "sae", "revise", "smie-features")
TWO = ("purls-utd-mhad-22-5", "purls-utd-mhad-18-9")  #: where GZSL and peeking are looked at


@dataclass(frozen=True)
class Group:
    """Runs that are made together: all of these methods on all of these protocols.

    ``leaks`` has the leaks that each of these methods declares, to be switched on; ``gzsl`` is the
    kind, or empty.
    """

    methods: tuple[str, ...]
    protocols: tuple[str, ...]
    texts: tuple[str, ...] = TEXTS
    seeds: int = SEEDS
    selection: str = "last"
    gzsl: str = ""
    leaks: tuple[str, ...] = ()


def everything(protocol: str, heavy_texts: tuple[str, ...], heavy_seeds: int) -> tuple[Group, ...]:
    """All inductive methods, without their leaks; what takes long perhaps less often."""
    return (
        Group(LIGHT, (protocol,)),
        Group(WORDS, (protocol,), texts=("a",)),
        Group(HEAVY, (protocol,), heavy_texts, heavy_seeds),
    )


REST = (*PROTOCOLS[-2:], *PROTOCOLS[1:5])  #: the stand-ins, and the other small ones
GROUPS = (
    Group(FIRST, PROTOCOLS),
    *everything("purls-utd-mhad-22-5", TEXTS, SEEDS),
    *everything("kinect20", ("a",), FEW_SEEDS),
    *(g for p in REST for g in everything(p, ("a",), FEW_SEEDS)),
    Group(("purls",), TWO[:1], leaks=("leak",)),
    Group(("neuron",), TWO[:1], leaks=("union",)),
    Group(STEPWISE, TWO, ("a",), FEW_SEEDS, selection="oracle@50"),
    Group(("pgfa", "pgfa-inductive", "star-all-texts"), TWO[:1], ("a",), FEW_SEEDS),
    Group((*FIRST[:3], *LIGHT[1:], *WORDS), TWO[:1], ("a",), 1, gzsl="constant"),
    Group(QUICK, TWO[1:], ("a",), 1, gzsl="constant"),
    Group(QUICK, TWO[:1], TEXTS, 1, selection="pseudo-unseen"),
)


def wanted() -> Iterator[tuple[str, str, str, str, str, bool, int]]:
    """Every run that there should be.

    Yields:
        Protocol, method, text set, rule of selection, kind of GZSL or nothing, whether it uses a
        leak, and the seed.
    """
    for group in GROUPS:
        for protocol in group.protocols:
            for texts in group.texts:
                for method in group.methods:
                    said = (group.selection, group.gzsl, bool(group.leaks))
                    for seed in range(group.seeds):
                        yield protocol, method, texts, *said, seed


def make_runs(protocols: Sequence[str]) -> None:
    """All runs on these protocols, in the order in which shared work is reused."""
    for group in GROUPS:
        for protocol in (p for p in group.protocols if p in protocols):
            for texts in group.texts:
                zb.run(
                    group.methods,
                    protocol,
                    text_set=texts,
                    selection=group.selection,
                    seeds=range(group.seeds),
                    gzsl=group.gzsl or None,
                    params=dict.fromkeys(group.leaks, True),
                    results=HERE,
                )
                what = f"texts {texts}, {group.selection} {group.gzsl}".strip()
                print(f"{', '.join(group.methods)} on {protocol}, {what}: done", flush=True)


def drop_events() -> None:
    """Leave out the runs' events, which are long and no result, and seal what stays."""
    from zsar_bench.records.files import seal_run

    for events in sorted(HERE.glob("runs/*/*/[!.]*/events.jsonl")):
        events.unlink()
        seal_run(events.parent)


def page() -> str:
    """README.md: HEAD.md with its questions answered, then the tables as ``compare`` draws them."""
    runs = zb.load_results(HERE)
    last = zb.compare([run for run in runs if run.record.selection == "last"])
    every = zb.compare(runs, rules=True)
    records = [run.record.model_dump(mode="json") for run in runs]
    answered = answers.tables(last.data, every.data, records)
    head = pages.filled((HERE / "HEAD.md").read_text("utf-8"), answered)
    return f"{head}\n{zb.compare(runs).to_markdown()}"


def main() -> None:
    """Make the runs unless only the tables are wanted, then write README.md."""
    words = sys.argv[1:]
    if "--tables" not in words:
        make_runs(words or PROTOCOLS)
        drop_events()
    (HERE / "README.md").write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
