"""The walls around plugin code: every attempt first succeeds without them, then is refused.

The attempts are in ``wall_probes.py`` and run in real processes.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from kit.paths import TESTS
from zsar_bench.sandbox.confinement.confine import support
from zsar_bench.sandbox.confinement.rules import Rules
from zsar_bench.sandbox.confinement.worker_rules import worker_rules

PROBES = TESTS / "kit" / "confinement_probes.py"
ABI = support().abi
#: Landlock's ABI below which an attempt is not refused, and nothing else refuses it.
SINCE = {"signal_victim": 6, "signal_parent": 6, "signal_victim_by_descriptor": 6, "cut_outside": 3}
LEFT_OPEN = ("allowed_work",)
VICTIM = """
import ctypes, sys
secret = ctypes.create_string_buffer(b"SECRET")
print(ctypes.addressof(secret), flush=True)
sys.stdin.read()
"""
ONLY_LINUX = pytest.mark.skipif(ABI == 0, reason="this kernel has no Landlock")


def names_of_attempts() -> list[str]:
    """Names of the functions that the probes register, read without importing them."""
    lines = PROBES.read_text().splitlines()
    marked = (after for line, after in itertools.pairwise(lines) if line == "@attempt")
    return [line.removeprefix("def ").partition("(")[0] for line in marked]


def child(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **{"env": env, **options},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def probe(folder: Path, place: dict, rules: Rules | None, attempts: list[str] = ()) -> dict:
    """What came of the attempts in a process with these rules, or without walls."""
    request = {"place": place, "rules": None if rules is None else vars(rules)}
    request["attempts"] = list(attempts)
    file = folder / f"request-{uuid.uuid4().hex}.json"
    file.write_text(json.dumps(request))
    answer: dict = json.loads(child([str(PROBES), str(file)]).stdout)
    return answer


def base_rules(workdir: Path, reads: tuple[str, ...] = (), code: tuple[str, ...] = ()) -> Rules:
    return worker_rules(
        sys_path=sys.path,
        prefixes=[sys.prefix, sys.base_prefix],
        code=code,
        reads=reads,
        workdir=str(workdir),
        protected=[],
        network=False,
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The answers of an unconfined (``free``) and a confined (``confined``) process."""
    folder = tmp_path_factory.mktemp("confinement")
    token = f"zsar-walls-{uuid.uuid4().hex}"
    outside, workdir, names = (folder / name for name in ("outside", "workdir", "names"))
    for made in (outside, workdir, names):
        made.mkdir()
    for file in (outside / "secret", outside / "victim", names / "listed"):
        file.write_text("SECRET")
    for file in (folder / "bundle", workdir / "bundle-copy"):
        file.write_text("bundle")
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"WALL_SECRET": "1"},
    )
    with (
        victim,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        udp.bind(("127.0.0.1", 0))
        abstract.bind(f"\0{token}")
        named.bind(f"/tmp/{token}.socket")
        for listener in (abstract, named):
            listener.listen()
        assert victim.stdout is not None
        place = {
            "outside": str(outside),
            "secret": str(outside / "secret"),
            "victim_file": str(outside / "victim"),
            "workdir": str(workdir),
            "bundle": str(folder / "bundle"),
            "bundle_copy": str(workdir / "bundle-copy"),
            "names": str(names),
            "victim": victim.pid,
            "address": int(victim.stdout.readline()),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "named_socket": f"/tmp/{token}.socket",
            "token": token,
        }
        rules = base_rules(workdir, (place["bundle"],))
        rules = Rules(read=rules.read, names=(*rules.names, str(names)), write=rules.write)
        answers = {}
        for name, confinement in (("free", None), ("confined", rules)):
            for left in ("to-remove", "to-move"):
                (outside / left).write_text("x")
            for made in ("made", "linked", "moved-out"):
                (outside / made).unlink(missing_ok=True)
            if (outside / "folder").is_dir():
                (outside / "folder").rmdir()
            answers[name] = probe(folder, place, confinement)
        answers["after"] = {
            "victim": victim.poll(),
            "outside": sorted(os.listdir(outside)),
            "datagrams": len(udp.recv(100)) if udp.getsockname() else 0,
        }
        os.unlink(f"/tmp/{token}.socket")
        victim.communicate("")
    return answers


@ONLY_LINUX
@pytest.mark.parametrize("name", [n for n in names_of_attempts() if n not in LEFT_OPEN])
def test_an_attempt_succeeds_outside_and_is_refused_inside(name: str, outcomes: dict) -> None:
    free, confined = outcomes["free"][name], outcomes["confined"][name]
    if not free.startswith("done: "):
        # A kernel or container that refuses it to everybody; ours is known to allow all of them.
        pytest.skip(f"not possible here without walls either ({free})")
    if SINCE.get(name, 1) > ABI:
        pytest.skip(f"refused since Landlock ABI {SINCE[name]}; this kernel has {ABI}")
    assert confined.removeprefix("refused: ") in ("EPERM", "EACCES", "EXDEV"), confined


@ONLY_LINUX
def test_nothing_outside_has_changed(outcomes: dict) -> None:
    after = outcomes["after"]
    assert after["victim"] is None  # alive
    assert after["outside"] == ["secret", "to-move", "to-remove", "victim"]


@ONLY_LINUX
def test_what_is_allowed_works(outcomes: dict) -> None:
    assert outcomes["confined"]["allowed_work"] == 'done: "fine"'
    assert outcomes["confined"]["confinement"]["level"] == "landlock"
    assert outcomes["confined"]["confinement"] == vars(support())


PRIVILEGES = """
import json, os, resource, shutil, sys, time
from pathlib import Path
from zsar_bench.sandbox.confinement.confine import Rules, confine
rules = json.loads(Path(sys.argv[1]).read_text())
before = time.process_time()
if sys.argv[2] == "confined":
    confine(Rules(tuple(rules["read"]), tuple(rules["names"]), tuple(rules["write"])))
print(time.process_time() - before)
print(resource.getrlimit(resource.RLIMIT_CORE)[1], flush=True)
grep = shutil.which("grep")  # another program in the same process: root would get all back
os.execv(grep, [grep, "-E", "^(Cap|NoNewPrivs|Seccomp:)", "/proc/self/status"])
"""


def privileges(tmp_path: Path, level: str) -> tuple[float, str, dict[str, int]]:
    """CPU seconds that confining took, the limit of core dumps, and what the kernel says."""
    (tmp_path / "rules.json").write_text(json.dumps(vars(base_rules(tmp_path))))
    said = child(["-c", PRIVILEGES, str(tmp_path / "rules.json"), level]).stdout.splitlines()
    return float(said[0]), said[1], {k: int(v, 16) for k, v in (x.split(":") for x in said[2:])}


@ONLY_LINUX
def test_no_privileges_and_no_core_dumps_are_left(tmp_path: Path) -> None:
    _, _, free = privileges(tmp_path, "free")
    seconds, core, confined = privileges(tmp_path, "confined")
    assert (free["NoNewPrivs"], confined["NoNewPrivs"]) == (0, 1)
    assert (free["Seccomp"], confined["Seccomp"]) == (0, 2)
    assert core == "0"
    gone = ["CapInh", "CapPrm", "CapEff", "CapAmb"]
    if os.geteuid() == 0:  # others have no say over their bounding set, and no use of it
        assert free["CapEff"] > 0
        gone.append("CapBnd")
    assert {name: confined[name] for name in gone} == dict.fromkeys(gone, 0)
    assert seconds < 0.03  # measured: 4 ms for 300 rules


@ONLY_LINUX
def test_a_network_opens_the_internet_families_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    own = base_rules(tmp_path / "work")
    rules = Rules(own.read, own.names, own.write, network=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = {"tcp": server.getsockname()[1], "token": "nobody", "workdir": str(tmp_path)}
        answer = probe(tmp_path, place, rules, ["tcp", "tcp_listen", "abstract_socket"])
    assert answer["tcp"].startswith("done"), answer
    assert answer["tcp_listen"].startswith("done"), answer
    assert answer["abstract_socket"] == "refused: EPERM"
    assert answer["confinement"]["tcp"] is False


TRAIN = """
import os, sys, tempfile
from pathlib import Path
from zsar_bench.sandbox.confinement.confine import Rules, confine
import json
rules = json.loads(Path(sys.argv[1]).read_text())
confine(Rules(tuple(rules["read"]), tuple(rules["names"]), tuple(rules["write"])))
import torch
torch.manual_seed(0)
net = torch.nn.Linear(4, 2)
optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
losses = []
for _ in range(3):
    loss = (net(torch.ones(8, 4)) - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
with tempfile.NamedTemporaryFile(delete=False) as file:
    torch.save(net.state_dict(), file)
print(json.dumps({"losses": losses, "file": file.name}))
"""


@ONLY_LINUX
def test_torch_trains_inside(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "rules.json").write_text(json.dumps(vars(base_rules(work))))
    own = {name: str(work) for name in ("TMPDIR", "HOME", "TORCHINDUCTOR_CACHE_DIR")}
    done = child(
        ["-c", TRAIN, str(tmp_path / "rules.json")],
        cwd=work,
        env=os.environ | own | {"OMP_NUM_THREADS": "1"},
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["losses"][2] < answer["losses"][0]
    assert Path(answer["file"]).parent == work
    assert Path(answer["file"]).stat().st_size > 100


THREADS = """
import threading, time
from zsar_bench.sandbox.confinement.confine import ConfinementError, Rules, confine
threading.Thread(target=time.sleep, args=(2,), daemon=True).start()
try:
    confine(Rules())
except ConfinementError as error:
    print(error.what)
"""


@ONLY_LINUX
def test_several_threads_cannot_be_confined() -> None:
    assert "2 threads cannot be confined" in child(["-c", THREADS]).stdout


MISSING = """
import sys
from zsar_bench.sandbox.confinement.confine import ConfinementError, Rules, confine
confine(Rules(read=(sys.argv[1],)))  # allows nothing, and is nothing
print("confined")
"""
MISSING_WORKDIR = MISSING.replace("read=", "write=")


@ONLY_LINUX
def test_a_missing_path_allows_nothing_and_a_missing_workdir_is_an_error(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert child(["-c", MISSING, gone]).stdout == "confined\n"
    with pytest.raises(AssertionError, match=r"ConfinementError: The kernel did not confine.*gone"):
        child(["-c", MISSING_WORKDIR, gone])


#: A filter of the test's own: the three calls of Landlock do not exist (x86_64, aarch64).
WITHOUT = """
import ctypes, json, struct
libc = ctypes.CDLL(None)
code = [(0x20, 0, 0, 0), (0x35, 0, 2, 444), (0x25, 1, 0, 446), (0x06, 0, 0, 0x50000 | 38),
        (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("=HBBI", *op) for op in code)
buffer = ctypes.create_string_buffer(code, len(code))
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))
program = Program(5, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program)) == 0
from zsar_bench.sandbox.confinement.confine import Rules, confine, support
could = vars(support())
stands = vars(confine(Rules()))
status = dict(line.split(":") for line in open("/proc/self/status"))
print(json.dumps([could, stands, int(status["CapEff"], 16), status["Seccomp_filters"].strip()]))
"""


@ONLY_LINUX
def test_without_landlock_the_other_walls_stand_and_the_level_says_so() -> None:
    could, stands, capabilities, filters = json.loads(child(["-c", WITHOUT]).stdout)
    assert could == stands
    assert could == {
        "level": "process",
        "abi": 0,
        "files": False,
        "tcp": False,
        "signals": False,
        "system_calls": True,
        "capabilities": True,
    }
    assert capabilities == 0
    assert filters == "2"


def test_on_another_system_there_is_no_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    confinement = support()
    assert confinement.level == "process"
    assert not any((confinement.files, confinement.system_calls, confinement.capabilities))
