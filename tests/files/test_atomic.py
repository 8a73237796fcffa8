"""Outputs appear complete or not at all, whatever happens on the way."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.files.atomic import atomic_output
from gemma_mtp.files.gguf_reader import GGUFFile

#: Types whose kernels are slow, so that there is time to interrupt.
SLOW = [word for kind in ("IQ4_XS", "IQ4_NL", "Q3_K_S", "Q2_K") for word in ("--type", kind)]


def convert(folder: Path, *arguments: str, **options) -> subprocess.Popen[str]:
    """The command, at work in `folder` on the demo target with one thread."""
    command = [sys.executable, "-m", "gemma_mtp", "convert", str(PAIR / "target"), "--threads", "1", *arguments]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, **options)


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def started(folder: Path) -> subprocess.Popen[str]:
    """A conversion that has begun to write."""
    process = convert(folder, *SLOW)
    while not parts(folder):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    return process


@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signal(number, code, words, tmp_path):
    process = started(tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (code, words)
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_no_output_and_the_next_run_cleans_up(tmp_path):
    process = started(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert parts(tmp_path)
    assert not list(tmp_path.glob("*.gguf"))
    again = convert(tmp_path, *SLOW)
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert not parts(tmp_path)
    for path in tmp_path.glob("*.gguf"):
        with GGUFFile(path) as file:
            assert file.tensors


def test_another_process_s_unfinished_file_is_left_alone(tmp_path):
    with atomic_output(tmp_path / "a.gguf", size=4) as file:
        (mine,) = parts(tmp_path)
        with atomic_output(tmp_path / "a.gguf", size=4):
            assert mine in parts(tmp_path)
        assert mine.exists()
        (tmp_path / "a.gguf").unlink()
        file.write(b"GGUF")
    assert (tmp_path / "a.gguf").read_bytes() == b"GGUF"


def test_no_room(tmp_path):
    """A limit on the size of files stands in for a disk that gets full in the middle."""
    limit = 4_000_000
    process = convert(
        tmp_path, "--type", "BF16", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "writing failed" in said
    assert "make room" in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_known_before(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    with pytest.raises(EnvironmentProblem, match="are needed"), atomic_output(tmp_path / "a", size=2 * free + 10**12):
        pass
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_middle(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_output(tmp_path / "a", size=1) as file:
        file.write(bytes(1 // 0))
    assert not list(tmp_path.iterdir())


def test_what_exists_is_kept(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(UsageError, match="exists already") as caught, atomic_output(path, size=1):
        pass
    assert "--force" in caught.value.hint
    with pytest.raises(ZeroDivisionError), atomic_output(path, size=1, force=True):
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    with atomic_output(path, size=3, force=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_earlier_bytes_can_be_replaced(tmp_path):
    """Also by more than what is written at once."""
    data = os.urandom(9_000_000)
    with atomic_output(tmp_path / "a", size=len(data)) as file:
        file.write(data)
        file.replace(7, bytes(5_000_001))
        file.replace(8_999_999, b"a")
    assert (tmp_path / "a").read_bytes() == data[:7] + bytes(5_000_001) + data[5_000_008:-1] + b"a"
