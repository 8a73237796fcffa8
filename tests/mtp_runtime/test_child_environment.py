"""What a child process is told about threads, and what the library's errors do not speak of."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gemma_mtp.mtp_runtime
from gemma_mtp.native.child import in_child, native_log_to

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "GEMMA_MTP_NATIVE_LOG")


def environment() -> Iterator[dict[str, str | None]]:
    """Runs in a child."""
    os.write(2, b"a word of the child\n")
    yield {name: os.environ.get(name) for name in NAMES}


def told() -> dict[str, str | None]:
    return next(iter(in_child(f"{__name__}:environment")))


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_threads_that_wait_sleep_soon_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch):
    assert told()["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert told()["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert told()["GOMP_SPINCOUNT"] is None


def test_a_log_is_told_only_to_who_listens():
    heard: list[bytes] = []
    assert told()["GEMMA_MTP_NATIVE_LOG"] is None
    with native_log_to(heard.append):
        (child,) = in_child(f"{__name__}:environment")
        assert child["GEMMA_MTP_NATIVE_LOG"] == "1"
    assert b"".join(heard) == b"a word of the child\n"


def test_a_log_that_cannot_be_written_stops_nothing():
    def full(_: bytes) -> None:
        raise OSError("no space left on device")

    with native_log_to(full):
        assert list(in_child(f"{__name__}:environment"))


def test_the_librarys_errors_do_not_speak_of_the_command_lines_options():
    """`--ctx` means nothing to who writes `ContextSettings`. (Whole commands are another thing.)"""
    package = Path(gemma_mtp.mtp_runtime.__file__).parent
    spoken = [
        f"{path.name}:{node.lineno}: {constant.value}"
        for path in sorted(package.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        for constant in ast.walk(node)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
        if re.search(r"(^|[\s(])--[a-z]", constant.value) and "gemma-mtp " not in constant.value
    ]
    assert not spoken
