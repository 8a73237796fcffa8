"""`gemma-mtp bench --method` as a user runs it: one table, and what is said of methods that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gemma_mtp.bench.results import OVERALL, parse_results, read_results
from gemma_mtp.cli.main import application

pytest.importorskip("xllamacpp")

FEW = ("--category", "editing", "--context-sizes", "100", "-n", "4", "-r", "1", "-t", "1", "--ctx", "128")


def bench(*arguments: str | Path):
    return CliRunner().invoke(application(), ["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def measured(target_gguf, assistant_gguf, tmp_path_factory):
    """The table that was printed, and the results file."""
    target, assistant = target_gguf("Q8_0"), assistant_gguf("Q8_0")
    written = tmp_path_factory.mktemp("methods") / "results.json"
    methods = (f"mtp:{assistant}=2", f"draft:{target}=2", "ngram-mod", f"mtp:{assistant}=2+ngram-mod=8/4")
    named = [word for method in methods for word in ("--method", method)]
    done = bench(target, *named, *FEW, "-o", written)
    assert done.exit_code == 0, done.output
    return done.output, written


def test_one_table_compares_them(measured):
    shown, _ = measured
    for words in (
        "ways of drafting",
        "mtp+ngram-mod=8/4",
        "prompt t/s",
        "memory",
        "same text",
        "context 100",
        "cpp: xlla",
    ):
        assert words in shown
    assert "llama-server -m" in shown


def test_rows_name_their_method(measured):
    results = read_results(measured[1])
    assert results == parse_results(json.loads(measured[1].read_text()))
    assert results.assistant is None
    assert results.compares
    assert [(one.name, one.types) for one in results.methods] == [
        ("mtp", "draft-mtp"),
        ("draft", "draft-simple"),
        ("ngram-mod", "ngram-mod"),
        ("mtp+ngram-mod=8/4", "ngram-mod,draft-mtp"),
    ]
    rows = results.of("cpp", OVERALL, None)
    assert [row.method for row in rows] == ["none", *(one.name for one in results.methods)]
    assert all(row.identical for row in rows)
    assert results.overall("cpp", 2, "draft").acceptance == 1.0  # it is the target itself
    assert results.categories == ["editing", "context 100"]
    assert results.settings.context >= 100 + 4


@pytest.mark.parametrize(
    ("method", "code", "words"),
    [
        ("draft:{assistant}", 1, "--method mtp:FILE"),
        ("eagle3:{target}", 1, "no file for --method eagle3"),
        ("mtp:{target}", 1, "an assistant's is"),
        ("ngram-mood", 2, "is unknown"),
    ],
)
def test_what_cannot_draft_is_refused_before_it_is_loaded(target_gguf, assistant_gguf, method, code, words):
    files = {"target": target_gguf("Q8_0"), "assistant": assistant_gguf("Q8_0")}
    done = bench(files["target"], "--method", method.format(**files), *FEW)
    assert done.exit_code == code, done.output
    assert words in done.output


def test_an_engine_that_cannot_says_which_can(target_gguf):
    done = bench(target_gguf("Q8_0"), "--method", "ngram-cache", "--engine", "python", *FEW)
    assert done.exit_code == 2
    assert "does not draft by ngram-cache" in done.output


def test_a_prompt_longer_than_the_target_knows_is_refused_before_it_is_loaded(target_gguf, assistant_gguf):
    """The demo's target was trained for 2,048 tokens; the most that is told is taken."""
    pair = target_gguf("Q8_0"), assistant_gguf("Q8_0")
    done = bench(*pair, "--context-sizes", "1k,2k", "-n", "4")
    said = " ".join(done.stderr.split())
    assert done.exit_code == 2
    assert "context 2k: 2,048 tokens and 4 to generate are more than the 2,048 that the target was trained for" in said
    assert "--context-sizes 2044 is the most" in said
    few = ("--category", "code", "--draft-max", "1", "--p-min", "0", "-r", "1", "-n", "4", "-t", "2", "--no-auto")
    assert bench(*pair, "--context-sizes", "2044", *few).exit_code == 0
