"""``faulty``: for every verb of a plugin and every fault, one method or encoder that has it.

Names are ``<verb>-<fault>``; the classes are made from the lists below. ``honest`` and
``honest-mean`` are what they all are but for their fault, and cost nothing to fit. A forked
child that stays is called ``faulty-child`` and would sleep for ten minutes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from dataclasses import replace

import torch

from zsar_bench import MethodSpec, ReporterSpec, SkeletonEncoderSpec, TextEncoderSpec, params
from zsar_bench.hookspecs import hookimpl
from zsar_bench.views import Features, TextFeatures

api = 1

CAP = 4 << 30  # bytes that 'memory' takes where nothing stops it
FLOOD = int(os.environ.get("ZSAR_BENCH_TOY_FLOOD", "64"))  # MB that 'flood' prints


def params_of(case):
    """Parameters that tell one class of this file from the others: features are cached by them."""
    words = {"__annotations__": {"case": str}, "case": params.science(case, "which it is")}
    name = f"Params_{case}".replace("-", "_")
    globals()[name] = type(name, (params.Params,), {"__module__": __name__, **words})
    return name


# --- What they all are -------------------------------------------------------------------------


class Honest:
    """The inner product of a linear map of features with texts; the map is solved for."""

    def __init__(self, params):
        pass

    def fit(self, train, run):
        x, texts = train.inputs.pooled.double(), texts_of(run.texts).double()
        square = x.T @ x + torch.eye(x.shape[1])
        self.map = torch.linalg.solve(square, x.T @ texts[train.labels]).float()

    def bind(self, candidates):
        self.texts = texts_of(candidates)

    def adapt(self, inputs):
        self.seen = len(inputs)

    def score(self, inputs):
        # One product a clip and class: the last bits of a larger one depend on where in it a clip
        # and a class stand, and every run has its own orders of both.
        looks = [row.clone() @ self.map for row in inputs.pooled]
        return torch.stack([torch.stack([(x * t).sum() for t in self.texts]) for x in looks])

    def state_dict(self):
        return {"map": self.map}

    def load_state_dict(self, state):
        self.map = state["map"]


def texts_of(bank):
    return torch.cat([text.pooled for text in bank.fields.values()], dim=1)


class HonestMean:
    """The joints' mean places, deviations and speeds; there is nothing to train."""

    def __init__(self, params):
        pass

    def fit(self, train, run):
        self.classes = torch.tensor(train.classes)

    def encode(self, clips):
        rows = [row[:, :n, :, 0] for row, n in zip(clips.data, clips.lengths, strict=True)]
        parts = [(r.mean(1), r.std(1), r.diff(dim=1).abs().mean(1)) for r in rows]
        pooled = torch.stack([torch.cat(p).flatten() for p in parts])
        return Features(pooled=pooled, logits=torch.zeros(len(pooled), int(self.classes)))

    def module(self):
        return torch.nn.Module()

    def state_dict(self):
        return {"classes": self.classes}

    def load_state_dict(self, state):
        self.classes = state["classes"]


class HonestTexts:
    """A text is how often each letter is in it."""

    def __init__(self, params):
        pass

    def fingerprint(self):
        return "letters"

    def encode(self, texts):
        rows = [[text.count(c) / len(text) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        pooled = torch.tensor(rows)
        mask = torch.ones(len(texts), 1, dtype=torch.bool)
        return TextFeatures(pooled=pooled, tokens=pooled[:, None], mask=mask)


# --- Faults ------------------------------------------------------------------------------------


def go_raise(value):
    raise RuntimeError("this is the planted error")


def go_exit(value):
    sys.exit("this is the planted exit")


def go_os_exit(value):
    print("these are its last words", flush=True)
    os._exit(7)


def go_segfault(value):
    ctypes.string_at(0)


def go_loop(value):
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    while True:
        time.sleep(0.05)


def go_memory(value):
    taken = []
    for _ in range(CAP >> 26):
        taken.append(torch.ones(1 << 24))
    return value


def _child():
    """A child, in a session of its own if it may be, with all that it has inherited."""
    if os.fork() == 0:
        with contextlib.suppress(OSError):
            os.setsid()
        ctypes.CDLL(None).prctl(1, 0)  # it shall outlive its parent
        ctypes.CDLL(None).prctl(15, b"faulty-child")
        time.sleep(600)
        os._exit(0)


def go_fork(value):
    _child()
    return value


def go_fork_exit(value):
    _child()
    os._exit(5)


def go_fork_both(value):
    os.fork()
    return value


def go_flood(value):
    for _ in range(FLOOD):
        os.write(1, b"this is the planted flood\n" * 40330)
    raise RuntimeError("this is the planted error after a flood")


def _tensor(value, change):
    """Change the one tensor of a value that counts."""
    if isinstance(value, dict):
        return {name: change(tensor) for name, tensor in value.items()}
    if isinstance(value, Features | TextFeatures):
        return replace(value, pooled=change(value.pooled))
    return change(value)


def go_nan(value):
    return _tensor(value, lambda t: t * float("nan"))


def go_shape(value):
    return _tensor(value, lambda t: t[:-1])


def go_columns(value):
    return _tensor(value, lambda t: t[:, :-1])


def go_dtype(value):
    return _tensor(value, lambda t: t.to(torch.complex64))


def go_list(value):
    return _tensor(value, lambda t: t.tolist())


ANYWHERE = ("raise", "exit", "os-exit", "segfault", "loop", "memory", "fork", "fork-exit")
ANYWHERE = (*ANYWHERE, "fork-both", "flood")
VALUES = {
    "score": ("nan", "shape", "columns", "dtype", "list"),
    "state_dict": ("nan", "list"),
    "encode": ("nan", "shape", "dtype", "list"),
}
GO = {name: globals()["go_" + name.replace("-", "_")] for name in (*ANYWHERE, "nan", "shape")}
GO |= {name: globals()["go_" + name] for name in ("columns", "dtype", "list")}
METHOD = ("fit", "bind", "adapt", "score", "state_dict", "load_state_dict")
ENCODER = ("fit", "encode", "state_dict", "load_state_dict")
TEXTS = ("fingerprint", "encode")


def with_fault(base, verb, fault):
    """A class that does what ``base`` does, and goes wrong at the end of one verb."""
    honest = getattr(base, verb)

    def faulty(self, *arguments):
        return GO[fault](honest(self, *arguments))

    return type(f"{base.__name__}_{verb}_{fault}", (base,), {verb: faulty})


def cases(verbs):
    return [(v, f) for v in verbs for f in (*ANYWHERE, *VALUES.get(v, ()))]


def _name(prefix, verb, fault):
    return f"{prefix}{verb}-{fault}".replace("_", "-")


def _class_name(base, verb, fault):
    return f"{base.__name__}_{verb}_{fault}".replace("-", "_")


for base, verbs, prefix in (
    (Honest, METHOD, ""),
    (HonestMean, ENCODER, "encoder-"),
    (HonestTexts, TEXTS, "texts-"),
):
    for verb, fault in cases(verbs):
        globals()[_class_name(base, verb, fault)] = with_fault(base, verb, fault)
        params_of(_name(prefix, verb, fault))
for name in ("honest", "honest-mean", "honest-texts"):
    params_of(name)


def reporter(fault):
    """A reporter that ends with a fault."""

    def report(comparison, *, width, color):
        return GO[fault]("a comparison")

    return report


for fault in ANYWHERE:
    globals()[f"report_{fault}".replace("-", "_")] = reporter(fault)


# --- Registered --------------------------------------------------------------------------------


def _specs(spec, honest, base, verbs, prefix=""):
    def named(name, target, **rest):
        words = {
            "params": f"{__name__}:Params_{name}".replace("-", "_"),
            "summary": "see the plugin",
            **rest,
        }
        return spec(name=name, target=f"{__name__}:{target}", **words)

    yield named(honest, base.__name__)
    for verb, fault in cases(verbs):
        rest = {"setting": "transductive"} if verb == "adapt" else {}
        name = _name(prefix, verb, fault)
        yield named(name, _class_name(base, verb, fault), **rest)


@hookimpl
def register_methods(registry):
    for spec in _specs(MethodSpec, "honest", Honest, METHOD):
        registry.method(spec)


@hookimpl
def register_skeleton_encoders(registry):
    for spec in _specs(SkeletonEncoderSpec, "honest-mean", HonestMean, ENCODER, "encoder-"):
        registry.skeleton_encoder(spec)


@hookimpl
def register_text_encoders(registry):
    for spec in _specs(TextEncoderSpec, "honest-texts", HonestTexts, TEXTS, "texts-"):
        registry.text_encoder(spec)


@hookimpl
def register_reporters(registry):
    for fault in ANYWHERE:
        name = f"report-{fault}"
        target = f"{__name__}:{name.replace('-', '_')}"
        registry.reporter(ReporterSpec(name=name, target=target, summary="see the plugin"))
