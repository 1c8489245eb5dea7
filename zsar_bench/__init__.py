"""A benchmark for zero-shot skeleton action recognition: train, score and compare methods.

``import zsar_bench as zb`` imports neither torch nor pydantic: every name below is looked up
when it is first used. ``zsar_bench.contracts`` says what a plugin implements,
``zsar_bench.hookspecs`` how it registers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from zsar_bench.version import API, __version__

#: Module -> the public names that it holds.
_PUBLIC = {
    "api.data": "import_data list_data remove_data verify_data",
    "api.doctor": "doctor",
    "api.features": "export_features list_features",
    "api.listing": (
        "describe list_datasets list_methods list_metrics list_plugins list_protocols "
        "list_published list_reporters list_skeleton_encoders list_text_encoders protocol"
    ),
    "api.results": (
        "clean_results compare import_results load_results score_file score_template verify"
    ),
    "api.running": "run",
    "api.tuning": "Study Trial tune",
    "errors": "DataError RunFailed UserError",
    "records.run": "Predictions Run",
    "reporters.comparison": "Comparison Interval Row Section",
    "specs": ("DatasetSpec MethodSpec MetricSpec ReporterSpec SkeletonEncoderSpec TextEncoderSpec"),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names.split()}

__all__ = ["API", "__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'zsar_bench' has no attribute {name!r}")
    value = getattr(import_module(f"zsar_bench.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
