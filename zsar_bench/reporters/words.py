"""Texts and number formats that all human-readable reporters share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zsar_bench.common.names import plain
from zsar_bench.comparison.ranking import SELF_REPORTED, best_of, leaking, peeked
from zsar_bench.data.protocols.protocol import STAND_IN
from zsar_bench.plans.selection import LAST

Json = dict[str, Any]

TOP1, MEAN_CLASS = "top-1 (%)", "mean class acc. (%)"  #: headings of the two accuracies
ACCURACY = {"top1": "top-1 accuracy", "mean_class": "mean class accuracy"}
HEADINGS = (
    "method",
    "profile",
    "encoder",
    "texts",
    "fields",
    "text encoder",
    "seeds",
    TOP1,
    MEAN_CLASS,
    "sd enc",
    "sd meth",
    "95 % interval",
    "> chance",
    "n",
    "rule",
    "on",
    "confined",
    "time",
)
#: Headings that describe a row. Shown once below the table if all rows agree, never left out.
ABOUT = (
    *("profile", "encoder", "texts", "fields", "text encoder"),
    *("seeds", "n", "rule", "on", "confined"),
)


def percent(value: float | None) -> str:
    """A fraction in per cent with one decimal."""
    return "-" if value is None else f"{100 * value:.1f}"


def points(value: float) -> str:
    """A difference in percentage points with its sign; ``0.0`` if it rounds to zero."""
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def seconds(value: float) -> str:
    """A duration: ``0.4 s``, ``12 s``, ``3:05 min``, ``1:12 h``."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 90:
        return f"{value:.0f} s"
    minutes = round(value / 60) if value >= 3600 else int(value // 60)
    if value >= 3600:
        return f"{minutes // 60}:{minutes % 60:02d} h"
    return f"{minutes}:{int(value % 60):02d} min"


def marked(protocol: str) -> str:
    """A protocol's id, with a warning if its clips are synthetic."""
    return f"{protocol} - SYNTHETIC" if protocol.startswith(STAND_IN) else protocol


def unusual_setting(section: Json) -> list[str]:
    """The setting, unless it is the inductive one."""
    return [] if section["setting"] == "inductive" else [section["setting"]]


def title(section: Json) -> str:
    """Headline of a section."""
    notes = [*unusual_setting(section), *unranked_note(section)]
    if section["oracle"]:
        notes.append("oracle texts, not ranked")
    if section["released"]:
        short = section["released"]["hash"][:12]
        notes.append(f"released features {short}, ranked among themselves")
    return plain(" - ".join([marked(section["protocol"]), *notes]))


def cells(row: Json) -> dict[str, str]:
    """One row's cells by heading."""
    seeds = str(row["seeds"])
    if row["spread_excludes_encoder"]:
        seeds += " (spread excludes the encoder)"
    texts = {
        "method": ranked_name(row),
        **description(row),
        "seeds": seeds,
        TOP1: percent(row["top1"]),
        MEAN_CLASS: percent(row["mean_class"]),
        "sd enc": percent(row["sd_encoder"]),
        "sd meth": percent(row["sd_method"]),
        "95 % interval": ends(row["interval"]),
        "> chance": beats_chance(row),
        "n": str(row["clips"]),
        "time": seconds(row["seconds"]),
    }
    return {heading: plain(text) for heading, text in texts.items()}


def description(row: Json) -> dict[str, str]:
    """Cells that describe a row."""
    return {
        "profile": row["profile"],
        "encoder": row["encoder"],
        "texts": row["texts"],
        "fields": "+".join(row["text_fields"]),
        "text encoder": row["text_encoder"],
        "rule": rule_words(row["rule"]),
        "on": f"{row['device']} {row['precision']}",
        "confined": CONFINED[row["confinement"]],
    }


def ranked_name(row: Json) -> str:
    """A row's name, with a dagger if it is not significantly worse than the best."""
    dagger = " †" if row["not_shown_to_differ"] else ""
    return row_name(row) + dagger + marks(row)


def beats_chance(row: Json) -> str:
    """Whether a row is better than chance, in words."""
    return {True: "yes", False: "no", None: "cannot tell"}[row["beats_chance"]]


def interval_name(rows: Iterable[Json]) -> str | None:
    """The name of these rows' intervals; None if no row has one."""
    return next((str(r["interval"]["name"]) for r in rows if r["interval"]), None)


def shared(rows: Sequence[Mapping[str, str]], headings: Iterable[str]) -> dict[str, str]:
    """The cells of these headings that are equal in all rows."""
    return {h: rows[0][h] for h in headings if all(r[h] == rows[0][h] for r in rows)}


def all_rows(common: Mapping[str, str]) -> list[str]:
    """A line with the cells that all rows share, if there are any.

    Confinement is left to ``trust_lines``, which counts rows.
    """
    parts = [f"{heading} {cell}" for heading, cell in common.items() if heading != "confined"]
    return [f"All rows: {', '.join(parts)}."] if parts else []


def ends(interval: Json | None) -> str:
    """An interval's ends in per cent, clipped to [0, 100]."""
    if interval is None:
        return "-"
    return f"{percent(max(0.0, interval['low']))} to {percent(min(1.0, interval['high']))}"


def grid(section: Json) -> tuple[list[str], list[dict[str, str]], dict[str, str]]:
    """The headings of columns, every row's cells, and the cells that all rows share."""
    rows = [cells(row) for row in section["rows"]]
    # Selection on test is marked in every row, not below the table.
    headings = [h for h in ABOUT if not (h == "rule" and peeked(section))]
    common = shared(rows, headings)
    empty = [h for h in ("sd enc", "sd meth") if all(r[h] == "-" for r in rows)]
    return [h for h in HEADINGS if h not in common and h not in empty], rows, common


def caption(section: Json) -> list[str]:
    """The lines below a section's table."""
    rows = section["rows"]
    lines = all_rows(grid(section)[2])
    lines.append(
        f"{section['clips']} clips of {_classes(section)}, {_who(section)}. "
        f"Reference lines: {guessing(section)}, "
        f"majority class {percent(section['majority_class'])} %."
    )
    if section["synthetic"]:
        lines.insert(
            0,
            f"Synthetic: clips made by zsar-bench in the place of {section['stand_in_for']}. "
            "These numbers say nothing about that data set and are never compared with "
            "published ones.",
        )
    if section["released"]:
        lines += _released(section)
    elif section["expected_clips"] not in (0, section["clips"]):
        lines.append(
            f"The complete data set has {section['expected_clips']} test clips: "
            "these rows are not the protocol's."
        )
    lines += unranked_lines(section)
    named = interval_name(rows)
    if named:
        lines.append(f"Interval: {named} ({ACCURACY[section['headline']]} averaged over seeds).")
    elif peeked(section):
        lines.append(PEEKED_INTERVAL)
    elif section["subjects"]:
        lines.append("No interval: fewer than 6 subjects.")
    else:
        lines.append("No interval: the subjects are not known, so no difference can be tested.")
    if any(r["sd_encoder"] is not None for r in rows) and all(r["sd_method"] is None for r in rows):
        lines.append("sd enc: over encoder seeds, each with a method seed of its own.")
    if any(r["not_shown_to_differ"] for r in rows):
        gap = section["detectable"]
        resolves = f" Minimum detectable difference: {percent(gap)} points." if gap else ""
        lines.append(f"† not significantly worse than the best row (paired t, 95 %).{resolves}")
    if any(r["seeds"] < 5 for r in rows):
        lines.append("Fewer than 5 seeds: standard deviations over seeds are unreliable.")
    return [plain(line) for line in (*lines, *tuning_lines(section), *trust_lines(section))]


def _classes(section: Json) -> str:
    """The candidate classes, as text."""
    if section["folds"]:
        return f"{section['unseen']} classes, each unseen in one of {section['folds']} folds"
    return f"{section['unseen']} unseen classes ({section['seen']} seen)"


def guessing(section: Json) -> str:
    """Chance level: 1/K, or two numbers if clips differ in their candidates."""
    top1, mean_class = percent(section["chance_top1"]), percent(section["chance"])
    same = abs(section["chance_top1"] - section["chance"]) < 1e-9
    return f"1/K {mean_class} %" if same else f"chance {top1} % top-1 and {mean_class} % mean class"


def _who(section: Json) -> str:
    """Subjects and sample rule of the clips, as text."""
    if section["released"]:
        return f"subjects not known, clips as released (the protocol says {section['rule']})"
    return f"{section['subjects']} subjects, {section['rule']}"


def _released(section: Json) -> list[str]:
    """Notes on released features."""
    released = section["released"]
    counts = released["clips"]
    parts = ", ".join(f"{n} {counts[n]}" for n in ("train", "ztest", "gtest") if n in counts)
    lines = [
        f"Features as released in '{released['folder']}' ({parts}; {released['channels']} "
        "channels): how their encoder was trained is not known, and every spread excludes it."
    ]
    dropped = released["dropped_clips"]
    if dropped:
        amount = f"{dropped} fewer" if dropped > 0 else f"{-dropped} more"
        lines.append(
            f"{amount} test clips than the complete data set's {section['expected_clips']}: "
            "these rows are not the protocol's."
        )
    return lines


def published_cells(row: Json) -> list[str]:
    """Cells of one published row: method, protocol, value, features, texts, source."""
    variant = f", {row['variant']}" if row.get("variant") else ""
    texts = [
        f"{row['method']} ({row['venue']} {row['year']}){variant}",
        row["protocol"],
        f"{row['value']:.2f}",
        row["skeleton_encoder"],
        row["text_encoder"],
        row["source"],
    ]
    return [plain(text) for text in texts]


PUBLISHED_HEADINGS = ("method", "protocol", "top-1", "encoder", "texts", "source")
PUBLISHED_NOTE = (
    "Published in papers, not measured here; other features, texts and training clips, so not "
    "ranked with the rows above. All of them: zsar-bench list published."
)


MOST_DENIED = 3  #: kinds of refused accesses that are shown, most frequent first


#: Text of each level of confinement.
CONFINED = {
    "landlock": "landlock",
    "process": "no",
    "none": "none",
}


PEEKED_INTERVAL = "No interval: results selected on the test clips have no valid interval."


def row_name(row: Json) -> str:
    """A row's method with its variant and its leak, if any."""
    notes = [row["variant"], leaking(row)]
    return str(row["method"]) + "".join(f" ({words})" for words in notes if words)


def rule_words(rule: str) -> str:
    """A selection rule, with the number of evaluations if it selected on the test clips."""
    evaluations = best_of(rule)
    return f"{rule} (best of {evaluations} on test)" if evaluations else rule


def unranked_note(section: Json) -> list[str]:
    """Why a section's rows are not ranked; empty if they are."""
    return [f"{section['unranked']}, not ranked"] if section["unranked"] else []


def unranked_lines(section: Json) -> list[str]:
    """Notes on rows that are not ranked."""
    lines = []
    if SELF_REPORTED in section["unranked"]:
        lines.append(
            "Self-reported: scores were made elsewhere, unconfined; only metrics were computed "
            "here."
        )
    if leaking(section):
        lines.append(
            "Leak: the method got the true class of every clip that it scored. Such numbers "
            "explain published ones; they do not measure the recognition of unseen classes."
        )
    if peeked(section):
        lines.append(
            "Chosen on test: the best of E evaluations on the test clips, which is too high by "
            "construction. The gain: zsar-bench compare --selection all."
        )
    return lines


def marks(row: Json) -> str:
    """Marks of a row: self-reported, or a remark in ``trust_lines``."""
    reported = f" ({SELF_REPORTED})" if SELF_REPORTED in row["unranked"] else ""
    return reported + (" ‡" if _remarks(row) else "")


def trust_lines(section: Json) -> list[str]:
    """How many rows were made without confinement, and the remarks on single rows."""
    rows = section["rows"]
    lines = []
    levels = [row["confinement"] for row in rows]
    weak = len(levels) - levels.count("landlock")
    if weak and SELF_REPORTED not in section["unranked"]:
        lines.append(f"{weak} of {len(rows)} rows were made without confinement.")
    by_remark: dict[str, list[str]] = {}
    for row in rows:
        name = row_name(row) + ("" if row["rule"] == LAST else f" by {row['rule']}")
        for remark in _remarks(row):
            by_remark.setdefault(remark, []).append(name)
    for remark, names in by_remark.items():
        lines.append(f"‡ {', '.join(dict.fromkeys(names))}: {remark}")
    return lines


def tuning_lines(section: Json) -> list[str]:
    """Whether all rows come from equal searches; no line if no row is tuned."""
    budgets = Counter(row["tuning"]["budget"] for row in section["rows"] if row["tuning"])
    plain = len(section["rows"]) - budgets.total()
    if not budgets:
        return []
    parts = [f"{rows} with {budget}" for budget, rows in sorted(budgets.items())]
    parts[0] = parts[0].replace("with", "tuned with") + " trials"
    if len(parts) == 1 and not plain:
        (budget,) = budgets
        return [f"Every row was tuned with {budget} trials on pseudo-unseen classes."]
    parts += [f"{plain} not tuned here"] if plain else []
    return [f"Not the same search for every row: {', '.join(parts)}. It may explain differences."]


def _remarks(row: Json) -> list[str]:
    """Remarks on one row: refused accesses and failed proofs."""
    remarks = []
    if row["denied"]:
        denied = sorted(row["denied"].items(), key=lambda item: (-item[1], item[0]))
        shown = [f"{what} ({times} x)" for what, times in denied[:MOST_DENIED]]
        hidden = len(denied) - len(shown)
        shown += [f"{hidden} more"] if hidden else []
        remarks.append(f"accesses were refused: {', '.join(shown)}.")
    proof = row["proof"]
    if proof and not proof["refit_identical"]:
        remarks.append("not proven: a refit with unseen clips scrambled ended in another state.")
    if proof and not proof["stable"]:
        remarks.append("unstable: scores move beyond tolerance with a little noise on the inputs.")
    return remarks
