"""Where things lie: every path that a test needs to a file of the checkout starts here."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent  #: the checkout
SHARED = ROOT.parent / "shared"  #: material beside the checkout, where there is any
SHARED_DATA = SHARED / "data"  #: real skeletons
REFERENCE = ROOT / "results" / "reference"
PLUGINS = TESTS / "plugins"  #: plugin files that one test each loads
ATTACKS = TESTS / "cheats" / "attacks"  #: plugin files that cheat
