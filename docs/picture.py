"""Draw terminal.svg: what the README's main job shows, from a real run of it.

    python docs/picture.py

The command runs with its output in a pipe, so what is drawn is what it prints there: panel,
progress as lines, table. Only the prompt above it and the colours are ours.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
COMMAND = ("run", "tdsm", "--protocol", "synse-55-5")
WIDTH = 100


def main() -> None:
    """Run the command and save its picture; the run itself is thrown away."""
    environment = os.environ | {"COLUMNS": str(WIDTH)}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "zsar_bench", *COMMAND],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=folder,
        )
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text(f"$ zsar-bench {' '.join(COMMAND)}", style="bold green"))
    warned = False
    for line in done.stdout.rstrip().splitlines():
        style = "yellow" if line[:1] in ("╭", "│", "╰") and not warned else ""
        console.print(Text(line, style=style), soft_wrap=True)
        warned = warned or line.startswith("╰")
    picture = console.export_svg(title="zsar-bench")
    # Without the web font that Rich would have a viewer download; any monospaced one will do.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    (HERE / "terminal.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main()
