"""What the reference runs answer, as tables for README.md; ``regenerate.py`` puts them there.

Everything is computed from ``zsar-bench compare --selection all --json`` over the runs of this
folder and, for pseudo-unseen classes, from their records. Accuracies are micro unless said
otherwise, means over encoder seeds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from pages import percent, points, table
from scipy.stats import rankdata, spearmanr

Json = dict[str, Any]

SETS = ("a", "b")  #: the text sets
SANITY = ("chance", "text-only")  #: they look at no clip, and are in no ranking of methods
NOT_RUN = "*Not run yet.*"
FEWEST = 8  #: methods that two protocols must share for a correlation of ranks
SHORT = {
    "purls-utd-mhad-22-5": "U 22/5",
    "purls-utd-mhad-18-9": "U 18/9",
    "purls-utd-mhad-14-13": "U 14/13",
    "purls-nw-ucla-8-2": "N 8/2",
    "purls-nw-ucla-5-5": "N 5/5",
    "kinect20": "kinect20",
    "stand-in/synse-55-5": "S 55/5",
    "stand-in/synse-48-12": "S 48/12",
}  #: protocols of the tables below, as they are called there


def honest(found: Json) -> list[Json]:
    """The sections of inductive methods that nothing was leaked to."""
    return [
        s
        for s in found["sections"]
        if s["protocol"] in SHORT and not s["unranked"] and s["setting"] == "inductive"
    ]


def micro(found: Json) -> dict[str, dict[str, dict[str, float]]]:
    """Protocol -> method -> text set -> accuracy of the last state."""
    said: dict[str, dict[str, dict[str, float]]] = {}
    for section in honest(found):
        methods = said.setdefault(section["protocol"], defaultdict(dict))
        for row in section["rows"]:
            if row["rule"] == "last":
                methods[row["method"]][row["texts"]] = row["micro"]
    return {protocol: said[protocol] for protocol in SHORT if protocol in said}


# --- What separates from what --------------------------------------------------------------------


def separation(found: Json) -> str:
    """A line a protocol: how many rows are shown to be worse than the best one."""
    lines = []
    for section in sorted(honest(found), key=lambda s: [*SHORT].index(s["protocol"])):
        rows = [r for r in section["rows"] if r["method"] not in SANITY and r["rule"] == "last"]
        best = rows[0]
        worse = [r for r in rows[1:] if not r["not_shown_to_differ"]]
        detectable = section["detectable"]
        lines.append(
            [
                SHORT[section["protocol"]],
                str(section["unseen"]),
                "classes" if section["folds"] else "performers",
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
            *("shown to be worse", "gap that shows", "above chance"),
        ),
        lines,
    )


# --- Texts ---------------------------------------------------------------------------------------


def texts(found: Json) -> str:
    """A line a method: how far accuracy with text set b is above that with a, by protocol."""
    said = micro(found)
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
    return table(("b less a", *(SHORT[p] for p in said)), lines)


# --- Peeking -------------------------------------------------------------------------------------


def peeking(found: Json) -> str:
    """A line a method: what E looks at the test add to the last state, on each protocol."""
    priced = [
        (section["protocol"], group, price)
        for section in found["rules"]
        for group in section["groups"]
        for price in group["prices"]
    ]
    if not priced:
        return NOT_RUN
    protocols = [p for p in SHORT if p in {protocol for protocol, _, _ in priced}]
    looks = [p["evaluations"] for p in priced[0][2]["points"]]
    prices: dict[str, dict[str, list[Json]]] = defaultdict(dict)
    for protocol, group, price in priced:
        prices[group["method"]][protocol] = price["points"]
    lines = []
    for method, by_protocol in sorted(prices.items()):
        cells = [
            points(point["price"]) if p in by_protocol else ""
            for p in protocols
            for point in by_protocol.get(p, [{}] * len(looks))[1:]
        ]
        lines.append([method, *cells])
    headings = [f"{SHORT[p]}, E = {looks[1]}" if n == 1 else f"{looks[n]}"
                for p in protocols for n in range(1, len(looks))]  # fmt: skip
    return table(("points bought", *headings), lines)


# --- Leaks ---------------------------------------------------------------------------------------


def leaks(found: Json) -> str:
    """A line a method and text set: accuracy without and with its leak, and what a paper prints."""
    said = micro(found)
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
                    percent(row["micro"]),
                    points(row["micro"] - without),
                    "-" if paper is None else f"{paper:.1f}",
                ]
            )
    headings = ("method and texts", "protocol", "without", "with", "difference", "printed")
    return table(headings, sorted(lines)) if lines else NOT_RUN


# --- Headlines -----------------------------------------------------------------------------------


def rehearsed(record: Json) -> float:
    """Macro accuracy on classes that played unseen ones, at the state that was chosen: the mean
    over rounds and rotations of a run by ``pseudo-unseen``."""
    chosen = record["states"]["fractions"]
    return float(
        np.mean([at(chosen[v["round"]], v["accuracies"]) for v in record["states"]["validation"]])
    )


def at(fraction: float, accuracies: Iterable[tuple[float, float]]) -> float:
    """The accuracy of the state, of those evaluated, that is nearest to this fraction."""
    return min(accuracies, key=lambda pair: abs(pair[0] - fraction))[1]


def headlines(found: Json) -> str:
    """A line a method: its accuracy in rehearsals with either text set, and the test accuracy of
    the set that did better there. Most successful in rehearsal first."""
    said = micro(found)
    scores: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in found["rehearsals"]:
        where = (record["protocol"]["id"], record["method"]["name"])
        scores[where][record["texts"]["source"]].append(rehearsed(record))
    lines = []
    for (protocol, method), by_set in scores.items():
        mean = {s: float(np.mean(values)) for s, values in by_set.items()}
        if {*SETS} <= mean.keys():
            chosen = max(SETS, key=lambda s: mean[s])
            (other,) = {*SETS} - {chosen}
            test = said[protocol][method]
            row = [method, SHORT[protocol], *(percent(mean[s]) for s in SETS), chosen]
            lines.append((-mean[chosen], [*row, percent(test[chosen]), percent(test[other])]))
    headings = ("method", "protocol", "rehearsed a", "rehearsed b", "headline: texts")
    drawn = [line for _, line in sorted(lines)]
    return table((*headings, "its test accuracy", "the other set's"), drawn) if lines else NOT_RUN


# --- Printed -------------------------------------------------------------------------------------


def printed(found: Json) -> str:
    """A line a printed number of a method and protocol that were run here: ours beside it."""
    said = micro(found)
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


# --- Ranks ---------------------------------------------------------------------------------------


def correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Spearman's rho over the methods that both have; None if they are too few."""
    shared = sorted(one.keys() & other.keys())
    if len(shared) < FEWEST:
        return None
    return float(spearmanr([one[m] for m in shared], [other[m] for m in shared]).statistic)


def over_sets(methods: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Method -> mean over text sets, for methods that ran with both."""
    return {
        m: float(np.mean([by[s] for s in SETS]))
        for m, by in methods.items()
        if {*SETS} <= by.keys() and m not in SANITY
    }


def with_set(methods: Mapping[str, Mapping[str, float]], texts: str) -> dict[str, float]:
    """Method -> accuracy with one text set, for methods that ran with it."""
    return {m: by[texts] for m, by in methods.items() if texts in by and m not in SANITY}


def ranks(found: Json) -> str:
    """Correlations of methods' ranks between protocols; on the diagonal between text sets."""
    said = {p: m for p, m in micro(found).items() if len(over_sets(m)) >= FEWEST}
    names = [*said]
    lines = []
    for number, row in enumerate(names):
        others = [correlation(over_sets(said[row]), over_sets(said[p])) for p in names[:number]]
        cells = ["" if rho is None else f"{rho:.2f}" for rho in others]
        own = correlation(*(with_set(said[row], s) for s in SETS))
        cells.append("" if own is None else f"*{own:.2f}*")
        lines.append([SHORT[row], *cells, *[""] * (len(names) - len(cells))])
    return table(("rho", *(SHORT[p] for p in names)), lines)


def stand_in_and_real(found: Json) -> str:
    """One number for each: stand-ins against real protocols, by methods' mean ranks."""
    said = {p: over_sets(m) for p, m in micro(found).items()}
    said = {p: m for p, m in said.items() if len(m) >= FEWEST}
    made = [p for p in said if p.startswith("stand-in/")]
    real = [p for p in said if p not in made]
    if not made or not real:
        return NOT_RUN
    shared = set.intersection(*({*m} for m in said.values()))
    if len(shared) < FEWEST:
        return NOT_RUN
    lines = []
    one = mean_ranks([said[p] for p in made], shared)
    groups = {"all real ones, by mean rank": real, **{SHORT[p]: [p] for p in real}}
    for name, chosen in groups.items():
        other = mean_ranks([said[p] for p in chosen], shared)
        low, high = interval(one, other)
        rho = f"{correlation(one, other):.2f}"
        lines.append([name, rho, f"{low:.2f} to {high:.2f}", str(len(shared))])
    pairs = (correlation(said[first], said[second]) for first, second in combinations(real, 2))
    among = [rho for rho in pairs if rho is not None]
    mean = f"*{np.mean(among):.2f}*" if among else "*-*"
    lines.append(["*real ones among themselves, mean of pairs*", mean, "", ""])
    return table(("stand-ins (mean rank) against", "rho", "95 % over methods", "methods"), lines)


def mean_ranks(scores: Iterable[Mapping[str, float]], methods: set[str]) -> dict[str, float]:
    """Method -> mean over protocols of its rank, the best being 1; ties share."""
    names = sorted(methods)
    each = [rankdata([-one[m] for m in names]) for one in scores]
    return dict(zip(names, np.mean(each, axis=0).tolist(), strict=True))


def interval(
    one: Mapping[str, float], other: Mapping[str, float], draws: int = 2000
) -> tuple[float, float]:
    """Percentile bootstrap over methods of Spearman's rho; seeded."""
    names = sorted(one)
    pairs = np.array([[one[m], other[m]] for m in names])
    g = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        drawn = pairs[g.integers(len(pairs), size=len(pairs))]
        if len({*drawn[:, 0]}) > 1 and len({*drawn[:, 1]}) > 1:
            found.append(spearmanr(drawn[:, 0], drawn[:, 1]).statistic)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


# --- The tables ----------------------------------------------------------------------------------

TABLES: dict[str, Callable[[Json], str]] = {
    "separation": separation,
    "texts": texts,
    "peeking": peeking,
    "leaks": leaks,
    "headlines": headlines,
    "printed": printed,
    "ranks": ranks,
    "stand-in-and-real": stand_in_and_real,
}


def tables(comparison: str, records: Iterable[Json]) -> dict[str, str]:
    """Name -> table.

    Args:
        comparison: what ``compare --selection all --json`` printed.
        records: all runs' ``run.json``.
    """
    found: Json = json.loads(comparison)
    found["rehearsals"] = [r for r in records if r["selection"] == "pseudo-unseen"]
    return {name: draw(found) for name, draw in TABLES.items()}
