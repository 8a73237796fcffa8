"""What comes out of the program: any encoding, a full disk, a closed pipe, Ctrl-C at the very start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

GGUFFactory = Callable[[str], Path]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Unix's descriptors and signals")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
#: The sign for a space, which is in every vocabulary of Gemma.
SPACE = "\u2581"


def start(*words: object, **more) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gemma_mtp", *map(str, words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **more)


def finished(*words: object, encoding: str = "utf-8", **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    environment = os.environ | {"PYTHONIOENCODING": encoding} | variables
    child = start(*words, stdout=subprocess.PIPE, env=environment)
    out, err = child.communicate(timeout=120)
    return child.returncode, out.decode(encoding.split(":")[0]), err.decode(encoding.split(":")[0])


@pytest.fixture(scope="module")
def odd(assistant_gguf: GGUFFactory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An assistant under a name that few encodings have."""
    path = tmp_path_factory.mktemp("odd") / f"mtp-{SPACE}x-BF16.gguf"
    path.symlink_to(assistant_gguf("BF16"))
    return path


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii", "utf-8"])
def test_what_an_encoding_lacks_is_an_escape(encoding: str, odd: Path, target_gguf: GGUFFactory):
    """In each kind of output: tables, JSON, lines, notes, errors."""
    shown = SPACE if encoding == "utf-8" else r"\u2581"
    code, out, err = finished("inspect", odd, encoding=encoding)
    assert (code, err) == (0, "")
    assert f"mtp-{shown}x-BF16.gguf" in out
    assert "tokenizer.ggml.tokens" in out
    code, out, err = finished("verify", target_gguf("BF16"), odd, "--all", encoding=encoding)
    assert (code, err) == (0, "")
    missing = odd.with_name(f"{SPACE}.gguf")
    code, out, err = finished("inspect", missing, encoding=encoding)
    assert (code, out) == (1, "")
    assert f"error: {odd.parent}/{shown}.gguf: there is no such file" in err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_json_is_ascii(encoding: str, odd: Path):
    code, out, err = finished("inspect", odd, "--json", encoding=encoding)
    assert (code, err) == (0, "")
    assert out.isascii()
    assert json.loads(out)["file"] == str(odd)


@POSIX
def test_a_name_that_is_no_utf8(assistant_gguf: GGUFFactory, tmp_path: Path):
    path = tmp_path / os.fsdecode(b"mtp-\xff-BF16.gguf")
    path.symlink_to(assistant_gguf("BF16"))
    code, out, err = finished("inspect", path)
    assert (code, err) == (0, "")
    assert r"mtp-\udcff-BF16.gguf" in out


@LINUX
@pytest.mark.parametrize(
    "words",
    [
        "inspect {a}",
        "inspect {a} --json",
        "verify {t} {a} --all",
        "quantize --list",
        "run {t} --no-draft -p x -n 4 -t 1",
        "run {t} --no-draft -p x -n 4 -t 1 --json",
        "convert {a} --dialect ik -f -o {out}",
        "--help",
        "--version",
    ],
)
def test_a_full_disk_is_a_sentence(words: str, target_gguf: GGUFFactory, odd: Path, tmp_path: Path):
    names = {"t": target_gguf("Q8_0"), "a": odd, "out": tmp_path / "out.gguf"}
    with open("/dev/full", "wb") as full:
        child = start(*(word.format(**names) for word in words.split()), stdout=full)
        err = child.communicate(timeout=120)[1].decode()
    assert child.returncode == 3, err
    assert "error: standard output: writing failed: No space left on device" in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@LINUX
def test_messages_that_nobody_can_receive_change_nothing(odd: Path):
    """Standard error is full: the exit code says what it would have said."""
    with open("/dev/full", "wb") as full:
        for words, code in ((["inspect", odd], 0), (["inspect", "nowhere.gguf"], 1), (["frobnicate"], 2)):
            command = [sys.executable, "-m", "gemma_mtp", *map(str, words)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, timeout=120, check=False)
            assert done.returncode == code


@POSIX
@pytest.mark.parametrize("words", ["inspect {a}", "run {t} --no-draft -p x -n 200 -t 1", "--help"])
def test_a_closed_pipe_is_silent(words: str, target_gguf: GGUFFactory, odd: Path):
    """The exit code is that of a program that SIGPIPE ended, as a shell shows it."""
    read, write = os.pipe()
    os.close(read)
    child = start(*(word.format(t=target_gguf("Q8_0"), a=odd) for word in words.split()), stdout=write)
    os.close(write)
    assert child.communicate(timeout=120)[1].decode() == ""
    assert child.returncode == 141


@POSIX
def test_standard_output_may_be_closed(odd: Path):
    done = subprocess.run(
        ["sh", "-c", f'exec "{sys.executable}" -m gemma_mtp inspect "$0" >&-', str(odd)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@POSIX
@pytest.mark.parametrize("milliseconds", [1, 10, 30, 60, 90, 150])
def test_ctrl_c_while_libraries_are_imported(milliseconds: int, odd: Path):
    """The signal comes at a set time after the program's first line, wherever it is then."""
    code = (
        "import signal, sys\n"
        "from gemma_mtp.cli.main import main\n"
        "signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))\n"
        f"signal.setitimer(signal.ITIMER_REAL, {milliseconds / 1000})\n"
        f"sys.argv[1:] = ['serve', {str(odd)!r}, {str(odd)!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (130, 1)  # 1: it was done before, with a bad pair
    assert "Traceback" not in done.stderr
    if milliseconds == 1:
        assert (done.returncode, done.stderr) == (130, "interrupted\n")
