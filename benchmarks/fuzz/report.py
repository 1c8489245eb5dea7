"""What a campaign found, for machines (JSON) and for people (a table)."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.fuzz.campaign import ROOT, Campaign, Tally


def content(
    campaign: Campaign, tallies: Mapping[str, Tally], date: str, seconds: float
) -> dict[str, Any]:
    """All that is known of a campaign, as JSON values."""
    return {
        "date": date,
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "inputs": campaign.inputs,
        "jobs": campaign.jobs,
        "seed": campaign.seed,
        "seconds": round(seconds, 1),
        "targets": {
            name: {"inputs": tally.inputs, "wanted": campaign.inputs, **asdict(tally)}
            for name, tally in tallies.items()
        },
    }


def with_others(about: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """A campaign of some targets, and what an earlier one has found of all others."""
    when = {"date": before["date"], "commit": before["commit"], "wanted": before["inputs"]}
    others = {name: when | one for name, one in before["targets"].items()}
    return about | {"targets": dict(sorted((others | about["targets"]).items()))}


def table(about: Mapping[str, Any]) -> str:
    """The same as Markdown: how it was made, a line a target, then every fault."""
    targets = about["targets"]
    total = sum(one["inputs"] for one in targets.values())
    bad = sum(one["foreign"] + one["slow"] + one["killed"] for one in targets.values())
    changes = " with uncommitted changes" * about["dirty"]
    earlier: dict[str, list[str]] = {}
    for name, one in targets.items():
        if "date" in one:
            earlier.setdefault(f"{one['date']}, commit {one['commit'][:12]}", []).append(name)
    lines = [
        "# Fuzzing",
        "",
        "Made by `python -m benchmarks.fuzz`, not by hand; `benchmarks/README.md` says how.",
        "",
        f"{about['date']}, commit {about['commit'][:12] or 'unknown'}{changes}, Python "
        f"{about['python']}, numpy {about['numpy']}, {about['cores']} cores of "
        f"{about['platform']}; seed {about['seed']}, {about['jobs']} children at a time, "
        f"{about['seconds'] / 60:.1f} minutes.",
        "",
        f"{total:,} damaged files of {len(targets)} kinds; {bad or 'none'} did anything but be "
        "read or be refused with an error of ours.",
        "",
        *(
            line
            for when, names in earlier.items()
            for line in (f"From an earlier campaign, {when}: {', '.join(names)}.", "")
        ),
        "| target | inputs | refused | accepted | foreign exceptions | timeouts | children killed "
        "| CPU s | peak MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in targets.items():
        done = f"{one['inputs']:,}"
        if one["inputs"] < one["wanted"]:
            done += f" of {one['wanted']:,}"
        lines.append(
            f"| {name} | {done} | {one['refused']:,} | {one['accepted']:,} | {one['foreign']:,} | "
            f"{one['slow']:,} | {one['killed']:,} | {one['seconds']:.0f} | "
            f"{one['memory'] / 1024:.0f} |"
        )
    left = [name for name, one in targets.items() if one["inputs"] < one["wanted"]]
    if left:
        lines += ["", f"Not finished within the time, or given up: {', '.join(left)}."]
    faults = [(name, f) for name, one in targets.items() for f in one["faults"].values()]
    if faults:
        lines += ["", "## Faults", ""]
    for name, fault in faults:
        again = f"--replay {name} {fault['number']}"
        again += f" --seed {about['seed']}" * bool(about["seed"])
        what = fault["what"].replace("`", "'")
        lines.append(f"- {name}, {fault['kind']}, {fault['count']} told: `{what}` (`{again}`)")
    return "\n".join(lines) + "\n"


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
