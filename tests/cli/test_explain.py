"""`gemma-mtp explain`: a log of any size and encoding is read against what is known."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from gemma_mtp.native.causes import CAUSES
from gemma_mtp.native.log_reader import PIECE, read_log

WORDS = "llama_model_load: error loading model: missing tensor 'rope_freqs.weight'"
LOG = f"main: loading\n{WORDS}\nggml: größe ▁\nCUDA error: out of memory\n{WORDS}\n"


def explain(*words: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "gemma_mtp", "explain", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False, input=stdin)


def read(content: bytes):
    return read_log(io.BufferedReader(io.BytesIO(content)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_encoding(encoding: str, end: str):
    reading = read(LOG.replace("\n", end).encode(encoding, errors="replace"))
    assert [(one.line, one.times) for one in reading.found] == [(2, 2), (4, 1)]
    assert reading.found[0].text == WORDS
    assert reading.lines == 5


@pytest.mark.parametrize("before", [0, PIECE - 40, PIECE - 1, 3 * PIECE + 7])
def test_words_across_pieces_of_a_long_line(before: int):
    reading = read(b"x" * before + WORDS.encode() + b"y" * PIECE + b"\nnext\nout of memory\n")
    assert [one.line for one in reading.found] == [1, 3]
    assert "missing tensor" in reading.found[0].text


def test_a_long_log_takes_little_memory():
    class Endless(io.RawIOBase):
        """Ten megabytes in one line, with words somewhere in it."""

        left = 10_000_000

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            self.left -= len(buffer)
            if self.left <= 0:
                return 0
            buffer[:] = b"z" * len(buffer)
            if self.left // len(buffer) == 50:
                buffer[: len(WORDS)] = WORDS.encode()
            return len(buffer)

    tracemalloc.start()
    reading = read_log(io.BufferedReader(Endless()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(reading.found) == 1
    assert peak < 2_000_000


def test_every_cause_is_found_in_its_own_words():
    reading = read("".join(f"{cause.shown}\n" for cause in CAUSES).encode())
    assert [one.cause for one in reading.found] == list(CAUSES)
    assert [one.line for one in reading.found] == list(range(1, len(CAUSES) + 1))


def test_the_command(tmp_path: Path):
    path = tmp_path / "it's a log.txt"
    path.write_text(LOG + "\x1b[31mKilled\n", encoding="utf-8")
    for done in (explain(path), explain("-", stdin=path.read_bytes())):
        assert done.returncode == 0
        assert b"line 2 (and 1 more like it): " + WORDS.encode() in done.stdout
        assert b"what to do: " in done.stdout
        assert b"\x1b[31m" not in done.stdout
    content = json.loads(explain(path, "--json").stdout)
    assert content["lines"] == 6
    assert set(content["found"][0]) == {"line", "text", "times", "cause", "remedy"}


def test_nothing_known_and_nothing_to_read(tmp_path: Path):
    path = tmp_path / "log.txt"
    for content in (b"", b"all is well\n", bytes(range(256)) * 50):
        path.write_bytes(content)
        done = explain(path, "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout)["found"] == []
    for bad in (tmp_path, tmp_path / "nowhere.txt", tmp_path / ("x" * 300), Path("/dev/zero")):
        done = explain(bad)
        assert done.returncode in (1, 2)
        assert b"error: " in done.stderr
        assert b"Traceback" not in done.stderr
