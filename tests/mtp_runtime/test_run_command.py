"""`gemma-mtp run`: text on stdout, the rest on stderr, one JSON object that scripts rely on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pair_files import PROMPT, GGUFFactory


def run(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gemma_mtp", "run", *map(str, arguments), "--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False, input=stdin, encoding="utf-8")


@pytest.fixture(scope="module")
def pair(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory) -> tuple[Path, Path]:
    return target_gguf("Q8_0"), assistant_gguf("Q8_0")


def test_the_object_that_scripts_rely_on(pair: tuple[Path, Path]):
    options = ("-p", PROMPT, "-n", "24", "--temp", "0", "--ignore-eos", "--json")
    drafted = json.loads(run(*pair, *options, "--draft-max", "2").stdout)
    plain = json.loads(run(pair[0], *options, "--no-draft").stdout)
    assert {"text", "tokens", "drafted", "accepted", "rounds", "tokens_per_second"} <= drafted.keys()
    assert drafted["tokens"] == plain["tokens"]
    assert len(drafted["tokens"]) == 24
    assert drafted["drafted"] >= drafted["accepted"] > 0
    assert plain["drafted"] == 0


def test_text_goes_to_stdout_and_figures_to_stderr(pair: tuple[Path, Path]):
    options = ("-p", PROMPT, "-n", "16", "--ignore-eos")
    text = json.loads(run(*pair, *options, "--json").stdout)["text"]
    shown = run(*pair, *options)
    assert shown.stdout == text + "\n"
    for words in ("tokens/s", "drafted", "accepted", "by position", "target passes"):
        assert words in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("{target}", "-p", "x"), 2, "an assistant is missing", id="no assistant"),
        pytest.param(("{assistant}", "{target}", "-p", "x"), 1, "name the target first", id="swapped"),
        pytest.param(("{target}", "/no/such/file.gguf", "-p", "x"), 1, "No such file", id="missing file"),
        pytest.param(("{target}", "{assistant}", "-p", "x " * 3000), 2, "context has room for", id="long prompt"),
        pytest.param(("{target}", "{assistant}", "-p", "x", "--cache-type", "q9"), 2, "q9", id="cache type"),
    ],
)
def test_mistakes_are_sentences(pair: tuple[Path, Path], arguments: tuple[str, ...], code: int, words: str):
    names = {"{target}": str(pair[0]), "{assistant}": str(pair[1])}
    done = run(*[names.get(argument, argument) for argument in arguments])
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it_quietly(pair: tuple[Path, Path]):
    command = [sys.executable, "-m", "gemma_mtp", "run", *map(str, pair), "-p", PROMPT, "-n", "2000", "--ignore-eos"]
    started = subprocess.Popen(
        [*command, "--threads", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert started.stdout
    started.stdout.read(20)  # it is generating
    started.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, errors = started.communicate(timeout=20)
    assert started.returncode == 130
    assert time.monotonic() - begun < 10
    assert b"Traceback" not in errors
