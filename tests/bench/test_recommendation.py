"""What is recommended, why, and how llama-server is told."""

from __future__ import annotations

import mmap
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.laps import lap

from gemma_mtp.bench.recommendation import best_length, llama_server, recommend
from gemma_mtp.bench.results import AUTO, OVERALL, PLAIN, Recommendation
from gemma_mtp.bench.summary import rows
from gemma_mtp.native.methods import METHODS
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings

#: Everything that changes the command line.
ODD_CONTEXT = ContextSettings(8192, threads=6, cache_k="q8_0", cache_v="q8_0", flash_attention="on")
ODD_MODEL = ModelSettings(gpu_layers=20, extra_buffers=False)


def advice(speedups: dict[str, dict[int, float]], **more) -> Recommendation:
    """From speed-ups by category and draft length; plain decoding takes ten seconds."""
    drafts = {"drafted_at": (80,), "accepted_at": (40,), "draft_seconds": 1.0}
    laps = [
        lap(category, draft, 0, 10.0 / speedup, **(drafts if draft else {}), **(more if draft else {}))
        for category, by_draft in speedups.items()
        for draft, speedup in {PLAIN: 1.0, **by_draft}.items()
    ]
    paths = {"target": Path("a b.gguf"), "assistant": Path("mtp.gguf")}
    return recommend(rows(laps), "python", **paths, context=ContextSettings(), model=ModelSettings())


def test_the_best_length_and_its_reason():
    found = advice({"code": {1: 1.2, 2: 1.5, 3: 1.3}})
    assert (found.draft, round(found.speedup, 2)) == (2, 1.5)
    assert found.reasons[0].startswith("drafts of 2 pay most: 1.50x over all prompts, 50% of the drafts accepted")
    assert "1.76x would be the ceiling if drafting were free" in found.reasons[1]
    assert found.command == (
        "llama-server -m 'a b.gguf' -md mtp.gguf --spec-type draft-mtp --spec-draft-n-max 2 -c 4096 -np 1"
    )


def test_of_two_that_are_close_the_shorter_one():
    assert advice({"code": {1: 1.2, 2: 1.495, 3: 1.5, 4: 1.5}}).draft == 2


def test_where_drafting_loses_the_assistant_is_left_out():
    found = advice({"code": {1: 0.9, 2: 0.8}})
    assert (found.draft, found.speedup) == (PLAIN, 1.0)
    assert found.reasons == ("drafting does not pay here: 0.90x at best, with drafts of 1",)
    assert "mtp.gguf" not in found.command


def test_a_gain_too_small_is_none():
    assert advice({"code": {1: 1.02}}).draft == PLAIN


def test_categories_that_want_another_length_are_named():
    found = advice({"code": {1: 1.5, 3: 2.5}, "prose": {1: 1.4, 3: 1.3}, "math": {1: 0.9, 3: 0.8}})
    assert found.draft == 3
    assert "for prose, drafts of 1 would be better: 1.40x instead of 1.30x" in found.reasons
    assert "for math, no drafting would be better: 1.00x instead of 0.80x" in found.reasons
    assert not any("for code" in reason for reason in found.reasons)


def test_the_adaptive_length_is_reported_and_never_recommended():
    found = advice({"code": {1: 1.2, AUTO: 1.6}})
    assert found.draft == 1
    assert any("adapts itself gives 1.60x" in reason for reason in found.reasons)


def test_other_output_is_told():
    assert any("outputs differ" in reason for reason in advice({"code": {1: 1.2}}, said=(9,)).reasons)


def test_best_length_of_one_category():
    found = rows([lap("code", draft, 0, 10.0 - draft) for draft in (PLAIN, 1, 2)])
    assert best_length([row for row in found if row.category == OVERALL]).draft == 2


def test_settings_reach_the_command_line():
    command = llama_server(Path("t.gguf"), Path("a.gguf"), Drafting(4), ODD_CONTEXT, ODD_MODEL)
    assert command == (
        "llama-server -m t.gguf -md a.gguf --spec-type draft-mtp --spec-draft-n-max 4 -c 8192 -np 1 -t 6 -ngl 20 "
        "-ctk q8_0 -ctv q8_0 -fa on --no-repack"
    )


def test_every_option_is_one_that_llama_cpp_parses():
    """The server's own table of options is in xllamacpp's library."""
    spec = find_spec("xllamacpp.xllamacpp")
    assert spec
    assert spec.origin
    command = llama_server(Path("t.gguf"), Path("a.gguf"), Drafting(4), ODD_CONTEXT, ODD_MODEL)
    options = [word for word in shlex.split(command) if word.startswith("-")]
    options += [size.flag for method in METHODS.values() for size in method.sizes]
    options += [method.spec_type for method in METHODS.values()]
    with Path(spec.origin).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
        missing = [option for option in options if library.find(option.encode() + b"\0") < 0]
        assert missing == []
        assert library.find(b"--spec-draft-n-maximum\0") < 0


@pytest.mark.parametrize("draft", [PLAIN, 1])
def test_plain_decoding_needs_no_assistant(draft: int):
    command = llama_server(Path("t.gguf"), Path("a.gguf"), Drafting(draft), ContextSettings(), ModelSettings())
    assert ("-md" in command) is bool(draft)
