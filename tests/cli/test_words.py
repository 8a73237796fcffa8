"""The command line's words: what is nearly right is understood or named, and llama.cpp's habits work."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from gemma_mtp import __version__
from gemma_mtp.cli.main import COMMANDS, application
from gemma_mtp.errors import meant

GGUFFactory = Callable[[str], Path]


def cli(*words: object, stdin: str | None = None) -> Result:
    done = CliRunner().invoke(application(), list(map(str, words)), input=stdin)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["convrt"], "is convert meant?"),
        (["quantise", "x"], "is quantize meant?"),
        (["help", "benhc"], "is bench meant?"),
        (["zzz"], "there are convert, quantize"),
        (["run", "--drft-max", "2", "x"], "is --draft-max"),
        (["convert", "--tipe", "Q8_0", "x"], "is --type"),
        (["push", "x", "--rep", "a/b"], "is --repo"),
        (["bench", "--zzz"], "gemma-mtp bench --help"),
        (["quantize", "x", "q8"], "is Q8_0 meant?"),
        (["quantize", "x", "--type", "Q8_0"], "types stand behind the files: `gemma-mtp quantize IN.gguf Q8_0 Q4_0`"),
        (["quantize", "x", "Q4"], "Q4_0 meant?"),
        (["quantize", "x", "Q4-K-M"], "is Q4_K_M"),
        (["quantize", "x", "draftq4"], "is draft-q4"),
        (["quantize", "x", "nothing-like-it"], "Q1_0, draft-q8, draft-mixed"),
        (["quantize", "x", "Q4_0", "--tensor", "heads=Q4_0"], "is head meant?"),
        (["quantize", "x", "Q4_0", "--tensor", "head=Q40"], "Q4_0"),
        (["convert", "x", "--dialect", "mainlin"], "is mainline meant?"),
        (["bench", "x", "y", "--cache-type", "q8"], "is q8_0 meant?"),
        (["bench", "x", "y", "--category", "codes"], "is code meant?"),
        (["verify", "x", "y", "--runtime", "olama"], "is ollama meant?"),
    ],
)
def test_what_is_probably_meant(words: list[str], hint: str):
    done = cli(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.search(rf"^hint: .*{re.escape(hint)}", done.stderr, re.MULTILINE), done.stderr


def test_meant():
    assert meant("q8", ["Q8_0", "Q4_0"]) == "is Q8_0 meant?"
    assert meant("Q4", ["Q8_0", "Q4_0", "Q4_1"]) == "is Q4_1 or Q4_0 meant?"
    assert meant("zzz", ["Q8_0"]) == ""


@pytest.mark.parametrize("words", [["run", "x", "--ctx", "many"], ["run"], ["verify"], ["push", "x"], ["inspect"]])
def test_a_wrong_command_line_is_a_sentence_and_a_way_to_help(words: list[str]):
    done = cli(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    first, second, *rest = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: ")
    assert not rest


@pytest.mark.parametrize(
    "words",
    [
        "convert none --json",
        "quantize none.gguf Q4_0 --json",
        "quantize --list none.gguf --json",
        "verify none.gguf none.gguf --json",
        "inspect none.gguf --json",
        "run none.gguf --no-draft -p x --json",
        "bench none.gguf none.gguf --json",
        "push none.gguf --repo a/b --json",
        "make none --json",
        "inspect --jsn",
    ],
)
def test_after_an_error_there_is_no_json(words: str):
    done = cli(*words.split())
    assert done.exit_code in (1, 2, 3)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")


def test_a_runtime_as_it_writes_itself(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    pair = (target_gguf("BF16"), assistant_gguf("BF16"))
    said = [cli("verify", *pair, "--runtime", name).stdout for name in ("LM Studio", "lmstudio")]
    assert said[0] == said[1]
    assert "LM Studio" in said[0]


def test_types_in_any_case(assistant_gguf: GGUFFactory, target_gguf: GGUFFactory, tmp_path, monkeypatch):
    from gemma_mtp.demo.pair import PAIR

    monkeypatch.chdir(tmp_path)
    assert cli("convert", PAIR / "assistant", "--type", "q8_0", "--type", "bf16").exit_code == 0
    assert cli("quantize", assistant_gguf("BF16"), "a.gguf", "Draft-Q4", "--tensor", "HEAD=q8_0").exit_code == 0
    assert cli("convert", assistant_gguf("BF16"), "-o", "b.gguf", "--dialect", "IK").exit_code == 0
    pair = (target_gguf("BF16"), assistant_gguf("BF16"))
    assert cli("verify", *pair, "--cache-type", "Q8_0").exit_code == 0
    run = cli("run", *pair, "-p", "x", "-n", "2", "-t", "1", "--cache-type", "Q8_0", "--json")
    assert len(json.loads(run.stdout)["tokens"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.gguf", "b.gguf", "mtp-assistant-BF16.gguf", "mtp-assistant-Q8_0.gguf",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [["--version"], ["-V"]])
def test_version(words: list[str]):
    assert cli(*words).stdout == f"gemma-mtp {__version__}\n"


def test_help_has_several_names():
    whole = cli("--help")
    assert whole.exit_code == cli("help").exit_code == 0
    assert cli("help").stdout == cli("-h").stdout == whole.stdout
    for name in COMMANDS:
        assert cli("help", name).stdout == cli(name, "--help").stdout
    nothing = cli()
    assert nothing.exit_code == 2
    assert nothing.stdout.strip() == whole.stdout.strip()


def test_help_says_what_the_sources_say():
    """Help is Markdown, which eats asterisks, underlines and angle brackets outside of code."""
    group = typer.main.get_command(application())
    context = typer.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        shown = "".join(
            re.findall(r"[^\s│]", CliRunner().invoke(application(), [name, "--help"], env={"COLUMNS": "400"}).stdout)
        )
        for param in command.params:
            words = "".join((getattr(param, "help", None) or "").replace("`", "").split())
            assert words in shown, f"{name} {param.opts}: {words}"


@pytest.mark.parametrize("swapped", [False, True])
def test_a_pair_as_llama_cpp_names_it(swapped: bool, target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    named = [("-m", target_gguf("Q8_0")), ("-md", assistant_gguf("Q8_0"))]
    pair = [word for option in (reversed(named) if swapped else named) for word in option]
    assert cli("verify", *pair).exit_code == 0
    options = ("-p", "def ", "-n", "8", "-t", "1", "--ignore-eos", "--json")
    assert json.loads(cli("run", *pair, *options).stdout)["drafted"] > 0
    assert json.loads(cli("run", target_gguf("Q8_0"), *pair[2 * (not swapped) :][:2], *options).stdout)["drafted"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["verify", "-md", "a"], "no file is named"),
        (["bench"], "the target is missing"),
        (["run", "-m", "a", "b", "c"], "c is one too many"),
        (["run", "a", "-m", "b", "-md", "c"], "a is one too many"),
    ],
)
def test_a_pair_that_is_not_clear(words: list[str], says: str):
    done = cli(*words)
    assert done.exit_code == 2
    assert says in done.stderr


def test_habits_of_llama_cpp(target_gguf: GGUFFactory):
    """-f -, --seed -1 and -n -1."""
    target, options = target_gguf("Q8_0"), ("--no-draft", "-t", "1", "--json")
    piped = json.loads(cli("run", target, "-f", "-", "-n", "4", *options, stdin="def x").stdout)
    assert piped["tokens"] == json.loads(cli("run", target, "-p", "def x", "-n", "4", *options).stdout)["tokens"]
    free = cli("run", target, "-p", "x", "-n", "4", "--temp", "1", "--seed", "-1", *options)
    other = cli("run", target, "-p", "x", "-n", "4", "--temp", "1", *options)
    assert json.loads(free.stdout)["seed"] != json.loads(other.stdout)["seed"]
    whole = json.loads(cli("run", target, "-p", "def x", "-n", "-1", "-c", "256", "--ignore-eos", *options).stdout)
    assert whole["finish"] == "context"
    for words in (("-n", "0"), ("-n", "-2"), ("--seed", "-2"), ("-t", "999"), ("-t", "0")):
        done = cli("run", target, "-p", "x", *options, *words)
        assert (done.exit_code, done.stdout) == (2, ""), words


def test_the_most_threads_are_the_runtimes():
    from typing import get_args

    from gemma_mtp.cli.options import Threads
    from gemma_mtp.native.settings import MOST_THREADS

    assert get_args(Threads)[1].max == MOST_THREADS


def test_a_file_that_is_mainline_already(assistant_gguf: GGUFFactory, tmp_path, monkeypatch):
    """Nothing is written, least of all under a name that cannot be published; another dialect's file goes back."""
    monkeypatch.chdir(tmp_path)
    Path("mtp-x-BF16.gguf").symlink_to(assistant_gguf("BF16"))
    done = cli("convert", "mtp-x-BF16.gguf")
    assert done.exit_code == 2
    assert "mtp-x-BF16.gguf: this file is mainline already: there is nothing to convert" in done.stderr
    assert cli("convert", "mtp-x-BF16.gguf", "--dialect", "atomic").exit_code == 0
    again = cli("convert", "mtp-x-BF16-atomic.gguf", "--dialect", "atomic")
    assert "is atomic already" in again.stderr
    Path("mtp-x-BF16.gguf").unlink()
    assert cli("convert", "mtp-x-BF16-atomic.gguf").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mtp-x-BF16-atomic.gguf", "mtp-x-BF16.gguf"]


def test_a_checkpoint_is_shown_as_the_gguf_that_it_becomes(assistant_gguf: GGUFFactory):
    from gemma_mtp.demo.pair import PAIR

    keys = [
        {entry["key"]: entry["value"] for entry in json.loads(cli("inspect", place, "--json").stdout)["metadata"]}
        for place in (PAIR / "assistant", assistant_gguf("BF16"))
    ]
    assert keys[0].items() <= keys[1].items()
    assert keys[0]["general.architecture"] == "gemma4-assistant"


def test_the_time_of_several_files_is_told_once(tmp_path):
    from gemma_mtp.demo.pair import PAIR

    done = cli(
        "make", PAIR / "assistant", "--name", "tiny-it-assistant", "--type", "BF16", "--type", "F16", "-o", tmp_path
    )
    told = [line for line in done.stderr.splitlines() if line.startswith("  convert ")]
    assert [bool(re.search(r"done$", line)) for line in told] == [True, False]
    assert re.search(r"done, [\d.]+ s for all 2$", told[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is Unix's")
def test_ctrl_c_at_the_prompt_of_a_conversation_clears_the_line():
    import pty

    ours, theirs = pty.openpty()
    code = (
        "import os, sys; os.setsid(); import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from gemma_mtp.cli.run_input import ask\n"
        "print('got', ask())"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)

    def read_until(word: bytes, typed: bytes = b"") -> None:
        """Types again where nothing comes: a signal between the prompt and the wait for keys waits for the next one."""
        said, end = b"", time.monotonic() + 300
        os.write(ours, typed)
        while word not in said:
            assert time.monotonic() < end, said
            if select.select([ours], [], [], 5)[0]:
                said += os.read(ours, 1000)
            else:
                os.write(ours, typed)

    read_until(b"> ")
    read_until(b"> ", b"half a line\x03")
    read_until(b"got whole", b"whole\n")
    assert child.wait(60) == 0
