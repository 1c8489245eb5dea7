"""What happens to plugins on their way into the catalogue: good, broken, clashing, changed."""

from __future__ import annotations

import importlib.metadata
import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from zsar_bench.catalogue import catalogue
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.common.files import NOT_FOR_PLUGINS
from zsar_bench.errors import UserError
from zsar_bench.sandbox.confinement import confine, worker_rules
from zsar_bench.sandbox.confinement.confine import support

GOOD = """
from zsar_bench import MethodSpec
from zsar_bench.hookspecs import hookimpl
from zsar_bench.params import Params, science

api = 1

class P(Params):
    strength: float = science(1.0, "how much", ge=0)

class M:
    def __init__(self, params): pass
    def fit(self, train, run): pass
    def bind(self, candidates): pass
    def score(self, inputs): pass
    def state_dict(self): return {}
    def load_state_dict(self, state): pass

@hookimpl
def register_methods(registry):
    registry.method(MethodSpec(name=NAME, target=f"{__name__}:M", params=f"{__name__}:P",
                               summary="does nothing"))
"""


def good(name: str) -> str:
    return GOOD.replace("NAME", repr(name))


#: A plugin that would patch the scorer in the process that holds the labels.
EXECUTOR = """

class Patching:
    def __init__(self, jobs):
        from zsar_bench.metrics import accuracy

        accuracy.top1_accuracy = lambda *_: 1.0

@hookimpl
def register_executors(registry):
    from zsar_bench.specs import ExecutorSpec

    registry.executor(ExecutorSpec(name="patching", target=f"{__name__}:Patching", summary="x"))
"""

#: file -> source; each is broken in one way, and most could register something.
BROKEN = {
    "raises.py": f"{good('of-raises')}\nraise RuntimeError('I cannot go on')",
    "exits.py": f"{good('of-exits')}\nraise SystemExit(3)",
    "syntax.py": "def broken(:\n",
    "no_api.py": good("of-no-api").replace("api = 1", ""),
    "wrong_api.py": good("of-wrong-api").replace("api = 1", "api = 99"),
    "misspelt.py": good("of-misspelt").replace("register_methods", "register_metods"),
    "no_hook.py": "api = 1",
    "executor_hook.py": good("of-executor-hook") + EXECUTOR,
    "executor_spec.py": "from zsar_bench import ExecutorSpec" + good("of-executor-spec") + EXECUTOR,
    "half_way.py": f"{good('of-half-way')}\n    raise OSError('half way')",
    "bad_name.py": good("Of Bad Name"),
    "bad_target.py": good("of-bad-target").replace("{__name__}:M", "no colon"),
    "twice.py": good("of-twice").replace(
        "    registry.method(", "    for _ in 'ab': registry.method("
    ),
}
#: These bring a good method besides the broken one.
PARTLY = {
    "missing_target.py": (
        f"{good('of-missing-target')}\n    registry.method(MethodSpec(name='missing-target', "
        "target='no_such_module:M', params=f'{__name__}:P', summary=''))"
    ),
    "lacking.py": (
        f"class L:\n    fit = bind = state_dict = load_state_dict = print\n{good('of-lacking')}\n"
        "    registry.method(MethodSpec(name='lacking', target=f'{__name__}:L', "
        "params=f'{__name__}:P', summary=''))"
    ),
    "bad_params.py": (
        f"{good('of-bad-params')}\n    registry.method(MethodSpec(name='bad-params', "
        "target=f'{__name__}:M', params=f'{__name__}:Q', summary=''))\n\n"
        "class Q(Params):\n    profiles = {'paper': {}, 'laptop': {'strenght': 2}}\n"
        "    strength: float = science(1.0, 'how much')\n"
    ),
}
FINE = {
    "fine.py": good("of-fine"),
    "chatty.py": f"print('{{}} not the answer')\n{good('of-chatty')}",
    "first_claim.py": good("claimed"),
    "second_claim.py": good("claimed"),
}


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Catalogue:
    """The catalogue of our own plugins and a crowd of others, from a real discovery child."""
    folder = tmp_path_factory.mktemp("plugins")
    files = write(folder, BROKEN | PARTLY | FINE)
    files += write(folder / "other", {"fine.py": good("of-another-fine")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZSAR_BENCH_HOME", str(folder / "home"))
        patch.chdir(folder)
        return load(files)


def rows(found: Catalogue, name: str) -> list[dict]:
    return [row for row in found.data["plugins"] if row["name"] == name]


@pytest.fixture
def child(tmp_path, monkeypatch) -> list[list[str]]:
    """Our plugins are out of sight and torch is a dummy: discovery takes a blink.

    Returns:
        What the discovery children that were started so far were asked about, by name.
    """
    dummy = "__version__ = '0'\nclass cuda:\n    is_available = staticmethod(lambda: False)\n"
    write(tmp_path / "dummies", {"torch.py": dummy})
    monkeypatch.syspath_prepend(str(tmp_path / "dummies"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "dummies"))
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    points = importlib.metadata.entry_points

    def others(group: str) -> list[importlib.metadata.EntryPoint]:
        return [p for p in points(group=group) if p.dist and p.dist.name != "zsar-bench"]

    monkeypatch.setattr(catalogue.importlib.metadata, "entry_points", others)
    started: list[list[str]] = []

    def run(command, **rest):
        started.append([source["name"] for source in json.loads(rest["input"])["sources"]])
        return subprocess.run(command, **rest)

    monkeypatch.setattr(catalogue, "subprocess", SimpleNamespace(run=run))
    return started


# --- Broken plugins --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("raises", "RuntimeError: I cannot go on"),
        ("exits", "SystemExit: 3"),
        ("syntax", "SyntaxError"),
        ("no_api", "declares no 'api'; this zsar-bench speaks api = 1"),
        ("wrong_api", "declares api = 99; this zsar-bench speaks api = 1"),
        ("misspelt", "register_metods"),
        ("no_hook", "implements no hook"),
        ("executor_hook", "executors do not plug in: they ran in the process that holds the label"),
        ("executor_spec", "executors do not plug in: they ran in the process that holds the label"),
        ("half_way", "OSError: half way"),
        ("bad_name", "'Of Bad Name' must match"),
        ("bad_target", "target 'no colon' must be 'package.module:Name'"),
        ("twice", "'of-twice' is registered twice"),
    ],
)
def test_a_broken_plugin_is_a_row_with_its_reason_and_registers_nothing(broken, file, reason):
    (row,) = rows(broken, file)
    assert row["status"] == "broken"
    assert reason in "; ".join(row["errors"])
    assert not any(entry.plugin == file for entry in broken.entries("methods"))
    assert f"of-{file.replace('_', '-')}" not in broken.names("methods")


def test_every_broken_plugin_was_tried():
    tried = {mark.args[1][i][0] for mark in _marks() for i in range(len(mark.args[1]))}
    assert tried == {Path(name).stem for name in BROKEN}


def _marks() -> list[pytest.Mark]:
    of = test_a_broken_plugin_is_a_row_with_its_reason_and_registers_nothing
    return list(of.pytestmark)


@pytest.mark.parametrize(
    ("file", "name", "reason"),
    [
        ("missing_target", "missing-target", "No module named 'no_such_module'"),
        ("lacking", "lacking", "L lacks score()"),
        ("bad_params", "bad-params", "strenght"),
    ],
)
def test_a_broken_spec_leaves_its_plugins_other_specs_alone(broken, file, name, reason):
    (row,) = rows(broken, file)
    assert row["status"] == "partly broken"
    (error,) = row["errors"]
    assert error.startswith(f"method {name}: ")
    assert reason in error
    assert broken.find("methods", f"of-{file.replace('_', '-')}").plugin == file
    with pytest.raises(UserError, match=f"'{name}' of plugin '{file}' is broken") as refused:
        broken.find("methods", name)
    assert refused.value.hint == "zsar-bench list plugins"


def test_the_others_survive_the_broken_ones(broken):
    ours = {"alignment", "core", "datasets", "encoders", "protocols", "tdsm"}
    for name in ours | {"chatty", "first_claim", "second_claim"}:
        (row,) = rows(broken, name)
        assert (row["status"], row["errors"]) == ("ok", []), row
    assert {"tdsm", "eszsl", "prototypes", "chance"} <= set(broken.names("methods"))
    assert broken.find("methods", "of-chatty").schema["properties"]["strength"]["minimum"] == 0


def test_two_plugins_of_one_name_are_an_error_that_names_both(broken):
    first, second = rows(broken, "fine")
    assert first["status"] == "ok"
    assert second["status"] == "broken"
    assert f"already taken by {first['source']}" in second["errors"][0]
    assert "of-fine" in broken.names("methods")
    assert "of-another-fine" not in broken.names("methods")


def test_a_name_that_two_plugins_register_belongs_to_neither(broken):
    assert "claimed" not in broken.names("methods")
    with pytest.raises(UserError, match="first_claim and second_claim"):
        broken.find("methods", "claimed")


def test_a_plugin_that_ends_the_child_is_a_clear_error(child, tmp_path):
    files = write(tmp_path / "plugins", {"hard.py": "import os\nos._exit(9)\n"})
    with pytest.raises(UserError, match="exit code 9") as refused:
        load(files)
    assert "--plugin" in refused.value.hint
    assert not list((tmp_path / "home").rglob("*.json"))


# --- Names and defaults ----------------------------------------------------------------------


def test_an_unknown_name_suggests_the_nearest(broken):
    with pytest.raises(UserError, match="Unknown method 'esszl'") as refused:
        broken.find("methods", "esszl")
    assert "Did you mean eszsl" in refused.value.hint
    with pytest.raises(UserError) as refused:
        broken.find("text_encoders", "zzzzzz")
    known = "grammar, minilm, open-clip, sentence-transformers, tdsm-text"
    assert f"Known: {known}" in refused.value.hint
    assert "zsar-bench list text-encoders" in refused.value.hint


def test_the_default_is_the_lowest_rank_and_never_one_without_rank(broken):
    def ranked(**ranks: int | None) -> Catalogue:
        specs = {
            name: {"name": name, "plugin": "p", "digest": "", "fallback_rank": rank}
            for name, rank in ranks.items()
        }
        return Catalogue({"text_encoders": specs, "conflicts": {}, "plugins": []}, [])

    assert broken.default("text_encoders").name == "minilm"
    assert broken.default("skeleton_encoders").name == "st-gcn"
    assert ranked(a=None, b=7, c=3).default("text_encoders").name == "c"
    assert ranked(b=7, a=7).default("text_encoders").name == "a"
    with pytest.raises(UserError, match="could be a default"):
        ranked(a=None).default("text_encoders")


# --- Where plugins come from -----------------------------------------------------------------


def test_a_projects_file_names_plugins(child, tmp_path):
    here = Path.cwd()
    write(here / "mine", {"project.py": good("of-project")})
    write(tmp_path, {"named.py": good("of-named")})
    (here / "zsar-bench.toml").write_text('plugins = ["mine/project.py"]\n')
    found = load([tmp_path / "named.py"])
    assert found.names("methods") == ["of-named", "of-project"]
    assert load([here / "mine/project.py"]).names("methods") == ["of-project"], "once, not twice"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("plugins = [", "not valid TOML"),
        ("plugins = " + "9" * 5000, "not valid TOML"),
        ("plugins = " + "[" * 3000, "not valid TOML"),
        ("plugins = 'one.py'", "must be a list"),
        ("plugins = [1]", "must be a list"),
        ("plugins = ['missing.py']", "missing.py does not exist"),
    ],
)
def test_a_faulty_project_file_is_refused(child, text, reason):
    Path("zsar-bench.toml").write_text(text)
    with pytest.raises(UserError, match=reason):
        load()
    assert not child


def test_a_file_that_is_no_python_file_is_refused(child, tmp_path):
    write(tmp_path, {"plugin.txt": good("of-text")})
    with pytest.raises(UserError, match=r"plugin\.txt does not exist or is not a \.py file"):
        load([tmp_path / "plugin.txt"])


def test_nothing_is_loaded_from_the_current_folder_unasked(child):
    trap = "import pathlib\npathlib.Path(__file__).with_suffix('.loaded').touch()\n"
    names = ("pluggy.py", "zsar_tdsm.py", "plugin.py", "conftest.py", "sitecustomize.py")
    write(Path.cwd(), {name: f"{trap}{good('of-trap')}" for name in names})
    assert load().names("methods") == []
    assert child
    assert not list(Path.cwd().glob("*.loaded"))


def test_an_installed_third_party_package_is_found(toy_process):
    found = load()
    (row,) = rows(found, "toy")
    assert (row["status"], row["distribution"]) == ("ok", "zsar-toy 1.0")
    assert found.find("methods", "toy-ridge").plugin == "toy"
    assert found.default("skeleton_encoders").name == "st-gcn", "rank 50 is behind rank 10"
    assert "zsar_toy" not in sys.modules, "the parent never imports plugin code"


# --- The cache -------------------------------------------------------------------------------


def install(site: Path, **files: str) -> None:
    """An installed package ``boxed``, as pip leaves it."""
    write(site / "boxed", {f"{name}.py": text for name, text in files.items()})
    info = {
        "METADATA": "Metadata-Version: 2.1\nName: boxed\nVersion: 1\n",
        "entry_points.txt": "[zsar_bench]\nboxed = boxed\n",
    }
    write(site / "boxed-1.dist-info", info)


BOXED = good("of-boxed").replace("{__name__}:M", "boxed.deep:M")


def test_the_second_time_no_child_is_started(child, tmp_path, monkeypatch):
    files = write(tmp_path / "plugins", {"fine.py": good("of-fine")})
    first = load(files)
    assert child == [["fine"]]
    assert load(files).data == first.data
    assert len(child) == 1
    load(files, refresh=True)
    assert child == [["fine"]] * 2
    assert load().names("methods") == []
    assert len(child) == 2, "nothing that is not known"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "none of them")
    load(files)
    assert child[2:] == [[]], "what torch says of the machine may have changed"


def test_only_what_is_new_is_asked(child, tmp_path):
    """A plugin that is added, changed or broken is asked alone; the rest is as it was."""
    one, two, broken = write(
        tmp_path / "plugins",
        {"one.py": good("of-one"), "two.py": good("of-two"), "broken.py": "raise OSError"},
    )
    assert load([one]).names("methods") == ["of-one"]
    assert load([one, two]).names("methods") == ["of-one", "of-two"]
    two.write_text(good("of-two-b"))
    assert load([one, two]).names("methods") == ["of-one", "of-two-b"]
    assert load([one, two]).names("methods") == ["of-one", "of-two-b"]
    assert child == [["one"], ["two"], ["two"]]
    for _ in range(2):
        assert load([one, broken]).names("methods") == ["of-one"]
    assert child[3:] == [["broken"], ["broken"]]


def test_a_plugin_file_may_import_from_those_named_before_it(child, tmp_path):
    """Whoever of them was asked when; alone, or in another order, it is broken."""
    base, more = write(
        tmp_path / "plugins",
        {
            "base.py": f"{good('of-base')}\nRATE = 1.0\n",
            "more.py": "from zsar_plugin_base import RATE\n"
            + good("of-more").replace("1.0", "RATE"),
        },
    )

    def rate():
        return load([base, more]).find("methods", "of-more").schema["properties"]["strength"]

    load([base])
    assert rate()["default"] == 1.0
    assert child == [["base"], ["more"]]
    base.write_text(base.read_text().replace("RATE = 1.0", "RATE = 2.0"))
    assert rate()["default"] == 2.0
    assert child[2:] == [["base", "more"]]
    for files in ([more], [more, base]):
        assert rows(load(files), "more")[0]["status"] == "broken"
    assert rate()["default"] == 2.0


def test_kept_answers_say_what_a_fresh_look_says(child, tmp_path):
    """Names that two plugins claim, and plugins of one name, are found whoever was asked when."""
    files = write(tmp_path / "p", FINE)
    files += write(tmp_path / "p" / "other", {"fine.py": good("of-another-fine")})
    for file in files:
        load([file])
    kept = load(files).data
    assert kept == load(files, refresh=True).data
    assert kept["conflicts"]["methods"] == {"claimed": ["first_claim", "second_claim"]}
    assert [row["status"] for row in kept["plugins"]] == [*["ok"] * 4, "broken"]


def test_a_plugin_that_imports_another_is_asked_again_when_that_changes(
    child, tmp_path, monkeypatch
):
    site = tmp_path / "site"
    install(site, __init__=BOXED, deep=good("x"), far="FAR = 1\n")
    monkeypatch.syspath_prepend(str(site))
    borrows = f"from boxed.far import FAR\n{good('of-borrower').replace('1.0', 'FAR')}"
    files = write(tmp_path / "p", {"borrower.py": borrows})

    def default():
        return load(files).find("methods", "of-borrower").schema["properties"]["strength"]

    assert default()["default"] == 1
    (site / "boxed" / "far.py").write_text("FAR = 2\n")
    assert default()["default"] == 2
    assert "borrower" in child[1]


def test_a_changed_plugin_file_is_asked_again(child, tmp_path):
    (file,) = files = write(tmp_path / "plugins", {"fine.py": good("of-fine")})
    before = load(files).find("methods", "of-fine")
    file.write_text(good("of-fine").replace("1.0", "2.0"))
    after = load(files).find("methods", "of-fine")
    assert len(child) == 2
    assert before.schema["properties"]["strength"]["default"] == 1.0
    assert after.schema["properties"]["strength"]["default"] == 2.0
    assert before.digest != after.digest


def test_a_changed_module_behind_a_target_is_asked_again(child, tmp_path, monkeypatch):
    site = tmp_path / "site"
    install(site, __init__=BOXED, deep=f"from boxed.far import FAR\n{good('x')}", far="FAR = 1\n")
    monkeypatch.syspath_prepend(str(site))
    before = load().find("methods", "of-boxed").digest
    load()
    assert len(child) == 1
    (site / "boxed/far.py").write_text("FAR = 2\n")
    assert load().find("methods", "of-boxed").digest != before
    assert len(child) == 2


def test_a_mended_package_is_found_at_once(child, tmp_path, monkeypatch):
    site = tmp_path / "site"
    install(site, __init__=f"raise RuntimeError('not yet')\n{BOXED}", deep="")
    monkeypatch.syspath_prepend(str(site))
    assert rows(load(), "boxed")[0]["status"] == "broken"
    install(site, __init__=BOXED, deep="")
    assert rows(load(), "boxed")[0]["status"] == "partly broken"
    install(site, __init__=BOXED, deep=good("x"))
    assert rows(load(), "boxed")[0]["status"] == "ok"


def test_another_installation_of_the_same_version_is_asked_again(child, tmp_path, monkeypatch):
    # The files of the first are still there and unchanged, but nobody imports them any more.
    digests = []
    for n in (1, 2):
        install(tmp_path / f"site-{n}", __init__=good("of-boxed") + f"\nRATE = {n}\n")
        monkeypatch.syspath_prepend(str(tmp_path / f"site-{n}"))
        digests.append(load().find("methods", "of-boxed").digest)
    assert digests[0] != digests[1]
    assert len(child) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"files": {"/nowhere": ""}}'])
def test_a_damaged_answer_is_asked_for_again(child, tmp_path, damage):
    files = write(tmp_path / "plugins", {"fine.py": good("of-fine")})
    whole = load(files).data
    caches = sorted((tmp_path / "home/catalogue").glob("*"))
    assert len(caches) == 2  # of the plugin, and of the machine
    for number, cache in enumerate(caches, 2):
        cache.write_bytes(damage)
        assert load(files).data == whole
        assert len(child) == number


# --- Walls around the discovery child ----------------------------------------------------------

THIEF = """
from pathlib import Path
LOOT = Path(SECRET).read_text()
""" + GOOD.replace("NAME", "'thief'").replace(
    "class P(Params):", "class P(Params):\n    profiles = {'paper': {'note': LOOT}}"
).replace("strength: float = science(1.0,", 'note: str = science("",').replace(", ge=0)", ")")

#: What a module tries while it is imported; each is refused, so that the row is broken.
TRIES = {
    "writes": "open(BESIDE, 'w')",
    "connects": "import socket; socket.create_connection(('127.0.0.1', PORT), 5)",
    "signals": "import os; os.kill(os.getppid(), 0)",
    "looks": "import os; open(f'/proc/{os.getppid()}/environ', 'rb').read(1)",
}
WALLED = pytest.mark.skipif(support().abi < 6, reason="Landlock of this kernel guards less")


@WALLED
@pytest.mark.parametrize("place", ["home/data", *(f"results/{n}" for n in NOT_FOR_PLUGINS)])
def test_a_plugin_cannot_carry_the_store_into_the_catalogue(place, child, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / place / "toy" / "labels"
    secret.parent.mkdir(parents=True)
    secret.write_text("wave kick jump")
    (file,) = write(tmp_path / "p", {"thief.py": THIEF.replace("SECRET", repr(str(secret)))})
    source = {"kind": "file", "name": "thief", "value": str(file)}
    # Without walls it would work:
    command = "import json, sys; from zsar_bench.catalogue.discovery import part_of\n"
    command += "print(json.dumps(part_of(json.loads(sys.argv[1]))))"
    call = [sys.executable, "-P", "-c", command, json.dumps(source)]
    free = json.loads(subprocess.run(call, capture_output=True, check=True).stdout)
    assert free["entries"]["methods"]["thief"]["profiles"]["paper"]["note"] == "wave kick jump"
    found = load([file])
    (row,) = rows(found, "thief")
    assert row["status"] == "broken"
    assert row["errors"][0].startswith("PermissionError")
    assert "wave kick jump" not in json.dumps(found.data)
    assert "thief" not in found.names("methods")


@WALLED
def test_a_plugin_that_is_imported_reaches_nothing_but_a_temporary_folder(child, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {"PORT": str(server.getsockname()[1]), "BESIDE": repr(str(tmp_path / "beside"))}
        files = {}
        for name, line in TRIES.items():
            for word, value in names.items():
                line = line.replace(word, value)
            # In a process without walls the very line goes through.
            subprocess.run([sys.executable, "-c", line], check=True)
            files[f"{name}.py"] = good(name) + line
        (tmp_path / "beside").unlink()
        inside = "import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x')\n"
        found = load(write(tmp_path / "p", files | {"decent.py": good("decent") + inside}))
    for name in TRIES:
        (row,) = rows(found, name)
        assert (name, row["status"]) == (name, "broken")
        assert row["errors"][0].startswith("PermissionError"), row["errors"]
    assert not (tmp_path / "beside").exists()
    assert found.names("methods").count("decent") == 1


@WALLED
def test_results_that_lie_where_the_user_stands_do_not_hide_the_plugins(child, tmp_path):
    """The folder is on the import path and holds something protected: no longer to be listed."""
    here = tmp_path / "here"
    record = here / "results" / "runs" / "record"
    record.parent.mkdir(parents=True)
    record.write_text("99 %")
    helper = here / "stands_here" / "__init__.py"
    helper.parent.mkdir()
    helper.write_text(
        f"from pathlib import Path\ntry:\n    SAID = Path({str(record)!r}).read_text()"
        "\nexcept PermissionError:\n    SAID = 'refused'\n"
    )
    source = (
        good("relative")
        .replace("does nothing", "{SAID}")
        .replace('summary="', 'summary=f"')
        .replace("api = 1", "from stands_here import SAID\napi = 1")
    )
    files = write(tmp_path / "p", {"relative.py": source})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(here))
        found = load(files)
    assert found.find("methods", "relative").spec["summary"] == "refused"


def test_without_its_walls_the_discovery_child_asks_nobody(child, tmp_path, monkeypatch):
    """A refused wall is an error that says so, and no plugin is imported."""
    (file,) = write(tmp_path / "p", {"sees.py": f"open({str(tmp_path / 'seen')!r}, 'w')\n"})
    rules = worker_rules.discovery_rules

    def gone(temporary: str, protected: list[str]) -> confine.Rules:
        made = rules(temporary=temporary, protected=protected)
        return replace(made, write=(*made.write, str(tmp_path / "gone")))

    monkeypatch.setattr(worker_rules, "discovery_rules", gone)
    with pytest.raises(confine.ConfinementError, match="did not confine") as caught:
        load([file])
    assert "zsar-bench doctor" in caught.value.hint
    assert not (tmp_path / "seen").exists()
