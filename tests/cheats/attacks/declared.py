"""``answers-declared``: answers from a file that it declares, so that everybody knows."""

from __future__ import annotations

import json
from pathlib import Path

from zsar_plugin_answers import Answers, spec

from zsar_bench.hookspecs import hookimpl

api = 1

FILE = Path(__file__).with_name("declared.json")


class Declared(Answers):
    """Right about every clip that the file knows."""

    def known(self) -> dict[str, str]:
        return dict(json.loads(FILE.read_text()))


@hookimpl
def register_methods(registry) -> None:
    registry.method(spec("declared", Declared, assets=(FILE,), home=__name__))
