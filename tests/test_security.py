"""SECURITY.md: every promise names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def promises() -> list[tuple[str, str]]:
    table = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("## What is promised")[1].split("## ")[0]
    rows = [row.split(" | ") for row in table.splitlines() if row.startswith("| ") and "---" not in row]
    return [(row[0].lstrip("| "), row[1]) for row in rows[1:]]


@pytest.mark.parametrize(("promise", "tests"), promises(), ids=lambda text: text[:50])
def test_a_promise_has_tests(promise: str, tests: str):
    files = re.findall(r"`(tests/[\w/]+\.py)`", tests)
    assert files, promise
    for file in files:
        assert re.search(r"^def test_", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_there_are_promises():
    assert len(promises()) >= 10
