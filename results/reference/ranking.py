"""Agreement of methods' ranks between protocols, and between text sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np
from accuracies import FEWEST, SETS, SHORT, Json, correlation, over_sets, top1, with_set
from pages import NOT_RUN, table
from scipy.stats import rankdata


def ranks(found: Json) -> str:
    """Correlations of methods' ranks between protocols; on the diagonal between text sets."""
    said = {p: m for p, m in top1(found).items() if len(over_sets(m)) >= FEWEST}
    names = [*said]
    lines = []
    for number, row in enumerate(names):
        others = [correlation(over_sets(said[row]), over_sets(said[p])) for p in names[:number]]
        cells = ["" if rho is None else f"{rho:.2f}" for rho in others]
        own = correlation(*(with_set(said[row], s) for s in SETS))
        cells.append("" if own is None else f"*{own:.2f}*")
        lines.append([SHORT[row], *cells, *[""] * (len(names) - len(cells))])
    return table(("rho", *(SHORT[p] for p in names)), lines)


def places(found: Json) -> str:
    """A line a method: its rank on each protocol with the first text set, for methods that ran on
    all of them; the lowest mean over the real ones first."""
    said, shared = comparable({p: with_set(m, SETS[0]) for p, m in top1(found).items()})
    if not shared:
        return NOT_RUN
    ranked = {p: mean_ranks([scores], shared) for p, scores in said.items()}
    real = [p for p in said if not p.startswith("stand-in/")]
    mean = {m: float(np.mean([ranked[p][m] for p in real])) for m in shared}
    lines = [
        [m, *(f"{ranked[p][m]:g}" for p in said), f"{mean[m]:.1f}"]
        for m in sorted(shared, key=lambda m: (mean[m], m))
    ]
    return table(("rank", *(SHORT[p] for p in said), "mean over real ones"), lines)


def stand_in_and_real(found: Json) -> str:
    """Stand-ins against real protocols, by methods' mean ranks: one column for methods with both
    text sets, one for all that ran with the first."""
    said = top1(found)
    by_columns = {
        "both text sets": {p: over_sets(m) for p, m in said.items()},
        f"texts {SETS[0]}": {p: with_set(m, SETS[0]) for p, m in said.items()},
    }
    columns = {name: carried_over(scores) for name, scores in by_columns.items()}
    columns = {name: cells for name, cells in columns.items() if cells}
    if not columns:
        return NOT_RUN
    names = dict.fromkeys(name for cells in columns.values() for name in cells)
    lines = [[name, *(cells.get(name, "") for cells in columns.values())] for name in names]
    return table(("stand-ins (mean rank) against", *columns), lines)


def carried_over(scores: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """What the stand-ins are held against -> rho with a 95 % interval over methods."""
    said, shared = comparable(scores)
    made = [p for p in said if p.startswith("stand-in/")]
    real = [p for p in said if p not in made]
    if not made or not real or len(shared) < FEWEST:
        return {}
    one = mean_ranks([said[p] for p in made], shared)
    cells = {}
    for name, chosen in {
        "all real ones (mean rank)": real,
        **{SHORT[p]: [p] for p in real},
    }.items():
        other = mean_ranks([said[p] for p in chosen], shared)
        low, high = interval(one, other)
        cells[name] = f"{correlation(one, other):.2f} ({low:.2f} to {high:.2f})"
    pairs = [
        correlation(*({m: said[p][m] for m in shared} for p in pair))
        for pair in combinations(real, 2)
    ]
    among = [rho for rho in pairs if rho is not None]
    cells["*real ones with each other, mean*"] = f"*{np.mean(among):.2f}*" if among else "*-*"
    cells["*methods*"] = f"*{len(shared)}*"
    return cells


def comparable(
    scores: Mapping[str, Mapping[str, float]],
) -> tuple[dict[str, Mapping[str, float]], set[str]]:
    """The protocols with enough methods for ranks, and the methods that all of them have."""
    said = {p: methods for p, methods in scores.items() if len(methods) >= FEWEST}
    return said, set.intersection(*({*methods} for methods in said.values())) if said else set()


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
    drawn = np.array([pairs[g.integers(len(pairs), size=len(pairs))] for _ in range(draws)])
    untied = drawn[(np.ptp(drawn, axis=1) > 0).all(axis=1)]
    x, y = np.moveaxis(rankdata(untied, axis=1) - (len(names) + 1) / 2, 2, 0)
    found = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
