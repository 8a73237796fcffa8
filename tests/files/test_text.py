"""The one reader of small text files: what is no small text file ends in a sentence, at once and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files import text
from gemma_mtp.files.text import parse_yaml, read_json, read_text, read_toml, read_yaml, shown, typed

WORDS = "zwölf = 12\nthirteen = 13\n"


@pytest.mark.parametrize("mark", [b"", text.MARK])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_are_no_content(mark, end, tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(mark + WORDS.replace("\n", end).encode())
    assert read_text(path) == WORDS


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("\ufeffa".encode("utf-16-le"), "is UTF-16"),
        ("a".encode("utf-16"), "is UTF-16"),
        ("\ufeffa".encode("utf-16-be"), "is UTF-16"),
        ("a".encode("utf-32"), "is UTF-32"),
        ("ä".encode("latin-1"), "no UTF-8 text .at byte 0."),
        (text.MARK + b"a\xff", "no UTF-8 text .at byte 4."),
        (b"a\0b", "zero byte"),
    ],
)
def test_what_is_no_utf8(raw, says, tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(raw)
    with pytest.raises(BadFileError, match=says) as caught:
        read_text(path)
    assert str(path) in str(caught.value)


def make(kind: str, path: Path) -> Path:
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to nothing":
        path.symlink_to("nowhere")
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "unreadable name":
        return path.parent / ("x" * 300)
    elif kind == "zero byte in the name":
        return path.parent / "a\0b"
    else:
        return Path(kind)
    return path


KINDS = {
    "folder": "is a folder",
    "pipe": "is a pipe",
    "/dev/zero": "is a device",
    "/dev/null": "is a device",
    "link to nothing": "No such file",
    "link to itself": "cannot be read",
    "huge": "more than",
    "unreadable name": "too long",
    "zero byte in the name": "cannot be read",
}


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices in the file system")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", [read_text, read_json, read_yaml, read_toml])
def test_what_is_no_small_file(kind, read, tmp_path):
    with pytest.raises(UsageError, match=KINDS[kind]):
        read(make(kind, tmp_path / "file"), error=UsageError)


DEEP = {"json": "[" * 200_000, "yaml": "[" * 20_000, "toml": "a=" + "[" * 20_000}
READ = {"json": read_json, "yaml": read_yaml, "toml": read_toml}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("whole", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("depth", [70, 900, 10_000])
def test_deep_values(kind, whole, depth, tmp_path):
    path = tmp_path / f"deep.{kind}"
    opening = {"json": "", "yaml": "a: ", "toml": "a = "}[kind]
    path.write_text(opening + "[" * depth + ("]" * depth if whole else ""))
    with pytest.raises(BadFileError, match=r"deep in each other|is not (JSON|YAML|TOML)") as caught:
        READ[kind](path)
    assert len(str(caught.value)) < 600
    path.write_text(opening + "[" * 60 + "]" * 60)
    if kind != "json":
        assert "a" in READ[kind](path)
    else:
        assert read_json(path)


def test_aliases_are_counted(tmp_path):
    """Nine lines of YAML that stand for a billion values."""
    lines = ["a0: &a0 [" + ", ".join("x" * 9) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 9)]
    with pytest.raises(BadFileError, match="more than 100,000 values"):
        parse_yaml("\n".join(lines), "a.yaml")
    with pytest.raises(BadFileError, match="deep in each other"):
        parse_yaml("a: &a [*a]", "a.yaml")
    assert parse_yaml("a: &a [1]\nb: *a", "a.yaml") == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    "value", ["9" * 6000, "2026-13-45", "!!python/object:os.system x", "a: 1: 2", "{[]: 1}", "\t-"]
)
def test_odd_yaml(value):
    with pytest.raises(BadFileError, match="is not YAML"):
        parse_yaml(f"k: {value}", "a.yaml")


def test_yaml_as_it_was_written():
    source = "a: yes\nb: 1.10\nc: 2026-05-01\nd: [~, null, no, 0x10, 1e3]\ne:\nf: 'null'\n"
    assert parse_yaml(source, "a.yaml", as_texts=True) == {
        "a": "yes",
        "b": "1.10",
        "c": "2026-05-01",
        "d": [None, None, "no", "0x10", "1e3"],
        "e": None,
        "f": "null",
    }


def test_values_are_shown_short():
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    for value in ("x" * 10**6, [0] * 10**6, {str(n): n for n in range(10**5)}, deep, 10**400):
        assert len(shown(value)) < 400


HOSTILE = """
import resource, sys, time
from pathlib import Path
from gemma_mtp.errors import GemmaMtpError
from gemma_mtp.files import text
read, path = getattr(text, sys.argv[1]), Path(sys.argv[2])
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (200 << 20),) * 2)
start = time.process_time()
try:
    read(path)
except GemmaMtpError as error:
    print(f"{time.process_time() - start:.2f}", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
@pytest.mark.parametrize("content", ["brackets", "many", "aliases", "keys", "quotes"])
@pytest.mark.parametrize("read", ["read_json", "read_yaml", "read_toml"])
def test_little_time_and_memory(read, content, tmp_path):
    """The worst that fits into the file's size, in 200 MB more than the program has, and in seconds."""
    room = (text.SMALL if read == "read_json" else text.BY_HAND) - 8
    pieces = {"brackets": "[", "many": "{},", "aliases": "- &a [a, *a]\\n", "keys": '"a":', "quotes": '"""'}
    path = tmp_path / "hostile"
    path.write_text(("[" if content == "many" else "") + pieces[content] * (room // len(pieces[content])))
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, read, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    seconds, _, words = done.stdout.partition(" ")
    assert words
    assert float(seconds) < 5
    assert json.dumps(words)


def test_a_text_that_was_typed():
    """In a locale without its letters Python gives their bytes one by one; what is no UTF-8 stays."""
    assert typed("Größe ▁".encode().decode("ascii", "surrogateescape")) == "Größe ▁"
    assert typed("Größe") == "Größe"
    for odd in (b"\xff", b"a\xc3"):
        assert typed(odd.decode("ascii", "surrogateescape")) == odd.decode("ascii", "surrogateescape")
    assert typed("\ud800") == "\ud800"
