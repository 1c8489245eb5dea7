"""Tables for README.md, computed from the reference runs; ``regenerate.py`` puts them there.

Everything is computed from the output of ``zsar-bench compare --json`` for the runs of this folder:
with ``--selection last`` for all tables except the gain from selection on the test set, which needs
all rules. Accuracies in pseudo-unseen splits come from the records. Accuracies are top-1 unless
noted otherwise, means over encoder seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from accuracies import SANITY, SETS, SHORT, Json, correlation, honest, top1
from pages import NOT_RUN, percent, points, table
from ranking import places, ranks, stand_in_and_real

LOOKS = (5, 50)  #: numbers of evaluations on the test set whose gain is shown
#: Method -> the same without test clips or the candidates' texts in training.
WITHOUT = {"pgfa": "pgfa-inductive", "star-all-texts": "star"}


# --- Significant differences ---------------------------------------------------------------------


def separation(found: Json) -> str:
    """A line a protocol: how many rows are significantly worse than the best one."""
    lines = []
    for section in sorted(honest(found), key=lambda s: [*SHORT].index(s["protocol"])):
        rows = [r for r in section["rows"] if r["method"] not in SANITY]
        best = rows[0]
        worse = [r for r in rows[1:] if not r["not_shown_to_differ"]]
        detectable = section["detectable"]
        lines.append(
            [
                SHORT[section["protocol"]],
                str(section["unseen"]),
                "classes" if section["folds"] else "subjects",
                f"{best['method']} {best['texts']}",
                percent(best[section["headline"]]),
                f"{len(worse)} of {len(rows) - 1}",
                "-" if detectable is None else percent(detectable),
                f"{sum(r['beats_chance'] is True for r in rows)} of {len(rows)}",
            ]
        )
    return table(
        (
            *("protocol", "unseen", "unit", "best row", "its accuracy"),
            *("significantly worse", "minimum detectable difference", "above chance"),
        ),
        lines,
    )


# --- Texts ---------------------------------------------------------------------------------------


def texts(found: Json) -> str:
    """A line a method: accuracy with text set b minus that with a, by protocol."""
    said = top1(found)
    gaps: dict[str, dict[str, float]] = defaultdict(dict)
    for protocol, methods in said.items():
        for method, by_set in methods.items():
            if {*SETS} <= by_set.keys() and method != "chance":
                gaps[method][protocol] = by_set["b"] - by_set["a"]
    lines = [
        [method, *(points(gap[p]) if p in gap else "" for p in said)]
        for method, gap in sorted(gaps.items())
    ]
    size = {
        p: np.median([abs(gap[p]) for m, gap in gaps.items() if p in gap and m not in SANITY])
        for p in said
    }
    lines.append(["*median size*", *(f"*{percent(float(size[p]))}*" for p in said)])
    return table(("b - a", *(SHORT[p] for p in said)), lines)


# --- Selection on the test set -------------------------------------------------------------------


def peeking(found: Json) -> str:
    """A line a method: gain of the best of E evaluations on the test set over the last state."""
    priced = [
        (section["protocol"], group, price)
        for section in found["rules"]
        for group in section["groups"]
        for price in group["prices"]
    ]
    if not priced:
        return NOT_RUN
    protocols = [p for p in SHORT if p in {protocol for protocol, _, _ in priced}]
    columns = [(protocol, looks) for protocol in protocols for looks in LOOKS]
    prices: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for protocol, group, price in priced:
        for point in price["points"]:
            prices[group["method"]][protocol, point["evaluations"]] = point["price"]
    lines = [
        [method, *(points(gain[c]) if c in gain else "" for c in columns)]
        for method, gain in sorted(prices.items())
    ]
    median = [np.median([b[c] for b in prices.values() if c in b]) for c in columns]
    lines.append(["*median*", *(f"*{points(float(m))}*" for m in median)])
    return table(("gain (points)", *(f"{SHORT[p]}, E = {n}" for p, n in columns)), lines)


# --- Leaks ---------------------------------------------------------------------------------------


def leaks(found: Json) -> str:
    """A line a method and text set: accuracy without and with its leak, and what a paper prints."""
    said = top1(found)
    printed = {(row["protocol"], row["method"].lower()): row["value"] for row in found["published"]}
    lines = []
    for section in found["sections"]:
        for row in section["rows"] if section["unranked"].startswith("leak") else ():
            protocol, method = section["protocol"], row["method"]
            without = said[protocol][method].get(row["texts"])
            if without is None:
                continue
            paper = printed.get((protocol, method))
            lines.append(
                [
                    f"{method} {row['texts']}",
                    SHORT[protocol],
                    percent(without),
                    percent(row["top1"]),
                    points(row["top1"] - without),
                    "-" if paper is None else f"{paper:.1f}",
                ]
            )
    headings = ("method and texts", "protocol", "without", "with", "difference", "printed")
    return table(headings, sorted(lines)) if lines else NOT_RUN


# --- Transduction --------------------------------------------------------------------------------


def transduction(found: Json) -> str:
    """A line a method that sees unlabelled tested clips or the candidates' texts as it learns:
    its accuracy beside that of the method that sees neither."""
    said = top1(found)
    lines = []
    for section in found["sections"]:
        for row in section["rows"] if section["setting"] != "inductive" else ():
            without = said[section["protocol"]][WITHOUT[row["method"]]][row["texts"]]
            lines.append(
                [
                    f"{row['method']} {row['texts']}",
                    section["setting"],
                    SHORT[section["protocol"]],
                    f"{WITHOUT[row['method']]}: {percent(without)}",
                    percent(row["top1"]),
                    points(row["top1"] - without),
                ]
            )
    headings = ("method and texts", "setting", "protocol", "without", "with", "difference")
    return table(headings, sorted(lines)) if lines else NOT_RUN


# --- GZSL ----------------------------------------------------------------------------------------


def generalised(found: Json) -> str:
    """A line a protocol: GZSL metrics, all as mean class accuracies."""
    lines = []
    for section in sorted(found["gzsl"], key=lambda s: [*SHORT].index(s["protocol"])):
        rows = {row["method"]: row for row in section["rows"]}
        numbers = {
            name: {method: row["mean_class"][name]["mean"] for method, row in rows.items()}
            for name in ("seen", "unseen", "harmonic", "ausuc", "oracle_harmonic")
        }
        zsl = {method: row["zsl"] for method, row in rows.items()}
        best = max(numbers["harmonic"], key=lambda m: numbers["harmonic"][m])
        median = {name: float(np.median([*values.values()])) for name, values in numbers.items()}
        rhos = [correlation(zsl, numbers[name]) for name in ("harmonic", "ausuc")]
        lines.append(
            [
                SHORT[section["protocol"]],
                section["kind"],
                str(len(rows)),
                *(percent(median[name]) for name in ("seen", "unseen", "harmonic")),
                percent(median["oracle_harmonic"]),
                f"{best} {percent(numbers['harmonic'][best])}",
                *("-" if rho is None else f"{rho:.2f}" for rho in rhos),
            ]
        )
    headings = (
        *("protocol", "balance", "methods", "median S", "median U", "median H"),
        *("H, constant chosen on test", "highest H", "rho of ZSL with H", "with AUSUC"),
    )
    return table(headings, lines) if lines else NOT_RUN


# --- Headlines -----------------------------------------------------------------------------------


def calibrated(record: Json) -> float:
    """Mean class accuracy on pseudo-unseen classes, at the state that was chosen: the mean over
    rounds and rotations of a run by ``pseudo-unseen``."""
    chosen = record["states"]["fractions"]
    return float(
        np.mean([at(chosen[v["round"]], v["accuracies"]) for v in record["states"]["validation"]])
    )


def at(fraction: float, accuracies: Iterable[tuple[float, float]]) -> float:
    """The accuracy of the state, of those evaluated, that is nearest to this fraction."""
    return min(accuracies, key=lambda pair: abs(pair[0] - fraction))[1]


def headlines(found: Json) -> str:
    """A line a method: its accuracy in pseudo-unseen splits with either text set, and the test
    accuracy of the set that did better there. The best in pseudo-unseen splits come first."""
    said = top1(found)
    scores: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in found["records"]:
        if record["selection"] != "pseudo-unseen":
            continue
        where = (record["protocol"]["id"], record["method"]["name"])
        scores[where][record["texts"]["source"]].append(calibrated(record))
    lines = []
    for (protocol, method), by_set in scores.items():
        mean = {s: float(np.mean(values)) for s, values in by_set.items()}
        if {*SETS} <= mean.keys():
            chosen = max(SETS, key=lambda s: mean[s])
            (other,) = {*SETS} - {chosen}
            test = said[protocol][method]
            row = [method, SHORT[protocol], *(percent(mean[s]) for s in SETS), chosen]
            lines.append((-mean[chosen], [*row, percent(test[chosen]), percent(test[other])]))
    headings = ("method", "protocol", "pseudo-unseen, a", "pseudo-unseen, b", "selected texts")
    drawn = [line for _, line in sorted(lines)]
    return table((*headings, "its test accuracy", "the other set's"), drawn) if lines else NOT_RUN


# --- Printed -------------------------------------------------------------------------------------


def printed(found: Json) -> str:
    """A line a printed number of a method and protocol that were run here: ours beside it."""
    said = top1(found)
    lines = [
        [
            SHORT[row["protocol"]],
            f"{row['method']} ({row['venue']} {row['year']})",
            f"{row['value']:.1f}",
            *(percent(ours[s]) if s in ours else "" for s in SETS),
        ]
        for row in found["published"]
        if row["protocol"] in said
        and (ours := said[row["protocol"]].get(row["method"].lower())) is not None
    ]
    return table(("protocol", "paper", "printed", "ours, texts a", "ours, texts b"), lines)


# --- Cost ----------------------------------------------------------------------------------------


def cost(found: Json) -> str:
    """One line: runs, encoders, and the wall time of the workers that made them."""
    runs = [record["seconds"] for record in found["records"]]
    encoders = {e["key"]: e for r in found["records"] for e in r["encoder"]["rounds"]}
    hours = (
        sum(s["fit"] + s["score"] for s in runs) / 3600,
        sum(e["seconds"] for e in encoders.values()) / 3600,
    )
    headings = ("runs", "hours of fitting and scoring", "encoders", "hours of training them")
    line = [str(len(runs)), f"{hours[0]:.1f}", str(len(encoders)), f"{hours[1]:.1f}"]
    return table(headings, [line])


# --- The tables ----------------------------------------------------------------------------------

TABLES: dict[str, Callable[[Json], str]] = {
    "separation": separation,
    "places": places,
    "texts": texts,
    "peeking": peeking,
    "leaks": leaks,
    "transduction": transduction,
    "generalised": generalised,
    "headlines": headlines,
    "printed": printed,
    "ranks": ranks,
    "stand-in-and-real": stand_in_and_real,
    "cost": cost,
}


def tables(last: Json, every_rule: Json, records: Iterable[Json]) -> dict[str, str]:
    """Name -> table.

    Args:
        last: the comparison of the runs by rule ``last``.
        every_rule: that of all runs, with what each rule is worth.
        records: all runs' records.
    """
    found: Json = {**last, "rules": every_rule["rules"], "records": list(records)}
    return {name: draw(found) for name, draw in TABLES.items()}
