"""``python -m zsar_bench`` is ``zsar-bench``."""

from zsar_bench.cli import main

if __name__ == "__main__":
    main()
