"""Draw terminal.svg: what the README's main job shows, from a real run of it.

    python docs/picture.py

The command runs in a pseudo-terminal-free pipe, so what is drawn is what it prints, panel and
table; only the prompt above it is ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
COMMAND = ("run", "tdsm", "--protocol", "synse-55-5")
WIDTH = 100


def main() -> None:
    """Run the command and save its picture."""
    environment = os.environ | {"COLUMNS": str(WIDTH)}
    done = subprocess.run(
        [sys.executable, "-m", "zsar_bench", *COMMAND],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=HERE.parent,
    )
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text(f"$ zsar-bench {' '.join(COMMAND)}", style="bold green"))
    for line in done.stdout.rstrip().splitlines():
        style = "yellow" if line[:1] in "╭│╰" else "bold" if line[:1] in "┏┃┡└" else ""
        console.print(Text(line, style=style), soft_wrap=True)
    console.save_svg(str(HERE / "terminal.svg"), title="zsar-bench")


if __name__ == "__main__":
    main()
