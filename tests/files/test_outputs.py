"""Outputs that cannot be: devices, odd names, folders that go away, two writers at once, disks that get full."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.files import atomic
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.atomic import atomic_output, check_output, check_outputs
from gemma_mtp.files.direct import ROOM
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType


def python(code: str, *arguments: object, options: tuple[str, ...] = (), **more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def specials(folder: Path) -> dict[str, Path]:
    os.mkfifo(folder / "fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket"))
    server.close()
    (folder / "null").symlink_to("/dev/null")
    return {
        "fifo": folder / "fifo",
        "socket": folder / "socket",
        "null": Path("/dev/null"),
        "full": Path("/dev/full"),
        "a link to null": folder / "null",
        "a folder": folder,
    }


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_is_never_replaced(force: bool, tmp_path: Path):
    for what, path in specials(tmp_path).items():
        before = path.stat()
        with pytest.raises(UsageError, match="name a file"), atomic_output(path, size=1, force=force):
            pass
        assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode), what
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("redirected", ["pipe", "file"])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_as_output(name: str, redirected: str, tmp_path: Path):
    """It is a name for whatever stdout is: a pipe, or a file that the shell has opened."""
    code = f"""
        from pathlib import Path
        from gemma_mtp.errors import UsageError
        from gemma_mtp.files.atomic import check_output
        try:
            check_output(Path({name!r}), True)
        except UsageError:
            raise SystemExit(7)
    """
    with (tmp_path / "out").open("w") as file:
        command = [sys.executable, "-c", textwrap.dedent(code)]
        stdout = subprocess.PIPE if redirected == "pipe" else file
        assert subprocess.run(command, stdout=stdout, timeout=60).returncode == 7
    assert Path("/dev/stdout").is_symlink()


def test_names_that_cannot_be(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    cases = {
        tmp_path / ("x" * 256): "too long",
        tmp_path / ("x" * 300) / "a": "too long",
        tmp_path / "a\0b": "null byte",
        tmp_path / "circle": "Too many levels",
        tmp_path / "file" / "a": "no folder",
        tmp_path / "missing folder" / "a": "does not exist",
    }
    for path, says in cases.items():
        with pytest.raises(UsageError, match=says) as caught:
            check_output(path, False)
        assert caught.value.where
    assert "mkdir -p '" in caught.value.hint  # a name with a space, as a shell wants it
    with pytest.raises(UsageError, match="two outputs"):
        check_outputs([tmp_path / "a", tmp_path / "b", tmp_path / "." / "a"], True)


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "x" * 240, "x" * 241, "a[b]*?.gguf"])
def test_names_as_long_as_can_be(name: str, tmp_path: Path):
    """The unfinished file's name would be longer; it is cleaned up after as any other."""
    path = tmp_path / name
    with atomic_output(path, size=3) as file:
        (part,) = tmp_path.iterdir()
        file.write(b"abc")
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"abc"]
    part.write_bytes(b"left by a killed process")
    with atomic_output(path, size=3, force=True) as file:
        file.write(b"new")
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"new"]


def write_and(path: Path, meanwhile: Callable[[], object]) -> None:
    with atomic_output(path, size=3) as file:
        file.write(b"new")
        meanwhile()


def test_the_folder_goes_away(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(EnvironmentProblem, match="writing failed") as caught:
        write_and(folder / "a", lambda: shutil.rmtree(folder))
    assert "folder is gone" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_file_appears_meanwhile(tmp_path: Path):
    """Without --force it is not replaced, whoever made it and when."""
    path = tmp_path / "a"
    with pytest.raises(UsageError, match="exists already"):
        write_and(path, lambda: path.write_bytes(b"old"))
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"old"]


def test_an_error_of_another_file_is_not_the_output_s(tmp_path: Path):
    """What fails to be read while the output is written is not said to be a failure to write."""
    with pytest.raises(FileNotFoundError):
        write_and(tmp_path / "a", (tmp_path / "missing").read_bytes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("links", [True, False])
def test_it_appears_at_the_last_moment(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Between the check and the name; also where a file cannot have two names."""
    path, real = tmp_path / "a", os.link

    def late(*names: Path) -> None:
        path.write_bytes(b"old")
        if not links:
            raise PermissionError
        real(*names)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(UsageError, match="exists already"), atomic_output(path, size=3) as file:
        file.write(b"new")
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"old"]


def test_a_file_system_without_second_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    with atomic_output(tmp_path / "a", size=3) as file:
        file.write(b"new")
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"new"]


RACE = """
    import sys
    from pathlib import Path
    from gemma_mtp.errors import UsageError
    from gemma_mtp.files.atomic import atomic_output
    made = refused = 0
    for _ in range(400):
        try:
            with atomic_output(Path(sys.argv[1]), size=10, force=sys.argv[2] == "force") as file:
                file.write(sys.argv[3].encode() * 10)
            made += 1
            if sys.argv[2] != "force":
                Path(sys.argv[1]).unlink(missing_ok=True)
        except UsageError:
            refused += 1
    print(made, refused)
"""


@pytest.mark.parametrize("force", ["force", "keep"])
def test_two_writers(force: str, tmp_path: Path):
    """Both succeed; where none may replace the other's, one of them may be told so."""
    command = [sys.executable, "-c", textwrap.dedent(RACE), str(tmp_path / "a"), force]
    both = [subprocess.Popen([*command, letter], stdout=subprocess.PIPE, text=True) for letter in "xy"]
    for process in both:
        said, _ = process.communicate(timeout=120)
        made, refused = map(int, said.split())
        assert process.returncode == 0
        assert made + refused == 400
        assert made > 0
        assert not refused or force == "keep"
    assert all(path.read_bytes() in (b"x" * 10, b"y" * 10) for path in tmp_path.iterdir())
    assert not list(tmp_path.glob(".*"))


def test_a_clean_up_between_creation_and_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another process takes the new file for abandoned: a second one is begun."""
    real, cleaned = atomic._lock, []

    def late(file) -> None:
        if not cleaned:
            cleaned.append(
                python(
                    "import sys; from pathlib import Path; from gemma_mtp.files.atomic import *; "
                    "from gemma_mtp.files import atomic; atomic._remove_abandoned(Path(sys.argv[1]))",
                    tmp_path / "a",
                )
            )
            assert not list(tmp_path.iterdir())
        real(file)

    monkeypatch.setattr(atomic, "_lock", late)
    with atomic_output(tmp_path / "a", size=3) as file:
        file.write(b"new")
    assert cleaned[0].returncode == 0
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("limit", [0, 1, 4096, 150_000, 2_000_000, 9_000_000])
def test_a_disk_that_gets_full(limit: int, tmp_path: Path):
    """At whatever stage: the header, a tensor, the last bytes."""
    command = [sys.executable, "-m", "gemma_mtp", "convert", str(PAIR / "target"), "--type", "BF16", "--threads", "1"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 3, done.stderr
    assert "make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_header_cannot_be_written(tmp_path: Path):
    """It is larger than what is collected before it is written, so that this fails before anything else is."""
    code = """
        import resource, sys
        from gemma_mtp.errors import EnvironmentProblem
        from gemma_mtp.files import gguf_values as gv
        from gemma_mtp.files.gguf_writer import GGUFWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            with GGUFWriter(sys.argv[1], {"a": gv.string("x" * (9 << 20))}, []):
                pass
        except EnvironmentProblem as error:
            import os
            print(error, os.listdir(os.path.dirname(sys.argv[1])))
    """
    said = python(code, tmp_path / "a.gguf").stdout
    assert "writing failed" in said
    assert said.endswith("[]\n")  # while the error is handled already


def test_only_large_files_go_past_the_page_cache(tmp_path: Path):
    fcntl = pytest.importorskip("fcntl")
    if not hasattr(os, "O_DIRECT"):
        pytest.skip("this system has no such way")

    def is_direct(size: int) -> bool:
        with atomic_output(tmp_path / "a", size=size, force=True) as file:
            return bool(fcntl.fcntl(file._handle, fcntl.F_GETFL) & os.O_DIRECT)

    assert not is_direct(1000)
    assert not is_direct(ROOM)
    assert is_direct(ROOM + 1)


PLANS = [TensorPlan("a", (8,), GGMLType.F32), TensorPlan("b", (8,), GGMLType.F32)]
FAULTS = {
    "a tensor is missing": "w.write(bytes(32))",
    "a piece is missing": "w.write(bytes(32)); w.write_next([bytes(31)])",
    "a byte too much": "w.write(bytes(33))",
    "a tensor too much": "w.write(bytes(32)); w.write(bytes(32)); w.write(bytes(32))",
    "another length": "w.write(bytes(32)); w.write(bytes(32)); w.amend({'k': gv.string('longer')})",
    "another key": "w.write(bytes(32)); w.write(bytes(32)); w.amend({'j': gv.string('x')})",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("options", [(), ("-O",)])
def test_a_plan_that_is_not_kept(fault: str, options: tuple[str, ...], tmp_path: Path):
    """No file appears, with assertions switched off as well."""
    code = f"""
        import sys
        from gemma_mtp.files import gguf_values as gv
        from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
        from gemma_mtp.ggml import GGMLType
        plans = [TensorPlan(name, (8,), GGMLType.F32) for name in "ab"]
        with GGUFWriter(sys.argv[1], {{"k": gv.string("x")}}, plans) as w:
            {FAULTS[fault]}
    """
    done = python(code, tmp_path / "a.gguf", options=options)
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_plan_that_is_kept(tmp_path: Path):
    with GGUFWriter(tmp_path / "a.gguf", {"k": gv.string("x")}, PLANS) as writer:
        writer.write(bytes(32))
        writer.write_next([bytes(31), bytes(1)])
        writer.amend({"k": gv.string("y")})
    assert (tmp_path / "a.gguf").stat().st_size == writer.size
