"""Is the stand-in worth anything? Measures it and writes stand-in.json and STAND-IN.md.

    python results/reference/stand_in.py            # runs what is missing, then the page
    python results/reference/stand_in.py --page     # the page only, from stand-in.json

What is asked, and where the answer would shame it:

1. *Is there something to learn?* A supervised encoder, cross-subject, against the nearest
   neighbour on raw coordinates (``benchmarks/stand_in.py``).
2. *Do texts carry over to unseen motions?* Twenty random class splits; the published one should
   lie within their range.
3. *Does anything but the text help?* Text controls: without true texts accuracy must be 1/K.
4. *What could texts give at most?* The grammar's own attributes as texts (the oracle).
5. *Are classes with like texts mistaken for each other?* Spearman's rho between the confusions
   of two unseen classes and the cosine of their texts.
6. *Does accuracy answer to what should matter?* Dials: how well motions agree with texts, how
   many classes are seen, how good the encoder is.

Runs go to ``results/stand-in/runs`` (ignored by git) and are skipped where they are there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "results" / "stand-in"
FIGURES = HERE / "stand-in.json"
PAGE = HERE / "STAND-IN.md"
SPLITS = 20
METHODS = ("tdsm", "eszsl", "prototypes")
PROTOCOL = "stand-in/synse-55-5"
WIDER = "stand-in/synse-48-12"  #: twelve candidates: a draw of a control spreads less
DIALS = (
    "alignment=0,0.25,0.5,0.75,1",
    "seen=10,20,40,55",
    "encoder=0.05,0.25,1",
)

Json = dict[str, Any]


def run(*words: str) -> Json:
    """A ``run`` command's comparison."""
    command = [sys.executable, "-m", "zsar_bench", "run", *words]
    command += ["--results", str(RESULTS), "--json"]
    print("zsar-bench run", *words, flush=True)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    comparison: Json = json.loads(done.stdout)
    return comparison


# --- 1. Supervised -------------------------------------------------------------------------------


def supervised() -> Json:
    """Accuracies of encoder and nearest neighbour on the stand-ins, in fractions."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import stand_in as benchmark  # type: ignore[import-not-found]

    figures: Json = benchmark.supervised()
    return figures


# --- 2. Random splits ----------------------------------------------------------------------------


def rows_by_method(comparison: Json) -> dict[str, list[Json]]:
    """Method -> its rows, in the order of the sections."""
    found = defaultdict(list)
    for section in comparison["sections"]:
        for row in section["rows"]:
            found[row["method"]].append(row | {"protocol": section["protocol"]})
    return dict(found)


def splits(texts: str, *words: str) -> Json:
    """Every method on the published split and on random ones: micro accuracies."""
    from zsar_bench.statistics import corrected_resampled_t

    common = ("--texts", texts, *words)
    published = run(*METHODS, "--protocol", PROTOCOL, *common)
    drawn = run(*METHODS, "--protocol", PROTOCOL, "--splits", str(SPLITS), *common)
    out = {}
    for method, rows in rows_by_method(drawn).items():
        values = [row["micro"] for row in rows]
        test = corrected_resampled_t(values, 5, 55)
        assert test is not None
        out[method] = {
            "published": rows_by_method(published)[method][0]["micro"],
            "values": values,
            "mean": sum(values) / len(values),
            "low": test.interval.low,
            "high": test.interval.high,
        }
    return out


# --- 3. Controls ---------------------------------------------------------------------------------


def controls() -> list[Json]:
    """Every control of every method on the protocol with twelve candidates."""
    found: list[Json] = []
    for kind, methods, draws in (
        ("shuffled-unseen", METHODS, None),
        ("shuffled-all", METHODS, 20),
        ("random", METHODS, 20),
    ):
        words = ["--protocol", WIDER, "--text-control", kind]
        words += ["--draws", str(draws)] if draws else []
        found += [{"kind": kind} | c for c in run(*methods, *words)["controls"]]
    return found


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
            if "[" in folder.parent.parent.name:
                continue
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
    from zsar_bench.record import read_predictions

    _, labels, names, scores = read_predictions(folder / "predictions.safetensors")
    guess = scores.argmax(axis=1)
    out = {}
    for i, j in combinations(range(len(names)), 2):
        there = float((guess[labels == i] == j).mean())
        back = float((guess[labels == j] == i).mean())
        pair = (names[i], names[j]) if names[i] < names[j] else (names[j], names[i])
        out[pair] = (there + back) / 2
    return out


def text_cosines() -> dict[tuple[str, str], float]:
    """Pair of NTU-60 classes -> cosine of their motion texts (set a) under the text encoder."""
    import numpy as np
    from zsar_datasets import DATA
    from zsar_encoders.minilm import MiniLM, Params

    from zsar_bench.datasets import read_classes
    from zsar_bench.texts import read_texts

    classes = read_classes(DATA / "ntu-60" / "classes.toml")
    texts = read_texts("a", {"a": str(DATA / "ntu-120" / "texts-a.toml")}, classes)
    ids = [c.id for c in classes]
    said = MiniLM(Params()).encode([texts.fields["motion"][c] for c in ids]).pooled.numpy()
    said = said / np.linalg.norm(said, axis=1, keepdims=True)
    found = {}
    for i, j in combinations(range(len(ids)), 2):
        pair = (ids[i], ids[j]) if ids[i] < ids[j] else (ids[j], ids[i])
        found[pair] = float(said[i] @ said[j])
    return found


# --- 6. Dials ------------------------------------------------------------------------------------


def dials() -> list[Json]:
    """Curves of every method along every dial."""
    found: list[Json] = []
    for dial in DIALS:
        found += run(*METHODS, "--protocol", PROTOCOL, "--dial", dial)["curves"]
    return found


# --- The page ------------------------------------------------------------------------------------

PARTS = {
    "supervised": supervised,
    "splits": lambda: splits("a"),
    "splits_b": lambda: splits("b"),
    "controls": controls,
    "oracle": lambda: splits("oracle", "--text-encoder", "grammar"),
    "confusions": confusions,
    "dials": dials,
}


def percent(value: float) -> str:
    """A fraction in per cent."""
    return f"{100 * value:.1f}"


def main() -> None:
    """Measure the parts named on the command line (all, if none is), then write the page."""
    figures: Json = json.loads(FIGURES.read_bytes()) if FIGURES.is_file() else {}
    words = sys.argv[1:]
    for name, measure in PARTS.items():
        if "--page" not in words and (not words or name in words):
            figures[name] = measure()
            FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
