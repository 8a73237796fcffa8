"""A checkpoint of gigabytes is hashed once, and so is each file that is made of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.files.reading import SourceFile


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """File name -> bytes that were read of it; reading is done as ever."""
    found: Counter[str] = Counter()
    read = SourceFile.read_into

    def counted(file: SourceFile, room, offset: int) -> None:
        found[file.path.name] += len(room)
        read(file, room, offset)

    monkeypatch.setattr(SourceFile, "read_into", counted)
    return found


def test_make_hashes_once(checkpoint: Path, tmp_path: Path, bytes_read: Counter[str]):
    weights = checkpoint / "model.safetensors"
    words = ["make", str(checkpoint), "--type", "BF16", "-o", str(tmp_path / "out"), "-t", "1"]
    assert CliRunner().invoke(application(), words).exit_code == 0
    size = weights.stat().st_size
    assert 2 * size <= bytes_read[weights.name] < 2.1 * size, "once to know it, once to convert it"
    (made,) = (tmp_path / "out").glob("*.gguf")
    header_and_sample = 3 * made.stat().st_size  # of so small a file the header is read with all that follows
    assert bytes_read[made.name] < made.stat().st_size + header_and_sample
