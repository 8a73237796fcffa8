"""The command's frame: help is light, errors are sentences, exit codes tell their kind."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.commands import command

from gemma_mtp import __version__
from gemma_mtp.cli.main import COMMANDS


def test_version():
    assert command("--version").stdout == f"gemma-mtp {__version__}\n"


def test_help_lists_every_command():
    text = command("--help").stdout
    assert all(f" {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name):
    """Each command explains itself, with examples."""
    done = command(name, "--help")
    assert done.returncode == 0
    assert f"gemma-mtp {name}" in done.stdout


def test_help_imports_no_heavy_library():
    heavy = ("torch", "transformers", "llama_cpp", "numpy", "gguf", "huggingface_hub", "rich.progress")
    code = (
        "import sys; from gemma_mtp.cli.main import application\n"
        "try: application()(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_core_needs_no_torch(assistant_gguf, tmp_path):
    """convert, quantize and verify work where torch and transformers cannot be imported."""
    from gemma_mtp.demo.pair import PAIR

    block = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        "from gemma_mtp.cli.main import application; "
    )
    for arguments in (
        ["convert", str(PAIR / "assistant"), "-o", str(tmp_path / "a.gguf"), "--type", "BF16"],
        ["quantize", str(tmp_path / "a.gguf"), str(tmp_path / "q.gguf"), "Q4_K_M"],
        ["inspect", str(tmp_path / "q.gguf")],
        ["make", str(PAIR / "assistant"), "--name", "tiny-it-assistant", "-o", str(tmp_path / "made")],
    ):
        done = subprocess.run(
            [sys.executable, "-c", f"{block}application()({arguments!r})"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["convert", "no-such-folder"], 1, "no-such-folder"),
        (["verify", "nowhere.gguf", "nothing.gguf"], 1, "nowhere.gguf"),
        (["quantize", "nowhere.gguf", "out.gguf", "Q4_0"], 1, "nowhere.gguf"),
        (["run", "nowhere.gguf", "--no-draft", "-p", "x"], 1, "nowhere.gguf"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_mistakes(arguments, code, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_existing_output_is_kept(assistant_gguf, tmp_path):
    from gemma_mtp.demo.pair import PAIR

    path = tmp_path / "a.gguf"
    path.write_text("mine")
    done = command("convert", str(PAIR / "assistant"), "-o", str(path))
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert path.read_text() == "mine"
