"""The oracle's texts: each class's motion itself, as numbers, one line a class.

What could a perfect text give? ``texts-oracle.toml`` beside a data set's other texts says, word by
word, how the stand-in moves (GRAMMAR.md, section 5); the text encoder ``grammar`` reads it back.
It means nothing for real skeletons.

``python -m zsar_datasets.stand_in.oracle`` writes the files anew.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from zsar_datasets.stand_in.grammar import Motion, motion_id, motions, vector

DATA = Path(__file__).parents[1] / "data"
SETS = ("ntu-60", "ntu-120", "pku-mmd")
FIELDS = ("description", "motion")  #: both hold the line, so that any method's recipe finds it


def line(motion: Motion) -> str:
    """A motion's entries and weights, sorted: ``1/lean/upright 1.00; 1/look/ahead 0.60; ...``."""
    return "; ".join(f"{name} {_number(value)}" for name, value in sorted(vector(motion).items()))


def parse(text: str) -> dict[str, float]:
    """Entry -> weight from such a line.

    Raises:
        ValueError: naming the first thing in it that is no entry of the grammar or no number.
    """
    known, out = set(entries()), {}
    for part in text.split("; "):
        name, _, number = part.strip().rpartition(" ")
        if name not in known or name in out:
            raise ValueError(part.strip())
        try:
            out[name] = float(number)
        except ValueError:
            raise ValueError(part.strip()) from None
    return out


@cache
def entries() -> tuple[str, ...]:
    """All entries that any motion of the grammar has, sorted."""
    return tuple(sorted({name for motion in motions().values() for name in vector(motion)}))


def text_file(dataset: str) -> str:
    """What ``texts-oracle.toml`` of a data set holds."""
    classes = tomllib.loads((DATA / dataset / "classes.toml").read_text("utf-8"))["class"]
    parts = [
        f'version = 1\ndataset = "{dataset}"\nset = "oracle"\noracle = true\n'
        'author = "zsar-bench"\n'
        "style = \"Not language: the entries of the stand-in's motion grammar and their weights, "
        'written by zsar_datasets.stand_in.oracle."\n'
    ]
    for entry in classes:
        text = line(motions()[motion_id(entry["id"])])
        fields = "".join(f'{field} = "{text}"\n' for field in FIELDS)
        parts.append(f"[{entry['id']}]\n{fields}")
    return "\n".join(parts)


def path(dataset: str) -> Path:
    """Where a data set's oracle texts are."""
    return DATA / dataset / "texts-oracle.toml"


def _number(value: float) -> str:
    """Two decimals, or three where two are not enough."""
    short = f"{value:.2f}"
    return short if abs(float(short) - value) < 1e-6 else f"{value:.3f}"


def main() -> None:
    """Write the files of all data sets."""
    for dataset in SETS:
        path(dataset).write_text(text_file(dataset), "utf-8")


if __name__ == "__main__":
    main()
