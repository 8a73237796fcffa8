"""A disk that gets full, or fails, at each moment at which something is written; and one that fails to be read.

One sentence, exit code 3, nothing unfinished left, nothing unsound under a final name.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.forked import Forked
from helpers.left_behind import assert_sound, fresh, unfinished

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing can be forked there")

#: Command -> every which moment is tried: a checkpoint is written in many of the same kind.
WRITING = {
    "convert checkpoint --type BF16 --type Q8_0": 4,
    "quantize a.gguf Q8_0 draft-q4": 2,
    "convert old.gguf -o b.gguf": 1,
    "edit a.gguf -o b.gguf --set general.name=x": 1,
    "export ollama t.gguf a.gguf -o Modelfile --force": 1,
    "export lmstudio t.gguf a.gguf -o lm": 2,
    "make checkpoint --type Q8_0 -o made": 6,
}
READING = {
    "convert checkpoint --type BF16 --type Q8_0": 17,
    "quantize a.gguf Q8_0 draft-q4": 7,
    "convert old.gguf -o b.gguf": 5,
    "edit a.gguf -o b.gguf --chat-template template.jinja": 5,
    "verify t.gguf a.gguf": 11,
    "inspect a.gguf": 1,
    "diff a.gguf old.gguf": 5,
    "make checkpoint --type Q8_0 -o made": 29,
}


def assert_told(ended, what: str) -> None:
    assert ended.code == 3, (what, ended)
    assert "Traceback" not in ended.err, what
    assert ended.err.splitlines()[-2 if "hint: " in ended.err.splitlines()[-1] else -1].startswith("error: "), ended.err
    assert not ended.out, what


@pytest.mark.parametrize("command", WRITING)
def test_writing_fails(command: str, forked: Forked, sources: Path, tmp_path: Path):
    work = tmp_path / "work"
    total = forked.run(command.split(), fresh(sources, work)).moments
    assert total
    for moment in range(1, total + 1, WRITING[command]):
        fault = ("ENOSPC", "EIO", "EACCES")[moment % 3]
        ended = forked.run(command.split(), fresh(sources, work), fault, moment)
        if ended.code == 0:  # there is another way: without links, without a mode
            assert {path.name for path in work.iterdir()} > {path.name for path in sources.iterdir()}
        else:
            assert_told(ended, f"{fault} at {moment}")
        assert_sound(work)
        assert not unfinished(work), (moment, ended.err)


@pytest.mark.parametrize("command", READING)
def test_reading_fails(command: str, forked: Forked, sources: Path, tmp_path: Path):
    work = tmp_path / "work"
    total = forked.run(command.split(), fresh(sources, work), on=("read",)).moments
    assert total
    for moment in range(1, total + 1, READING[command]):
        ended = forked.run(command.split(), fresh(sources, work), "EIO", moment, ("read",))
        assert_told(ended, f"at {moment} of {total}")
        assert_sound(work)
        assert not unfinished(work)
