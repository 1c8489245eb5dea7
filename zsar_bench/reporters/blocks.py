"""Tables that stand beside the ranked ones, in the form every human-readable reporter draws.

They are random class splits, text controls, and curves of dose and response.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from zsar_bench.reporters.wording import (
    about,
    all_rows,
    beats_chance,
    ends,
    interval_name,
    marked,
    percent,
    plain,
    ranked_name,
    row_name,
    shared,
    unusual_setting,
)

Json = dict[str, Any]

#: What a row is about. Said once below the table where all rows agree.
ABOUT = ("profile", "encoder", "texts", "fields", "text encoder", "rule", "on")
CONTROLS = {
    "shuffled-unseen": "Candidates' texts shifted cyclically at scoring, all K shifts: a method "
    "that treats candidates alike gets exactly 1/K.",
    "shuffled-all": "Texts permuted among all classes before fit: expected is 1/K.",
    "random": "Every class gets random text features before fit: expected is 1/K.",
    "shuffled-seen": "Texts permuted among the seen classes before fit: a diagnostic, "
    "nothing says that it is 1/K.",
}


@dataclass(frozen=True)
class Block:
    """A table with its headline and what to say below it; all of it printable."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    caption: list[str]
    best: int | None = None  #: row to print bold


def blocks(comparison: Json) -> list[Block]:
    """All of a comparison that is neither a section nor published."""
    splits = [_splits(section) for section in comparison.get("splits", ())]
    controls = [_control(section) for section in comparison.get("controls", ())]
    return [*splits, *controls, *_curves(comparison.get("curves", ()))]


def _block(title: str, rows: list[dict[str, str]], caption: Iterable[str]) -> Block:
    """A block of rows of equal headings; what all rows share moves into the caption."""
    common = shared(rows, [h for h in ABOUT if h in rows[0]])
    headings = [h for h in rows[0] if h not in common]
    return Block(
        title=plain(title),
        headings=headings,
        rows=[[plain(r[h]) for h in headings] for r in rows],
        caption=[plain(line) for line in (*all_rows(common), *caption)],
    )


def _splits(section: Json) -> Block:
    rows = [
        {
            "method": ranked_name(row),
            **about(row),
            "splits": str(row["splits"]),
            "seeds": " to ".join(str(n) for n in sorted({row["seeds"][0], row["seeds"][-1]})),
            "micro": percent(row["micro"]),
            "macro": percent(row["macro"]),
            "sd": percent(row["sd"]),
            "95 % interval": ends(row["interval"]),
            "> chance": beats_chance(row),
            "range": f"{percent(row['low'])} to {percent(row['high'])}",
            **({} if section["mean"] else {"published split": _published_split(row)}),
        }
        for row in section["rows"]
    ]
    named = interval_name(section["rows"])
    kind = "Published" if section["mean"] else "Random"
    caption = [
        f"{kind} splits into {section['seen']} seen and {section['unseen']} unseen classes, "
        f"{section['rule']}; micro, sd and range over splits, seeds averaged inside each; "
        f"1/K is {percent(section['chance'])} %.",
        f"Interval: {named}, variance x (1/J + K_u/K_s), of micro accuracy."
        if named
        else "No interval: one split.",
    ]
    if any(r["not_shown_to_differ"] for r in section["rows"]):
        caption.append("† not shown to differ from the best row by the same t on shared splits.")
    dials = ", ".join(f"{name}={value:g}" for name, value in section["dials"].items())
    parts = [marked(section["family"]), *unusual_setting(section)]
    parts += [dials] if dials else []
    parts += ["oracle texts"] if section["oracle"] else []
    count = len(section["splits"])
    kind = f"mean of {count} splits" if section["mean"] else f"{count} random class splits"
    title = " - ".join([*parts, kind])
    best = next(n for n, r in enumerate(section["rows"]) if r["best"])
    return replace(_block(title, rows, caption), best=best)


def _published_split(row: Json) -> str:
    """The published split's accuracy and its rank among the random ones, 1 is highest."""
    if row["published"] is None:
        return "-"
    return f"{percent(row['published'])} (rank {row['published_rank']} of {row['splits'] + 1})"


def _control(section: Json) -> Block:
    rows = [
        {
            "method": row_name(row),
            **about(row),
            "draws": str(row["draws"]),
            "seeds": str(row["seeds"]),
            "own texts": percent(row["plain"]),
            "macro": percent(row["macro"]),
            "95 % interval": ends(row["interval"]),
            "verdict": row["verdict"],
            "why": row["reason"],
        }
        for row in section["rows"]
    ]
    named = interval_name(section["rows"])
    caption = [
        CONTROLS[section["control"]],
        f"{section['clips']} clips of {section['unseen']} unseen classes; macro accuracy, "
        f"averaged over draws; 1/K is {percent(section['chance'])} %.",
        *([f"Interval: {named}."] if named else []),
    ]
    parts = [marked(section["protocol"]), *unusual_setting(section)]
    title = " - ".join([*parts, f"text control {section['control']}; not ranked"])
    return _block(title, rows, caption)


def _curves(curves: Iterable[Json]) -> list[Block]:
    """Curves that share protocol and dial, a row a method and a column a value of the dial."""
    groups: dict[tuple[str, str, str, int], list[Json]] = {}
    for curve in curves:
        others = ", ".join(f"{k}={v:g}" for k, v in curve["others"].items())
        key = (curve["protocol"], curve["dial"], others, curve["splits"])
        groups.setdefault(key, []).append(curve)
    found = []
    for (protocol, dial, others, splits), members in groups.items():
        values = sorted({p["value"] for c in members for p in c["points"]})
        rows = []
        for curve in members:
            at = {p["value"]: percent(p["micro"]) for p in curve["points"]}
            cells = {f"{v:g}": at.get(v, "-") for v in values}
            rows.append({"method": curve["row"], "texts": curve["texts"], **cells})
        turned = f"{dial} ({others})" if others else dial
        turned += f", mean of {splits} random class splits" if splits else ""
        caption = ["Micro top-1 in per cent for each value of the dial; intervals: --json."]
        found.append(_block(f"{marked(protocol)}: by {turned}", rows, caption))
    return found
