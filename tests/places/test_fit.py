"""What `fit` prints for llama-server opens files of this machine, wherever the pair is: the lines before bring them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from helpers.placed import PLACES, Models
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.model.part import Part

pytestmark = pytest.mark.usefixtures("hub")


def fit(*words: str | Path) -> dict:
    done = CliRunner().invoke(application(), ["fit", *map(str, words), "--vram", "8GB", "-c", "512", "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("place", PLACES)
def test_the_lines_as_printed(place: str, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub.cli.hf import app as hf

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    found = fit(*(PLACES[place](models, part) for part in Part))
    for line in (found["prepare"] or "").split(" && "):
        for program, *words in filter(None, [shlex.split(line)]):
            {"hf": hf, "gemma-mtp": application()}[program](words, standalone_mode=False)
    words = shlex.split(found["command"])
    files = [Path(words[words.index(option) + 1]) for option in ("-m", "-md")]
    assert all(file.is_file() for file in files), found
    assert (found["prepare"] is None) is (not any(here.iterdir()))
    there = fit(*files)
    assert (there["devices"], there["prepare"]) == (found["devices"], None)
    assert [file.name.startswith("mtp-") for file in files] == [False, True]
