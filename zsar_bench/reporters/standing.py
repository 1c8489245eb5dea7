"""Words about what a row is worth: whether it is ranked, and under which walls it was made."""

from __future__ import annotations

from collections import Counter
from typing import Any

from zsar_bench.ranking import SELF_REPORTED, best_of, leaking, peeked
from zsar_bench.selection import LAST

Json = dict[str, Any]

MOST_DENIED = 3  #: kinds of refused accesses that are told, most frequent first
#: How a level of confinement is said.
CONFINED = {
    "landlock": "landlock",
    "process": "no",
    "unknown": "not known",
    "unconfined": "unconfined",
}
PEEKED_INTERVAL = "No interval: around the best of several looks at the test none would hold."


def row_name(row: Json) -> str:
    """A row's method, in what it differs from others of the same method, and a leak."""
    said = [row["variant"], leaking(row)]
    return str(row["method"]) + "".join(f" ({words})" for words in said if words)


def rule_words(rule: str) -> str:
    """A selection rule, with what it did where it looked at the test clips."""
    evaluations = best_of(rule)
    return f"{rule} (best of {evaluations} on test)" if evaluations else rule


def apart(section: Json) -> list[str]:
    """Why a section's rows are not ranked, where they are not."""
    return [f"{section['unranked']}, not ranked"] if section["unranked"] else []


def apart_lines(section: Json) -> list[str]:
    """What must be known of rows that are not ranked, before their numbers are read."""
    lines = []
    if SELF_REPORTED in section["unranked"]:
        lines.append(
            "Self-reported: scores were made elsewhere, unconfined, and only judged here; "
            "what made them is not known."
        )
    if leaking(section):
        lines.append(
            "Leak: the method was told the true class of every clip that it scored. Such numbers "
            "explain printed ones; they say nothing about how well unseen classes are recognised."
        )
    if peeked(section):
        lines.append(
            "Chosen on test: the best of E evaluations on the clips it is judged by, which is "
            "too high by construction. What that is worth: zsar-bench compare --selection all."
        )
    return lines


def remarked(row: Json) -> str:
    """Marks of a row: that nobody knows how it was made, or that ``trust_lines`` speaks of it."""
    reported = f" ({SELF_REPORTED})" if SELF_REPORTED in row["unranked"] else ""
    return reported + (" ‡" if _remarks(row) else "")


def trust_lines(section: Json) -> list[str]:
    """How many rows were made without confinement, and what is remarked of single rows."""
    rows = section["rows"]
    lines = []
    levels = [row["confinement"] for row in rows]
    weak = len(levels) - levels.count("landlock")
    if weak and SELF_REPORTED not in section["unranked"]:
        old = levels.count("unknown")
        since = f" ({old} before certificates were kept)" if old else ""
        lines.append(f"{weak} of {len(rows)} rows were made without confinement{since}.")
    about: dict[str, list[str]] = {}
    for row in rows:
        name = row_name(row) + ("" if row["rule"] == LAST else f" by {row['rule']}")
        for remark in _remarks(row):
            about.setdefault(remark, []).append(name)
    for remark, names in about.items():
        lines.append(f"‡ {', '.join(dict.fromkeys(names))}: {remark}")
    return lines


def tuning_lines(section: Json) -> list[str]:
    """Whether all rows come from equal searches; a table without a tuned row says nothing."""
    budgets = Counter(row["tuning"]["budget"] for row in section["rows"] if row["tuning"])
    plain = len(section["rows"]) - budgets.total()
    if not budgets:
        return []
    told = [f"{rows} with {budget}" for budget, rows in sorted(budgets.items())]
    told[0] = told[0].replace("with", "tuned with") + " trials"
    if len(told) == 1 and not plain:
        (budget,) = budgets
        return [f"Every row was tuned with {budget} trials on pseudo-unseen classes."]
    told += [f"{plain} not tuned here"] if plain else []
    return [
        f"Not the same search for every row: {', '.join(told)}. Part of a gap may be the search."
    ]


def _remarks(row: Json) -> list[str]:
    """What a reader must know of one row: refused accesses, and a proof that failed."""
    remarks = []
    if row["denied"]:
        found = sorted(row["denied"].items(), key=lambda item: (-item[1], item[0]))
        told = [f"{what} ({times} x)" for what, times in found[:MOST_DENIED]]
        more = len(found) - len(told)
        told += [f"{more} more"] if more else []
        remarks.append(f"accesses were refused: {', '.join(told)}.")
    proof = row["proof"]
    if proof and not proof["refit_identical"]:
        remarks.append("not proven: a refit with unseen clips scrambled ended in another state.")
    if proof and not proof["stable"]:
        remarks.append("unstable: scores move beyond tolerance with a little noise on the inputs.")
    return remarks
