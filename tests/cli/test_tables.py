"""Tables: whole lines in a pipe, whole names on a terminal, and of a verification what counts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import command
from rich.table import Table

from gemma_mtp.validate.checks import CHECKS

GGUFFactory = Callable[[str], Path]


def piped(*words: object, **variables: str) -> list[str]:
    return command(*words, env=os.environ | {"COLUMNS": "40"} | variables).stdout.splitlines()


def on_a_terminal(columns: int, *words: object) -> list[str]:
    """The lines that a terminal of that width gets, without colours."""
    import pty

    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}
    command = [sys.executable, "-m", "gemma_mtp", *map(str, words)]
    child = subprocess.Popen(command, stdout=theirs, env=environment)
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 100_000)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        said += piece
    assert child.wait(60) == 0
    return said.decode().replace("\x1b[0m", "").replace("\x1b[1m", "").splitlines()


def test_a_pipe_gets_whole_lines(assistant_gguf: GGUFFactory):
    lines = piped("inspect", assistant_gguf("BF16"))
    assert not [line for line in lines if line != line.rstrip()]
    for key in ("gemma4-assistant.embedding_length_out", "gemma4-assistant.attention.sliding_window_pattern"):
        found = [line.split() for line in lines if key in line]
        assert len(found) == 1
        assert found[0][0] == key
        assert len(found[0]) > 2  # its type and value stand in the same line


def test_a_pipe_gets_whole_lines_of_every_check(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    pair = (target_gguf("BF16"), assistant_gguf("BF16"))
    lines = piped("verify", *pair, "--all")
    for check in CHECKS:
        assert len([line for line in lines if check.title in line]) == 1
    assert next(line.split() for line in piped("quantize", "--list") if "draft-q4" in line)[-1] == "8"


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is Unix's")
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_keys_are_never_folded_on_a_terminal(columns: int, assistant_gguf: GGUFFactory):
    lines = on_a_terminal(columns, "inspect", assistant_gguf("BF16"))
    for key in ("gemma4-assistant.embedding_length_out", "nextn.post_projection.weight", "tokenizer.ggml.tokens"):
        assert len([line for line in lines if key in line.split()]) == 1
    if columns == 80:  # values are folded, so that a line is not endless; the title names a folder of any length
        title, *table = lines
        assert "GGUF version 3" in title
        assert max(map(len, table)) < 120


def test_what_is_folded_and_what_is_not(capsys: pytest.CaptureFixture[str]):
    from gemma_mtp.cli.output import print_table

    table = Table(box=None)
    table.add_column("k", no_wrap=True)
    table.add_column("v", overflow="fold")
    table.add_row("key" * 30, "value " * 40)
    print_table(table)
    assert capsys.readouterr().out.splitlines()[1].strip() == "key" * 30 + "  " + ("value " * 40).rstrip()


def test_a_good_pair_is_told_in_three_lines(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    lines = piped("verify", target_gguf("BF16"), assistant_gguf("BF16"))
    assert lines[0].startswith(f"{len(CHECKS)} checks: ")
    assert lines[0].endswith("(--all shows each)")
    assert lines[1].startswith("Memory for ")
    assert lines[2:] == ["This pair fits together."]


def test_of_a_bad_pair_what_counts(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    """Swapped: one error with what to do, and not a line for each check that it makes pointless."""
    lines = piped("verify", assistant_gguf("BF16"), target_gguf("BF16"))
    assert lines[0].startswith("ERROR ")
    assert lines[1].startswith("  what to do: ")
    assert len(lines) < 8
    assert lines[-1].startswith("This pair will not work: ")
    assert len(piped("verify", assistant_gguf("BF16"), target_gguf("BF16"), "--all")) > len(CHECKS)
