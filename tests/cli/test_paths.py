"""Every path that a command takes may be one that the system cannot use: a sentence, an exit code, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.paths import given_path, is_there

#: Paths that cannot be made, by what is wrong with them.
IMPOSSIBLE = {
    "name too long": "a" * 300 + ".gguf",
    "folder too long": "a" * 300 + "/x.gguf",
    "path too long": "ab/" * 2000 + "x.gguf",
    "file in a folder's place": "good.gguf/x.gguf",
    "loop": "loop/x.gguf",
}
#: Paths of which a file of that name could be made in some places.
ODD = {
    "unknown user": "~nosuchuser/x.gguf",
    "folder in a file's place": "folder",
    "no UTF-8": os.fsdecode(b"no\xffne.gguf"),
    "nothing there": "none.gguf",
}
#: Commands with BAD where the path goes. The target is t.gguf, the assistant a.gguf.
INPUTS = (
    "convert BAD",
    "quantize BAD out.gguf Q4_0",
    "quantize --list BAD",
    "quantize a.gguf out.gguf Q4_0 --imatrix BAD",
    "quantize a.gguf Q4_0 --compare BAD",
    "verify BAD a.gguf",
    "verify t.gguf BAD",
    "verify t.gguf a.gguf --run --prompts BAD",
    "verify t.gguf a.gguf --hub BAD",
    "verify a.gguf --from BAD",
    "verify a.gguf --from a.gguf --imatrix BAD",
    "fit BAD a.gguf",
    "fit t.gguf BAD",
    "inspect BAD",
    "diff BAD t.gguf",
    "diff t.gguf BAD",
    "edit BAD -o out.gguf --set general.name=x",
    "edit t.gguf -o out.gguf --chat-template BAD",
    "export llama-server BAD a.gguf",
    "export llama-server t.gguf BAD",
    "export llama-server t.gguf a.gguf --bench BAD",
    "run BAD a.gguf -p x",
    "run t.gguf BAD -p x",
    "run t.gguf --no-draft -f BAD",
    "run -m BAD --no-draft -p x",
    "bench BAD a.gguf",
    "bench t.gguf BAD",
    "bench t.gguf a.gguf --prompts BAD",
    "serve BAD a.gguf",
    "serve t.gguf BAD",
    "serve t.gguf a.gguf --chat-template-file BAD",
    "push BAD --repo me/x",
    "push a.gguf --repo me/x --bench BAD",
    "push a.gguf --repo me/x --target BAD",
    "push mtp-a-BF16.gguf --repo me/x --from BAD",
    "push mtp-a-BF16.gguf --repo me/x --from a.gguf --imatrix BAD",
    "make BAD",
    "make BAD.toml",
    "make BAD.yaml --dry-run",
    "make checkpoint --imatrix BAD --type Q8_0 --dry-run",
)
#: What is written, or not looked at yet.
OUTPUTS = (
    "make checkpoint --target BAD --dry-run",
    "convert checkpoint -o BAD",
    "quantize t.gguf BAD Q4_0",
    "bench t.gguf a.gguf -o BAD",
    "edit t.gguf -o BAD --set general.name=x",
    "export ollama t.gguf a.gguf -o BAD",
    "bench t.gguf a.gguf --plot BAD.png",
)
FOLDERS = ("make checkpoint -o BAD", "demo --keep BAD", "export lmstudio t.gguf a.gguf -o BAD")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, target_gguf: Callable[[str], Path], assistant_gguf) -> Path:
    """A folder with the good files that the commands name."""
    from gemma_mtp.demo.pair import PAIR

    folder = tmp_path_factory.mktemp("room")
    (folder / "t.gguf").symlink_to(target_gguf("BF16"))
    (folder / "a.gguf").symlink_to(assistant_gguf("BF16"))
    (folder / "mtp-a-BF16.gguf").symlink_to(assistant_gguf("BF16"))
    (folder / "good.gguf").symlink_to(assistant_gguf("BF16"))
    (folder / "checkpoint").symlink_to(PAIR / "assistant")
    (folder / "loop").symlink_to("loop")
    (folder / "folder").mkdir()
    return folder


def cases() -> list[tuple[str, str]]:
    both = IMPOSSIBLE | ODD
    asked = [(command, kind) for command in INPUTS for kind in both]
    # A file or folder may be given any name that is free, the endings of these are added to what is there.
    written = {*IMPOSSIBLE, "unknown user"}
    asked += [(command, kind) for command in OUTPUTS for kind in both if kind in written]
    return asked + [(command, kind) for command in FOLDERS for kind in IMPOSSIBLE]


@pytest.mark.skipif(sys.platform == "win32", reason="other limits and signs there")
@pytest.mark.parametrize("command", [*INPUTS, *OUTPUTS, *FOLDERS])
def test_a_path_that_cannot_be_used_is_a_sentence(command: str, room: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(room)
    for kind in (kind for one, kind in cases() if one == command):
        bad = (IMPOSSIBLE | ODD)[kind]
        words = [word.replace("BAD", bad) for word in command.split()]
        done = CliRunner().invoke(application(), words)
        said = f"{kind}: {done.exception!r} {done.stderr}"
        assert done.exception is None or isinstance(done.exception, SystemExit), said
        assert done.exit_code in (1, 2, 3), said
        assert "error: " in done.stderr, said
        assert done.stdout == "", said


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(assistant_gguf: Callable[[str], Path], tmp_path: Path):
    """A file, and a folder, that this user may not look into."""
    (tmp_path / "locked").mkdir()
    for path in (tmp_path / "locked" / "a.gguf", tmp_path / "b.gguf"):
        path.write_bytes(assistant_gguf("BF16").read_bytes())
    (tmp_path / "b.gguf").chmod(0)
    (tmp_path / "locked").chmod(0)
    try:
        for path in (tmp_path / "locked" / "a.gguf", tmp_path / "b.gguf"):
            for command in ("inspect", "convert", "make"):
                done = CliRunner().invoke(application(), [command, str(path)])
                assert isinstance(done.exception, SystemExit), done.exception
                assert done.exit_code in (1, 2, 3)
                assert "error: " in done.stderr
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_paths_of_a_jobs_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A path there can hold what no command line can."""
    from gemma_mtp.demo.pair import PAIR

    monkeypatch.chdir(tmp_path)
    for line in ('output: "a\\0b"', "output: ~nosuchuser/x", 'imatrix: "\\0"', f"output: {'a' * 300}"):
        (tmp_path / "jobs.yaml").write_text(f"job:\n - source: {PAIR / 'assistant'}\n   {line}\n")
        done = CliRunner().invoke(application(), ["make", "jobs.yaml"])
        assert isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code in (1, 2, 3)
        assert "error: " in done.stderr
    (tmp_path / "jobs.yaml").write_text('job:\n - source: "a\\0b"\n')
    assert CliRunner().invoke(application(), ["make", "jobs.yaml"]).exit_code == 2


def test_given_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given_path("~/x") == tmp_path / "x"
    assert given_path(Path("a") / "b") == Path("a/b")
    with pytest.raises(UsageError, match="NUL"):
        given_path("a\0b")
    with pytest.raises(UsageError, match="home folder of ~nosuchuser"):
        given_path("~nosuchuser/x")


def test_is_there(tmp_path: Path):
    assert is_there(tmp_path)
    assert not is_there(tmp_path / "x")
    with pytest.raises(BadFileError, match="cannot be used"):
        is_there(tmp_path / ("a" * 300))


@pytest.mark.skipif(sys.platform != "linux", reason="names there are UTF-8")
def test_a_folder_whose_name_is_no_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The model is named after it, and texts in a GGUF are UTF-8."""
    from gemma_mtp.demo.pair import PAIR

    monkeypatch.chdir(tmp_path)
    copy = tmp_path / os.fsdecode(b"copy\xff-assistant")
    copy.mkdir()
    for file in (PAIR / "assistant").iterdir():
        (copy / file.name).symlink_to(file)
    for words in (["convert", str(copy), "--type", "Q8_0"], ["inspect", str(copy)], ["make", str(copy), "-o", "made"]):
        done = CliRunner().invoke(application(), words)
        assert done.exit_code == 0, f"{done.exception!r} {done.stderr}"
    assert (tmp_path / os.fsdecode(b"mtp-copy\xff-Q8_0.gguf")).exists()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can become a user without a home")
def test_a_user_without_a_home():
    code = (
        "import os, pwd, sys; from gemma_mtp.cli import boundary, output; from gemma_mtp.native import backend\n"
        "for name in ('HOME', 'XDG_CACHE_HOME', 'GEMMA_MTP_CACHE'): os.environ.pop(name, None)\n"
        "os.setuid(54321); sys.exit(boundary.exit_code(backend.cache_folder))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (3, "error: this user has no home folder")
