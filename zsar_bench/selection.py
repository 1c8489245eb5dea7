"""Which checkpoint counts. The referee's own rules; plugins cannot add any.

``last`` is the last step of the declared schedule: nothing is chosen, so nothing can be
chosen on test.
"""

from __future__ import annotations

from zsar_bench.errors import unknown

RULES = {"last": "the last step of the declared schedule; looks at nothing"}


def find_rule(name: str) -> str:
    """The rule of this name.

    Raises:
        UserError: if there is none.
    """
    if name not in RULES:
        raise unknown("selection rule", name, RULES)
    return name
