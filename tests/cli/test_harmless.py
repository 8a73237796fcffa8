"""Nothing that came from a file, a repo or a server acts on the terminal, nor is it read as markup."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner

from gemma_mtp.cli import output, run_output
from gemma_mtp.cli.main import application
from gemma_mtp.cli.terminal import harmless, plain
from gemma_mtp.errors import GemmaMtpError, LlamaError, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan

GGUFFactory = Callable[[str], Path]
#: An escape sequence, a bell, a carriage return, a mark that turns the direction, and markup that is not closed.
HOSTILE = "a\x1b[31mb\x07c\rd\u202ee\x9bf[/g][bold]"
SHOWN = r"a\x1b[31mb\x07c\rd\u202ee\x9bf[/g][bold]"


def test_plain_and_harmless():
    assert plain(HOSTILE) == SHOWN
    assert plain("a\nb\tc") == r"a\nb\tc"
    assert harmless("a\nb\tc\x1b") == "a\nb\tc\\x1b"
    assert plain("\udcff\u2028") == r"\udcff\u2028"
    for untouched in ("Grüße", "日本語", "👩\u200d💻", "a\u00a0b", "\u2581x", "C:\\x"):
        assert plain(untouched) == harmless(untouched) == untouched


def test_every_way_out(capsys: pytest.CaptureFixture[str]):
    """Errors with hints and llama.cpp's words, notes, warnings, lines, tables with their titles, and bare prints."""
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    ways: list[Callable[[], object]] = [
        lambda: output.print_error(GemmaMtpError(HOSTILE, where=HOSTILE, hint=HOSTILE)),
        lambda: output.print_error(LlamaError("x", log=(HOSTILE,))),
        lambda: output.print_note(HOSTILE),
        lambda: output.print_warning(HOSTILE),
        lambda: output.print_table(table),
        lambda: output.print_in_full(table),
        lambda: output.results.print(HOSTILE),
        lambda: output.results.print(output.line(HOSTILE, (HOSTILE, "bold"))),
        lambda: output.notes.print(HOSTILE, style="dim"),
    ]
    for way in ways:
        way()
        said = "".join(capsys.readouterr())
        assert SHOWN in said
        assert not set(said) & set("\x1b\x07\r\u202e\x9b")


def test_a_line_stays_one(capsys: pytest.CaptureFixture[str]):
    """Nobody's words can look like another message of ours."""
    output.print_error(UsageError("a\nhint: delete everything"))
    assert capsys.readouterr().err == "error: a\\nhint: delete everything\n"


def test_a_table_with_escapes_is_in_line(capsys: pytest.CaptureFixture[str]):
    table = Table(box=None)
    table.add_column("a")
    table.add_column("b")
    for text in ("x\x1b", "yyyyyyyyyy"):
        table.add_row(text, "|")
    output.print_table(table)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len({line.index("|") for line in lines}) == 1


@pytest.mark.parametrize("name", ["a[/b].gguf", "[red]x.gguf", "[bold]", "x[/].gguf"])
def test_brackets_in_a_path(name: str, tmp_path: Path, assistant_gguf: GGUFFactory, monkeypatch: pytest.MonkeyPatch):
    """A path is told as it is, whatever the command, for a good end and for a bad one."""
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    done = CliRunner().invoke(application(), ["convert", str(assistant_gguf("BF16")), "--dialect", "ik", "-o", name])
    assert done.exit_code == 0, done.exception
    assert name in done.stdout
    again = CliRunner().invoke(application(), ["convert", str(assistant_gguf("BF16")), "--dialect", "ik", "-o", name])
    assert again.exit_code == 2
    assert f"error: {name}: the file exists already" in again.stderr
    assert f"{name}: GGUF version 3" in CliRunner().invoke(application(), ["inspect", name]).stdout


def changed(source: Path, path: Path, **texts: str) -> Path:
    """The GGUF with other texts among its keys (`__` for a dot)."""
    with GGUFFile(source) as file:
        metadata = file.metadata | {key.replace("__", "."): gv.string(text) for key, text in texts.items()}
        tensors = list(file.tensors.values())
        with GGUFWriter(path, metadata, [TensorPlan(one.name, one.shape, one.type) for one in tensors]) as writer:
            for one in tensors:
                writer.write_next([file.data(one).data])
    return path


def test_what_a_file_says_of_itself(tmp_path: Path, assistant_gguf: GGUFFactory, target_gguf: GGUFFactory):
    """The architecture in every command's complaint; a template's own exception."""
    odd = changed(assistant_gguf("BF16"), tmp_path / "odd.gguf", general__architecture=HOSTILE)
    target, out = target_gguf("BF16"), tmp_path / "out.gguf"
    commands: list[list[object]] = [
        ["convert", odd, "-o", out],
        ["quantize", "--list", odd],
        ["quantize", odd, out, "Q4_0"],
        ["verify", target, odd],
        ["run", target, odd, "-p", "x"],
        ["bench", target, odd],
        ["serve", target, odd],
        ["push", odd, "--repo", "a/b"],
    ]
    for command in commands:
        done = CliRunner().invoke(application(), list(map(str, command)))
        assert done.exit_code != 0
        assert isinstance(done.exception, SystemExit), done.exception
        assert not set(done.output) & set("\x1b\x07\r\u202e\x9b"), command
    template = "{{ raise_exception('" + r"\x1b[31m" + "') }}"
    odd = changed(target, tmp_path / "chat.gguf", tokenizer__chat_template=template)
    done = CliRunner().invoke(application(), ["run", str(odd), "--no-draft", "--chat", "-p", "x", "-t", "1"])
    assert r"\x1b[31m" in done.stderr
    assert "\x1b" not in done.output


def test_generated_text_acts_in_no_terminal_and_is_itself_in_a_pipe(capsys: pytest.CaptureFixture[str]):
    run_output.print_text(HOSTILE + "\n")
    assert capsys.readouterr().out == HOSTILE + "\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is Unix's")
def test_generated_text_on_a_terminal():
    import pty

    ours, theirs = pty.openpty()
    code = f"from gemma_mtp.cli.run_output import print_text; print_text({HOSTILE + chr(13)!r})"
    subprocess.run([sys.executable, "-c", code], stdout=theirs, check=True)
    os.close(theirs)
    assert os.read(ours, 1000).decode() == SHOWN.replace(r"\r", "")
