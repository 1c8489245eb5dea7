"""Whether the user has interrupted: what waits or starts something looks here."""

from __future__ import annotations

import threading

#: Set once, when everything is to end.
stopping = threading.Event()
