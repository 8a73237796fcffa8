"""Ways of drafting without an assistant, and two at once: the Python loop against llama.cpp's C++ engine. The same text
as plain decoding, the same drafts counted, and the counts are those of the server's own timings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gemma_mtp.bench.laps import Pair
from gemma_mtp.bench.measure import Plan, measure
from gemma_mtp.bench.results import OVERALL, PLAIN
from gemma_mtp.bench.summary import rows
from gemma_mtp.bench.ways import read_ways
from gemma_mtp.convert import convert_model
from gemma_mtp.demo.dflash import DRAFTER
from gemma_mtp.native.child import in_child
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.quantize import Output, quantize_file

CONTEXT = ContextSettings(512, threads=1)
TEXT = "def push(self, item):\n    self.items.append(item)\n\ndef pop(self):\n    return self.items.pop()\n\n"
#: The second repeats itself, so that n-grams know something.
PROMPTS = (("code", "class Stack:\n\n    def __init__(self):\n"), ("copying", TEXT * 2 + "def push(self"))
BOTH = ("draft:{small}=4", "ngram-simple=6/3", "ngram-mod=8/4", "mtp:{assistant}=3+ngram-mod=8/4", "dflash:{blocks}=3")
CPP_ALONE = ("ngram-map-k=6/3", "ngram-cache")


@pytest.fixture(scope="module")
def small(target_gguf, tmp_path_factory) -> Path:
    """A model of the target's vocabulary that says nearly what it says: itself, in four bits."""
    made = tmp_path_factory.mktemp("small") / "small.gguf"
    quantize_file(target_gguf("F32"), [Output(made, "Q4_0")])
    return made


@pytest.fixture(scope="module")
def pair(target_gguf, assistant_gguf, small) -> Pair:
    blocks = small.with_name("dflash-demo-F32.gguf")
    convert_model(DRAFTER, blocks, types="F32", target=target_gguf("F32"))
    files = {"small": small, "assistant": assistant_gguf("F32"), "blocks": blocks}
    texts = [text.format(**files) for text in (*BOTH, *CPP_ALONE)]
    return Pair(target_gguf("F32"), None, 3, CONTEXT, ways=read_ways(texts, Path))


@pytest.fixture(scope="module")
def laps(pair: Pair) -> list[Any]:
    return list(measure(Plan(pair, PROMPTS, (), ("python", "cpp"), tokens=40, repeats=1)))


def test_both_engines_say_and_count_the_same(laps):
    counts = {
        engine: {
            (lap.task.method, lap.task.category): (lap.tokens, lap.statistics.drafted, lap.statistics.accepted)
            for lap in laps
            if lap.task.engine == engine
        }
        for engine in ("python", "cpp")
    }
    assert len(counts["python"]) == (1 + len(BOTH)) * len(PROMPTS)
    for key, ours in counts["python"].items():
        assert ours == counts["cpp"][key], key


def test_drafting_changes_no_text_and_every_way_drafts(laps):
    found = [row for row in rows(laps) if row.category == OVERALL]
    assert len(found) == 2 + len(BOTH) * 2 + len(CPP_ALONE)
    assert all(row.identical for row in found)
    for row in found:
        assert (row.drafted > 0) is (row.draft != PLAIN), row.method
        assert row.tokens == 40 * len(PROMPTS)
        assert row.prompt_tokens_per_second > 0
    shares = {row.method: row.acceptance for row in found if row.engine == "cpp"}
    assert shares["draft"] > 0.5


def test_memory_is_what_a_way_takes_beyond_plain_decoding(laps, small):
    added = {row.method: row.memory for row in rows(laps) if (row.engine, row.category) == ("cpp", OVERALL)}
    assert added["none"] is None
    assert added["draft"] > small.stat().st_size
    assert added["ngram-mod=8/4"] > 16 << 20  # its table


def timings(target: str, small: str, prompt: str) -> Iterator[dict[str, Any]]:
    """Runs in a child: what the server itself says of one completion, and what we read from it."""
    from gemma_mtp.native import cpp
    from gemma_mtp.native.settings import Drafting

    loading = cpp.Loading(Path(target), Path(small), Drafting(4, method="draft"), CONTEXT)
    with cpp.CppEngine(loading) as engine:
        asked = {"prompt": prompt, "n_predict": 40, "temperature": 0.0, "ignore_eos": True, "cache_prompt": False}
        told = engine._server.handle_completions({**asked, "stream": False, "timings_per_token": True})["timings"]
        ours = engine.complete(prompt, max_tokens=40, ignore_end=True).statistics
        tokens = engine.tokenize(prompt)
    yield {"told": told, "ours": (ours.drafted, ours.accepted, ours.prompt_tokens), "tokens": tokens}


def test_the_counts_are_the_servers_own(target_gguf, small):
    with closing(in_child(f"{__name__}:timings", str(target_gguf("F32")), str(small), PROMPTS[0][1])) as answers:
        said = next(answers)
    told = said["told"]
    assert said["ours"] == (told["draft_n"], told["draft_n_accepted"], told["prompt_n"])
    assert told["draft_n_accepted"] > 0
    assert len(said["tokens"]) == told["prompt_n"]
