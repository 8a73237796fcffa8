"""`gemma-mtp run`: text on stdout, the rest on stderr, one JSON object that scripts rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.chat_templates import with_template
from helpers.commands import command
from helpers.demo_files import PROMPT
from helpers.schemas import checked


def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return command("run", *arguments, "--threads", "1", input=stdin)


def test_the_object_that_scripts_rely_on(pair: tuple[Path, Path]):
    options = ("-p", PROMPT, "-n", "24", "--temp", "0", "--ignore-eos", "--json")
    drafted = checked(run(*pair, *options, "--draft-max", "2").stdout)
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


def test_sampled_text_is_the_same_without_drafting_and_by_its_seed(pair: tuple[Path, Path]):
    options = ("-p", PROMPT, "-n", "30", "--temp", "0.9", "--ignore-eos", "--json")
    free = json.loads(run(*pair, *options, "--draft", "auto").stdout)
    assert free["seed"] is not None
    plain = json.loads(run(pair[0], *options, "--no-draft", "--seed", str(free["seed"])).stdout)
    assert plain["tokens"] == free["tokens"]
    rejecting = json.loads(run(*pair, *options, "--seed", "1", "--sampling", "reject").stdout)
    assert rejecting["seed"] == 1
    assert len(rejecting["tokens"]) == 30


def test_the_prompt_comes_from_a_file_or_a_pipe_and_ends_at_a_stop_text(pair: tuple[Path, Path], tmp_path: Path):
    options = ("-n", "40", "--ignore-eos", "--json")
    whole = json.loads(run(*pair, "-p", PROMPT, *options).stdout)
    (tmp_path / "prompt.txt").write_text(PROMPT + "\n")
    stop = whole["text"][20:26]
    from_file = json.loads(
        run(*pair, "-f", tmp_path / "prompt.txt", "--stop", "never", "--stop", stop, *options).stdout
    )
    assert from_file["text"] == whole["text"][: whole["text"].index(stop)]
    assert from_file["finish"] == "stop"
    assert json.loads(run(*pair, *options, stdin=PROMPT + "\n").stdout)["tokens"] == whole["tokens"]


def test_a_message_in_the_models_chat_format(pair: tuple[Path, Path], tmp_path: Path):
    target = with_template(pair[0], tmp_path / "target.gguf")
    options = ("-p", "x = [", "-n", "8", "--json")
    messages = [
        json.loads(run(target, pair[1], "--chat", *options).stdout),
        json.loads(run(target, pair[1], "--chat", "--system", "python", *options).stdout),
        json.loads(run(target, pair[1], "--chat", "--system", "python", "--think", *options).stdout),
    ]
    lengths = [message["prompt_tokens"] for message in messages]
    assert lengths == sorted(set(lengths))
    assert lengths[0] > json.loads(run(*pair, *options).stdout)["prompt_tokens"]


def test_a_full_context_says_so(pair: tuple[Path, Path]):
    done = run(*pair, "-p", PROMPT, "-n", "500", "--ignore-eos", "--ctx", "256")
    assert done.returncode == 0
    assert "the context is full" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is Unix's")
def test_a_conversation_on_a_terminal(pair: tuple[Path, Path], tmp_path: Path):
    import pty

    target = with_template(pair[0], tmp_path / "target.gguf")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gemma_mtp", "run", str(target), str(pair[1]), "--chat", "-n", "6", "-t", "1"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as talking:
        os.close(theirs)
        heard = b""

        def until(words: bytes, count: int) -> None:
            nonlocal heard
            while heard.count(words) < count:
                heard += os.read(ours, 1000)

        for turn, message in enumerate((b"x = [\n", b"def f(\n"), 1):
            until(b"> ", turn)
            os.write(ours, message)
        until(b"> ", 3)
        os.write(ours, b"\x04")  # Ctrl-D
        assert talking.stderr
        told = talking.stderr.read().decode()
        assert talking.wait(300) == 0
    os.close(ours)
    assert told.count("6 generated") == 2
    assert "of them kept from before" in told


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("{target}", "-p", "x"), 2, "no assistant is named", id="no assistant"),
        pytest.param(("{assistant}", "{target}", "-p", "x"), 1, "name the target first", id="swapped"),
        pytest.param(("{target}", "/no/such/file.gguf", "-p", "x"), 1, "no such file", id="missing file"),
        pytest.param(("{target}", "{assistant}", "-p", "x " * 3000), 2, "context has room for", id="long prompt"),
        pytest.param(("{target}", "{assistant}", "-p", "x", "--cache-type", "q9"), 2, "q9", id="cache type"),
        pytest.param(("{target}", "{assistant}", "-p", "x", "-f", "y"), 2, "give one of them", id="two prompts"),
        pytest.param(("{target}", "{assistant}", "-f", "/no/file"), 2, "cannot be read", id="no prompt file"),
        pytest.param(("{target}", "{assistant}", "-f", "{target}"), 2, "no UTF-8 text", id="prompt is binary"),
        pytest.param(("{target}", "{assistant}", "-p", "x", "--chat"), 2, "no chat template", id="no template"),
        pytest.param(("{target}", "{assistant}", "-p", "x", "--think"), 2, "are for --chat", id="thinking without"),
        pytest.param(("{target}", "{assistant}", "-p", "x", "--top-p", "3"), 2, "top-p is 3", id="sampling"),
        pytest.param(
            ("{target}", "{assistant}", "-p", "x", "--draft-min", "9"), 2, "the shortest draft is 9", id="draft-min"
        ),
    ],
)
def test_mistakes_are_sentences(pair: tuple[Path, Path], arguments: tuple[str, ...], code: int, words: str):
    names = {"{target}": str(pair[0]), "{assistant}": str(pair[1])}
    done = run(*[names.get(argument, argument) for argument in arguments])
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it_quietly_and_the_statistics_are_told(pair: tuple[Path, Path]):
    command = [sys.executable, "-m", "gemma_mtp", "run", *map(str, pair), "-p", PROMPT, "-n", "2000", "--ignore-eos"]
    started = subprocess.Popen(
        [*command, "--threads", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert started.stdout
    started.stdout.read(20)  # it is generating
    started.send_signal(signal.SIGINT)
    _, told = started.communicate(timeout=60)
    assert started.returncode == 130
    for words in (b"generated (interrupted)", b"tokens/s", b"by position"):
        assert words in told
    assert b"Traceback" not in told
