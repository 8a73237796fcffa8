"""`gemma-mtp quantize` as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.commands import command

from gemma_mtp.files.gguf_reader import GGUFFile


@pytest.fixture
def source(assistant_gguf, tmp_path: Path) -> Path:
    return Path(shutil.copy(assistant_gguf("BF16"), tmp_path / "mtp-demo-BF16.gguf"))


def quantize(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return command("quantize", *arguments)


def test_several_types_beside_the_input(source: Path):
    done = quantize(source, "Q8_0", "draft-q4", "--tensor", "head=IQ4_NL", "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in source.parent.iterdir()) == [
        "mtp-demo-BF16.gguf",
        "mtp-demo-Q8_0.gguf",
        "mtp-demo-draft-q4.gguf",
    ]
    assert "bits/weight" in done.stdout
    assert "quantizing" in done.stderr
    with GGUFFile(source.with_name("mtp-demo-draft-q4.gguf")) as file:
        assert file.tensors["token_embd.weight"].type.name == "IQ4_NL"


def test_json(source: Path):
    done = quantize(source, source.with_name("out.gguf"), "Q4_0", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (made,) = report["outputs"]
    assert made["path"] == str(source.with_name("out.gguf"))
    assert made["size"] == source.with_name("out.gguf").stat().st_size


def test_list(source: Path):
    done = quantize("--list", source)
    assert done.returncode == 0, done.stderr
    for words in ("Q4_K_M", "4.5", "draft-mixed", "needs --imatrix", "file"):
        assert words in done.stdout
    offers = {offer["name"]: offer for offer in json.loads(quantize("--list", source, "--json").stdout)["types"]}
    quantize(source, "Q6_K")
    assert offers["Q6_K"]["size"] == source.with_name("mtp-demo-Q6_K.gguf").stat().st_size


def test_requantizing_warns(source: Path):
    quantize(source, "Q8_0")
    refused = quantize(source.with_name("mtp-demo-Q8_0.gguf"), "Q4_0")
    assert refused.returncode == 2
    assert "--allow-requantize" in refused.stderr
    done = quantize(source.with_name("mtp-demo-Q8_0.gguf"), "Q4_0", "--allow-requantize")
    assert done.returncode == 0, done.stderr
    assert "warning:" in done.stderr
    assert "quantized before" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("{source}",), 2, "no type is given", id="no type"),
        pytest.param(("{source}", "Q9_9"), 2, "there is no type Q9_9", id="type"),
        pytest.param(("{source}", "Q8_0", "--tensor", "nose=Q4_0"), 2, "not ROLE=TYPE", id="role"),
        pytest.param(("{source}", "{source}", "Q8_0", "--force"), 2, "same file", id="same file"),
        pytest.param(("{source}", "IQ1_S"), 2, "importance matrix", id="imatrix"),
        pytest.param(("{source}", "Q8_0", "--imatrix", "{source}"), 1, "not an importance matrix", id="no imatrix"),
        pytest.param(("none.gguf", "Q8_0"), 1, "none.gguf", id="no file"),
        pytest.param(("Q8_0",), 2, "no type is given", id="no input"),
    ],
)
def test_mistakes_are_sentences(source: Path, arguments: tuple[str, ...], code: int, words: str):
    done = quantize(*[argument.replace("{source}", str(source)) for argument in arguments])
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert list(source.parent.iterdir()) == [source]
