"""What the tests of cheats share: where the plugins lie, what they aim at, and who listens."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import zsar_bench
from kit.command import TOY_ENCODERS, Cli, environment
from kit.paths import ATTACKS, REFERENCE
from zsar_bench.records.files import read_record, write_predictions
from zsar_bench.records.schema import Record

SECRET = "a-token-of-the-user"

#: An unconfined process and its parent: what gets nothing here is no attack.
UNCONFINED = """
import json, os, sys
from pathlib import Path
from zsar_bench.catalogue.loading import import_file
*files, call, argument = sys.argv[1:]
row = {"file": "c2_4.npy"}  # what a careless harness holds
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
for file in files:
    module = import_file(Path(file))
print(json.dumps(getattr(module, call)(json.loads(argument))))
"""


#: One round instead of two halves: workers cost seconds.
PROTOCOL = """
id = "toy-one"
title = "Toy Motion, 4 seen and 2 unseen, one round"
dataset = "toy-motion"
family = "toy"
source = "made for tests of cheats"
seen = ["c1", "c4", "c5", "c6"]
unseen = ["c2", "c3"]

[samples]
rule = "xsub"
train = ["1", "3", "5", "7"]
test_clips = 16
"""


#: A process of this user without privileges that has nothing to do.
VICTIM = """
import time
from zsar_bench.sandbox.confinement.privileges import drop
drop()
print("ready", flush=True)
time.sleep(600)
"""


@dataclass
class Scene:
    """A store, results, a checkout's reference runs and listeners, all of a test's own.

    Attributes:
        cli: runs commands in it; the environment holds ``SECRET``.
        targets: what the attacks aim at.
        heard: sockets that nobody may reach.
    """

    cli: Cli
    folder: Path
    targets: dict[str, Any] = field(default_factory=dict)
    heard: dict[str, socket.socket] = field(default_factory=dict)

    @property
    def protocol(self) -> Path:
        return self.folder / "toy-one.toml"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def plugins(self, *names: str) -> list[Path]:
        """Copies of the plugin files: an attack that works must not change the checkout."""
        return [self.folder / "cheats" / f"{name}.py" for name in names]

    def run(self, *words: object, plugins: tuple[str, ...], **more: Any) -> Any:
        """One ``run`` command with these plugins; its JSON and what it said."""
        flags = [w for file in self.plugins(*plugins) for w in ("--plugin", file)]
        given = more.pop("encoders", TOY_ENCODERS)
        results = self.folder / more.pop("results", "results")
        where = ("--protocol", self.protocol, "--results", results)
        common = (*where, *given, "--quiet", "--json")
        more.setdefault("check", None)
        env = {"SOMEBODYS_TOKEN": SECRET} | more.pop("env", {})
        done = self.cli("run", *words, *flags, *common, env=env, **more)
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        return done

    def unconfined(self, *files: str, call: str, argument: object) -> Any:
        """What a function of the last file gets in a process without walls."""
        env = environment(self.cli.home, self.cli.site, {"SOMEBODYS_TOKEN": SECRET})
        paths = map(str, self.plugins(*files))
        with_fd = os.open(self.targets["dataset"], os.O_RDONLY) if self.targets else -1
        try:
            done = subprocess.run(
                [sys.executable, "-c", UNCONFINED, *paths, call, json.dumps(argument)],
                cwd=self.folder / "unconfined",
                env=env,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
                pass_fds=(with_fd,) if with_fd > 0 else (),
            )
        finally:
            if with_fd > 0:
                os.close(with_fd)
        assert done.returncode == 0, done.stderr[-3000:]
        print(done.stderr)
        return json.loads(done.stdout)

    def folder_of(self, method: str, results: str = "results") -> Path:
        """Where the method's only run lies."""
        (path,) = (self.folder / results / "runs").glob(f"*/{method}/*/run.json")
        return path.parent

    def record(self, method: str, results: str = "results") -> Record:
        """The record of the method's only run."""
        return read_record(self.folder_of(method, results))

    def events(self, method: str) -> list[dict[str, Any]]:
        """What the method's only run said."""
        lines = (self.folder_of(method) / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def make_scene(folder: Path, home: Path, site: Path, raw: Path, listening: ExitStack) -> Scene:
    """A scene in ``folder``, with a copy of the store ``home``."""
    shutil.copytree(home, folder / "home")
    shutil.copytree(ATTACKS, folder / "cheats", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "unconfined").mkdir()
    scene = Scene(Cli(folder / "home", site, folder), folder)
    store = folder / "home" / "data" / "toy-motion"
    other = folder / "results" / "runs" / "toy-one" / "other" / "0123456789abcdef"
    other.mkdir(parents=True)
    labels, scores = np.array([0, 1]), np.eye(2, dtype=np.float32)
    write_predictions(other / "predictions.safetensors", ["a", "b"], labels, ["c2", "c3"], scores)
    (other / "canary").write_text("can")
    harness = Path(zsar_bench.__file__).parent
    scene.targets = {
        "dataset": str(store / "dataset.json"),
        "shard": str(store / "shards" / "c2_1.npy"),
        "raw": str(raw / "c2_s1_r1.npy"),
        "predictions": str(other / "predictions.safetensors"),
        "canary": str(other / "canary"),
        "reference": str(min((REFERENCE / "runs").rglob("predictions.safetensors"))),
        "harness": str(harness),
        "site": str(site),
        "home": str(Path.home()),
        "names": r"c[23]_s?\d",
        "secret": SECRET,
    }
    scene.protocol.write_text(PROTOCOL)
    done = scene.run("toy-ridge", plugins=())
    assert done.returncode == 0, done.stderr
    features = (folder / "home" / "encoders").glob("*/pooled/c2_*.safetensors")
    scene.targets["bundle"] = str(min(features))
    victim = subprocess.Popen([sys.executable, "-c", VICTIM], stdout=subprocess.PIPE)
    listening.callback(victim.communicate)
    listening.callback(victim.kill)
    assert victim.stdout is not None
    assert victim.stdout.readline() == b"ready\n"
    scene.targets["victim"] = victim.pid
    for name, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
        scene.heard[name] = listening.enter_context(socket.socket(socket.AF_INET, kind))
        scene.heard[name].bind(("127.0.0.1", 0))
        scene.targets[name] = scene.heard[name].getsockname()[1]
    for name, address in (
        ("unix", str(folder / "socket")),
        ("abstract", f"\0{folder.name}-{os.getpid()}-ear"),
    ):
        scene.heard[name] = listening.enter_context(socket.socket(socket.AF_UNIX))
        scene.heard[name].bind(address)
        scene.targets[name] = address.removeprefix("\0")
    for name in ("tcp", "unix", "abstract"):
        scene.heard[name].listen(64)
    for one in scene.heard.values():
        one.setblocking(False)
    return scene
