"""Folders for what is needed on the way: gone afterwards, and those of killed processes are swept, nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_mtp.errors import EnvironmentProblem
from gemma_mtp.files import scratch
from gemma_mtp.files.scratch import PREFIX, scratch_folder

#: Makes one, with a file in it, and ends as it is told.
MAKES_ONE = """
import os, sys
from pathlib import Path
from gemma_mtp.files.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "signals").write_text("many")
    print(folder.name, flush=True)
    sys.stdin.readline()
"""


def test_it_is_gone_afterwards(tmp_path: Path):
    with scratch_folder(tmp_path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "x").touch()
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ZeroDivisionError), scratch_folder(tmp_path):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_a_killed_process_s_is_swept_and_a_living_one_s_is_not(tmp_path: Path):
    words = [sys.executable, "-c", MAKES_ONE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as killed, subprocess.Popen(words, **pipes) as lives:
        names = [process.stdout.readline().strip() for process in (killed, lives)]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert {path.name for path in tmp_path.iterdir()} == set(names)
        with scratch_folder(tmp_path) as mine:
            assert {path.name for path in tmp_path.iterdir()} == {names[1], mine.name}
        lives.communicate("\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
@pytest.mark.parametrize("stage", ["while it is removed", "when it is gone"])
def test_a_clean_up_between_creation_and_lock(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another process takes the new folder for abandoned: a second one is made."""
    real, held = scratch._lock, []

    def late(folder: Path) -> int | None:
        if not held:
            held.append((folder, real(folder)))
            if stage == "when it is gone":
                folder.rmdir()
                os.close(held[0][1])
        return real(folder)

    monkeypatch.setattr(scratch, "_lock", late)
    with scratch_folder(tmp_path) as folder:
        assert folder != held[0][0]
        assert folder.exists()
    if stage == "while it is removed":
        held[0][0].rmdir()
        os.close(held[0][1])
    assert not list(tmp_path.iterdir())


def test_what_only_looks_like_one_stays(tmp_path: Path):
    """A user's folder, a link, a file; and one of another user."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").touch()
    (tmp_path / f"{PREFIX}mine").mkdir()
    (tmp_path / f"{PREFIX}{'0' * 16}").symlink_to("elsewhere")
    (tmp_path / f"{PREFIX}{'1' * 16}").touch()
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        (tmp_path / f"{PREFIX}{'2' * 16}").mkdir()
        os.chown(tmp_path / f"{PREFIX}{'2' * 16}", 54321, 54321)
    before = {path.name for path in tmp_path.rglob("*")}
    with scratch_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.rglob("*")} == before


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(EnvironmentProblem, match="writing failed"), scratch_folder(tmp_path / "missing"):
        pass
