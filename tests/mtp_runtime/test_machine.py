"""The probe and the child process: native code that dies becomes an error with a name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gemma_mtp.errors import LlamaError, UsageError
from gemma_mtp.mtp_runtime import backend
from gemma_mtp.mtp_runtime.child import in_child


def crash() -> Iterator[int]:
    """Runs in a child: some items, then death by abort."""
    yield from (1, 2)
    os.abort()


def complain() -> Iterator[int]:
    """Runs in a child: an item, then an error meant for people."""
    yield 1
    raise UsageError("nothing to do", hint="do something")


@pytest.fixture
def importable(monkeypatch):
    """The child can import this module."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))


def test_a_crash_is_named(importable):
    running = in_child("test_machine:crash")
    assert [next(running), next(running)] == [1, 2]
    with pytest.raises(LlamaError, match="SIGABRT"):
        next(running)


def test_an_error_arrives_as_itself(importable):
    with pytest.raises(UsageError, match="nothing to do") as raised:
        list(in_child("test_machine:complain"))
    assert raised.value.hint == "do something"


def test_probe_is_remembered(tmp_path, monkeypatch):
    """The first call probes and writes a file; a damaged file is replaced."""
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(tmp_path))
    backend.settings_for_this_machine.cache_clear()
    settings = backend.settings_for_this_machine()
    (file,) = tmp_path.rglob("*.json")
    remembered = backend.remembered()
    assert remembered is not None
    assert backend.settings_for_this_machine() == settings
    file.write_text("{ not json")
    backend.settings_for_this_machine.cache_clear()
    assert backend.remembered() is None
    assert backend.settings_for_this_machine() == settings
    assert backend.remembered() == remembered


def test_doctor_command():
    done = subprocess.run(
        [sys.executable, "-m", "gemma_mtp", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["cpu"]
    assert report["features"]


def test_run_command(target_gguf, assistant_gguf):
    """The object that scripts rely on; without drafting the same tokens."""
    base = [sys.executable, "-m", "gemma_mtp", "run", str(target_gguf("Q8_0")), str(assistant_gguf("Q8_0"))]
    options = ["-p", "def main():", "-n", "24", "--temp", "0", "--ignore-eos", "--json", "--threads", "1"]
    drafted, plain = (
        json.loads(subprocess.run([*base, *options, *more], capture_output=True, text=True, check=True).stdout)
        for more in (["--draft-max", "2"], ["--no-draft"])
    )
    assert {"text", "tokens", "drafted", "accepted", "rounds", "tokens_per_second"} <= drafted.keys()
    assert drafted["tokens"] == plain["tokens"]
    assert len(drafted["tokens"]) == 24
    assert drafted["drafted"] > 0
    assert plain["drafted"] == 0
