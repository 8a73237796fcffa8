"""`gemma-mtp quantize --compare` as a user runs it, on the demo pair."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.schemas import checked


def compare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return command("quantize", *arguments, "--threads", "1")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text(
        "class Stack:\n\n    def __init__(self):\n---\ndef find_module(name, path=None):\n", encoding="utf-8"
    )
    return path


def test_types_and_recipes_are_measured(assistant_gguf, target_gguf, prompts: Path, tmp_path: Path):
    source, target = assistant_gguf("BF16"), target_gguf("Q8_0")
    before = sorted(source.parent.iterdir())
    kinds = ("Q8_0", "draft-q4")
    done = compare(source, *kinds, "--compare", target, "--prompts", prompts, "-n", "24", "-r", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = checked(done.stdout)
    assert (found["target"], found["assistant"]) == (target.name, source.name)
    assert {one["kind"] for one in found["candidates"]} == set(kinds)
    speedups = [one["speedup"] for one in found["candidates"]]
    assert speedups == sorted(speedups, reverse=True)
    assert found["recommended"] in kinds
    assert found["noise"] > 0
    by_kind = {one["kind"]: one for one in found["candidates"]}
    assert by_kind["draft-q4"]["bytes"] < by_kind["Q8_0"]["bytes"]
    for one in found["candidates"]:
        assert 0 < one["accepted"] <= one["drafted"] < 2 * 3 * 24
        assert one["step_ms"] > 0
        assert one["tokens_per_second"] == pytest.approx(found["baseline"] * one["speedup"])
    assert sorted(source.parent.iterdir()) == before


def test_the_table(assistant_gguf, target_gguf, prompts: Path):
    done = compare(
        assistant_gguf("BF16"), "Q4_0", "--compare", target_gguf("Q8_0"), "--prompts", prompts, "-n", "8", "-r", "1"
    )
    assert done.returncode == 0, done.stderr
    for words in ("draft step", "accepted", "tokens/s", "speed-up", "Q4_0", "no drafting", "1.00x"):
        assert words in done.stdout
    assert "comparing: 4 laps done" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("{assistant}", "Q9_9", "--compare", "{target}"), 2, "no type Q9_9", id="type"),
        pytest.param(("{assistant}", "out.gguf", "Q4_0", "--compare", "{target}"), 2, "no type out.gguf", id="output"),
        pytest.param(("{target}", "Q4_0", "--compare", "{assistant}"), 1, "name the target first", id="swapped"),
        pytest.param(("{assistant}", "Q4_0", "--compare", "none.gguf"), 1, "none.gguf", id="no file"),
        pytest.param(("{assistant}", "IQ2_XS", "--compare", "{target}"), 2, "importance matrix", id="imatrix"),
    ],
)
def test_mistakes_are_sentences(assistant_gguf, target_gguf, arguments: tuple[str, ...], code: int, words: str):
    names = {"{target}": str(target_gguf("Q8_0")), "{assistant}": str(assistant_gguf("BF16"))}
    done = compare(*[names.get(argument, argument) for argument in arguments])
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
