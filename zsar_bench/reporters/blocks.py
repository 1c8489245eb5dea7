"""Tables in addition to the ranked ones, in a form that all human-readable reporters share.

They are random class splits, text controls, selection rules, and GZSL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from zsar_bench.common.names import plain
from zsar_bench.comparison.ranking import peeked
from zsar_bench.reporters.words import (
    ACCURACY,
    MEAN_CLASS,
    PEEKED_INTERVAL,
    TOP1,
    all_rows,
    beats_chance,
    description,
    ends,
    interval_name,
    marked,
    marks,
    percent,
    points,
    ranked_name,
    row_name,
    rule_words,
    shared,
    trust_lines,
    tuning_lines,
    unranked_lines,
    unranked_note,
    unusual_setting,
)

Json = dict[str, Any]

CONTROLS = {
    "shuffled-unseen": "Candidates' texts shifted cyclically at scoring, all K shifts: a method "
    "that treats candidates alike gets exactly 1/K.",
    "shuffled-all": "Texts permuted among all classes before fit: expected is 1/K.",
    "random": "Every class gets random text features before fit: expected is 1/K.",
    "shuffled-seen": "Texts permuted among the seen classes before fit: a diagnostic, "
    "1/K is not expected.",
}


def blocks(comparison: Json) -> list[Block]:
    """All tables of a comparison except sections and published results."""
    splits = [_splits(section) for section in comparison.get("splits", ())]
    controls = [_control(section) for section in comparison.get("controls", ())]
    rules = [block for section in comparison.get("rules", ()) for block in _rules(section)]
    gzsl = [gzsl_block(section) for section in comparison.get("gzsl", ())]
    return [*splits, *controls, *rules, *gzsl]


def _splits(section: Json) -> Block:
    rows = [
        {
            "method": ranked_name(row),
            **description(row),
            "splits": str(row["splits"]),
            "seeds": " to ".join(str(n) for n in sorted({row["seeds"][0], row["seeds"][-1]})),
            TOP1: percent(row["top1"]),
            MEAN_CLASS: percent(row["mean_class"]),
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
        f"{section['rule']}; top-1, sd and range over splits, seeds averaged inside each; "
        f"1/K is {percent(section['chance'])} %.",
        f"Interval: {named}, variance x (1/J + K_u/K_s), of top-1 accuracy."
        if named
        else PEEKED_INTERVAL
        if peeked(section)
        else "No interval: one split.",
        *unranked_lines(section),
    ]
    if any(r["not_shown_to_differ"] for r in section["rows"]):
        caption.append("† not significantly different from the best row (same t on shared splits).")
    caption += [*tuning_lines(section), *trust_lines(section)]
    parts = [marked(section["family"]), *unusual_setting(section)]
    parts += ["oracle texts"] if section["oracle"] else []
    parts += unranked_note(section)
    count = len(section["splits"])
    kind = f"mean of {count} splits" if section["mean"] else f"{count} random class splits"
    title = " - ".join([*parts, kind])
    best = next((n for n, r in enumerate(section["rows"]) if r["best"]), None)
    return replace(make_block(title, rows, caption, _kept_heading(section)), best=best)


def _kept_heading(section: Json) -> str:
    """The heading that is shown in every row: the rule, if it selected on the test clips."""
    return "rule" if peeked(section) else ""


def _published_split(row: Json) -> str:
    """The published split's accuracy and its rank among the random ones, 1 is highest."""
    if row["published"] is None:
        return "-"
    return f"{percent(row['published'])} (rank {row['published_rank']} of {row['splits'] + 1})"


def _control(section: Json) -> Block:
    rows = [
        {
            "method": row_name(row) + marks(row),
            **description(row),
            "draws": str(row["draws"]),
            "seeds": str(row["seeds"]),
            "own texts": percent(row["plain"]),
            MEAN_CLASS: percent(row["mean_class"]),
            "95 % interval": ends(row["interval"]),
            "verdict": row["verdict"],
            "why": row["reason"],
        }
        for row in section["rows"]
    ]
    named = interval_name(section["rows"])
    caption = [
        CONTROLS[section["control"]],
        f"{section['clips']} clips of {section['unseen']} unseen classes; mean class accuracy, "
        f"averaged over draws; 1/K is {percent(section['chance'])} %.",
        *([f"Interval: {named}."] if named else []),
        *unranked_lines(section),
        *trust_lines(section),
    ]
    parts = [marked(section["protocol"]), *unusual_setting(section), *unranked_note(section)]
    title = " - ".join([*parts, f"text control {section['control']}; not ranked"])
    return make_block(title, rows, caption, _kept_heading(section))


def _rules(section: Json) -> list[Block]:
    """One block per method with a row per rule; then the gain from test-set selection."""
    parts = [marked(section["protocol"]), *unusual_setting(section)]
    parts += ["oracle texts"] if section["oracle"] else []
    where = " - ".join(parts)
    prices = [(group, price) for group in section["groups"] for price in group["prices"]]
    tables = [_by_rule(where, group) for group in section["groups"]]
    return [*tables, _selection_gain(where, prices)] if prices else tables


def _by_rule(where: str, group: Json) -> Block:
    entries = [{**group, **row} for row in group["rules"]]
    rows = [
        {
            **description(row),
            "seeds": str(row["seeds"]),
            "at": f"{100 * row['fraction']:.0f} %",
            TOP1: percent(row["top1"]),
            MEAN_CLASS: percent(row["mean_class"]),
            "vs last": points(row["difference"]["mean"]) if row["difference"] else "-",
            "95 % interval": _difference(row["difference"]),
        }
        for row in entries
    ]
    differences = [row["difference"] for row in entries if row["difference"]]
    named = interval_name(differences)
    pairs = " or ".join(str(n) for n in sorted({d["pairs"] for d in differences}))
    caption = [
        "at: position of the selected state in the schedule, mean over rounds and seeds.",
        f"vs last: difference (rule - last) of top-1 accuracy, paired by seed (n = {pairs})."
        if differences
        else "vs last: no seed was run under last and another rule.",
        *([f"Interval: {named}, of these differences."] if named else []),
        *(
            ["Cannot tell: an interval needs at least 5 seeds."]
            if not all(d["interval"] for d in differences)
            else []
        ),
    ]
    title = f"{where} - {row_name(group)} by selection rule; not ranked"
    return make_block(title, rows, caption, "rule")


def _difference(difference: Json | None) -> str:
    if difference is None:
        return "-"
    interval = difference["interval"]
    return f"{points(interval['low'])} to {points(interval['high'])}" if interval else "cannot tell"


def _selection_gain(where: str, prices: list[tuple[Json, Json]]) -> Block:
    counts = sorted({p["evaluations"] for _, price in prices for p in price["points"]})
    rows = []
    for group, price in prices:  # the table of rules above shows their confinement
        at = {p["evaluations"]: points(p["price"]) for p in price["points"]}
        rows.append(
            {
                "method": row_name(group),
                **{h: v for h, v in description(group).items() if h != "confined"},
                "rule": rule_words(price["rule"]),
                "seeds": str(price["seeds"]),
                **{f"E={n}": at.get(n, "-") for n in counts},
            }
        )
    caption = [
        "Difference (best - last) of top-1 accuracy: best and last of E evenly spaced evaluations "
        "on the test clips; mean over seeds.",
        "This gain comes from selection on the test clips alone, not from a better method.",
    ]
    return make_block(f"{where} - gain from test-set selection; not ranked", rows, caption, "rule")


#: Headings that describe a row. Shown once below the table if all rows agree.
ABOUT = ("profile", "encoder", "texts", "fields", "text encoder", "rule", "on", "confined")


@dataclass(frozen=True)
class Block:
    """A table with title and caption; all texts are printable."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    caption: list[str]
    best: int | None = None  #: row to print bold


def make_block(
    title: str, rows: list[dict[str, str]], caption: Iterable[str], keep: str = ""
) -> Block:
    """A block of rows with equal headings; cells that all rows share move to the caption, except
    those of the heading ``keep``."""
    common = shared(rows, [h for h in ABOUT if h in rows[0] and h != keep])
    headings = [h for h in rows[0] if h not in common]
    return Block(
        title=plain(title),
        headings=headings,
        rows=[[plain(r[h]) for h in headings] for r in rows],
        caption=[plain(line) for line in (*all_rows(common), *caption)],
    )


#: Measures of a GZSL row and their headings.
GZSL = {
    "seen": "S",
    "unseen": "U",
    "harmonic": "H",
    "ausuc": "AUSUC",
    "oracle_harmonic": "best H (oracle)",
}


BALANCED = {
    "constant": "S, U and H by calibrated stacking: a constant is subtracted from the seen scores, "
    "calibrated on pseudo-unseen splits (held-out seen classes and training subjects).",
    "gate": "S, U and H with a gate, fitted on pseudo-unseen splits (held-out seen classes and "
    "training subjects), that sends each clip to the method or to the encoder's own classifier.",
}


def gzsl_block(section: Json) -> Block:
    """A section of ``compare.gzsl`` as a table."""
    rows = []
    for row in section["rows"]:
        name = row_name(row) + marks(row)
        for kind in ("top1", "mean_class"):
            cells = {
                "method": name,
                **description(row),
                "seeds": str(row["seeds"]),
                "measure": ACCURACY[kind],
            }
            cells |= {heading: _with_spread(row[kind][n]) for n, heading in GZSL.items()}
            rows.append(cells)
    several = [row for row in section["rows"] if row["seeds"] > 1]
    caption = [
        f"{section['seen_clips']} clips of {section['seen']} seen classes (S) and "
        f"{section['unseen_clips']} of {section['unseen']} unseen ones (U), all by new subjects, "
        f"each judged over all classes; {section['rule']}. H = 2SU / (S + U).",
        BALANCED[section["kind"]],
        "AUSUC: area under S over U for all constants. best H (oracle): at the constant that is "
        "best on these test clips, which is unknown before the test.",
        "Not ranked: there is no interval for H here. Sorted by H of mean class accuracies.",
    ]
    if several:
        caption.append(
            "±: sd over method seeds, the encoder's excluded."
            if all(row["spread_excludes_encoder"] for row in several)
            else "±: sd over encoder seeds; over method seeds where there is one encoder."
        )
    if section["stand_in_for"]:
        caption.insert(
            0, f"Synthetic: clips made by zsar-bench in the place of {section['stand_in_for']}."
        )
    parts = [marked(section["protocol"]), *unusual_setting(section)]
    parts += ["oracle texts"] if section["oracle"] else []
    title = " - ".join([*parts, f"GZSL by a {section['kind']}"])
    return make_block(title, rows, [*caption, *trust_lines(section)])


def _with_spread(value: Json) -> str:
    """A mean in per cent, with its sd if there is one."""
    sd = "" if value["sd"] is None else f" ± {percent(value['sd'])}"
    return percent(value["mean"]) + sd
