"""llama.cpp's own log: hidden, shown, or written to a file; and what doctor tells about the installation."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest
from helpers.commands import command

from gemma_mtp import __version__

#: A line of llama.cpp's when it has loaded a model's metadata.
WORDS = "general.architecture"
RUN = ("run", "{target}", "{assistant}", "-p", "def main", "-n", "4", "-t", "1")
COMMANDS = {
    "run": RUN,
    "run, C++ engine": (*RUN, "--engine", "cpp"),
    "verify --run": ("verify", "{target}", "{assistant}", "--run", "-n", "4", "-t", "1"),
    "bench": (
        "bench",
        "{target}",
        "{assistant}",
        "-n",
        "4",
        "-r",
        "1",
        "--category",
        "code",
        "--draft-max",
        "1",
        "-t1",
    ),
}


def called(pair: tuple[Path, Path], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    names = {"{target}": str(pair[0]), "{assistant}": str(pair[1])}
    return command(*(names.get(argument, argument) for argument in arguments), env=os.environ | environment)


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_told_to_who_asks(pair: tuple[Path, Path], tmp_path: Path, name: str):
    log = tmp_path / "native.log"
    quiet = called(pair, *COMMANDS[name])
    assert WORDS not in quiet.stderr + quiet.stdout
    shown = called(pair, *COMMANDS[name], "--verbose", "--log", str(log))
    assert shown.returncode == quiet.returncode == 0, shown.stderr[-2000:]
    assert WORDS in shown.stderr
    assert WORDS not in shown.stdout
    assert WORDS in log.read_text(encoding="utf-8", errors="replace")


def test_what_a_crash_left_is_still_quoted(pair: tuple[Path, Path], tmp_path: Path):
    """The words go to the error's text and to the log."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(pair[0].read_bytes()[:-100_000])
    done = called(pair, "run", str(broken), "--no-draft", "-p", "x", "--log", str(tmp_path / "log"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_the_cpp_engine_needs_no_other_llama_cpp(pair: tuple[Path, Path], tmp_path: Path):
    """A llama-cpp-python that cannot be loaded is in the way of the engine that uses it alone."""
    (tmp_path / "empty").mkdir()
    broken = {"LLAMA_CPP_LIB_PATH": str(tmp_path / "empty"), "GEMMA_MTP_CACHE": str(tmp_path / "cache")}
    assert called(pair, *RUN, **broken).returncode == 3
    for arguments in (COMMANDS["run, C++ engine"], (*COMMANDS["bench"], "--engine", "cpp", "--no-auto")):
        done = called(pair, *arguments, **broken)
        assert done.returncode == 0, done.stderr


def test_doctor_tells_what_is_installed_even_if_it_does_not_work(pair: tuple[Path, Path], tmp_path: Path):
    broken = {"LLAMA_CPP_LIB_PATH": str(tmp_path), "GEMMA_MTP_CACHE": str(tmp_path / "cache")}
    told = called(pair, "doctor", **broken).stdout
    rows = dict(line.split(maxsplit=1) for line in told.splitlines() if len(line.split(maxsplit=1)) == 2)
    assert rows["gemma-mtp"] == __version__
    assert rows["Python"].startswith(platform.python_version())
    assert rows["system"] == platform.platform()
    assert "xllamacpp" in rows
    report = json.loads(called(pair, "doctor", "--json", "-t", "1").stdout)
    assert report["versions"]["gemma-mtp"] == __version__
    assert report["versions"]["llama-cpp-python"] == report["package"]
