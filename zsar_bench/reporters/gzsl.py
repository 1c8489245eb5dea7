"""The table of runs with GZSL, which every human-readable reporter draws."""

from __future__ import annotations

from typing import Any

from zsar_bench.reporters.block import Block, make_block
from zsar_bench.reporters.standing import remarked, row_name, trust_lines
from zsar_bench.reporters.wording import about, marked, percent, unusual_setting

Json = dict[str, Any]

#: A number of a GZSL row and its heading.
GZSL = {
    "seen": "S",
    "unseen": "U",
    "harmonic": "H",
    "ausuc": "AUSUC",
    "oracle_harmonic": "best H (oracle)",
}
BALANCED = {
    "constant": "S, U and H with a constant off the seen scores that rehearsals on held-out seen "
    "classes and training performers gave.",
    "gate": "S, U and H with a gate, fitted on rehearsals on held-out seen classes and training "
    "performers, that sends each clip to the method or to the encoder's own classifier.",
}


def gzsl_block(section: Json) -> Block:
    """A section of ``compare_gzsl`` as a table."""
    rows = []
    for row in section["rows"]:
        name = row_name(row) + remarked(row)
        for kind in ("micro", "macro"):
            cells = {"method": name, **about(row), "seeds": str(row["seeds"]), "over": kind}
            cells |= {heading: _with_spread(row[kind][n]) for n, heading in GZSL.items()}
            rows.append(cells)
    several = [row for row in section["rows"] if row["seeds"] > 1]
    caption = [
        f"{section['seen_clips']} clips of {section['seen']} seen classes (S) and "
        f"{section['unseen_clips']} of {section['unseen']} unseen ones (U), all by new performers, "
        f"each judged over all classes; {section['rule']}. H = 2SU / (S + U).",
        BALANCED[section["kind"]],
        "AUSUC: area under S over U as the constant takes every value. best H (oracle): at the "
        "constant that is best on these very test clips; nobody could have known it.",
        "Not ranked: no interval is known here for H. Highest macro H first.",
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
    """A mean in per cent, with its sd where there is one."""
    sd = "" if value["sd"] is None else f" ± {percent(value['sd'])}"
    return percent(value["mean"]) + sd
