"""Evaluate the stand-in; writes stand-in.json and STAND-IN.md.

    python results/reference/stand_in.py            # runs what is missing, then the page
    python results/reference/stand_in.py --page     # the page only, from stand-in.json

Questions:

1. *Is there something to learn?* A supervised encoder, cross-subject, compared with the nearest
   neighbour on raw coordinates (``benchmarks/stand_in.py``).
2. *Do texts transfer to unseen motions?* Twenty random class splits; the published one should
   lie within their range.
3. *Does anything but the text help?* Text controls: without true texts accuracy must be 1/K.
4. *What could texts give at most?* The grammar's own attributes as texts (the oracle).
5. *Are classes with like texts mistaken for each other?* Spearman's rho between the confusions
   of two unseen classes and the cosine of their texts.
6. *Does accuracy answer to what should matter?* Factors: how well motions agree with texts, how
   many classes are seen, how good the encoder is (``benchmarks/sensitivity.py``).

Runs go to ``results/stand-in/runs`` (ignored by git) and are skipped where they are there.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import regenerate
from pages import filled, percent, table

import zsar_bench as zb

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "results" / "stand-in"
FIGURES = HERE / "stand-in.json"
PAGE = HERE / "STAND-IN.md"
SPLITS = 20
STEPS = 1500  #: of the supervised encoder; the laptop profile alone has 600
METHODS = ("tdsm", "eszsl", "prototypes")
QUICK = ("eszsl", "prototypes")  #: closed forms
PROTOCOL = "stand-in/synse-55-5"
WIDER = "stand-in/synse-48-12"  #: twelve candidates: a draw of a control spreads less

Json = dict[str, Any]


def run(methods: Sequence[str], protocol: str, **options: Any) -> Json:
    """What ``compare`` says of these runs, which are made if they are missing."""
    print(*methods, "on", protocol, options, flush=True)
    runs = zb.run(methods, protocol, data="stand-in", results=RESULTS, **options)
    return zb.compare(runs).data


# --- 1. Supervised -------------------------------------------------------------------------------


def supervised() -> Json:
    """Accuracies of encoder and nearest neighbour on the stand-ins, in fractions.

    The encoder is ``st-gcn``, profile ``laptop`` with more steps: the question is what the clips
    hold, not what a minute of training finds.
    """
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import stand_in as benchmark  # type: ignore[import-not-found]

    figures: Json = {}
    for name in ("ntu-60", "ntu-120"):
        data = benchmark.data(name)
        accuracy, confusions = benchmark.supervised(data, max_steps=STEPS)
        figures[name] = {
            "classes": len(confusions),
            "clips": len(data.clips),
            "encoder": accuracy,
            "nearest": benchmark.nearest_neighbour(data),
        }
    return figures


# --- 2. Random splits ----------------------------------------------------------------------------


def splits(methods: Sequence[str], texts: str, text_encoder: str | None = None) -> Json:
    """Methods on random splits (one seed each) and the published one (the mean of five): top-1."""
    common: Json = {"text_set": texts, "text_encoder": text_encoder}
    published = run(methods, PROTOCOL, seeds=range(5), **common)["sections"][0]
    drawn = run(methods, PROTOCOL, splits=SPLITS, **common)["splits"][0]
    own = {row["method"]: row["top1"] for row in published["rows"]}
    return {
        row["method"]: {
            "published": own[row["method"]],
            "values": list(row["by_split"].values()),
            "mean": row["top1"],
            "mean_class": row["mean_class"],
            "low": row["interval"]["low"],
            "high": row["interval"]["high"],
            "beats_chance": row["beats_chance"],
        }
        for row in drawn["rows"]
    }


# --- 3. Controls ---------------------------------------------------------------------------------


def controls() -> list[Json]:
    """Text controls on the protocol with twelve candidates."""
    found: list[Json] = []
    for kind, methods, draws in (
        ("shuffled-unseen", ("tdsm", *QUICK), None),
        ("shuffled-all", ("tdsm", "eszsl"), 20),
        ("random", ("eszsl",), 20),
    ):
        (section,) = run(methods, WIDER, text_control=kind, draws=draws)["controls"]
        names = ("method", "draws", "mean_class", "interval", "plain", "verdict", "reason")
        found += [
            {"kind": kind, "chance": section["chance"]} | {n: row[n] for n in names}
            for row in section["rows"]
        ]
    return found


def shifts() -> list[Json]:
    """The other methods of the reference tables under all shifts of the unseen texts."""
    names = ("method", "draws", "chance", "mean_class", "plain", "verdict", "reason")
    methods = (*regenerate.LIGHT, *regenerate.WORDS, *regenerate.HEAVY)
    sections = run(methods, WIDER, text_control="shuffled-unseen")["controls"]
    rows = {row["method"]: {n: row[n] for n in names} for s in sections for row in s["rows"]}
    return [rows[m] for m in sorted(methods)]


# --- 5. Confusions -------------------------------------------------------------------------------


def confusions() -> Json:
    """Spearman's rho between confusions and cosines of texts, over the random splits' pairs."""
    import numpy as np
    from scipy.stats import spearmanr

    cosine = text_cosines()
    out = {}
    for method in METHODS:
        pairs: dict[tuple[str, str], list[float]] = defaultdict(list)
        for folder in sorted((RESULTS / "runs").glob(f"*random*/{method}/*")):
            about = json.loads((folder / "run.json").read_bytes())
            if about["texts"]["oracle"] or about["texts"]["source"] != "a":
                continue
            for (one, two), share in confused(folder).items():
                pairs[one, two].append(share)
        keys = sorted(pairs)
        mean = [float(np.mean(pairs[k])) for k in keys]
        rho = spearmanr([cosine[k] for k in keys], mean)
        out[method] = {"rho": float(rho.statistic), "p": float(rho.pvalue), "pairs": len(keys)}
    return out


def confused(folder: Path) -> dict[tuple[str, str], float]:
    """Pair of unseen classes -> mean share of one's clips that are taken for the other."""
    from zsar_bench.records.files import read_predictions

    _, labels, names, scores = read_predictions(folder / "predictions.safetensors")
    guess = scores.argmax(axis=1)
    out = {}
    for i, j in combinations(range(len(names)), 2):
        there = float((guess[labels == i] == j).mean())
        back = float((guess[labels == j] == i).mean())
        out[ordered(names[i], names[j])] = (there + back) / 2
    return out


def ordered(one: str, two: str) -> tuple[str, str]:
    """A pair of classes, whichever comes first."""
    return (min(one, two), max(one, two))


def text_cosines() -> dict[tuple[str, str], float]:
    """Pair of NTU-60 classes -> cosine of their motion texts (set a) under the text encoder."""
    import numpy as np
    from zsar_datasets import DATA
    from zsar_encoders.minilm import MiniLM, Params

    from zsar_bench.common.classes import read_classes
    from zsar_bench.data.texts.texts import read_texts

    classes = read_classes(DATA / "ntu-60" / "classes.toml")
    texts = read_texts("a", {"a": str(DATA / "ntu-120" / "texts-a.toml")}, classes)
    ids = [c.id for c in classes]
    said = MiniLM(Params()).encode([texts.fields["motion"][c] for c in ids]).pooled.numpy()
    said = said / np.linalg.norm(said, axis=1, keepdims=True)
    found = {}
    for i, j in combinations(range(len(ids)), 2):
        found[ordered(ids[i], ids[j])] = float(said[i] @ said[j])
    return found


# --- 6. Sensitivity ------------------------------------------------------------------------------


def sensitivity() -> list[Json]:
    """Accuracy of the closed forms at the ends of every factor, means over random splits."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import sensitivity as benchmark  # type: ignore[import-not-found]

    rows: list[Json] = benchmark.measure()
    return rows


# --- The page ------------------------------------------------------------------------------------

PARTS = {
    "supervised": supervised,
    "splits": lambda: splits(METHODS, "a"),
    "oracle": lambda: splits(QUICK, "oracle", "grammar"),
    "controls": controls,
    "shifts": shifts,
    "confusions": confusions,
    "sensitivity": sensitivity,
}


def page(figures: Json) -> str:
    """STAND-IN.md: what is written by hand in STAND-IN-HEAD.md, its tables filled in."""
    tables = {name: draw(figures[name]) for name, draw in TABLES.items()}
    return filled((HERE / "STAND-IN-HEAD.md").read_text("utf-8"), tables)


def _supervised(figures: Json) -> str:
    rows = [
        [name, str(f["classes"]), str(f["clips"]), percent(f["encoder"]), percent(f["nearest"])]
        for name, f in figures.items()
    ]
    return table(("stand-in for", "classes", "clips", "st-gcn", "nearest neighbour"), rows)


def _splits(figures: Json) -> str:
    rows = []
    for method, f in figures.items():
        below = sum(v < f["published"] for v in f["values"])
        rows.append(
            [
                method,
                percent(f["mean"]),
                f"{percent(max(0.0, f['low']))} to {percent(min(1.0, f['high']))}",
                f"{percent(min(f['values']))} to {percent(max(f['values']))}",
                f"{percent(f['published'])} ({below} of {len(f['values'])} below)",
            ]
        )
    headings = ("method", "mean", "95 % interval", "range", "published split")
    return table(headings, rows)


def _controls(figures: list[Json]) -> str:
    rows = []
    for f in figures:
        ends = f["interval"]
        rows.append(
            [
                f["kind"],
                f["method"],
                str(f["draws"]),
                "-" if f["plain"] is None else percent(f["plain"]),
                percent(f["mean_class"]),
                f"{percent(ends['low'])} to {percent(ends['high'])}" if ends else "-",
                percent(f["chance"]),
                f["verdict"],
            ]
        )
    headings = ("control", "method", "draws", "own texts", "mean class", "95 % interval", "1/K", "")
    return table(headings, rows)


def _shifts(figures: list[Json]) -> str:
    rows = [
        [f["method"], percent(f["plain"]), percent(f["mean_class"]), f["verdict"]] for f in figures
    ]
    return table(("method", "own texts", "mean over all shifts", ""), rows)


def _confusions(figures: Json) -> str:
    rows = [
        [method, f"{f['rho']:.2f}", f"{f['p']:.1g}", str(f["pairs"])]
        for method, f in figures.items()
    ]
    return table(("method", "Spearman's rho", "p", "pairs of classes"), rows)


def _sensitivity(figures: list[Json]) -> str:
    blocks = []
    for factor in dict.fromkeys(one["factor"] for one in figures):
        found = [one for one in figures if one["factor"] == factor]
        values = [p["value"] for p in found[0]["points"]]
        rows = [
            [f["row"], str(f["splits"]), *(percent(p["top1"]) for p in f["points"])] for f in found
        ]
        blocks.append(table((factor, "splits", *(f"{v:g}" for v in values)), rows))
    return "\n\n".join(blocks)


TABLES: dict[str, Callable[[Any], str]] = {
    "supervised": _supervised,
    "splits": _splits,
    "oracle": _splits,
    "controls": _controls,
    "shifts": _shifts,
    "confusions": _confusions,
    "sensitivity": _sensitivity,
}


def main() -> None:
    """Measure the parts named on the command line (all, if none is), then write the page."""
    figures: Json = json.loads(FIGURES.read_bytes()) if FIGURES.is_file() else {}
    words = sys.argv[1:]
    for name, measure in PARTS.items():
        if "--page" not in words and (not words or name in words):
            figures[name] = measure()
            FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", "utf-8")
    if figures.keys() >= TABLES.keys():  # as stored: rows stand in one order, measured or read
        PAGE.write_text(page(json.loads(FIGURES.read_bytes())), "utf-8")


if __name__ == "__main__":
    main()
