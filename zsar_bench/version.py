"""Versions of this release."""

from __future__ import annotations

__version__ = "0.1.0"
API = 1  #: version of the plugin contract that this release speaks
