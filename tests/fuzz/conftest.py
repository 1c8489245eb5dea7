"""The campaign stands in ``benchmarks``, which nothing installs."""

import sys

from kit.paths import ROOT

sys.path.append(str(ROOT))
