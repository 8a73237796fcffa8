"""What `--method` names, and what is said of a method that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.laps import lap

from gemma_mtp.bench.laps import Pair
from gemma_mtp.bench.measure import Plan
from gemma_mtp.bench.recommendation import best_length, recommend
from gemma_mtp.bench.results import AUTO, NONE, OVERALL, PLAIN
from gemma_mtp.bench.summary import rows
from gemma_mtp.bench.ways import Way, assistant_way, read_ways
from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime.prompts import CHARACTERS, long_text, read_sizes, size_name
from gemma_mtp.native.methods import METHODS, Use, use
from gemma_mtp.native.server_line import drafting_words
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings

PROMPTS = (("code", "def"), ("editing", "class"))


def read(*texts: str, taken: tuple[Way, ...] = ()) -> tuple[Way, ...]:
    return read_ways(texts, Path, taken)


@pytest.mark.parametrize(
    ("text", "label", "model", "drafter", "lengths", "ngrams"),
    [
        ("mtp:a.gguf", "mtp", "mtp", "a.gguf", METHODS["mtp"].lengths, ()),
        ("dflash:hf://me/repo/a=b.gguf=15,3", "dflash", "dflash", "hf:/me/repo/a=b.gguf", (3, 15), ()),
        ("draft:a+b.gguf=8", "draft", "draft", "a+b.gguf", (8,), ()),
        ("draft:me/repo:Q4_0", "draft", "draft", "me/repo:Q4_0", METHODS["draft"].lengths, ()),
        ("ngram-cache", "ngram-cache", None, None, (8,), (Use("ngram-cache", 8),)),
        ("ngram-mod=16", "ngram-mod=16/16", None, None, (16,), (Use("ngram-mod", 16, 16),)),
        ("mtp:a.gguf=2+ngram-mod", "mtp+ngram-mod", "mtp", "a.gguf", (2,), (Use("ngram-mod", 64, 24),)),
        ("ngram-simple=9/3+mtp:a.gguf=2", "mtp+ngram-simple=9/3", "mtp", "a.gguf", (2,), (Use("ngram-simple", 9, 3),)),
    ],
)
def test_a_method_its_file_and_its_lengths(text, label, model, drafter, lengths, ngrams):
    (way,) = read(text)
    assert (way.label, way.model, way.lengths, way.ngrams) == (label, model, lengths, ngrams)
    assert way.drafter == (drafter and Path(drafter))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ngram-mood", "choose of"),
        ("mtp", "mtp:FILE"),
        ("mtp:", "mtp:FILE"),
        ("mtp=3", "mtp:FILE"),
        ("mtp:a.gguf=0", "1 to 256"),
        ("ngram-mod:a.gguf", "takes no file"),
        ("ngram-mod=999", "1 to 256"),
        ("ngram-mod=8/0", "at least 1"),
        ("ngram-mod=x", "no length"),
        ("ngram-cache=4", "fixed"),
        ("ngram-simple=4/8", "no draft shorter"),
        ("mtp:a.gguf+draft:b.gguf", "two models"),
        ("ngram-mod+ngram-mod=8/4", "twice"),
    ],
)
def test_what_cannot_be_is_said(text, words):
    with pytest.raises(UsageError) as caught:
        read(text)
    assert words in f"{caught.value} {caught.value.hint}"


def test_two_files_of_one_method_are_told_apart_by_their_names():
    assert [way.label for way in read("draft:x/a.gguf", "draft:b.gguf+ngram-mod", "draft:c.gguf")] == [
        "draft:a.gguf",
        "draft+ngram-mod",
        "draft:c.gguf",
    ]
    taken = (assistant_way(Path("a.gguf"), (1,)),)
    assert [way.label for way in read("mtp:b.gguf", taken=taken)] == ["mtp:b.gguf"]
    with pytest.raises(UsageError, match="twice"):
        read("draft:a.gguf=2", "draft:a.gguf=4")


def test_llama_server_is_told_all_of_it_in_its_own_order():
    (way,) = read("mtp:a.gguf+ngram-mod=16/8")
    words = drafting_words(way.drafter, way.drafting(3, 0.5))
    assert " ".join(words) == (
        "-md a.gguf --spec-type ngram-mod,draft-mtp --spec-ngram-mod-n-match 8 --spec-ngram-mod-n-min 12 "
        "--spec-ngram-mod-n-max 16 --spec-draft-n-max 3 --spec-draft-p-min 0.5"
    )
    assert drafting_words(None, way.drafting(PLAIN)) == []


def test_drafts_of_ngrams_do_not_adapt():
    with pytest.raises(UsageError, match="n-grams"):
        Drafting(3, auto=True, ngrams=(use("ngram-mod"),))


def test_each_way_and_length_has_all_prompts_in_its_turn():
    ways = read("mtp:a.gguf=1,2", "ngram-cache")
    plan = Plan(Pair(Path("t"), None, 4, ways=ways), PROMPTS, (1, AUTO), ("python", "cpp"), repeats=2)
    first = [
        (task.method, task.draft, task.category) for task in plan.tasks() if (task.engine, task.repeat) == ("cpp", 0)
    ]
    turns = ((NONE, PLAIN), ("mtp", 1), ("mtp", 2), ("ngram-cache", 8))
    assert first == [(*turn, category) for turn in turns for category, _ in PROMPTS]
    back = [
        (task.method, task.draft, task.category) for task in plan.tasks() if (task.engine, task.repeat) == ("cpp", 1)
    ]
    assert back == first[::-1]
    assert {task.method for task in plan.tasks() if task.engine == "python"} == {NONE, "mtp"}  # it has no ngram-cache


def test_the_recommendation_names_the_method_and_its_line():
    ways = read("mtp:a.gguf=2", "ngram-mod", "draft:d.gguf=2")
    seconds = {(NONE, PLAIN): 10.0, ("mtp", 2): 5.0, ("ngram-mod", 64): 8.0, ("draft", 2): 4.98}
    memory = {NONE: 100, "mtp": 110, "ngram-mod": 120, "draft": 500}
    laps = [
        lap(
            "code", draft, 0, seconds[method, draft], method=method, memory=memory[method],
            drafted_at=(50,) * bool(draft), accepted_at=(40,) * bool(draft),
        )
        for method, draft in seconds
    ]  # fmt: skip
    found = rows(laps)
    assert {(row.method, row.draft): row.memory for row in found if row.category == OVERALL} == {
        (NONE, PLAIN): None, ("mtp", 2): 10, ("ngram-mod", 64): 20, ("draft", 2): 400,
    }  # fmt: skip
    said = recommend(
        found,
        "python",
        target=Path("t.gguf"),
        assistant=None,
        context=ContextSettings(),
        model=ModelSettings(),
        ways=ways,
    )
    assert (said.method, said.draft) == ("mtp", 2)  # the ordinary drafter is as quick, and takes more memory
    assert said.reasons[0].startswith("mtp with drafts of 2 pays most: 2.00x")
    assert "-md a.gguf --spec-type draft-mtp --spec-draft-n-max 2" in said.command
    assert best_length([row for row in found if row.category == OVERALL]).method == "mtp"


def test_a_way_that_never_drafted_is_not_recommended():
    ways = read("ngram-mod", "ngram-cache")
    laps = [
        lap("code", PLAIN, 0, 10.0, method=NONE),
        lap("code", 64, 0, 5.0, method="ngram-mod"),
        lap("code", 8, 0, 8.0, method="ngram-cache", drafted_at=(50,), accepted_at=(40,)),
    ]
    files = {"target": Path("t.gguf"), "assistant": None}
    said = recommend(rows(laps), "python", **files, context=ContextSettings(), model=ModelSettings(), ways=ways)
    assert said.method == "ngram-cache"
    assert not any("would be better" in reason for reason in said.reasons)


def test_long_prompts():
    assert read_sizes("4k, 16K,100") == (4096, 16384, 100)
    assert [size_name(size) for size in (4096, 100)] == ["context 4k", "context 100"]
    assert read_sizes("") == ()
    with pytest.raises(UsageError, match="'4q'"):
        read_sizes("4q")
    text = long_text(100)
    assert len(text) >= 100 * CHARACTERS
    assert text == long_text(100)
    assert len(set(text.splitlines())) == len(text.splitlines())  # no line twice: n-grams must not know it all
