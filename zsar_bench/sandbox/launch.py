"""The launch environment of a worker: variables, import path, rules of its confinement."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zsar_bench.sandbox.confinement.rules import Rules, below, real
from zsar_bench.sandbox.confinement.worker_rules import worker_rules

CONFINED = (
    *("scan", "import", "workbook"),
    *("check", "texts", "print", "encoder", "fit", "score", "metric", "report"),
)
NETWORK = ("texts", "print")  #: confined kinds that may download a named model
AT_HOME = (*NETWORK, "track")  #: kinds that keep the user's home, for models or a tracker's account
KEPT = ("PATH", "LANG", "LC_ALL", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
KEPT_PREFIXES = ("ZSAR_BENCH_", "VIRTUAL_ENV")
#: Variables about caches of named models and their download: only for kinds ``AT_HOME``.
MODELS = (
    *("HOME", "XDG_CACHE_HOME", "TORCH_HOME", "TRANSFORMERS_CACHE", "SENTENCE_TRANSFORMERS_HOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
MODELS_PREFIX = "HF_"


def settings(job: Mapping[str, Any], workdir: Path, private: Path) -> dict[str, Any]:
    """A worker's settings; sent through the pipe, since they may hold a proxy's password."""
    confinement = rules(job, workdir) if job["kind"] in CONFINED else None
    return {
        "env": environment(job, private),
        "path": _import_path(),
        "private": str(private),
        "rules": None if confinement is None else asdict(confinement),
        "protected": list(job.get("protected", ())),
    }


def rules(job: Mapping[str, Any], workdir: Path) -> Rules:
    """The rules of a confined job."""
    return worker_rules(
        sys_path=_import_path(),
        prefixes=list(dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix))),
        code=job.get("code", ()),
        reads=[*job.get("reads", ()), *_named_files(job)],
        workdir=str(workdir),
        protected=job.get("protected", ()),
        network=job["kind"] in NETWORK,
    )


def _named_files(job: Mapping[str, Any]) -> list[str]:
    """Files named by a text encoder's parameters, which it may read: it gets no clips."""
    values = job.get("params", {}).values() if job["kind"] in NETWORK else ()
    paths = [v for v in values if isinstance(v, str) and os.path.isabs(v)]
    protected = [real(path) for path in job.get("protected", ())]
    return [
        path
        for path in paths
        if os.path.exists(path) and not any(below(real(path), place) for place in protected)
    ]


def _import_path() -> list[str]:
    return [os.path.abspath(p) for p in sys.path if p]


def environment(job: Mapping[str, Any], private: Path) -> dict[str, str]:
    """All variables of a worker; ``private`` is its folder for temporary files and caches."""
    env = base_environment(str(int(job.get("threads", 1))))
    folder = str(private)
    env |= {
        "HOME": folder,
        "TMPDIR": folder,
        "XDG_CACHE_HOME": folder,
        "TORCHINDUCTOR_CACHE_DIR": folder,
    }
    if job["kind"] in AT_HOME:
        env.pop("XDG_CACHE_HOME")  # by default the cache in the home folder is used
        kept = (n for n in os.environ if n in MODELS or n.startswith(MODELS_PREFIX))
        env |= {name: os.environ[name] for name in kept}
    return env


def base_environment(threads: str) -> dict[str, str]:
    """The variables that all workers with this number of threads share with their fork server."""
    env = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith(KEPT_PREFIXES)}
    env.pop("ZSAR_BENCH_HOME", None)  # a worker gets the paths of its files, not of the store
    env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), threads)
    return env | {
        "OPENBLAS_NUM_THREADS": "1",  # it would start threads at import, before any fork
        "PYTHONPATH": os.pathsep.join(_import_path()),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TOKENIZERS_PARALLELISM": "false",
    }
