"""Jobs and notes that are none: a sentence, whatever they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.make import read_jobs
from gemma_mtp.make.manifest import Manifest

DEEP = 20_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", "job: " + "[" * DEEP),
        ("a.yaml", "job:\n- source: a\n  type: " + "- " * DEEP),
        ("a.toml", "job = " + "[" * DEEP),
        ("a.yaml", "job: [{source: !!timestamp x}]"),
        ("a.yaml", "job: [{source: !!int ''}]"),
        ("a.yaml", "job: [{source: 2024-13-45}]"),
        ("a.yaml", "job: [{source: !!bool x}]"),
        ("a.yaml", "job: [{source: !!map x}]"),
        ("a.yaml", "? [a]\n: b"),
        ("a.yaml", "1: 2\njob: 3"),
        ("a.yaml", "job: [{source: a, output: 7}]"),
    ],
)
def test_jobs(tmp_path: Path, name: str, content: str):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_jobs(path)
    assert str(path) in str(caught.value)


def test_notes(tmp_path: Path):
    (tmp_path / "mtp-x.make.json").write_text("[" * 200_000)
    with pytest.raises(BadFileError, match="notes of an earlier"):
        Manifest.beside(tmp_path, "x")
