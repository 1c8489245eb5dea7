"""What tests of faults share."""

from __future__ import annotations

import pytest

from zsar_bench.sandbox import client


@pytest.fixture
def forked_fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fingerprints of texts come from forked workers, as confined as new ones: a plugin file that
    imports torch costs a new one seconds in every command. For commands in this process."""
    monkeypatch.setattr(client, "FORKED", (*client.FORKED, "print"))
