"""Commands that read local files say so to whoever names a place on the Hub, and how to download it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.errors import UsageError
from gemma_mtp.hub.source import check_local

runner = CliRunner()


@pytest.mark.parametrize(
    ("place", "download"),
    [
        ("hf://ggml-org/R/f.gguf", ["hf", "download", "ggml-org/R", "f.gguf", "--local-dir", "."]),
        ("ggml-org/R:Q8_0", ["hf", "download", "ggml-org/R", "--include", "*Q8_0*.gguf", "--local-dir", "."]),
        (
            "hf://ggml-org/R@abc/it's here.gguf",
            ["hf", "download", "ggml-org/R", "it's here.gguf", "--revision", "abc", "--local-dir", "."],
        ),
    ],
)
def test_how_to_download_it(place: str, download: list[str]):
    with pytest.raises(UsageError, match="local files") as caught:
        check_local(Path(place))
    assert shlex.split((caught.value.hint or "").strip("`")) == download


def test_local_paths_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    check_local(Path("models/x.gguf"), Path("models/y"), Path("other/z.gguf"), Path("x"), None)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "ggml-org/R:Q8_0", "hf://ggml-org/R/f.gguf", "-p", "x"),
        ("bench", "hf://ggml-org/R/f.gguf", "hf://ggml-org/R/g.gguf"),
        ("serve", "hf://ggml-org/R/f.gguf", "hf://ggml-org/R/g.gguf"),
        ("quantize", "hf://ggml-org/R/f.gguf", "Q4_0"),
        ("quantize", "--list", "hf://ggml-org/R/f.gguf"),
    ],
)
def test_every_such_command_says_it(words: tuple[str, ...]):
    done = runner.invoke(application(), list(words))
    assert done.exit_code == 2
    assert "hf download ggml-org/R" in done.output
    assert "mkdir" not in done.output
