"""A benchmark harness for zero-shot skeleton action recognition.

Importing this package never imports torch; see ``zsar_bench.contracts`` for what a
plugin implements and ``zsar_bench.hookspecs`` for how it registers.
"""

from zsar_bench.specs import (
    DatasetSpec,
    ExecutorSpec,
    MethodSpec,
    MetricSpec,
    ReporterSpec,
    SkeletonEncoderSpec,
    TextEncoderSpec,
)

__version__ = "0.1.0"
API = 1  #: version of the plugin contract of this release

__all__ = [
    "API",
    "DatasetSpec",
    "ExecutorSpec",
    "MethodSpec",
    "MetricSpec",
    "ReporterSpec",
    "SkeletonEncoderSpec",
    "TextEncoderSpec",
    "__version__",
]
