"""From a request to runs: pure, starts no worker, makes no data."""
