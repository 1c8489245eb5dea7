"""Power analysis of kinect20, computed before any method was run on it; writes POWER.md.

    python results/reference/power.py

The minimum detectable difference of a design depends on the standard deviation of paired
differences between its units, which is not known beforehand. It is taken from the finished
reference runs on the small protocols of two of the three data sets: the standard deviation over
classes of the difference between two methods, seeds averaged.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np

from zsar_bench.catalogue.catalogue import load
from zsar_bench.comparison.ranking import row_key
from zsar_bench.comparison.rows import class_means, over_seeds
from zsar_bench.comparison.statistics import smallest_detectable
from zsar_bench.data.protocols.lookup import find_protocol
from zsar_bench.data.protocols.protocol import folder_name
from zsar_bench.records.files import find_records, load_records
from zsar_bench.records.schema import Record

HERE = Path(__file__).resolve().parent
SMALL = (
    "purls-utd-mhad-22-5",
    "purls-utd-mhad-18-9",
    "purls-utd-mhad-14-13",
    "purls-nw-ucla-5-5",
)
LEFT_OUT = "chance"
HEAD = """\
# Power analysis of kinect20

Made by `power.py` and committed before any method was run on kinect20. The unit is a class: every
class is unseen once, and class accuracies of two methods are compared in pairs (t and sign-flip,
spread within folds). The standard deviation of such differences, in points, between methods on the
small protocols of two of its parts, over all pairs of methods and both text sets:
"""


def rows_of(protocol: str) -> dict[str, list[Record]]:
    """Reference runs of a protocol, by all but their seeds."""
    records, damaged = load_records(find_records(HERE, folder_name(protocol)))
    if damaged:
        raise SystemExit("\n".join(damaged))
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.method.name != LEFT_OUT:
            groups.setdefault(row_key(record), []).append(record)
    return groups


def spreads(protocol: str) -> list[float]:
    """Of every pair of methods with the same texts: sd over classes of their difference."""
    groups = list(rows_of(protocol).values())
    means = [over_seeds(group, [class_means(r) for r in group]) for group in groups]
    texts = [group[0].texts.source for group in groups]
    return [
        float(np.std(means[i] - means[j], ddof=1))
        for i, j in combinations(range(len(groups)), 2)
        if texts[i] == texts[j]
    ]


def page() -> str:
    """POWER.md."""
    protocol = find_protocol("kinect20", load())
    classes, folds = len(protocol.classes), len(protocol.folds)
    lines = [
        HEAD,
        "| protocol | pairs | smallest sd | median sd | largest sd |",
        "| --- " * 5 + "|",
    ]
    every: list[float] = []
    for name in SMALL:
        found = spreads(name)
        every += found
        figures = (min(found), float(np.median(found)), max(found))
        cells = " | ".join(f"{100 * f:.1f}" for f in figures)
        lines.append(f"| {name} | {len(found)} | {cells} |")
    lines += [
        "",
        f"With {classes} classes in {folds} folds (df {classes - folds}) and a power of 80 % at "
        "the 5 % level, the minimum detectable difference in mean class accuracy:",
        "",
        "| sd of class differences | minimum detectable difference | the same with 5 classes |",
        "| --- | --- | --- |",
    ]
    quartiles = [float(np.quantile(every, q)) for q in (0.25, 0.5, 0.75)]
    for sd in quartiles:
        many = smallest_detectable(sd, classes, df=classes - folds)
        few = smallest_detectable(sd, 5)
        lines.append(f"| {100 * sd:.1f} | {100 * many:.1f} points | {100 * few:.1f} points |")
    lines += [
        "",
        "The rows are the quartiles of all standard deviations above. 22/5 has five classes: "
        "it ranks nothing.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "POWER.md").write_text(page(), "utf-8")
