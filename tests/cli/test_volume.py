"""`--verbose` and `--quiet` before a command; `-v` after one is llama.cpp's log."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.commands import command

SECRET = "hf_" + "x" * 34


def called(*words: str) -> subprocess.CompletedProcess[str]:
    done = command(*words)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def assistant(assistant_gguf) -> Path:
    return assistant_gguf("BF16")


def test_quiet_leaves_results_alone(assistant: Path, tmp_path: Path):
    words = ("quantize", str(assistant), str(tmp_path / "q.gguf"), "Q4_0", "--force")
    usual, quiet = called(*words), called("--quiet", *words)
    assert usual.returncode == quiet.returncode == 0
    assert "quantizing" in usual.stderr
    assert quiet.stderr == ""
    assert "q.gguf" in quiet.stdout


def test_quiet_tells_warnings_and_errors(tmp_path: Path):
    done = called("-q", "inspect", str(tmp_path / "nothing.gguf"))
    assert done.returncode == 1
    assert done.stderr.startswith("error:")
    assert "hint:" in done.stderr or "nothing.gguf" in done.stderr


def test_verbose_shows_the_log(assistant: Path):
    usual, verbose = called("verify", str(assistant)), called("-v", "verify", str(assistant))
    assert usual.stdout == verbose.stdout
    assert usual.stderr == ""
    assert f"opening {assistant}" in verbose.stderr
    assert "assistant-keys: ok" in verbose.stderr


def test_what_is_logged_is_harmless(assistant: Path, tmp_path: Path):
    """No secret, and nothing that acts on a terminal."""
    path = tmp_path / f"\x1b[31m {SECRET}.gguf"
    shutil.copy(assistant, path)
    done = called("-v", "verify", str(path))
    assert done.returncode == 0
    assert "debug" in done.stderr
    assert SECRET not in done.stderr
    assert "\x1b" not in done.stderr


def test_both_at_once_is_a_mistake():
    done = called("-v", "-q", "doctor")
    assert done.returncode == 2
    assert "--quiet" in done.stderr


def test_llamas_log_is_another_thing(target_gguf, assistant_gguf):
    """After the command -v shows what llama.cpp says; before it, what this program does."""
    words = ("verify", str(target_gguf("Q8_0")), str(assistant_gguf("Q8_0")), "--run", "-n", "4", "-t", "1")
    ours, theirs = called("-v", *words), called(*words, "-v")
    assert ours.returncode == theirs.returncode == 0
    assert "in child process" in ours.stderr
    assert "general.architecture" not in ours.stderr
    assert "general.architecture" in theirs.stderr
    assert "in child process" not in theirs.stderr
