"""``python -m zsar_bench``: the same as ``zsar-bench``."""

from zsar_bench.cli import main

if __name__ == "__main__":
    main()
