"""``python -m benchmarks.fuzz``: a campaign, or one of its inputs again."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))  # some builders of files are theirs

from benchmarks.fuzz.attempt import SECONDS
from benchmarks.fuzz.campaign import Campaign, child, run
from benchmarks.fuzz.mutate import made
from benchmarks.fuzz.registry import find, names
from benchmarks.fuzz.report import content, table, with_others


def main(words: list[str] | None = None) -> int:
    """The command line; returns the exit code, 1 if anything was found."""
    given = _arguments(words)
    if given.replay:
        return _replay(given.replay[0], int(given.replay[1]), given)
    targets = given.targets or names()
    started = time.time()
    campaign = Campaign(
        targets, given.inputs, given.jobs, started + 60 * given.minutes, given.seed, given.seconds
    )
    tallies = run(campaign, say=lambda line: print(line, file=sys.stderr))
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    about = content(campaign, tallies, date, time.time() - started)
    if given.again:
        about = with_others(about, json.loads((given.out / "FUZZ.json").read_text("utf-8")))
    (given.out / "FUZZ.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    (given.out / "FUZZ.md").write_text(table(about), "utf-8")
    print(table(about))
    return int(any(tally.bad for tally in tallies.values()))


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="all, if none is named")
    parser.add_argument("--inputs", type=int, default=200_000, help="of every target")
    parser.add_argument("--jobs", type=int, default=2, help="children at a time")
    parser.add_argument("--minutes", type=float, default=60, help="after which nothing is started")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that an input may take")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1], help="folder")
    parser.add_argument("--again", action="store_true", help="keep what is known of other targets")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "N"), help="one input again")
    parser.add_argument("--save", type=Path, help="with --replay: write the input to this file")
    return parser.parse_args(words)


def _replay(name: str, number: int, given: argparse.Namespace) -> int:
    """Read one input again, in a child, and tell what became of it."""
    if given.save:
        with tempfile.TemporaryDirectory() as folder:
            seeds = find(name)(Path(folder)).seeds
            given.save.write_bytes(made(name, number, seeds, given.seed))
    job = {"target": name, "first": number, "stop": number + 1, "campaign": given.seed}
    found, faults, _ = child(job | {"seconds": given.seconds})
    for fault in faults:
        print(f"{name} {number}: {fault['kind']}: {fault['what']}\n{fault['trace']}")
    if not faults:
        print(f"{name} {number}: {'accepted' if found.accepted else 'refused'}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
