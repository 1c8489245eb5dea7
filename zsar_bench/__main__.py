"""``python -m zsar_bench`` is ``zsar-bench``."""

from __future__ import annotations

import sys


def main() -> None:
    """The command line; the slow imports may be interrupted, too."""
    try:
        from zsar_bench.cli import main as command

        command()
    except KeyboardInterrupt:
        print("Interrupted before it began.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
