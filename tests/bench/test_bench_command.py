"""`gemma-mtp bench` as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.schemas import checked

from gemma_mtp.bench.results import AUTO, OVERALL, PLAIN, parse_results, read_results

Files = tuple[Path, Path]


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return command("bench", *arguments, "--threads", "1")


def test_results_on_stdout_in_a_file_and_as_a_picture(files: Files, tmp_path: Path):
    written, drawn = tmp_path / "results.json", tmp_path / "picture.png"
    options = ("--category", "code", "--category", "math", "--draft-max", "2", "-n", "24", "-r", "2", "--ctx", "512")
    done = bench(*files, *options, "-o", written, "--plot", drawn, "--json")
    assert done.returncode == 0, done.stderr
    results = parse_results(checked(done.stdout))
    assert results == read_results(written)
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert results.categories == ["code", "math"]
    assert results.drafts == [PLAIN, 1, 2, AUTO]
    assert [len(results.of("python", category)) for category in (OVERALL, "code", "math")] == [4, 4, 4]
    assert (results.target.file, results.target.type) == (files[0].name, "Q8_0")
    assert (results.settings.tokens, results.settings.repeats, results.settings.threads) == (24, 2, 1)
    for row in results.rows:
        assert row.tokens == 24 * (2 if row.category == OVERALL else 1)
        assert row.tokens_per_second > 0
        assert row.speedup > 0
        assert row.ceiling >= row.speedup
        assert row.drafted >= row.accepted
        assert (row.drafted > 0) or row.draft in (PLAIN, AUTO)
    assert str(tmp_path) not in json.dumps(results.to_dict()["rows"])


def test_the_table(files: Files):
    done = bench(*files, "--category", "code", "--draft-max", "2", "-n", "16", "-r", "1", "--engine", "both")
    assert done.returncode == 0, done.stderr
    for words in ("speed-up", "code", "auto", "ceiling", "python/cpp", "llama-server -m", "python: gemma-mtp"):
        assert words in done.stdout
    assert "xllamacpp" in done.stdout
    assert "measuring" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("{assistant}", "{target}"), 1, "name the target first", id="swapped"),
        pytest.param(("{target}", "none.gguf"), 1, "none.gguf", id="no file"),
        pytest.param(("{target}", "{assistant}", "--category", "poem"), 2, "poem", id="category"),
        pytest.param(("{target}", "{assistant}", "--plot", "p.txt"), 2, ".png", id="picture"),
        pytest.param(("{target}", "{assistant}", "-o", "{target}"), 2, "exists already", id="output exists"),
        pytest.param(("{target}", "{assistant}", "--prompts", "none.txt"), 2, "none.txt", id="prompts"),
        pytest.param(("{target}", "{assistant}", "--ctx", "16", "-n", "4"), 2, "context has room for", id="context"),
    ],
)
def test_mistakes_are_sentences(files: Files, arguments: tuple[str, ...], code: int, words: str):
    names = {"{target}": str(files[0]), "{assistant}": str(files[1])}
    done = bench(*[names.get(argument, argument) for argument in arguments])
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="looks for its child in /proc")
def test_ctrl_c_ends_it_quietly(files: Files):
    command = [sys.executable, "-m", "gemma_mtp", "bench", *map(str, files), "-n", "400", "-r", "5", "-t", "1"]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not any(task.read_text() for task in Path(f"/proc/{started.pid}/task").glob("*/children")):
        assert started.poll() is None
        time.sleep(0.05)  # it measures in a child
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
