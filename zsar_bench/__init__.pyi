"""The public names of the package, for type checkers and editors."""

from zsar_bench.api.data import import_data as import_data
from zsar_bench.api.data import list_data as list_data
from zsar_bench.api.data import remove_data as remove_data
from zsar_bench.api.data import verify_data as verify_data
from zsar_bench.api.doctor import doctor as doctor
from zsar_bench.api.features import export_features as export_features
from zsar_bench.api.features import list_features as list_features
from zsar_bench.api.listing import (
    describe as describe,
)
from zsar_bench.api.listing import (
    list_datasets as list_datasets,
)
from zsar_bench.api.listing import (
    list_methods as list_methods,
)
from zsar_bench.api.listing import (
    list_metrics as list_metrics,
)
from zsar_bench.api.listing import (
    list_plugins as list_plugins,
)
from zsar_bench.api.listing import (
    list_protocols as list_protocols,
)
from zsar_bench.api.listing import (
    list_published as list_published,
)
from zsar_bench.api.listing import (
    list_reporters as list_reporters,
)
from zsar_bench.api.listing import (
    list_skeleton_encoders as list_skeleton_encoders,
)
from zsar_bench.api.listing import (
    list_text_encoders as list_text_encoders,
)
from zsar_bench.api.listing import (
    protocol as protocol,
)
from zsar_bench.api.results import (
    clean_results as clean_results,
)
from zsar_bench.api.results import (
    compare as compare,
)
from zsar_bench.api.results import (
    import_results as import_results,
)
from zsar_bench.api.results import (
    load_results as load_results,
)
from zsar_bench.api.results import (
    score_file as score_file,
)
from zsar_bench.api.results import (
    score_template as score_template,
)
from zsar_bench.api.results import (
    verify as verify,
)
from zsar_bench.api.running import run as run
from zsar_bench.api.tuning import Study as Study
from zsar_bench.api.tuning import Trial as Trial
from zsar_bench.api.tuning import tune as tune
from zsar_bench.errors import DataError as DataError
from zsar_bench.errors import RunFailed as RunFailed
from zsar_bench.errors import UserError as UserError
from zsar_bench.records.run import Predictions as Predictions
from zsar_bench.records.run import Run as Run
from zsar_bench.reporters.comparison import Comparison as Comparison
from zsar_bench.reporters.comparison import Interval as Interval
from zsar_bench.reporters.comparison import Row as Row
from zsar_bench.reporters.comparison import Section as Section
from zsar_bench.specs import (
    DatasetSpec as DatasetSpec,
)
from zsar_bench.specs import (
    MethodSpec as MethodSpec,
)
from zsar_bench.specs import (
    MetricSpec as MetricSpec,
)
from zsar_bench.specs import (
    ReporterSpec as ReporterSpec,
)
from zsar_bench.specs import (
    SkeletonEncoderSpec as SkeletonEncoderSpec,
)
from zsar_bench.specs import (
    TextEncoderSpec as TextEncoderSpec,
)
from zsar_bench.version import API as API
from zsar_bench.version import __version__ as __version__
