"""Where a run was made: commit and uncommitted changes of the source tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from zsar_bench.records.environment import git_state


def git(root: Path, *words: str) -> None:
    name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(root), *name, *words], check=True, capture_output=True)


def test_changed_code_is_dirty_and_new_results_are_not(tmp_path: Path) -> None:
    assert git_state(tmp_path) == ("", None)
    git(tmp_path, "init", "-q")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "README.md").write_text("old")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit, dirty = git_state(tmp_path)
    assert len(commit) == 40
    assert dirty is False
    (tmp_path / "results" / "README.md").write_text("new")
    (tmp_path / "untracked.py").write_text("2")
    assert git_state(tmp_path) == (commit, False)
    (tmp_path / "code.py").write_text("3")
    assert git_state(tmp_path) == (commit, True)
